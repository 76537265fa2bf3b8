"""The pool loop: looks at a pool in the caches, asks `decide`, has the effects carried out, and looks again."""

from __future__ import annotations

import logging
from functools import partial
from typing import NamedTuple

import msgspec

from virt_controller.caches import STRAY_INDEX, Caches
from virt_controller.decisions import Failure
from virt_controller.members import BURST, COALESCE_SECONDS, PAUSED, condition_of
from virt_controller.objects import ControllerRevision
from virt_controller.phase import is_going
from virt_controller.pool.actions import Actions
from virt_controller.pool.decide import decide
from virt_controller.pool.effects import WriteStatus
from virt_controller.pool.machine import name_of
from virt_controller.pool.observed import Member, Observed
from virt_controller.revisions import OWNER_INDEX, data_of
from virt_controller.rounds import Look, settle, uid_of
from virt_kube.api import Conflict, Invalid, KubeClient, NotFound
from virt_kube.clock import Clock
from virt_kube.events import EventRecorder
from virt_kube.expectations import Expectations
from virt_kube.informer import Key, key_of
from virt_kube.resources import VIRTUAL_MACHINE_POOLS
from virt_kube.runner import Fatal, Retry, Verdict
from virt_kube.workqueue import WorkQueue
from virt_types import labels
from virt_types.codec import from_builtins
from virt_types.errors import InvalidObject
from virt_types.meta import OwnerReference
from virt_types.pool.v1beta1 import VirtualMachinePool, VirtualMachinePoolSpec
from virt_types.selectors import SelectorError
from virt_types.v1 import VirtualMachine, VirtualMachineInstance

log = logging.getLogger("virt_controller.pool")

MAX_ROUNDS = 30


class _Stored(NamedTuple):
    """A revision as read once: its data never changes, but its name may come again."""

    uid: str
    number: int
    spec: VirtualMachinePoolSpec


