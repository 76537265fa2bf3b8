"""A replica set's status, made anew from what is observed (spec 4.1)."""

from __future__ import annotations

from collections.abc import Sequence

from virt_controller.members import FAILING, PAUSED, counts, with_condition
from virt_controller.phase import RUNNING, phase, since
from virt_controller.replicas.lives import Ended
from virt_controller.replicas.observed import Observed, is_ready
from virt_kube.clock import rfc3339
from virt_types.v1 import VirtualMachineInstanceReplicaSetCondition, VirtualMachineInstanceReplicaSetStatus

PAUSED_SAID = ("Paused", "Controller got paused")
CRASH_LOOP = "CrashLoopBackOff"
CRASHES = "{names} ended {phase} {life} ({count} in a row); the next try is at {time}"


def status_of(observed: Observed, waiting: Sequence[Ended], now: float) -> VirtualMachineInstanceReplicaSetStatus:
    """`waiting` are the replicas that failed to last and whose replacement has to wait."""
    active = observed.active
    kind = VirtualMachineInstanceReplicaSetCondition
    conditions = observed.replica_set.status.conditions
    if not observed.deleted:
        conditions = with_condition(conditions, kind, PAUSED, PAUSED_SAID if observed.paused else None, now)
        conditions = with_condition(conditions, kind, FAILING, _trouble(observed, waiting), now)
    return VirtualMachineInstanceReplicaSetStatus(
        **counts(len(active), sum(map(is_ready, active)), observed.selector), conditions=conditions
    )


def _trouble(observed: Observed, waiting: Sequence[Ended]) -> tuple[str, str] | None:
    if observed.failure is not None:
        return observed.failure.reason, observed.failure.message
    return (CRASH_LOOP, _crashes(waiting)) if waiting else None


def _crashes(waiting: Sequence[Ended]) -> str:
    """Of all that wait, the one that comes next."""
    first = min(waiting, key=lambda each: each.due)
    began, end = since(first.vmi, RUNNING), since(first.vmi, phase(first.vmi))
    life = "before its guest ran" if began is None or end is None else f"after {end - began:.0f} s"
    more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
    return CRASHES.format(
        names=first.vmi.metadata.name + more,
        phase=phase(first.vmi),
        life=life,
        count="once" if first.failures == 1 else f"{first.failures} times",
        time=rfc3339(first.due + 1),  # whole seconds, rounded down
    )
