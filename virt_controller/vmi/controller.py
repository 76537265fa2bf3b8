"""Carries out what `decide` says for each VMI: places it, or ends it when no node agent will."""

from __future__ import annotations

import logging

from virt_controller.caches import ANY, CLAIM_INDEX, LOOKING_AROUND, UNPLACED_INDEX, Caches
from virt_controller.objects import Node, PersistentVolumeClaim
from virt_controller.phase import FAILED, drop_conditions, enter, is_final, set_condition
from virt_controller.placer import NOT_RUNNING, Placer
from virt_controller.vmi.decide import End, Fail, Place, ReleaseOrphan, decide
from virt_controller.vmi.volumes import failed
from virt_kube.api import Conflict, Invalid, JsonPatch, KubeClient, NotFound
from virt_kube.clock import Clock
from virt_kube.events import EventRecorder
from virt_kube.informer import Key, key_of
from virt_kube.patch import diff, guard, set_finalizers
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from virt_kube.runner import Retry, Verdict
from virt_kube.workqueue import WorkQueue
from virt_types import labels
from virt_types.cdi.objects import DataVolume
from virt_types.codec import decode, encode, to_builtins
from virt_types.v1 import VirtualMachine, VirtualMachineInstance

log = logging.getLogger("virt_controller.vmi")

# What a waiting VMI counts on (nodes, claims, room) wakes it; this is for room that was promised and not taken.
RECHECK_SECONDS = 60.0
IMPORT_FAILED = "FailedDataVolumeImport"


