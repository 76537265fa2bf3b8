"""Carries out what `decide` says for each VirtualMachine: reads the caches, asks the API, tells what happened."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

from virt_controller.caches import CLAIM_INDEX, Caches
from virt_controller.objects import PersistentVolumeClaim
from virt_controller.phase import is_going
from virt_controller.placer import Placer, claim_names
from virt_controller.vm.decide import (
    AddFinalizer,
    Adopt,
    BackfillIdentity,
    Create,
    Delete,
    Effect,
    Release,
    RemoveFinalizer,
    TurnOn,
    WriteStatus,
    decide,
)
from virt_controller.vm.expander import Expander, ExpansionFailed
from virt_controller.vm.instance import build_instance, firmware_uuid, owner_reference
from virt_controller.vm.observed import Failure, Observed
from virt_kube.api import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    Invalid,
    JsonPatch,
    KubeClient,
    NotFound,
    Unreachable,
)
from virt_kube.clock import Clock
from virt_kube.events import EventRecorder
from virt_kube.expectations import Expectations
from virt_kube.informer import Key, key_of
from virt_kube.patch import diff_status, guard, pointer, set_finalizers
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from virt_kube.runner import Fatal, Retry, Verdict
from virt_kube.workqueue import WorkQueue
from virt_types import labels
from virt_types.codec import decode, encode, to_builtins
from virt_types.v1 import VirtualMachine, VirtualMachineInstance

log = logging.getLogger("virt_controller.vm")

# Texts of spec 2.10.
CREATED = "Started the virtual machine by creating the new virtual machine instance {name}"
CREATE_FAILED = "Error creating virtual machine instance: {error}"
DELETED = "Stopped the virtual machine by deleting the virtual machine instance {uid}"
DELETE_FAILED = "Error deleting virtual machine instance {name}: {error}"
NAME_TAKEN = "the name is taken by a virtual machine instance that {kind} {owner} controls"

MAX_ROUNDS = 10
UNSTORABLE = (BadRequest, Invalid)


class _Failed(Exception):
    """An effect the user should hear about did not work."""

    def __init__(self, failure: Failure, *, permanent: bool = False) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.permanent = permanent


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
        self._placer = placer
        self._expander = Expander(client, caches.revisions)
        self._recorder = recorder
        self._clock = clock
        self._jitter = jitter
        self._expected: Expectations[Key] = Expectations()
        self._failures: dict[Key, Failure] = {}
        caches.vms.add_handler(self._on_vm)
        caches.vmis.add_handler(self._on_vmi)
        caches.claims.add_handler(self._on_claim)

    async def reconcile(self, key: Key) -> Verdict:
        """Do what the VM needs now, one effect after the other, each on a fresh look at the caches."""
        failed: _Failed | None = None
        for _ in range(MAX_ROUNDS):
            vm = self._caches.vms.get(*key)
            if vm is None:
                self._failures.pop(key, None)
                self._expected.forget(key)
                return None
            observed = self._observe(key, vm)
            decision = decide(observed, self._clock())
            if failed is None and not decision.pending and self._failures.pop(key, None) is not None:
                continue
            if failed is not None and not isinstance(next(iter(decision.effects), None), WriteStatus):
                return Fatal(*failed.failure) if failed.permanent else Retry(None, *failed.failure)
            if not decision.effects:
                return self._again(key, decision.again_after)
            try:
                for effect in decision.effects:
                    await self._carry_out(effect, observed)
            except (Conflict, NotFound, Invalid) as error:
                return Retry(None, "StaleCache", error.message)
            except _Failed as error:
                failed = self._tell_failure(key, vm, error)
        return Retry(None, "Unsettled", f"{key} did not settle in {MAX_ROUNDS} rounds")

    def _observe(self, key: Key, vm: VirtualMachine) -> Observed:
        found = self._caches.vmis.get(*key)
        owner = found.metadata.controller if found is not None else None
        rival = found if owner is not None and owner.uid != vm.metadata.uid else None
        vmi = found if rival is None else None
        return Observed(
            vm=vm,
            vmi=vmi,
            rival=rival,
            going=vmi is not None and vmi.metadata.uid in self._expected.deletes(key),
            failure=_taken(rival, vm) or self._failures.get(key),
            unbound_claims=self._unbound_claims(vm),
            jitter=self._jitter(),
        )

    def _unbound_claims(self, vm: VirtualMachine) -> tuple[str, ...]:
        template = VirtualMachineInstance(spec=vm.spec.template.spec)
        claims = ((name, self._caches.claims.get(vm.metadata.namespace, name)) for name in claim_names(template))
        return tuple(name for name, claim in claims if claim is not None and claim.status.phase != "Bound")

    def _again(self, key: Key, after: float | None) -> Verdict:
        waits = [seconds for seconds in (after, self._expected.remaining(key)) if seconds is not None]
        return Retry(min(waits), "Waiting") if waits else None

    def _tell_failure(self, key: Key, vm: VirtualMachine, error: _Failed) -> _Failed:
        if self._failures.get(key) != error.failure:
            self._recorder.event(vm, "Warning", *error.failure)
        self._failures[key] = error.failure
        log.warning("sync failed vm=%s reason=%s error=%s", key, error.failure.reason, error.failure.message)
        return error

    # Effects.

    async def _carry_out(self, effect: Effect, observed: Observed) -> None:
        vm, vmi = observed.vm, observed.vmi
        match effect:
            case WriteStatus(status):
                patch = diff_status(vm.metadata, to_builtins(vm.status), to_builtins(status))
                await self._patch_vm(vm, patch, subresource="status")
            case AddFinalizer():
                await self._patch_vm(vm, set_finalizers(vm.metadata, [*vm.metadata.finalizers, labels.VM_FINALIZER]))
            case RemoveFinalizer():
                await self._patch_vm(vm, set_finalizers(vm.metadata, _without(vm.metadata.finalizers)))
            case BackfillIdentity():
                await self._patch_vm(vm, _identity_patch(vm, vmi))
            case TurnOn():
                await self._patch_vm(vm, _turn_on_patch(vm))
            case Create(paused):
                await self._create(vm, paused=paused)
            case Delete() if vmi is not None:
                await self._delete(vm, vmi)
            case Adopt() if vmi is not None:
                await self._adopt(vm, vmi)
            case Release() if vmi is not None:
                await self._patch_vmi(vmi, set_finalizers(vmi.metadata, _without(vmi.metadata.finalizers)))

    async def _patch_vm(self, vm: VirtualMachine, patch: JsonPatch, *, subresource: str = "") -> None:
        meta = vm.metadata
        answer = await self._client.patch(VIRTUAL_MACHINES, meta.namespace, meta.name, patch, subresource=subresource)
        self._caches.vms.absorb(answer)

    async def _patch_vmi(self, vmi: VirtualMachineInstance, patch: JsonPatch) -> None:
        meta = vmi.metadata
        answer = await self._client.patch(VIRTUAL_MACHINE_INSTANCES, meta.namespace, meta.name, patch)
        self._caches.vmis.absorb(answer)

    async def _create(self, vm: VirtualMachine, *, paused: bool) -> None:
        namespace, name = key_of(vm)
        try:
            vmi = build_instance(await self._expander.expanded(vm), paused=paused)
        except ExpansionFailed as error:
            raise _Failed(Failure(error.reason, CREATE_FAILED.format(error=error.message))) from error
        wait = self._placer.apply(vmi, self._clock())
        try:
            with self._placer.assume(vmi):
                answer = await self._client.create(VIRTUAL_MACHINE_INSTANCES, namespace, encode(vmi))
                created = self._caches.vmis.absorb(answer)
        except AlreadyExists:
            # The cache is behind, or the answer to an earlier create was lost: see what is there.
            self._caches.vmis.absorb(await self._client.get(VIRTUAL_MACHINE_INSTANCES, namespace, name))
            return
        except Unreachable:
            raise  # says nothing about the VM; the runner tries again
        except ApiError as error:
            failure = Failure("FailedCreate", CREATE_FAILED.format(error=error.message))
            raise _Failed(failure, permanent=isinstance(error, UNSTORABLE)) from error
        log.info("instance created namespace=%s name=%s node=%s", namespace, name, vmi.status.node_name or "-")
        self._recorder.event(vm, "Normal", "SuccessfulCreate", CREATED.format(name=name))
        if wait is not None and created is not None:
            self._recorder.event(created, wait.event_type, wait.event, wait.message)

    async def _delete(self, vm: VirtualMachine, vmi: VirtualMachineInstance) -> None:
        key, uid = key_of(vm), vmi.metadata.uid
        self._expected.expect_delete(key, uid)
        try:
            await self._client.delete(VIRTUAL_MACHINE_INSTANCES, *key, uid=uid)
        except (NotFound, Conflict):
            return  # gone, or replaced: the cache will show it
        except ApiError as error:
            self._expected.deleted(key, uid)
            if isinstance(error, Unreachable):
                raise
            failure = Failure("FailedDelete", DELETE_FAILED.format(name=key.name, error=error.message))
            raise _Failed(failure) from error
        log.info("instance deleted namespace=%s name=%s uid=%s", *key, uid)
        self._recorder.event(vm, "Normal", "SuccessfulDelete", DELETED.format(uid=uid))

    async def _adopt(self, vm: VirtualMachine, vmi: VirtualMachineInstance) -> None:
        """Take over an ownerless VMI, once an uncached look shows that the VM still exists and stays."""
        fresh = decode(await self._client.get(VIRTUAL_MACHINES, *key_of(vm)), VirtualMachine)
        if fresh.metadata.uid != vm.metadata.uid or fresh.metadata.deletion_timestamp:
            raise Conflict(f"{key_of(vm)} was deleted meanwhile")
        owners = [to_builtins(owner) for owner in (*vmi.metadata.owner_references, owner_reference(vm))]
        patch = [*guard(vmi.metadata), {"op": "add", "path": "/metadata/ownerReferences", "value": owners}]
        if labels.VM_FINALIZER not in vmi.metadata.finalizers:
            patch += set_finalizers(vmi.metadata, [*vmi.metadata.finalizers, labels.VM_FINALIZER])[1:]
        await self._patch_vmi(vmi, patch)
        log.info("instance adopted namespace=%s name=%s uid=%s", *key_of(vm), vmi.metadata.uid)

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


def _taken(rival: VirtualMachineInstance | None, vm: VirtualMachine) -> Failure | None:
    """What to tell when another controller has the name; a predecessor of this VM is only on its way out."""
    owner = rival.metadata.controller if rival is not None else None
    if rival is None or owner is None or is_going(rival):
        return None
    if owner.kind == VIRTUAL_MACHINES.kind and owner.name == vm.metadata.name:
        return None
    error = NAME_TAKEN.format(kind=owner.kind, owner=owner.name)
    return Failure("FailedCreate", CREATE_FAILED.format(error=error))


def _without(finalizers: list[str]) -> list[str]:
    return [each for each in finalizers if each != labels.VM_FINALIZER]


def _turn_on_patch(vm: VirtualMachine) -> JsonPatch:
    field, old, new = (
        ("running", vm.spec.running, True) if vm.spec.run_strategy is None else ("runStrategy", "Halted", "Always")
    )
    where = pointer("spec", field)
    test = [] if old is None else [{"op": "test", "path": where, "value": old}]
    return [*guard(vm.metadata), *test, {"op": "add", "path": where, "value": new}]


def _identity_patch(vm: VirtualMachine, vmi: VirtualMachineInstance | None) -> JsonPatch:
    uuid = firmware_uuid(vm, vmi)
    where = "/spec/template/spec/domain/firmware"
    if vm.spec.template.spec.domain.firmware is None:
        return [*guard(vm.metadata), {"op": "add", "path": where, "value": {"uuid": uuid}}]
    return [*guard(vm.metadata), {"op": "add", "path": f"{where}/uuid", "value": uuid}]
