"""What has to happen for one replica set: every rule of the loop, and nothing else (spec 4.1).

`decide` names effects in order; `controller` carries them out and asks again, until only waiting is left.
"""

from __future__ import annotations

from typing import NamedTuple

from virt_controller.members import BURST, newest_first, selects
from virt_controller.phase import RUNNING, is_final, phase
from virt_controller.replicas.effects import (
    Adopt,
    Create,
    Decision,
    Delete,
    DeleteFinished,
    Disown,
    Effect,
    WriteStatus,
)
from virt_controller.replicas.lives import Ended, ended
from virt_controller.replicas.observed import Observed, is_ready
from virt_controller.replicas.status import status_of
from virt_types.v1 import VirtualMachineInstance


def decide(observed: Observed, now: float) -> Decision:
    """The next effects for `observed`; none when the set is as it should be. `now` is Unix seconds."""
    plan = _plan(observed, now)
    status = status_of(observed, plan.waiting, now)
    record = (WriteStatus(status),) if status != observed.replica_set.status else ()
    again = min((each.due for each in plan.waiting), default=None)
    after = max(0.0, again - now) if again is not None else None
    if plan.effects and not (record and observed.failure is not None):
        return Decision(plan.effects, after, pending=True)
    return Decision(record, after, pending=bool(plan.effects))


class _Plan(NamedTuple):
    """What to do, and the replicas that ended and are not replaced yet."""

    effects: tuple[Effect, ...] = ()
    waiting: tuple[Ended, ...] = ()


def _plan(observed: Observed, now: float) -> _Plan:
    if observed.deleted:
        return _Plan()  # garbage collection has the instances, or lets them go
    belonging = _belonging(observed)
    if belonging:
        return _Plan(belonging)
    if observed.paused:
        return _Plan()
    gap = observed.wanted - len(observed.active) - observed.creating
    if gap < 0:
        return _Plan((_scale_in(observed, -gap), *_clear(observed.finished)))
    return _refill(observed, gap, now)


def _belonging(observed: Observed) -> tuple[Effect, ...]:
    """First of all, who is ours."""
    selector = observed.selector
    adopted = (
        Adopt(each.metadata.uid)
        for each in observed.strays
        if selects(selector, each.metadata.labels) and not is_final(each) and not observed.is_leaving(each)
    )
    disowned = (
        Disown(each.metadata.uid)
        for each in observed.instances
        if not selects(selector, each.metadata.labels) and not observed.is_leaving(each)
    )
    return (*adopted, *disowned)


def _scale_in(observed: Observed, excess: int) -> Delete:
    """Those that would be missed least go first: without node, not running, not ready, newest."""
    order = sorted(observed.active, key=_usefulness)
    return Delete(tuple(each.metadata.uid for each in order[: min(excess, BURST)]))


def _usefulness(vmi: VirtualMachineInstance) -> tuple[bool, bool, bool, tuple[float, str]]:
    return (bool(vmi.status.node_name), phase(vmi) == RUNNING, is_ready(vmi), newest_first(vmi))


def _refill(observed: Observed, gap: int, now: float) -> _Plan:
    """Create what is missing; but a place whose replica failed to last stays empty until its time has come."""
    lives = sorted((ended(each) for each in observed.finished), key=lambda each: (each.due, each.vmi.metadata.uid))
    due = [each for each in lives if each.due <= now]
    waiting = [each for each in lives if each.due > now][:gap]
    missing = min(gap - len(waiting), BURST)
    inherited = sorted((each.failures for each in due), reverse=True)[:missing]
    create = Create((*inherited, *[0] * (missing - len(inherited))))
    kept = {each.vmi.metadata.uid for each in waiting}
    effects: tuple[Effect, ...] = (create,) if missing else ()
    clear = _clear([each for each in observed.finished if each.metadata.uid not in kept])
    return _Plan((*effects, *clear), tuple(waiting))


def _clear(finished: list[VirtualMachineInstance]) -> tuple[Effect, ...]:
    uids = tuple(each.metadata.uid for each in finished[:BURST])
    return (DeleteFinished(uids),) if uids else ()
