"""The VirtualMachine loop: looks at a VM in the caches, asks `decide`, has the effects carried out, and looks again."""

from __future__ import annotations

import contextlib
import logging
import random
from collections.abc import Callable
from functools import partial

import msgspec

from virt_controller.caches import CLAIM_INDEX, VOLUME_INDEX, Caches
from virt_controller.claims import claims_of_template, volume_names
from virt_controller.decisions import Failure
from virt_controller.objects import ControllerRevision, PersistentVolumeClaim
from virt_controller.phase import is_going
from virt_controller.placer import Placer
from virt_controller.revisions import data_of
from virt_controller.rounds import Look, settle
from virt_controller.vm.actions import CREATE_FAILED, Actions
from virt_controller.vm.decide import decide
from virt_controller.vm.effects import WriteStatus
from virt_controller.vm.observed import Observed
from virt_controller.vm.requests import stops_unseen
from virt_controller.vm.status import made_from
from virt_controller.vm.volumes import trouble
from virt_kube.api import KubeClient, NotFound
from virt_kube.clock import Clock
from virt_kube.events import EventRecorder
from virt_kube.expectations import Expectations
from virt_kube.informer import Key, key_of
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from virt_kube.runner import Retry, Verdict
from virt_kube.workqueue import WorkQueue
from virt_types.cdi.objects import DataVolume
from virt_types.codec import from_builtins
from virt_types.errors import InvalidObject
from virt_types.v1 import VirtualMachine, VirtualMachineInstance, VirtualMachineSpec

log = logging.getLogger("virt_controller.vm")

NAME_TAKEN = "the name is taken by a virtual machine instance that {kind} {owner} controls"
MAX_ROUNDS = 10


