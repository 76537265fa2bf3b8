"""The replica set loop: looks at a set in the caches, asks `decide`, has the effects carried out, and looks again."""

from __future__ import annotations

from functools import partial

from virt_controller.caches import NAMESPACE_INDEX, STRAY_INDEX, Caches
from virt_controller.decisions import Failure
from virt_controller.members import COALESCE_SECONDS, PAUSED, condition_of, selector_of, selects
from virt_controller.phase import is_final, is_going
from virt_controller.placer import Placer
from virt_controller.replicas.actions import Actions
from virt_controller.replicas.decide import decide
from virt_controller.replicas.effects import WriteStatus
from virt_controller.replicas.observed import Observed
from virt_controller.revisions import OWNER_INDEX
from virt_controller.rounds import Look, settle, uid_of
from virt_kube.api import KubeClient
from virt_kube.clock import Clock
from virt_kube.events import EventRecorder
from virt_kube.expectations import Expectations
from virt_kube.informer import Key, key_of
from virt_kube.resources import REPLICA_SETS
from virt_kube.runner import Fatal, Retry, Verdict
from virt_kube.workqueue import WorkQueue
from virt_types.meta import OwnerReference
from virt_types.selectors import Selector, SelectorError
from virt_types.v1 import VirtualMachineInstance, VirtualMachineInstanceReplicaSet

MAX_ROUNDS = 10


class ReplicaSetController:
    """The loop of all replica sets."""

    def __init__(
        self, client: KubeClient, caches: Caches, placer: Placer, recorder: EventRecorder, *, clock: Clock
    ) -> None:
        self.queue: WorkQueue[Key] = WorkQueue()
        self._caches = caches
        self._recorder = recorder
        self._clock = clock
        self._expected: Expectations[str] = Expectations()
        self._actions = Actions(client, caches, placer, recorder, self._expected, clock=clock)
        self._failures: dict[str, Failure] = {}
        caches.replica_sets.add_handler(self._on_replica_set)
        caches.vmis.add_handler(self._on_vmi)

    async def reconcile(self, key: Key) -> Verdict:
        """Do what the set needs now, one effect after the other, each on a fresh look at the caches."""
        return await settle(key, partial(self._look, key), self._failures, uid_of, self._recorder, rounds=MAX_ROUNDS)

    async def _look(self, key: Key) -> Look | Verdict:
        replica_set = self._caches.replica_sets.get(*key)
        if replica_set is None:
            return None
        await self._actions.learn_unsure(replica_set)
        try:
            observed = self._observe(replica_set)
        except SelectorError as error:  # stored before admission looked
            return Fatal("InvalidSelector", error.message)
        decision = decide(observed, self._clock())
        records = isinstance(next(iter(decision.effects), None), WriteStatus)
        carry_out = partial(self._actions.carry_out, observed=observed)
        return Look(replica_set, decision, records, carry_out, partial(self._again, replica_set.metadata.uid))

    def _observe(self, replica_set: VirtualMachineInstanceReplicaSet) -> Observed:
        uid, namespace = replica_set.metadata.uid, replica_set.metadata.namespace
        selector = selector_of(replica_set.spec.selector)
        owned = self._caches.vmis.by_index(OWNER_INDEX, uid)
        return Observed(
            replica_set,
            instances=tuple(each for each in owned if each.metadata.namespace == namespace),
            strays=tuple(self._strays(namespace, selector)),
            going=self._expected.deletes(uid),
            creating=self._expected.creates(uid),
            failure=self._failures.get(uid),
        )

    def _strays(self, namespace: str, selector: Selector | None) -> list[VirtualMachineInstance]:
        """Ownerless VMIs that the selector matches; where it names a label, no others are looked at."""
        if selector is None:
            return []
        exact = (each for each in selector.requirements if each.operator == "in" and len(each.values) == 1)
        label = next(exact, None)
        place = namespace if label is None else f"{namespace}/{label.key}={label.values[0]}"
        strays = self._caches.vmis.by_index(STRAY_INDEX, place)
        return [each for each in strays if selector.matches(each.metadata.labels)]

    def _again(self, uid: str, after: float | None) -> Verdict:
        waits = [seconds for seconds in (after, self._expected.remaining(uid)) if seconds is not None]
        return Retry(min(waits), "Waiting") if waits else None

    # What wakes a replica set.

    def _on_replica_set(
        self, old: VirtualMachineInstanceReplicaSet | None, new: VirtualMachineInstanceReplicaSet | None
    ) -> None:
        if old is not None and new is None:
            self._failures.pop(old.metadata.uid, None)
            self._actions.forget(old.metadata.uid)
        if old is not None and new is not None:
            self._tell_pause(old, new)
        if new is not None:
            self.queue.add(key_of(new))

    def _tell_pause(self, old: VirtualMachineInstanceReplicaSet, new: VirtualMachineInstanceReplicaSet) -> None:
        """The status says when the pause took effect; the event goes with it."""
        was, is_ = (condition_of(each.status.conditions, PAUSED) is not None for each in (old, new))
        if is_ and not was:
            self._recorder.event(new, "Normal", "SuccessfulPaused", "Paused")
        elif was and not is_:
            self._recorder.event(new, "Normal", "SuccessfulResumed", "Resumed")

    def _on_vmi(self, old: VirtualMachineInstance | None, new: VirtualMachineInstance | None) -> None:
        for vmi in (old, new):
            owner = vmi.metadata.controller if vmi is not None else None
            if vmi is not None and owner is not None and owner.kind == REPLICA_SETS.kind:
                self._wake(vmi, owner)
                if vmi is new and old is None:
                    self._expected.created(owner.uid)
                if new is None or is_going(new):
                    self._expected.deleted(owner.uid, vmi.metadata.uid)
        if new is not None and new.metadata.controller is None and not is_final(new) and not is_going(new):
            self._wake_adopters(new)

    def _wake(self, vmi: VirtualMachineInstance, owner: OwnerReference) -> None:
        self.queue.add_after(Key(vmi.metadata.namespace, owner.name), COALESCE_SECONDS)

    def _wake_adopters(self, vmi: VirtualMachineInstance) -> None:
        for replica_set in self._caches.replica_sets.by_index(NAMESPACE_INDEX, vmi.metadata.namespace):
            try:
                matches = selects(selector_of(replica_set.spec.selector), vmi.metadata.labels)
            except SelectorError:
                continue
            if matches:
                self.queue.add(key_of(replica_set))
