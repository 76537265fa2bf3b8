"""migrate and evacuate/cancel of a machine.

No node agent here can hand a running guest to another, so what is left to say to `migrate` is why, exactly: the
recorded refusals first, then what is missing.
"""

from __future__ import annotations

import msgspec
from aiohttp import web

from virt_api import guest, refusals
from virt_api.lifecycle import Options
from virt_api.objects import KUBE, Target, read_options, read_vm, read_vmi
from virt_kube.api import ApiError, KubeClient
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


class MigrateOptions(Options, rename="camel", kw_only=True):
    added_node_selector: dict[str, str] | None = None


class _Node(msgspec.Struct):
    metadata: ObjectMeta


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
    await read_vm(request.app[KUBE], Target.of(request))
    return await cancel(request)


async def cancel(request: web.Request) -> web.Response:
    """Take back the mark that a drain set; without a mark there is nothing to do."""
    options = await read_options(request, Options)
    kube, target = request.app[KUBE], Target.of(request)
    vmi = await read_vmi(kube, target)
    refused = guest.check_evacuation(vmi)
    if refused:
        raise refused
    if vmi.status.evacuation_node_name and not options.dry_run:
        removal = {"op": "remove", "path": "/status/evacuationNodeName"}
        patch = [*guard(vmi.metadata), removal]
        await kube.patch(VIRTUAL_MACHINE_INSTANCES, target.namespace, target.name, patch)
    return web.Response(status=200)


async def _other_nodes(kube: KubeClient, vmi: VirtualMachineInstance) -> list[str]:
    page = await kube.list(NODES, label_selector=f"{labels.NODE_SCHEDULABLE}=true")
    names = (msgspec.json.decode(item, type=_Node).metadata.name for item in page.items)
    return [name for name in names if name != vmi.status.node_name]
