"""Carries out what `decide` says for a VM, one effect at a time, and tells the user what was done."""

from __future__ import annotations

import logging

from msgspec.structs import replace

from virt_controller.caches import Caches
from virt_controller.decisions import EffectFailed, Failure
from virt_controller.lasting import OTHERS_AGAIN, is_lasting, look_again
from virt_controller.placer import Placer
from virt_controller.revisions import prune, revision, store
from virt_controller.vm.data_volumes import DataVolumes
from virt_controller.vm.effects import (
    AddFinalizer,
    Adopt,
    AdoptDataVolume,
    BackfillIdentity,
    Create,
    CreateDataVolume,
    Delete,
    Effect,
    KeepSpec,
    Pin,
    Refresh,
    Release,
    RemoveFinalizer,
    TurnOn,
    WriteStatus,
)
from virt_controller.vm.expander import Expander, ExpansionFailed
from virt_controller.vm.instance import build_instance, firmware_uuid, owner_reference
from virt_controller.vm.observed import Observed
from virt_controller.vm.plugged import plugged
from virt_kube.api import (
    AlreadyExists,
    ApiError,
    Conflict,
    JsonPatch,
    KubeClient,
    NotFound,
    Unreachable,
)
from virt_kube.clock import Clock
from virt_kube.events import EventRecorder
from virt_kube.expectations import Expectations
from virt_kube.informer import Key, key_of
from virt_kube.patch import diff, diff_status, guard, pointer, set_finalizers
from virt_kube.resources import CONTROLLER_REVISIONS, VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from virt_types import labels
from virt_types.codec import decode, encode, to_builtins
from virt_types.running import strategy_to_start
from virt_types.v1 import VirtualMachine, VirtualMachineInstance

log = logging.getLogger("virt_controller.vm")

# Texts of spec 2.10.
CREATED = "Started the virtual machine by creating the new virtual machine instance {name}"
CREATE_FAILED = "Error creating virtual machine instance: {error}"
DELETED = "Stopped the virtual machine by deleting the virtual machine instance {uid}"
DELETE_FAILED = "Error deleting virtual machine instance {name}: {error}"

START_PREFIX = "revision-start-vm-"


