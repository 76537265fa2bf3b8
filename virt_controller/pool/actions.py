"""Carries out what `decide` says for a pool, and tells the user what was done."""

from __future__ import annotations

import logging
from functools import partial
from typing import TypeVar

from virt_controller.caches import Caches
from virt_controller.decisions import EffectFailed, Failure
from virt_controller.lasting import is_lasting, look_again
from virt_controller.members import all_of, disowning, in_growing_batches
from virt_controller.objects import PersistentVolumeClaim
from virt_controller.pool.effects import (
    AddFinalizer,
    Create,
    Delete,
    Disown,
    Effect,
    LetGo,
    PruneRevisions,
    Recreate,
    Relabel,
    RemoveFinalizer,
    Restart,
    StoreRevision,
    UpdateMachine,
    WriteStatus,
)
from virt_controller.pool.heal import times_in_a_row
from virt_controller.pool.machine import build_machine, name_of, renewed
from virt_controller.pool.observed import Member, Observed
from virt_controller.revisions import decode_revision, prune, revision, store
from virt_controller.vm.strategy import START, STOP, strategy
from virt_kube.api import (
    AlreadyExists,
    ApiError,
    Conflict,
    Invalid,
    Json,
    JsonPatch,
    KubeClient,
    NotFound,
    Resource,
    Unreachable,
)
from virt_kube.clock import Clock
from virt_kube.events import EventRecorder
from virt_kube.expectations import Expectations
from virt_kube.informer import Informer, Key, Object, key_of
from virt_kube.patch import diff_status, guard, set_finalizers
from virt_kube.resources import (
    CONTROLLER_REVISIONS,
    DATA_VOLUMES,
    PERSISTENT_VOLUME_CLAIMS,
    VIRTUAL_MACHINE_INSTANCES,
    VIRTUAL_MACHINE_POOLS,
    VIRTUAL_MACHINES,
)
from virt_types import labels
from virt_types.codec import decode, encode, to_builtins
from virt_types.pool.v1beta1 import VirtualMachinePool
from virt_types.v1 import VirtualMachine, VirtualMachineInstance

D = TypeVar("D", bound=Object)

log = logging.getLogger("virt_controller.pool")

# Texts of spec 4.2; the reasons of failures are those of the condition ReplicaFailure.
CREATED = "Created VM {vm}"
CREATE_FAILED = "Error creating VM {vm}: {error}"
DELETED = "Deleted VM {vm} with uid {uid} from pool"
DELETE_FAILED = "Error deleting VM {vm} with uid {uid}: {error}"
RECREATED = "VM {vm} is made anew: {why}"
UPDATED = "Updated VM {vm}"
REVISION_TAKEN = "Error storing the revision {name}: somebody else has a ControllerRevision of this name"
UPDATE_FAILED = "Error updating VM {vm}: {error}"
RESTARTED = "Successfully updated resource {vm}"
MEMORY_LOST = "The disks of VM {vm} are kept; its memory is not, statePreservation Online keeps disks only"
RESTARTED_BY_DELETION = frozenset({"Always", "Once"})