class VirtualMachineController:
    """The loop of all VMs. `jitter` gives a number from 0 up to 1 for the back-off."""

    def __init__(
        self,
        client: KubeClient,
        caches: Caches,
        placer: Placer,
        recorder: EventRecorder,
        *,
        clock: Clock,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.queue: WorkQueue[Key] = WorkQueue()
        self._client = client
        self._caches = caches
        self._recorder = recorder
        self._clock = clock
        self._jitter = jitter
        self._expected: Expectations[Key] = Expectations()
        self._actions = Actions(client, caches, placer, recorder, self._expected, clock=clock)
        self._failures: dict[Key, Failure] = {}
        caches.vms.add_handler(self._on_vm)
        caches.vmis.add_handler(self._on_vmi)
        caches.claims.add_handler(self._on_claim)
        caches.data_volumes.add_handler(self._on_data_volume)

    async def reconcile(self, key: Key) -> Verdict:
        """Do what the VM needs now, one effect after the other, each on a fresh look at the caches."""
        return await settle(key, partial(self._look, key), self._failures, key_of, self._recorder, rounds=MAX_ROUNDS)

    async def _look(self, key: Key) -> Look | Verdict:
        vm = self._caches.vms.get(*key)
        if vm is None:
            self._failures.pop(key, None)
            self._expected.forget(key)
            return None
        if self._caches.vmis.get(*key) is None and stops_unseen(vm):
            with contextlib.suppress(NotFound):
                self._caches.vmis.absorb(await self._client.get(VIRTUAL_MACHINE_INSTANCES, *key))
        observed = self._observe(key, vm)
        decision = decide(observed, self._clock())
        records = isinstance(next(iter(decision.effects), None), WriteStatus)
        carry_out = partial(self._actions.carry_out, observed=observed)
        return Look(vm, decision, records, carry_out, partial(self._again, key))

    def _observe(self, key: Key, vm: VirtualMachine) -> Observed:
        found = self._caches.vmis.get(*key)
        owner = found.metadata.controller if found is not None else None
        rival = found if owner is not None and owner.uid != vm.metadata.uid else None
        vmi = found if rival is None else None
        volumes = (self._caches.data_volumes.get(vm.metadata.namespace, name) for name in volume_names(vm))
        return Observed(
            vm=vm,
            vmi=vmi,
            rival=rival,
            going=vmi is not None and vmi.metadata.uid in self._expected.deletes(key),
            failure=_taken(rival, vm) or self._failures.get(key),
            unbound_claims=self._unbound_claims(vm),
            data_volumes=tuple(each for each in volumes if each is not None),
            serves_data_volumes=self._caches.data_volumes.served,
            started_from=self._started_from(vm, vmi),
            spec_kept=self._is_spec_kept(vm, vmi),
            jitter=self._jitter(),
        )

    def _unbound_claims(self, vm: VirtualMachine) -> tuple[str, ...]:
        claims = ((name, self._caches.claims.get(vm.metadata.namespace, name)) for name in claims_of_template(vm))
        return tuple(name for name, claim in claims if claim is not None and claim.status.phase != "Bound")

    def _started_from(self, vm: VirtualMachine, vmi: VirtualMachineInstance | None) -> VirtualMachineSpec | None:
        name = vmi.status.virtual_machine_revision_name if vmi is not None else None
        if vmi is None or not name:
            return None
        if made_from(vmi) == vm.metadata.generation and vm.metadata.uid in name:
            return None  # an adopted instance counts the generations of another VM
        stored = self._caches.revisions.get(vm.metadata.namespace, name)
        return _spec_of(stored) if stored is not None else None

    def _is_spec_kept(self, vm: VirtualMachine, vmi: VirtualMachineInstance | None) -> bool:
        name = vmi.status.virtual_machine_revision_name if vmi is not None else None
        return not name or self._caches.revisions.get(vm.metadata.namespace, name) is not None

    def _again(self, key: Key, after: float | None) -> Verdict:
        waits = [seconds for seconds in (after, self._expected.remaining(key)) if seconds is not None]
        return Retry(min(waits), "Waiting") if waits else None

    # What wakes a VM.

    def _on_vm(self, old: VirtualMachine | None, new: VirtualMachine | None) -> None:
        obj = new or old
        if obj is not None:
            self.queue.add(key_of(obj))

    def _on_vmi(self, old: VirtualMachineInstance | None, new: VirtualMachineInstance | None) -> None:
        obj = new or old
        if obj is None:
            return
        key = key_of(obj)
        if new is None or is_going(new):
            self._expected.deleted(key, obj.metadata.uid)
        if key in self._caches.vms:
            self.queue.add(key)

    def _on_claim(self, old: PersistentVolumeClaim | None, new: PersistentVolumeClaim | None) -> None:
        claim = new or old
        if claim is None or (old is not None and new is not None and old.status.phase == new.status.phase):
            return
        for vm in self._caches.vms.by_index(CLAIM_INDEX, str(key_of(claim))):
            self.queue.add(key_of(vm))

    def _on_data_volume(self, old: DataVolume | None, new: DataVolume | None) -> None:
        volume = new or old
        if volume is None or (old is not None and new is not None and _progress_only(old, new)):
            return
        said = trouble(new) if new is not None else ""
        for vm in self._caches.vms.by_index(VOLUME_INDEX, str(key_of(volume))):
            self.queue.add(key_of(vm))
            news = said != trouble(old) if old is not None else not _has_said(vm, said)
            if said and news:
                self._recorder.event(vm, "Warning", "FailedDataVolumeImport", said)


def _has_said(vm: VirtualMachine, text: str) -> bool:
    """Whether the VM's status quotes it already: a restart of this program is no news."""
    return any(text in (condition.message or "") for condition in vm.status.conditions)


def _progress_only(old: DataVolume, new: DataVolume) -> bool:
    """Whether nothing a VM looks at has changed."""
    seen = [
        (
            each.status.phase,
            each.metadata.controller,
            each.metadata.deletion_timestamp,
            [(it.type, it.status, it.reason, it.message) for it in each.status.conditions],
        )
        for each in (old, new)
    ]
    return old.metadata.uid == new.metadata.uid and seen[0] == seen[1]


def _spec_of(stored: ControllerRevision) -> VirtualMachineSpec | None:
    try:
        return from_builtins(data_of(stored).get("spec"), VirtualMachineSpec)
    except (InvalidObject, msgspec.DecodeError):
        log.warning("revision unreadable name=%s", stored.metadata.name)
        return None


def _taken(rival: VirtualMachineInstance | None, vm: VirtualMachine) -> Failure | None:
    """What to tell when another controller has the name; a predecessor of this VM is only on its way out."""
    owner = rival.metadata.controller if rival is not None else None
    if rival is None or owner is None or is_going(rival):
        return None
    if owner.kind == VIRTUAL_MACHINES.kind and owner.name == vm.metadata.name:
        return None
    error = NAME_TAKEN.format(kind=owner.kind, owner=owner.name)
    return Failure("FailedCreate", CREATE_FAILED.format(error=error))