class Actions:
    """The hands of the VM loop. What fails for a reason the user should hear raises EffectFailed."""

    def __init__(
        self,
        client: KubeClient,
        caches: Caches,
        placer: Placer,
        recorder: EventRecorder,
        expected: Expectations[Key],
        *,
        clock: Clock,
    ) -> None:
        self._client = client
        self._caches = caches
        self._placer = placer
        self._recorder = recorder
        self._expected = expected
        self._clock = clock
        self._data_volumes = DataVolumes(client, caches, recorder)
        self._expander = Expander(client, caches.revisions)

    async def carry_out(self, effect: Effect, observed: Observed) -> None:  # noqa: PLR0912  one case per effect
        vm, vmi = observed.vm, observed.vmi
        match effect:
            case WriteStatus(status):
                patch = diff_status(vm.metadata, to_builtins(vm.status), to_builtins(status))
                await self._patch_vm(vm, patch, subresource="status")
            case AddFinalizer() | RemoveFinalizer():
                ours = [labels.VM_FINALIZER] if isinstance(effect, AddFinalizer) else []
                await self._patch_vm(vm, set_finalizers(vm.metadata, [*_without(vm.metadata.finalizers), *ours]))
            case BackfillIdentity():
                await self._patch_vm(vm, _identity_patch(vm, vmi))
            case TurnOn():
                await self._patch_vm(vm, _turn_on_patch(vm))
            case Pin():
                await self._pin(vm)
            case CreateDataVolume(name):
                await self._data_volumes.create(vm, name)
            case AdoptDataVolume(name):
                await self._data_volumes.adopt(vm, name)
            case Create(paused):
                await self._create(vm, paused=paused)
            case Delete() if vmi is not None:
                await self._delete(vm, vmi)
            case Adopt() if vmi is not None:
                await self._adopt(vm, vmi)
            case Refresh() if vmi is not None:
                await self._patch_vmi(vmi, _refresh_patch(vm, vmi, effect))
            case KeepSpec() if vmi is not None:
                await self._keep_spec(vm, vmi.status.virtual_machine_revision_name or "")
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

    async def _pin(self, vm: VirtualMachine) -> None:
        try:
            status = await self._expander.pin(vm)
        except ExpansionFailed as error:
            raise _unexpanded(error) from error
        patch = diff_status(vm.metadata, to_builtins(vm.status), to_builtins(status))
        await self._patch_vm(vm, patch, subresource="status")
        await self._expander.forget_others(replace(vm, status=status))

    async def _create(self, vm: VirtualMachine, *, paused: bool) -> None:
        namespace, name = key_of(vm)
        try:
            vmi = build_instance(await self._expander.expanded(vm), paused=paused)
            vmi.status.virtual_machine_revision_name = f"{START_PREFIX}{vm.metadata.uid}-{vm.metadata.generation}"
            wait = self._placer.apply(vmi, self._clock())
            with self._placer.assume(vmi):
                answer = await self._client.create(VIRTUAL_MACHINE_INSTANCES, namespace, encode(vmi))
                created = self._caches.vmis.absorb(answer)
        except AlreadyExists:
            # The cache is behind, or the answer to an earlier create was lost: see what is there.
            self._caches.vmis.absorb(await self._client.get(VIRTUAL_MACHINE_INSTANCES, namespace, name))
            return
        except ExpansionFailed as error:
            raise _unexpanded(error) from error
        except Unreachable:
            raise  # says nothing about the VM; the runner tries again
        except ApiError as error:
            failure = Failure("FailedCreate", CREATE_FAILED.format(error=error.message))
            raise EffectFailed(failure, permanent=is_lasting(error), again_after=look_again(error)) from error
        log.info("instance created namespace=%s name=%s node=%s", namespace, name, vmi.status.node_name or "-")
        self._recorder.event(vm, "Normal", "SuccessfulCreate", CREATED.format(name=name))
        if wait is not None and wait.event and created is not None:
            self._recorder.event(created, wait.event_type, wait.event, wait.message)

    async def _keep_spec(self, vm: VirtualMachine, name: str) -> None:
        """The VM's spec, for later comparison; those of earlier instances go."""
        body = revision(vm, name, {"spec": to_builtins(vm.spec)}, vm.metadata.generation or 0)
        await store(self._client, self._caches.revisions, body)
        await prune(self._client, self._caches.revisions, vm, prefix=START_PREFIX, keep={name})

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
            raise EffectFailed(failure) from error
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
        await self._adopt_revision(vm, vmi.status.virtual_machine_revision_name)
        await self._patch_vmi(vmi, patch)
        log.info("instance adopted namespace=%s name=%s uid=%s", *key_of(vm), vmi.metadata.uid)

    async def _adopt_revision(self, vm: VirtualMachine, name: str | None) -> None:
        """What the instance was started from goes with its new owner."""
        stored = self._caches.revisions.get(vm.metadata.namespace, name) if name else None
        if stored is None or stored.metadata.owner_references:
            return
        where, owners = "/metadata/ownerReferences", [to_builtins(owner_reference(vm))]
        patch = [*guard(stored.metadata), {"op": "add", "path": where, "value": owners}]
        answer = await self._client.patch(CONTROLLER_REVISIONS, *key_of(stored), patch)
        self._caches.revisions.absorb(answer)


def _unexpanded(error: ExpansionFailed) -> EffectFailed:
    """A conflict stays until the VM changes; what is missing may come."""
    failure = Failure(error.reason, error.message)
    return EffectFailed(failure, permanent=error.lasting, again_after=OTHERS_AGAIN)


def _without(finalizers: list[str]) -> list[str]:
    return [each for each in finalizers if each != labels.VM_FINALIZER]


def _turn_on_patch(vm: VirtualMachine) -> JsonPatch:
    declared = strategy_to_start(vm)
    field, old, new = (
        ("running", vm.spec.running, True) if vm.spec.run_strategy is None else ("runStrategy", "Halted", declared)
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


def _refresh_patch(vm: VirtualMachine, vmi: VirtualMachineInstance, effect: Refresh) -> JsonPatch:
    changed = type(vmi.spec)(domain=vmi.spec.domain)
    current = type(vmi.spec)(domain=vmi.spec.domain)
    for field in effect.fields:
        setattr(changed, field, getattr(vm.spec.template.spec, field))
        setattr(current, field, getattr(vmi.spec, field))
    patch = [*guard(vmi.metadata), *diff(to_builtins(current), to_builtins(changed), "spec")]
    if effect.plug:
        new = plugged(vm.spec.template.spec, vmi)
        old_part, new_part = ({"domain": spec.domain, "volumes": spec.volumes} for spec in (vmi.spec, new))
        patch += diff(to_builtins(old_part), to_builtins(new_part), "spec", depth=3)
    if effect.generation:
        annotations = {**vmi.metadata.annotations, labels.VM_GENERATION: str(effect.generation)}
        patch += diff(
            {"annotations": vmi.metadata.annotations} if vmi.metadata.annotations else {},
            {"annotations": annotations},
            "metadata",
        )
    return patch
