"""A pool's status, made anew from what is observed (spec 4.2)."""

from __future__ import annotations

from virt_controller.members import FAILING, PAUSED, counts, with_condition
from virt_controller.pool.observed import Observed
from virt_types.pool.v1beta1 import VirtualMachinePoolCondition, VirtualMachinePoolStatus

PAUSED_SAID = ("SuccessfulPaused", "Pool controller is paused")


def status_of(observed: Observed, trouble: tuple[str, str] | None, now: float) -> VirtualMachinePoolStatus:
    """`trouble` is what hinders the pool though nothing failed."""
    kind = VirtualMachinePoolCondition
    conditions = observed.pool.status.conditions
    if not observed.deleted:
        said = (observed.failure.reason, observed.failure.message) if observed.failure is not None else trouble
        conditions = with_condition(conditions, kind, PAUSED, PAUSED_SAID if observed.paused else None, now)
        conditions = with_condition(conditions, kind, FAILING, said, now)
    ready = sum(bool(each.vm.status.ready) and not each.leaving for each in observed.members)
    return VirtualMachinePoolStatus(**counts(len(observed.members), ready, observed.selector), conditions=conditions)
