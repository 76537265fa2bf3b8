"""addvolume and removevolume: read, decide (`virt_api.hotplug`), and patch exactly what was read.

Of a VM its template changes, for good; a VMI without a VM is changed itself, until it ends.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from aiohttp import web

from virt_api import hotplug, refusals
from virt_api.lifecycle import Refusal
from virt_api.objects import KUBE, Target, read_options, read_vm, read_vmi
from virt_kube.api import Conflict, Json, KubeClient, Resource
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from virt_types.v1 import VirtualMachine, VirtualMachineInstance, VirtualMachineInstanceSpec

log = logging.getLogger("virt_api.volumes")

ATTEMPTS = 5
OWNED = "VMI {namespace}/{name} is owned by a VM"
NOT_RUNNING = "VMI is not running"

Handler = Callable[[web.Request], Awaitable[web.Response]]
Answer = Json | Refusal


class Subject(NamedTuple):
    """An object that volumes are added to: how it is read, and where the spec of its VMI lies."""

    kind: str
    resource: Resource
    read: Callable[[KubeClient, Target], Awaitable[Any]]
    spec: Callable[[Any], VirtualMachineInstanceSpec]
    whole: Callable[[Json], Json]  # the object's patch, from that of the spec


async def _alone(kube: KubeClient, target: Target) -> VirtualMachineInstance:
    """The VMI, if it runs and no VM would undo the change."""
    vmi = await read_vmi(kube, target)
    meta = vmi.metadata
    if any(owner.kind == "VirtualMachine" and owner.controller for owner in meta.owner_references):
        raise refusals.bad_request(OWNED.format(namespace=target.namespace, name=target.name))
    if vmi.status.phase != "Running":
        raise refusals.conflict(refusals.VMI, target.name, NOT_RUNNING)
    return vmi


def _template(vm: VirtualMachine) -> VirtualMachineInstanceSpec:
    return vm.spec.template.spec


def _spec(vmi: VirtualMachineInstance) -> VirtualMachineInstanceSpec:
    return vmi.spec


def _of_template(spec: Json) -> Json:
    return {"spec": {"template": {"spec": spec}}}


def _of_spec(spec: Json) -> Json:
    return {"spec": spec}


MACHINE = Subject(refusals.VM, VIRTUAL_MACHINES, read_vm, _template, _of_template)
INSTANCE = Subject(refusals.VMI, VIRTUAL_MACHINE_INSTANCES, _alone, _spec, _of_spec)


def add_to(subject: Subject) -> Handler:
    """The route handler of addvolume."""

    async def handle(request: web.Request) -> web.Response:
        options = await read_options(request, hotplug.AddOptions)
        wanted = hotplug.read_addition(options)
        if isinstance(wanted, Refusal):
            raise refusals.refused(subject.kind, Target.of(request).name, wanted)
        volume, disk = wanted
        return await _respond(request, subject, lambda spec: hotplug.add(spec, volume, disk), options)

    return handle


def remove_from(subject: Subject) -> Handler:
    """The route handler of removevolume."""

    async def handle(request: web.Request) -> web.Response:
        options = await read_options(request, hotplug.RemoveOptions)
        if not options.name:
            raise refusals.bad_request(hotplug.REMOVE_NEEDS_NAME)
        return await _respond(request, subject, lambda spec: hotplug.remove(spec, options.name), options)

    return handle


async def _respond(
    request: web.Request,
    subject: Subject,
    change: Callable[[VirtualMachineInstanceSpec], Answer],
    options: hotplug.AddOptions | hotplug.RemoveOptions,
) -> web.Response:
    target = Target.of(request)
    await change_volumes(request.app[KUBE], target, subject, change, dry_run=bool(options.dry_run))
    verb = request.path.rsplit("/", 1)[-1]
    log.info(
        "volumes changed verb=%s namespace=%s name=%s volume=%s dry_run=%s",
        verb,
        target.namespace,
        target.name,
        options.name,
        bool(options.dry_run),
    )
    return web.Response(status=202)


async def change_volumes(
    kube: KubeClient,
    target: Target,
    subject: Subject,
    change: Callable[[VirtualMachineInstanceSpec], Answer],
    *,
    dry_run: bool = False,
) -> None:
    """Decide on fresh reads until the write meets what was read; raises the refusal."""
    for _ in range(ATTEMPTS):
        obj = await subject.read(kube, target)
        patch = change(subject.spec(obj))
        if isinstance(patch, Refusal):
            raise refusals.refused(subject.kind, target.name, patch)
        if dry_run:
            return
        read = {"metadata": {"uid": obj.metadata.uid, "resourceVersion": obj.metadata.resource_version}}
        try:
            await kube.patch(
                subject.resource, target.namespace, target.name, {**read, **subject.whole(patch)}, kind="merge"
            )
        except Conflict:
            continue
        return
    raise refusals.conflict(subject.kind, target.name, refusals.CROWDED)
