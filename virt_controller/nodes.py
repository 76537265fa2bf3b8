"""Node health: a node whose agent fell silent takes no more VMIs; its VMIs are left alone until their end is proved.

Silence proves nothing about guests: they outlive their agent. Proof is the taint node.kubernetes.io/out-of-service, by
which an administrator or a fencing device states that the machine is off (spec 3.8, DESIGN "Absence is not death").
"""

from __future__ import annotations

import logging

from virt_controller.caches import NODE_INDEX, Caches
from virt_controller.objects import Node
from virt_controller.phase import FAILED, is_final
from virt_kube.api import Conflict, Invalid, KubeClient, NotFound
from virt_kube.clock import Clock, parse_time, rfc3339
from virt_kube.events import EventRecorder
from virt_kube.informer import key_of
from virt_kube.patch import guard, pointer
from virt_kube.resources import NODES, VIRTUAL_MACHINE_INSTANCES
from virt_kube.runner import Retry, Verdict
from virt_kube.workqueue import WorkQueue
from virt_types import labels
from virt_types.codec import to_builtins
from virt_types.v1 import VirtualMachineInstance

log = logging.getLogger("virt_controller.nodes")

SILENCE_SECONDS = 300.0
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
REASON = "NodeUnresponsive"
NODE_SILENT = "virt-handler is not responsive, marking node as unresponsive"
INSTANCE_LOST = "virt-handler on node {node} is not responsive, marking VMI as failed"


class NodeController:
    """The loop of all nodes that have, or had, a node agent."""

    def __init__(self, client: KubeClient, caches: Caches, recorder: EventRecorder, *, clock: Clock) -> None:
        self.queue: WorkQueue[str] = WorkQueue()
        self._client = client
        self._caches = caches
        self._recorder = recorder
        self._clock = clock
        caches.nodes.add_handler(self._on_node)

    async def reconcile(self, name: str) -> Verdict:
        node = self._caches.nodes.get("", name)
        beat = parse_time(node.metadata.annotations.get(labels.NODE_HEARTBEAT)) if node is not None else None
        if node is None or beat is None:
            return None
        rest = beat + SILENCE_SECONDS - self._clock()
        if rest > 0:
            return Retry(rest, "Alive")
        try:
            if node.metadata.labels.get(labels.NODE_SCHEDULABLE) == "true":
                await self._close(node)
            if any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints):
                for vmi in self._caches.vmis.by_index(NODE_INDEX, name):
                    if not is_final(vmi):
                        await self._mark_lost(vmi, name)
        except (Conflict, NotFound, Invalid) as error:
            return Retry(None, "StaleCache", error.message)
        return None

    async def _close(self, node: Node) -> None:
        where = pointer("metadata", "labels", labels.NODE_SCHEDULABLE)
        patch = [*guard(node.metadata), {"op": "replace", "path": where, "value": "false"}]
        answer = await self._client.patch(NODES, "", node.metadata.name, patch)
        self._caches.nodes.absorb(answer)
        log.warning("node silent node=%s", node.metadata.name)
        self._recorder.event(node, "Warning", REASON, NODE_SILENT)

    async def _mark_lost(self, vmi: VirtualMachineInstance, node: str) -> None:
        """The machine is off for sure: the guest has ended, and no agent is left to say so or to clean up."""
        stamps = [to_builtins(each) for each in vmi.status.phase_transition_timestamps]
        stamps.append({"phase": FAILED, "phaseTransitionTimestamp": rfc3339(self._clock())})
        finalizers = [each for each in vmi.metadata.finalizers if each != labels.VMI_FINALIZER]
        patch = [
            *guard(vmi.metadata),
            {"op": "add", "path": "/status/phase", "value": FAILED},
            {"op": "add", "path": "/status/reason", "value": REASON},
            {"op": "add", "path": "/status/phaseTransitionTimestamps", "value": stamps},
            {"op": "add", "path": "/metadata/finalizers", "value": finalizers},
        ]
        answer = await self._client.patch(VIRTUAL_MACHINE_INSTANCES, *key_of(vmi), patch)
        self._caches.vmis.absorb(answer)
        log.warning("instance lost with its node namespace=%s name=%s node=%s", *key_of(vmi), node)
        self._recorder.event(vmi, "Warning", REASON, INSTANCE_LOST.format(node=node))

    def _on_node(self, old: Node | None, new: Node | None) -> None:
        node = new or old
        if node is not None:
            self.queue.add(node.metadata.name)
