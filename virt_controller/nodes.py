"""Node health: a node whose agent fell silent takes no more VMIs; its VMIs are left alone until their end is proved.

Silence proves nothing about guests: they outlive their agent, so their VMIs only say that nobody knows. There are no
launcher pods to look at; proof is what an administrator or a fencing device states: the taint
node.kubernetes.io/out-of-service, or a Node object deleted for as long as a living agent takes to bring it back (spec
3.8, DESIGN "Absence is not death"). A taint with the effect NoExecute drives out the guests that don't tolerate it, but
for those by which Kubernetes itself says that it hears nothing of a node.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from virt_controller.caches import NODE_INDEX, Caches
from virt_controller.node_rules import NO_EXECUTE, name_of, tolerated_for
from virt_controller.objects import Node, Taint
from virt_controller.phase import FAILED, enter, is_final, is_going, set_condition
from virt_kube.api import Conflict, Invalid, KubeClient, NotFound
from virt_kube.clock import Clock, parse_time
from virt_kube.events import EventRecorder
from virt_kube.informer import key_of
from virt_kube.patch import diff, guard, pointer
from virt_kube.resources import NODES, VIRTUAL_MACHINE_INSTANCES
from virt_kube.runner import Retry, Verdict
from virt_kube.workqueue import WorkQueue
from virt_types import labels
from virt_types.codec import decode, encode, to_builtins
from virt_types.v1 import VirtualMachineInstance

log = logging.getLogger("virt_controller.nodes")

SILENCE_SECONDS = 300.0
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
# NoExecute taints that prove nothing about the guests, or that `_check_heart` acts on.
NOT_DRIVING = frozenset({"node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready", OUT_OF_SERVICE})
REASON = "NodeUnresponsive"
NODE_SILENT = "virt-handler is not responsive, marking node as unresponsive"
INSTANCE_LOST = "virt-handler on node {node} is not responsive, marking VMI as failed"
INSTANCE_UNKNOWN = (
    "virt-handler on node {node} has been silent since {since}: the guest may be running. If the machine is off for "
    "sure, taint it: kubectl taint node {node} {taint}=nodeshutdown:NoExecute"
)
NOT_RUNNING = "Guest VM is not reported as running: its node {node} failed"
EVICTION = "EvictionRequested"
EVICTED = "evicted: node {node} has the taint {taint}"
EVICTION_EVENT = "TaintManagerEviction"


class NodeController:
    """The loop of all nodes that have, or had, a node agent."""

    def __init__(self, client: KubeClient, caches: Caches, recorder: EventRecorder, *, clock: Clock) -> None:
        self.queue: WorkQueue[str] = WorkQueue()
        self._client = client
        self._caches = caches
        self._recorder = recorder
        self._clock = clock
        # By our own clock, from what we saw: the clocks of two machines are never compared.
        self._heard: dict[str, tuple[str, float]] = {}
        self._gone_since: dict[str, float] = {}
        self._tainted_since: dict[tuple[str, str], float] = {}
        caches.nodes.add_handler(self._on_node)
        caches.vmis.add_handler(self._on_vmi)

    async def reconcile(self, name: str) -> Verdict:
        node = self._caches.nodes.get("", name)
        try:
            if node is None:
                self._heard.pop(name, None)
                return await self._mourn(name)
            self._gone_since.pop(name, None)
            silence = await self._check_heart(node)
            return _soonest(silence, await self._drive_out(node))
        except (Conflict, NotFound, Invalid) as error:
            return Retry(None, "StaleCache", error.message)

    # Silent and lost nodes.

    async def _check_heart(self, node: Node) -> Retry | None:
        """Close a silent node and say that nobody knows about its guests, or fail them when the machine is off.

        A program that was away has not listened: for it, silence begins with its own start, as the agent's may.
        """
        name, beat = node.metadata.name, node.metadata.annotations.get(labels.NODE_HEARTBEAT)
        if beat is None:
            return None
        now = asyncio.get_running_loop().time()
        if self._heard.get(name, ("", now))[0] != beat:
            self._heard[name] = beat, now
        rest = self._heard[name][1] + SILENCE_SECONDS - now
        if rest > 0:
            return Retry(rest, "Alive")
        if node.metadata.labels.get(labels.NODE_SCHEDULABLE) == "true":
            await self._close(node)
        if any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints):
            for vmi in self._living(name):
                await self._mark_lost(vmi, name)
            return None
        for vmi in self._living(name):
            await self._mark_unknown(vmi, name, beat)
        return None

    async def _mourn(self, name: str) -> Verdict:
        """The Node object is gone: a living agent would bring it back within the minute."""
        if not self._living(name):
            self._gone_since.pop(name, None)
            return None
        now = asyncio.get_running_loop().time()
        rest = self._gone_since.setdefault(name, now) + SILENCE_SECONDS - now
        if rest > 0:
            return Retry(rest, "NodeGone")
        try:
            self._caches.nodes.absorb(await self._client.get(NODES, "", name))
        except NotFound:
            for vmi in self._living(name):
                await self._mark_lost(vmi, name)
        return None

    def _living(self, node: str) -> list[VirtualMachineInstance]:
        return [vmi for vmi in self._caches.vmis.by_index(NODE_INDEX, node) if not is_final(vmi)]

    async def _close(self, node: Node) -> None:
        where = pointer("metadata", "labels", labels.NODE_SCHEDULABLE)
        patch = [*guard(node.metadata), {"op": "replace", "path": where, "value": "false"}]
        answer = await self._client.patch(NODES, "", node.metadata.name, patch)
        self._caches.nodes.absorb(answer)
        log.warning("node silent node=%s", node.metadata.name)
        self._recorder.event(node, "Warning", REASON, NODE_SILENT)

    async def _mark_unknown(self, vmi: VirtualMachineInstance, node: str, beat: str) -> None:
        new = decode(encode(vmi), VirtualMachineInstance)
        message = INSTANCE_UNKNOWN.format(node=node, since=beat, taint=OUT_OF_SERVICE)
        set_condition(new.status, "Ready", "Unknown", reason=REASON, message=message, now=self._clock())
        if await self._patch(vmi, new):
            log.warning("instance unknown namespace=%s name=%s node=%s", *key_of(vmi), node)

    async def _mark_lost(self, vmi: VirtualMachineInstance, node: str) -> None:
        """The machine is off for sure: the guest has ended, and no agent is left to say so or to clean up."""
        new, now = decode(encode(vmi), VirtualMachineInstance), self._clock()
        enter(new.status, FAILED, now)
        new.status.reason = REASON
        message = NOT_RUNNING.format(node=node)
        set_condition(new.status, "Ready", False, reason="GuestNotRunning", message=message, now=now)
        new.metadata.finalizers = [each for each in vmi.metadata.finalizers if each != labels.VMI_FINALIZER]
        await self._patch(vmi, new)
        log.warning("instance lost with its node namespace=%s name=%s node=%s", *key_of(vmi), node)
        self._recorder.event(vmi, "Warning", REASON, INSTANCE_LOST.format(node=node))

    async def _patch(self, vmi: VirtualMachineInstance, new: VirtualMachineInstance) -> bool:
        """Write the difference in status and finalizers; whether there was one."""
        before, after = to_builtins(vmi), to_builtins(new)
        changes = diff(before.get("status", {}), after["status"], "status")
        changes += diff(before["metadata"], after["metadata"], "metadata")
        if changes:
            patch = [*guard(vmi.metadata), *changes]
            self._caches.vmis.absorb(await self._client.patch(VIRTUAL_MACHINE_INSTANCES, *key_of(vmi), patch))
        return bool(changes)

    # Taints.

    async def _drive_out(self, node: Node) -> Retry | None:
        """Delete the VMIs that don't tolerate, or no longer, a taint of the node; the agent shuts their guests down."""
        taints = [taint for taint in node.spec.taints if _drives_out(taint)]
        self._remember(node.metadata.name, taints)
        waits = []
        for vmi in self._living(node.metadata.name) if taints else ():
            if is_going(vmi):
                continue
            rests = {taint.key: self._rest(vmi, node, taint) for taint in taints}
            over = [taint for taint in taints if (rest := rests[taint.key]) is not None and rest <= 0]
            if over:
                await self._evict(vmi, node, over[0])
            waits += [rest for rest in rests.values() if rest is not None and rest > 0]
        return Retry(min(waits), "Tolerated") if waits else None

    def _remember(self, node: str, taints: Iterable[Taint]) -> None:
        """Since when this program has seen each taint; its own timestamp is absent where the API sets none."""
        seen = {(node, name_of(taint)) for taint in taints}
        for old in [each for each in self._tainted_since if each[0] == node and each not in seen]:
            del self._tainted_since[old]
        for each in seen:
            self._tainted_since.setdefault(each, self._clock())

    def _rest(self, vmi: VirtualMachineInstance, node: Node, taint: Taint) -> float | None:
        """Seconds the VMI may stay; None for ever."""
        span = tolerated_for(vmi, taint)
        if span is None:
            return None
        since = parse_time(taint.time_added) or self._tainted_since[node.metadata.name, name_of(taint)]
        return since + span - self._clock()

    async def _evict(self, vmi: VirtualMachineInstance, node: Node, taint: Taint) -> None:
        """Say why on the VMI first, so that its end is told as ours and not as a user's."""
        key, message = key_of(vmi), EVICTED.format(node=node.metadata.name, taint=name_of(taint))
        new = decode(encode(vmi), VirtualMachineInstance)
        set_condition(new.status, EVICTION, True, reason=EVICTION, message=message, now=self._clock())
        await self._patch(vmi, new)
        await self._client.delete(VIRTUAL_MACHINE_INSTANCES, *key, uid=vmi.metadata.uid)
        log.info("instance evicted namespace=%s name=%s node=%s", *key, node.metadata.name)
        self._recorder.event(vmi, "Warning", EVICTION_EVENT, f"{key} is {message}")

    # What wakes a node.

    def _on_node(self, old: Node | None, new: Node | None) -> None:
        node = new or old
        if node is not None:
            self.queue.add(node.metadata.name)

    def _on_vmi(self, old: VirtualMachineInstance | None, new: VirtualMachineInstance | None) -> None:
        """A VMI came to a node that is unknown, or that may not want it."""
        name = new.status.node_name if new is not None else None
        if new is None or not name or is_final(new) or (old is not None and old.status.node_name == name):
            return
        node = self._caches.nodes.get("", name)
        if node is None or any(map(_drives_out, node.spec.taints)):
            self.queue.add(name)


def _drives_out(taint: Taint) -> bool:
    return taint.effect == NO_EXECUTE and taint.key not in NOT_DRIVING


def _soonest(*retries: Retry | None) -> Retry | None:
    return min(filter(None, retries), key=lambda each: each.after or 0.0, default=None)