class InstanceController:
    """The loop of all VMIs."""

    def __init__(
        self, client: KubeClient, caches: Caches, placer: Placer, recorder: EventRecorder, *, clock: Clock
    ) -> None:
        self.queue: WorkQueue[Key] = WorkQueue()
        self._client = client
        self._caches = caches
        self._placer = placer
        self._recorder = recorder
        self._clock = clock
        caches.vmis.add_handler(self._on_vmi)
        caches.vms.add_handler(self._on_vm)
        caches.nodes.add_handler(self._on_node)
        caches.claims.add_handler(self._on_claim)
        caches.data_volumes.add_handler(self._on_data_volume)

    async def reconcile(self, key: Key) -> Verdict:
        vmi = self._caches.vmis.get(*key)
        if vmi is None:
            return None
        try:
            failed_disk = failed(vmi, self._placer.disks(key.namespace))
            match decide(vmi, owner_known=self._owner_known(vmi), failed_disk=failed_disk):
                case Place():
                    return await self._place(vmi)
                case Fail(message):
                    await self._fail(vmi, message)
                case End():
                    await self._end(vmi)
                case ReleaseOrphan():
                    await self._release(vmi)
        except (Conflict, NotFound, Invalid) as error:
            return Retry(None, "StaleCache", error.message)
        return None

    def _owner_known(self, vmi: VirtualMachineInstance) -> bool:
        owner = vmi.metadata.controller
        vm = self._caches.vms.get(vmi.metadata.namespace, owner.name) if owner is not None else None
        return owner is not None and vm is not None and vm.metadata.uid == owner.uid

    async def _place(self, vmi: VirtualMachineInstance) -> Verdict:
        new = _copy(vmi)
        wait = self._placer.apply(new, self._clock())
        patch = _difference(vmi, new)
        if patch:
            with self._placer.assume(new):
                await self._patch(vmi, patch)
            if wait is None:
                log.info("instance placed namespace=%s name=%s node=%s", *key_of(vmi), new.status.node_name)
            elif wait.event:
                self._recorder.event(vmi, wait.event_type, wait.event, wait.message)
        return None if wait is None else Retry(RECHECK_SECONDS, "Waiting", wait.message)

    async def _fail(self, vmi: VirtualMachineInstance, message: str) -> None:
        new, now = _copy(vmi), self._clock()
        enter(new.status, FAILED, now)
        new.status.reason = IMPORT_FAILED
        text = f"{NOT_RUNNING}: {message}"
        set_condition(new.status, "Ready", False, reason="GuestNotRunning", message=text, now=now)
        await self._patch(vmi, _difference(vmi, new))
        self._recorder.event(vmi, "Warning", IMPORT_FAILED, message)

    async def _end(self, vmi: VirtualMachineInstance) -> None:
        new = _copy(vmi)
        if not is_final(new):
            enter(new.status, FAILED, self._clock())
        drop_conditions(new.status, "Synchronized")
        new.metadata.finalizers = [each for each in new.metadata.finalizers if each != labels.VMI_FINALIZER]
        await self._patch(vmi, _difference(vmi, new))
        log.info("instance ended unplaced namespace=%s name=%s", *key_of(vmi))

    async def _release(self, vmi: VirtualMachineInstance) -> None:
        owner = vmi.metadata.controller
        if owner is not None and await self._exists(vmi.metadata.namespace, owner.name, owner.uid):
            raise Conflict(f"VM {owner.name} exists, the cache is behind")
        rest = [each for each in vmi.metadata.finalizers if each != labels.VM_FINALIZER]
        await self._patch(vmi, set_finalizers(vmi.metadata, rest))
        log.info("instance released namespace=%s name=%s", *key_of(vmi))

    async def _exists(self, namespace: str, name: str, uid: str) -> bool:
        try:
            vm = decode(await self._client.get(VIRTUAL_MACHINES, namespace, name), VirtualMachine)
        except NotFound:
            return False
        return vm.metadata.uid == uid

    async def _patch(self, vmi: VirtualMachineInstance, patch: JsonPatch) -> None:
        answer = await self._client.patch(VIRTUAL_MACHINE_INSTANCES, *key_of(vmi), patch)
        self._caches.vmis.absorb(answer)

    # What wakes a VMI.

    def _on_vmi(self, old: VirtualMachineInstance | None, new: VirtualMachineInstance | None) -> None:
        obj = new or old
        if obj is None:
            return
        self.queue.add(key_of(obj))
        held = old is not None and bool(old.status.node_name) and not is_final(old)
        if held and (new is None or is_final(new)):
            self._wake_unplaced()
        elif new is not None and new.status.node_name and not (old is not None and old.status.node_name):
            self._wake_unplaced(LOOKING_AROUND)

    def _on_vm(self, old: VirtualMachine | None, new: VirtualMachine | None) -> None:
        if new is None and old is not None and key_of(old) in self._caches.vmis:
            self.queue.add(key_of(old))

    def _on_node(self, old: Node | None, new: Node | None) -> None:
        if new is not None and (old is None or _suitability(old) != _suitability(new)):
            self._wake_unplaced()

    def _on_claim(self, old: PersistentVolumeClaim | None, new: PersistentVolumeClaim | None) -> None:
        claim = new or old
        if claim is not None and (old is None or new is None or _changed(old, new)):
            self._wake_users(key_of(claim))

    def _on_data_volume(self, old: DataVolume | None, new: DataVolume | None) -> None:
        volume = new or old
        if volume is not None and (old is None or new is None or old.status.phase != new.status.phase):
            self._wake_users(key_of(volume))

    def _wake_users(self, claim: Key) -> None:
        for vmi in self._caches.vmis.by_index(CLAIM_INDEX, str(claim)):
            self.queue.add(key_of(vmi))

    def _wake_unplaced(self, which: str = ANY) -> None:
        for vmi in self._caches.vmis.by_index(UNPLACED_INDEX, which):
            self.queue.add(key_of(vmi))


def _changed(old: PersistentVolumeClaim, new: PersistentVolumeClaim) -> bool:
    return (old.status.phase, old.metadata.deletion_timestamp) != (new.status.phase, new.metadata.deletion_timestamp)


def _suitability(node: Node) -> tuple[object, ...]:
    """What placement looks at; a heartbeat changes none of it."""
    return (node.metadata.labels, node.metadata.deletion_timestamp, node.spec, node.status)


def _copy(vmi: VirtualMachineInstance) -> VirtualMachineInstance:
    return decode(encode(vmi), VirtualMachineInstance)


def _difference(old: VirtualMachineInstance, new: VirtualMachineInstance) -> JsonPatch:
    """A guarded patch of what the controller may change of a VMI; empty when nothing differs."""
    before, after = to_builtins(old), to_builtins(new)
    changes = diff(before["metadata"], after["metadata"], "metadata")
    if "status" in before:
        changes += diff(before["status"], after["status"], "status")
    elif "status" in after:
        changes.append({"op": "add", "path": "/status", "value": after["status"]})
    return [*guard(old.metadata), *changes] if changes else []