class PoolController:
    """The loop of all pools."""

    def __init__(self, client: KubeClient, caches: Caches, recorder: EventRecorder, *, clock: Clock) -> None:
        self.queue: WorkQueue[Key] = WorkQueue()
        self._caches = caches
        self._recorder = recorder
        self._clock = clock
        self._machines: Expectations[str] = Expectations()
        self._guests: Expectations[str] = Expectations()
        self._actions = Actions(client, caches, recorder, self._machines, self._guests, clock=clock)
        self._failures: dict[str, Failure] = {}
        self._stored: dict[str, dict[str, _Stored]] = {}
        caches.pools.add_handler(self._on_pool)
        caches.vms.add_handler(self._on_vm)
        caches.vmis.add_handler(self._on_vmi)
        caches.revisions.add_handler(self._on_revision)

    async def reconcile(self, key: Key) -> Verdict:
        """Do what the pool needs now, one effect after the other, each on a fresh look at the caches."""
        return await settle(key, partial(self._look, key), self._failures, uid_of, self._recorder, rounds=MAX_ROUNDS)

    async def _look(self, key: Key) -> Look | Verdict:
        pool = self._caches.pools.get(*key)
        if pool is None:
            return await self._free_strays(key)
        try:
            observed = self._observe(pool)
            decision = decide(observed, self._clock())
        except SelectorError as error:  # stored before admission looked
            return Fatal("InvalidSelector", error.message)
        records = isinstance(next(iter(decision.effects), None), WriteStatus)
        carry_out = partial(self._actions.carry_out, observed=observed)
        return Look(pool, decision, records, carry_out, partial(self._again, pool.metadata.uid))

    async def _free_strays(self, key: Key) -> Verdict:
        """The pool is gone: no VM may wait for it."""
        try:
            for vm in self._caches.vms.by_index(STRAY_INDEX, f"{key.namespace}/{key.name}"):
                await self._actions.let_go(vm)
        except (Conflict, NotFound, Invalid) as error:
            return Retry(None, "StaleCache", error.message)
        return None

    def _observe(self, pool: VirtualMachinePool) -> Observed:
        key, uid = key_of(pool), pool.metadata.uid
        owned = self._caches.vms.by_index(OWNER_INDEX, uid)
        gone, stopped = self._machines.deletes(uid), self._guests.deletes(uid)
        members = tuple(self._member(vm, gone, stopped) for vm in owned if vm.metadata.namespace == key.namespace)
        stored = self._revisions(uid)
        observed = Observed(
            pool,
            members=members,
            strays=tuple(self._caches.vms.by_index(STRAY_INDEX, f"{key.namespace}/{key.name}")),
            current=_current(stored, pool),
            made_from={name: each.spec for name, each in stored.items()},
            failure=self._failures.get(uid),
        )
        return observed._replace(free=self._free_ordinals(pool, observed.wanted - len(members)))

    def _member(self, vm: VirtualMachine, gone: frozenset[str], stopped: frozenset[str]) -> Member:
        found = self._caches.vmis.get(*key_of(vm))
        owner = found.metadata.controller if found is not None else None
        vmi = found if owner is not None and owner.uid == vm.metadata.uid else None
        node = self._caches.nodes.get("", vmi.status.node_name) if vmi is not None and vmi.status.node_name else None
        return Member(
            vm,
            vmi,
            node=node.metadata.labels if node is not None else None,
            going=vm.metadata.uid in gone,
            stopping=vmi is not None and vmi.metadata.uid in stopped,
        )

    def _free_ordinals(self, pool: VirtualMachinePool, count: int) -> tuple[int, ...]:
        """The lowest ones whose names no VM has, whoever's it may be."""
        free: list[int] = []
        ordinal = 0
        while len(free) < min(count, BURST):
            if self._caches.vms.get(pool.metadata.namespace, name_of(pool, ordinal)) is None:
                free.append(ordinal)
            ordinal += 1
        return tuple(free)

    def _revisions(self, uid: str) -> dict[str, _Stored]:
        """What the pool's VMs were made from; each is read once."""
        known = self._stored.get(uid, {})
        found: dict[str, _Stored] = {}
        for each in self._caches.revisions.by_index(OWNER_INDEX, uid):
            name = each.metadata.name
            old = known.get(name)
            read = old if old is not None and old.uid == each.metadata.uid else _read(each)
            if read is not None:
                found[name] = read
        self._stored[uid] = found
        return found

    def _again(self, uid: str, after: float | None) -> Verdict:
        waits = [after, self._machines.remaining(uid), self._guests.remaining(uid)]
        rest = [seconds for seconds in waits if seconds is not None]
        return Retry(min(rest), "Waiting") if rest else None

    # What wakes a pool.

    def _on_pool(self, old: VirtualMachinePool | None, new: VirtualMachinePool | None) -> None:
        if old is not None and new is None:
            for each in (self._failures, self._stored):
                each.pop(old.metadata.uid, None)
            self._machines.forget(old.metadata.uid)
            self._guests.forget(old.metadata.uid)
        if old is not None and new is not None:
            self._tell_pause(old, new)
        obj = new or old
        if obj is not None:
            self.queue.add(key_of(obj))

    def _tell_pause(self, old: VirtualMachinePool, new: VirtualMachinePool) -> None:
        was, is_ = (condition_of(each.status.conditions, PAUSED) is not None for each in (old, new))
        if is_ and not was:
            self._recorder.event(new, "Normal", "SuccessfulPaused", "Pool is paused")
        elif was and not is_:
            self._recorder.event(new, "Normal", "SuccessfulResume", "Pool is unpaused")

    def _on_vm(self, old: VirtualMachine | None, new: VirtualMachine | None) -> None:
        for vm in (old, new):
            owner = _pool_of(vm)
            if vm is not None and owner is not None:
                self._wake(vm.metadata.namespace, owner.name)
                if new is None or new.metadata.deletion_timestamp:
                    self._machines.deleted(owner.uid, vm.metadata.uid)
        if new is not None and labels.POOL_FINALIZER in new.metadata.finalizers and _pool_of(new) is None:
            self._wake(new.metadata.namespace, new.metadata.labels.get(labels.POOL_REVISION, "").rpartition("-")[0])

    def _on_vmi(self, old: VirtualMachineInstance | None, new: VirtualMachineInstance | None) -> None:
        vmi = new or old
        if vmi is None or labels.POOL_REVISION not in vmi.metadata.labels:
            return
        owner = _pool_of(self._caches.vms.get(*key_of(vmi)))
        if owner is not None:
            if new is None or is_going(new):
                self._guests.deleted(owner.uid, vmi.metadata.uid)
            self._wake(vmi.metadata.namespace, owner.name)

    def _on_revision(self, old: ControllerRevision | None, new: ControllerRevision | None) -> None:
        """One that somebody else took away is stored again."""
        owner = old.metadata.controller if old is not None and new is None else None
        if old is not None and owner is not None and owner.kind == VIRTUAL_MACHINE_POOLS.kind:
            self._wake(old.metadata.namespace, owner.name)

    def _wake(self, namespace: str, name: str) -> None:
        self.queue.add_after(Key(namespace, name), COALESCE_SECONDS)


def _pool_of(vm: VirtualMachine | None) -> OwnerReference | None:
    owner = vm.metadata.controller if vm is not None else None
    return owner if owner is not None and owner.kind == VIRTUAL_MACHINE_POOLS.kind else None


def _read(stored: ControllerRevision) -> _Stored | None:
    try:
        spec = from_builtins(data_of(stored).get("spec"), VirtualMachinePoolSpec)
    except (InvalidObject, msgspec.DecodeError):
        log.warning("revision unreadable name=%s", stored.metadata.name)
        return None
    return _Stored(stored.metadata.uid, stored.revision, spec)


def _current(stored: dict[str, _Stored], pool: VirtualMachinePool) -> str:
    """The latest revision that makes the same VMs as the pool does now; a change of size alone needs no new one."""
    wanted = (pool.spec.virtual_machine_template, pool.spec.name_generation)
    same = (
        (each.number, name)
        for name, each in stored.items()
        if (each.spec.virtual_machine_template, each.spec.name_generation) == wanted
    )
    return max(same, default=(0, ""))[1]
