"""Subresources that KubeVirt has and this product has not: each says so, after the refusals that clients know.

A bare 404 would read as a wrong name; 501 with a sentence says that the name is right and what is missing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from virt_api import guest, refusals
from virt_api.lifecycle import Options
from virt_api.objects import KUBE, Target, read_options, read_vm, read_vmi
from virt_kube.api import ApiError, NotFound
from virt_kube.resources import PERSISTENT_VOLUME_CLAIMS
from virt_types.v1 import VirtualMachineInstance

Handler = Callable[[web.Request], Awaitable[web.Response]]

OBJECT_GRAPH = "ObjectGraph feature gate not enabled: Unable to return object graph."
PROFILER = '"ClusterProfiler" feature gate must be enabled'
GUESTFS = (
    "guestfs needs libguestfs' image and a pod to run it in; use guestfish or virt-customize on the machine itself"
)
MEMORY_DUMP = "memory dumps are not implemented: the node agent writes none into a claim"
SEV = "SEV attestation is not implemented by the node agent"
SESSION_NEEDS = (("session", "Session blob is required"), ("dh_cert", "DH cert is required"))
OTHER_DUMP = (
    "can't request memory dump for pvc [{claim}] while pvc [{associated}] is still associated as the memory dump pvc"
)
NO_DUMP = "can't remove memory dump association for vm {name}, no association found"


class Unserved(NamedTuple):
    """A subresource of a VMI: the refusals that are checked first, and what is missing then.

    `needs` are the fields that its body must have, and what is said without each.
    """

    name: str
    method: str
    check: Callable[[VirtualMachineInstance], ApiError | None]
    missing: str
    needs: tuple[tuple[str, str], ...] = ()


class SessionOptions(Options, rename="camel", kw_only=True):
    """What setupsession sends; the other verbs here have no use for it."""

    session: str = ""
    dh_cert: str = msgspec.field(name="dhCert", default="")


VERBS = (
    Unserved("vsock", "GET", guest.check_vsock, "connections over vsock are not implemented by the node agent"),
    Unserved(
        "backup", "PUT", guest.check_freeze, "backups are not implemented: the node agent tracks no changed blocks"
    ),
    Unserved(
        "redefine-checkpoint",
        "PUT",
        guest.check_redefine_checkpoint,
        "backups and their checkpoints are not implemented here",
    ),
    Unserved("sev/fetchcertchain", "GET", guest.check_sev_certificates, SEV),
    Unserved("sev/querylaunchmeasurement", "GET", guest.check_sev_launch, SEV),
    Unserved("sev/setupsession", "PUT", guest.check_sev_session, SEV, SESSION_NEEDS),
    Unserved("sev/injectlaunchsecret", "PUT", guest.check_sev_launch, SEV),
)


class DumpOptions(Options, rename="camel", kw_only=True):
    claim_name: str = ""


def handler(verb: Unserved) -> Handler:
    """The route handler of one of them."""

    async def refuse(request: web.Request) -> web.Response:
        if verb.needs:
            options = await read_options(request, SessionOptions)
            for field, text in verb.needs:
                if not getattr(options, field):
                    raise refusals.bad_request(text)
        vmi = await read_vmi(request.app[KUBE], Target.of(request))
        raise verb.check(vmi) or refusals.not_implemented(verb.missing)

    return refuse


async def object_graph(_: web.Request) -> web.Response:
    raise refusals.bad_request(OBJECT_GRAPH)


async def guestfs(_: web.Request) -> web.Response:
    raise refusals.not_implemented(GUESTFS)


def profiler(doing: str) -> Handler:
    """start, stop and dump of the cluster's profiler."""

    async def refuse(_: web.Request) -> web.Response:
        raise refusals.gate_closed(f"Unable to {doing}. {PROFILER}")

    return refuse


async def memory_dump(request: web.Request) -> web.Response:
    options = await read_options(request, DumpOptions)
    kube, target = request.app[KUBE], Target.of(request)
    vm = await read_vm(kube, target)
    associated = vm.status.memory_dump_request.claim_name if vm.status.memory_dump_request else ""
    claim = options.claim_name or associated
    if not claim:
        raise refusals.bad_request("Memory dump requires claim name to be set")
    if associated and claim != associated:
        raise refusals.conflict(refusals.VM, target.name, OTHER_DUMP.format(claim=claim, associated=associated))
    vmi = await read_vmi(kube, target)
    if vmi.status.phase != guest.RUNNING:
        raise refusals.conflict(refusals.VMI, target.name, "VMI is not running")
    try:
        await kube.get(PERSISTENT_VOLUME_CLAIMS, target.namespace, claim)
    except NotFound:
        raise refusals.not_found(refusals.CLAIM, claim) from None
    raise refusals.not_implemented(MEMORY_DUMP)


async def remove_memory_dump(request: web.Request) -> web.Response:
    target = Target.of(request)
    vm = await read_vm(request.app[KUBE], target)
    if vm.status.memory_dump_request is None:
        raise refusals.conflict(refusals.VM, target.name, NO_DUMP.format(name=target.name))
    raise refusals.not_implemented(MEMORY_DUMP)


def routes(vm: str, vmi: str, versioned: str) -> list[Any]:
    """Below the paths of a VM, a VMI and the group's version."""
    return [
        *(web.route(verb.method, f"{vmi}/{verb.name}", handler(verb)) for verb in VERBS),
        *(web.get(f"{path}/objectgraph", object_graph) for path in (vm, vmi)),
        web.put(f"{vm}/memorydump", memory_dump),
        web.put(f"{vm}/removememorydump", remove_memory_dump),
        web.get(f"{versioned}/guestfs", guestfs),
        web.get(f"{versioned}/start-cluster-profiler", profiler("start profiler")),
        web.get(f"{versioned}/stop-cluster-profiler", profiler("stop profiler")),
        web.get(f"{versioned}/dump-cluster-profiler", profiler("dump profiler results")),
    ]
