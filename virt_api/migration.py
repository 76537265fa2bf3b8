"""migrate and evacuate/cancel of a machine.

No node agent here can hand a running guest to another, so what is left to say to `migrate` is why, exactly: the
recorded refusals first, then what is missing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from virt_api import guest, refusals
from virt_api.lifecycle import Options
from virt_api.objects import KUBE, Target, read_options, read_vm, read_vmi, read_vmi_of_vm
from virt_kube.api import ApiError, KubeClient, NotFound
from virt_kube.patch import guard
from virt_kube.resources import NODES, VIRTUAL_MACHINE_INSTANCES
from virt_types import labels
from virt_types.meta import ObjectMeta
from virt_types.v1 import VirtualMachineInstance

NOT_RUNNING = "VM is not running"
NO_OTHER_NODE = "Cannot migrate VMI: {node} is the only node that takes guests"
NOT_BUILT = (
    "Cannot migrate VMI: live migration is not implemented by the node agent of {node}; "
    "stop the VM and start it to have it placed anew"
)


DRAINING = 'Node "{node}" has NodeDrainTaintKey "{taint}"'
OTHER_NODE = "it is marked to leave {marked}, not {named}"


class MigrateOptions(Options, rename="camel", kw_only=True):
    added_node_selector: dict[str, str] | None = None


class EvacuateCancelOptions(Options, rename="camel", kw_only=True):
    evacuation_node_name: str = ""


class _Taint(msgspec.Struct):
    key: str
    effect: str = ""


class _NodeSpec(msgspec.Struct):
    taints: list[_Taint] = []


class _Node(msgspec.Struct):
    metadata: ObjectMeta
    spec: _NodeSpec = msgspec.field(default_factory=_NodeSpec)


async def migrate(request: web.Request) -> web.Response:
    await read_options(request, MigrateOptions)
    kube, target = request.app[KUBE], Target.of(request)
    await read_vm(kube, target)
    vmi = await read_vmi(kube, target)
    others = await _other_nodes(kube, vmi) if vmi.status.phase == guest.RUNNING else []
    raise why_not(vmi, others)


def why_not(vmi: VirtualMachineInstance, other_nodes: list[str]) -> ApiError:
    """The refusal; `other_nodes` are those that would take a guest."""
    name, node = vmi.metadata.name, vmi.status.node_name or "its node"
    if vmi.status.phase != guest.RUNNING:
        return refusals.conflict(refusals.VM, name, NOT_RUNNING)
    if not other_nodes:
        return refusals.conflict(refusals.VM, name, NO_OTHER_NODE.format(node=node))
    return refusals.not_implemented(NOT_BUILT.format(node=node))


async def cancel_vm(request: web.Request) -> web.Response:
    return await _cancel(request, read_vmi_of_vm)


async def cancel_vmi(request: web.Request) -> web.Response:
    return await _cancel(request, read_vmi)


async def _cancel(
    request: web.Request, read: Callable[[KubeClient, Target], Awaitable[VirtualMachineInstance]]
) -> web.Response:
    """Take back the mark that a drain set; without a mark there is nothing to do.

    Whoever names the node takes back that evacuation and no other.
    """
    options = await read_options(request, EvacuateCancelOptions)
    kube, target = request.app[KUBE], Target.of(request)
    vmi = await read(kube, target)
    marked, named = vmi.status.evacuation_node_name or "", options.evacuation_node_name
    refused = guest.check_evacuation(vmi) or await _draining(kube, marked or vmi.status.node_name or "")
    if refused:
        raise refused
    if marked and named and named != marked:
        raise refusals.conflict(refusals.VMI, target.name, OTHER_NODE.format(marked=marked, named=named))
    if marked and not options.dry_run:
        removal = {"op": "remove", "path": "/status/evacuationNodeName"}
        patch = [*guard(vmi.metadata), removal]
        await kube.patch(VIRTUAL_MACHINE_INSTANCES, target.namespace, target.name, patch)
    return web.Response(status=200)


async def _draining(kube: KubeClient, name: str) -> ApiError | None:
    """Why nothing is taken back while the node's taint would mark the guest again."""
    try:
        node = msgspec.json.decode(await kube.get(NODES, "", name), type=_Node)
    except NotFound:
        return None
    for taint in node.spec.taints:
        if (taint.key, taint.effect) == (labels.NODE_DRAIN_TAINT, "NoSchedule"):
            return refusals.bad_request(DRAINING.format(node=name, taint=f"{taint.key}:{taint.effect}"))
    return None


async def _other_nodes(kube: KubeClient, vmi: VirtualMachineInstance) -> list[str]:
    page = await kube.list(NODES, label_selector=f"{labels.NODE_SCHEDULABLE}=true")
    names = (msgspec.json.decode(item, type=_Node).metadata.name for item in page.items)
    return [name for name in names if name != vmi.status.node_name]
