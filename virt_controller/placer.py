"""Placement as the loops use it: the pure `place` on the caches' state, plus what was decided but is not in them yet.

The VM loop asks when it creates an instance, so that it is born placed; the VMI loop asks for those that wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from virt_controller.caches import ANY, REPELLING_INDEX
from virt_controller.neighbours import Neighbours, repels
from virt_controller.objects import Node, PersistentVolumeClaim
from virt_controller.phase import PENDING, SCHEDULED, drop_conditions, enter, is_final, set_condition
from virt_controller.placement import Placed, demand, place
from virt_controller.rooms import Rooms
from virt_controller.vmi.volumes import Disks, Wait, data_volumes_ready, missing
from virt_kube.informer import Informer, Key, key_of
from virt_types import labels
from virt_types.cdi.objects import DataVolume
from virt_types.v1 import VirtualMachineInstance

NOT_SCHEDULED = "virt-launcher pod has not yet been scheduled"
NOT_RUNNING = "Guest VM is not reported as running"


class Placer:
    """Decides nodes; two decisions in flight never count on the same free memory."""

    def __init__(
        self,
        nodes: Informer[Node],
        vmis: Informer[VirtualMachineInstance],
        claims: Informer[PersistentVolumeClaim],
        volumes: Informer[DataVolume],
    ) -> None:
        self._vmis = vmis
        self._claims = claims
        self._volumes = volumes
        self._assumed: dict[Key, VirtualMachineInstance] = {}
        self._rooms = Rooms(nodes)
        vmis.add_handler(self._count)

    def apply(self, vmi: VirtualMachineInstance, now: float) -> Wait | None:
        """Place `vmi`, changing its labels and status; or write into its conditions what it waits for.

        Its phase and the node agent's finalizer are set where no admission has done so.
        """
        if not vmi.status.phase:
            enter(vmi.status, PENDING, now)
        if labels.VMI_FINALIZER not in vmi.metadata.finalizers:
            vmi.metadata.finalizers = [*vmi.metadata.finalizers, labels.VMI_FINALIZER]
        disks = self.disks(vmi.metadata.namespace)
        _write_readiness(vmi, disks, now)
        wait = missing(vmi, disks) or self._place(vmi, now)
        if wait is not None:
            _write_wait(vmi, wait, now)
        return wait

    def disks(self, namespace: str) -> Disks:
        """The claims and DataVolumes of a namespace, as the caches have them."""
        return Disks(partial(self._claims.get, namespace), partial(self._volumes.get, namespace))

    @contextmanager
    def assume(self, vmi: VirtualMachineInstance) -> Iterator[None]:
        """Count `vmi` as placed while the API is told so."""
        key = key_of(vmi)
        self._assumed[key] = vmi
        self._take(vmi)
        try:
            yield
        finally:
            self._settle(key)

    def _settle(self, key: Key) -> None:
        """The cache has it, or it came to nothing."""
        vmi = self._assumed.pop(key, None)
        if vmi is not None:
            self._give(vmi)

    def _placed(self) -> list[VirtualMachineInstance]:
        """Whoever has a node, those that are only assumed to have one included."""
        known = (each for each in self._vmis.list() if each.status.node_name and not is_final(each))
        return [*(each for each in known if key_of(each) not in self._assumed), *self._assumed.values()]

    def _repelling(self) -> list[VirtualMachineInstance]:
        known = self._vmis.by_index(REPELLING_INDEX, ANY)
        return [*known, *(each for each in self._assumed.values() if repels(each))]

    def _count(self, old: VirtualMachineInstance | None, new: VirtualMachineInstance | None) -> None:
        if old is not None:
            self._give(old)
        if new is not None:
            if new.status.node_name:
                self._settle(key_of(new))
            self._take(new)

    def _take(self, vmi: VirtualMachineInstance) -> None:
        if vmi.status.node_name and not is_final(vmi):
            self._rooms.take(vmi.status.node_name, demand(vmi))

    def _give(self, vmi: VirtualMachineInstance) -> None:
        if vmi.status.node_name and not is_final(vmi):
            self._rooms.give(vmi.status.node_name, demand(vmi))

    def _place(self, vmi: VirtualMachineInstance, now: float) -> Wait | None:
        neighbours = Neighbours(self._placed, self._repelling)
        result = place(vmi, self._rooms.nodes(), self._rooms.taken, neighbours, by_room=True)
        if not isinstance(result, Placed):
            return Wait(result.message, event="FailedScheduling", event_type="Warning")
        vmi.metadata.labels = {**vmi.metadata.labels, labels.NODE_NAME: result.node}
        vmi.status.node_name = result.node
        drop_conditions(vmi.status, "PodScheduled", "Synchronized")
        enter(vmi.status, SCHEDULED, now)
        set_condition(vmi.status, "Ready", False, reason="GuestNotRunning", message=NOT_RUNNING, now=now)
        return None


def _write_readiness(vmi: VirtualMachineInstance, disks: Disks, now: float) -> None:
    ready = data_volumes_ready(vmi, disks)
    if ready is None:
        drop_conditions(vmi.status, "DataVolumesReady")
    else:
        value, reason, message = ready
        set_condition(vmi.status, "DataVolumesReady", value, reason=reason, message=message, now=now)


def _write_wait(vmi: VirtualMachineInstance, wait: Wait, now: float) -> None:
    status = vmi.status
    if not wait.reason:
        drop_conditions(status, "Synchronized")
    else:
        set_condition(status, "Synchronized", False, reason=wait.reason, message=wait.message, now=now)
    if wait.unschedulable:
        set_condition(status, "PodScheduled", False, reason="Unschedulable", message=wait.message, now=now)
        waiting = NOT_SCHEDULED
    else:
        drop_conditions(status, "PodScheduled")
        waiting = f"{NOT_SCHEDULED}: {wait.message}"
    set_condition(status, "Ready", False, reason="PodNotExists", message=waiting, now=now)