class Actions:
    """The hands of the loop. What fails for a reason the user should hear raises EffectFailed.

    `machines` and `guests` are the deletions of VMs and of their instances that were asked for, by the pools' uids.
    """

    def __init__(
        self,
        client: KubeClient,
        caches: Caches,
        recorder: EventRecorder,
        machines: Expectations[str],
        guests: Expectations[str],
        *,
        clock: Clock,
    ) -> None:
        self._client = client
        self._caches = caches
        self._recorder = recorder
        self._machines = machines
        self._guests = guests
        self._clock = clock
        self._healed: dict[Key, int] = {}  # of VMs that are gone for it and not there again yet

    async def carry_out(self, effect: Effect, observed: Observed) -> None:  # noqa: PLR0912  one line per effect
        pool = observed.pool
        members = {each.uid: each for each in observed.members}
        match effect:
            case WriteStatus(status):
                patch = diff_status(pool.metadata, to_builtins(pool.status), to_builtins(status))
                await self._patch_pool(pool, patch, subresource="status")
            case AddFinalizer():
                await self._patch_pool(
                    pool, set_finalizers(pool.metadata, [*pool.metadata.finalizers, labels.POOL_FINALIZER])
                )
            case RemoveFinalizer():
                await self._patch_pool(pool, set_finalizers(pool.metadata, _without(pool.metadata.finalizers)))
            case StoreRevision(name):
                await self._store(pool, name)
            case PruneRevisions(keep):
                await self._prune(pool, keep)
            case Disown(uid):
                await self._disown(pool, members[uid].vm)
            case LetGo(uid, keep_disks):
                vm = members[uid].vm if uid in members else _by_uid(observed.strays, uid)
                await self.let_go(vm, keep_disks=keep_disks)
                if keep_disks and _keeps_memory(pool):
                    self._recorder.event(pool, "Warning", "MemoryNotKept", MEMORY_LOST.format(vm=key_of(vm)))
            case Create(ordinals, name):
                await in_growing_batches(partial(self._create, pool, ordinal, name) for ordinal in ordinals)
            case Delete(uids):
                await all_of(self._delete(pool, members[uid].vm) for uid in uids)
            case Recreate(uid):
                await self._recreate(pool, members[uid].vm, effect)
            case UpdateMachine(uid, name):
                await self._update(observed, members[uid].vm, name)
            case Restart(uid):
                await self._restart(pool, members[uid])
            case Relabel(uid) if (vmi := members[uid].vmi) is not None:
                wanted = {**vmi.metadata.labels, **members[uid].vm.spec.template.metadata.labels}
                patch = [*guard(vmi.metadata), {"op": "add", "path": "/metadata/labels", "value": wanted}]
                self._caches.vmis.absorb(await self._client.patch(VIRTUAL_MACHINE_INSTANCES, *key_of(vmi), patch))

    async def let_go(self, vm: VirtualMachine, *, keep_disks: bool = False) -> None:
        """Take the pool's finalizer off a VM, once its disks are nobody's where they are to stay."""
        if keep_disks:
            await self._free_disks(vm)
        await self._patch_vm(vm, set_finalizers(vm.metadata, _without(vm.metadata.finalizers)))

    async def _create(self, pool: VirtualMachinePool, ordinal: int, revision_name: str) -> None:
        key = Key(pool.metadata.namespace, name_of(pool, ordinal))
        vm = build_machine(pool, ordinal, revision_name, healed=self._healed.get(key, 0))
        try:
            answer = await self._client.create(VIRTUAL_MACHINES, key.namespace, encode(vm))
        except AlreadyExists:
            # Somebody else's, or the answer to an earlier create was lost: see what is there.
            self._caches.vms.absorb(await self._client.get(VIRTUAL_MACHINES, *key))
            return
        except Unreachable:
            raise
        except ApiError as error:
            failure = Failure("FailedScaleOut", CREATE_FAILED.format(vm=key, error=error.message))
            raise EffectFailed(failure, permanent=is_lasting(error), again_after=look_again(error)) from error
        self._caches.vms.absorb(answer)
        self._healed.pop(key, None)
        log.info("machine created namespace=%s name=%s pool=%s", *key, pool.metadata.name)
        self._recorder.event(pool, "Normal", "SuccessfulCreate", CREATED.format(vm=key))

    async def _delete(self, pool: VirtualMachinePool, vm: VirtualMachine) -> None:
        owner, key, uid = pool.metadata.uid, key_of(vm), vm.metadata.uid
        self._machines.expect_delete(owner, uid)
        try:
            await self._client.delete(VIRTUAL_MACHINES, *key, uid=uid)
        except (NotFound, Conflict):
            return  # gone, or replaced: the cache will show it
        except ApiError as error:
            self._machines.deleted(owner, uid)
            if isinstance(error, Unreachable):
                raise
            text = DELETE_FAILED.format(vm=key, uid=uid, error=error.message)
            raise EffectFailed(Failure("FailedScaleIn", text)) from error
        log.info("machine deleted namespace=%s name=%s pool=%s", *key, pool.metadata.name)
        self._recorder.event(pool, "Normal", "SuccessfulDelete", DELETED.format(vm=key, uid=uid))

    async def _recreate(self, pool: VirtualMachinePool, vm: VirtualMachine, effect: Recreate) -> None:
        """Without our finalizer a VM takes its disks along; the next pass makes it anew under its name."""
        if labels.POOL_FINALIZER in vm.metadata.finalizers:
            await self.let_go(vm)
        if effect.heals:
            self._healed[key_of(vm)] = times_in_a_row(vm, self._clock())
            log.warning("machine healed vm=%s why=%s times=%d", key_of(vm), effect.why, self._healed[key_of(vm)])
        self._recorder.event(pool, "Normal", "Recreate", RECREATED.format(vm=key_of(vm), why=effect.why))
        await self._delete(pool, vm)

    async def _update(self, observed: Observed, vm: VirtualMachine, revision_name: str) -> None:
        made_from = observed.made_from.get(vm.metadata.labels.get(labels.POOL_REVISION, ""))
        was = made_from.virtual_machine_template if made_from is not None else None
        wanted = renewed(observed.pool, vm, revision_name, was)
        patch = [
            *guard(vm.metadata),
            {"op": "replace", "path": "/spec", "value": to_builtins(wanted.spec)},
            {"op": "add", "path": "/metadata/labels", "value": wanted.metadata.labels},
            {"op": "add", "path": "/metadata/annotations", "value": wanted.metadata.annotations},
        ]
        try:
            await self._patch_vm(vm, patch)
        except Invalid as error:
            await self._blame(vm, error)
        log.info("machine updated namespace=%s name=%s revision=%s", *key_of(vm), revision_name)
        self._recorder.event(observed.pool, "Normal", "SuccessfulUpdate", UPDATED.format(vm=key_of(vm)))

    async def _blame(self, vm: VirtualMachine, error: Invalid) -> None:
        """Tell a stale view, which the next pass mends, from a VM that the API does not want."""
        fresh = await self._client.get(VIRTUAL_MACHINES, *key_of(vm))
        self._caches.vms.absorb(fresh)
        if decode(fresh, VirtualMachine).metadata.resource_version != vm.metadata.resource_version:
            raise Conflict(error.message) from error
        text = UPDATE_FAILED.format(vm=key_of(vm), error=error.message)
        raise EffectFailed(Failure("FailedUpdate", text), permanent=True) from error

    async def _restart(self, pool: VirtualMachinePool, member: Member) -> None:
        vm, vmi = member.vm, member.vmi
        if vmi is None:
            return
        if strategy(vm) in RESTARTED_BY_DELETION:
            await self._end_guest(pool, vmi)
        else:
            requests: list[Json] = [{"action": STOP, "uid": vmi.metadata.uid}, {"action": START}]
            change = {"op": "add", "path": "/status/stateChangeRequests", "value": requests}
            await self._patch_vm(vm, [*guard(vm.metadata), change], subresource="status")
        log.info("machine restarted namespace=%s name=%s pool=%s", *key_of(vm), pool.metadata.name)
        self._recorder.event(pool, "Normal", "SuccessfulDelete", RESTARTED.format(vm=key_of(vm)))

    async def _end_guest(self, pool: VirtualMachinePool, vmi: VirtualMachineInstance) -> None:
        owner, uid = pool.metadata.uid, vmi.metadata.uid
        self._guests.expect_delete(owner, uid)
        try:
            await self._client.delete(VIRTUAL_MACHINE_INSTANCES, *key_of(vmi), uid=uid)
        except (NotFound, Conflict):
            return
        except ApiError as error:
            self._guests.deleted(owner, uid)
            if isinstance(error, Unreachable):
                raise
            text = UPDATE_FAILED.format(vm=key_of(vmi), error=error.message)
            raise EffectFailed(Failure("FailedUpdate", text)) from error

    async def _disown(self, pool: VirtualMachinePool, vm: VirtualMachine) -> None:
        patch = disowning(vm.metadata, pool.metadata.uid)
        if labels.POOL_FINALIZER in vm.metadata.finalizers:
            patch += set_finalizers(vm.metadata, _without(vm.metadata.finalizers))[1:]
        await self._patch_vm(vm, patch)
        log.info("machine released namespace=%s name=%s pool=%s", *key_of(vm), pool.metadata.name)

    async def _free_disks(self, vm: VirtualMachine) -> None:
        """Make the VM's DataVolumes, or the claims that are left of them, nobody's."""
        caches = self._caches
        for template in vm.spec.data_volume_templates:
            key = Key(vm.metadata.namespace, template.metadata.name)
            await self._free(DATA_VOLUMES, caches.data_volumes, key, vm)
            await self._free(PERSISTENT_VOLUME_CLAIMS, caches.claims, key, vm)

    async def _free(self, resource: Resource, cache: Informer[D], key: Key, vm: VirtualMachine) -> None:
        """On a fresh look: what a cache does not show yet would be collected with the VM.

        One that is nobody's is marked all the same, so that the VM loop can't take it for this VM any more.
        """
        try:
            disk = decode(await self._client.get(resource, *key), PersistentVolumeClaim).metadata  # any kind's metadata
        except NotFound:
            return
        uid = vm.metadata.uid
        owned = any(owner.uid == uid for owner in disk.owner_references)
        nobodys = not disk.owner_references and disk.annotations.get(labels.KEPT_FROM) != uid
        if not owned and not nobodys:
            return
        mark = {"op": "add", "path": "/metadata/annotations", "value": {**disk.annotations, labels.KEPT_FROM: uid}}
        steps = disowning(disk, uid) if owned else guard(disk)
        cache.absorb(await self._client.patch(resource, *key, [*steps, mark]))
        log.info("disk kept namespace=%s name=%s vm=%s", *key, vm.metadata.name)

    async def _store(self, pool: VirtualMachinePool, name: str) -> None:
        body = revision(pool, name, {"spec": to_builtins(pool.spec)}, pool.metadata.generation)
        try:
            await store(self._client, self._caches.revisions, body)
        except Conflict as error:
            await self._make_room(Key(pool.metadata.namespace, name), error)
            await store(self._client, self._caches.revisions, body)

    async def _make_room(self, key: Key, error: Conflict) -> None:
        """A pool of this name that was orphaned has left its revisions behind; nobody reads them any more."""
        there = decode_revision(await self._client.get(CONTROLLER_REVISIONS, *key))
        if there.metadata.controller is not None:
            raise EffectFailed(Failure("FailedScaleOut", REVISION_TAKEN.format(name=key.name))) from error
        await self._client.delete(CONTROLLER_REVISIONS, *key, uid=there.metadata.uid)

    async def _prune(self, pool: VirtualMachinePool, keep: frozenset[str]) -> None:
        try:
            await prune(self._client, self._caches.revisions, pool, prefix=f"{pool.metadata.name}-", keep=keep)
        except Unreachable:
            raise
        except ApiError as error:
            raise EffectFailed(Failure("FailedRevisionPruning", error.message)) from error

    async def _patch_pool(self, pool: VirtualMachinePool, patch: JsonPatch, *, subresource: str = "") -> None:
        answer = await self._client.patch(VIRTUAL_MACHINE_POOLS, *key_of(pool), patch, subresource=subresource)
        self._caches.pools.absorb(answer)

    async def _patch_vm(self, vm: VirtualMachine, patch: JsonPatch, *, subresource: str = "") -> None:
        answer = await self._client.patch(VIRTUAL_MACHINES, *key_of(vm), patch, subresource=subresource)
        self._caches.vms.absorb(answer)


def _without(finalizers: list[str]) -> list[str]:
    return [each for each in finalizers if each != labels.POOL_FINALIZER]


def _by_uid(machines: tuple[VirtualMachine, ...], uid: str) -> VirtualMachine:
    return next(each for each in machines if each.metadata.uid == uid)


def _keeps_memory(pool: VirtualMachinePool) -> bool:
    wish = pool.spec.scale_in_strategy
    return wish is not None and wish.proactive is not None and wish.proactive.state_preservation == "Online"
