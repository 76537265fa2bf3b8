"""What has to happen for one VM: every rule of the VirtualMachine loop, and nothing else.

`decide` names effects in order; `controller` carries them out and asks again, until only waiting is left. What must not
be lost in a crash is written to the VM's status *before* the effect that makes it unknowable: a failed instance is
counted, and a rerun queued, before the instance is deleted, and its finalizer stays until that is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from virt_controller.phase import FAILED, RUNNING, has_run, is_final, is_going, phase
from virt_controller.vm.observed import Observed
from virt_controller.vm.status import status_of
from virt_controller.vm.strategy import (
    BACKING_OFF,
    START,
    STOP,
    is_paused_start,
    is_stop_for,
    queued_start,
    strategy,
)
from virt_kube.clock import parse_time, rfc3339
from virt_types import labels
from virt_types.v1 import (
    VirtualMachineInstance,
    VirtualMachineStartFailure,
    VirtualMachineStateChangeRequest,
    VirtualMachineStatus,
)

BACKOFF_STEP = 10.0
BACKOFF_CAP = 300.0
BACKOFF_JITTER = 0.5

Requests = list[VirtualMachineStateChangeRequest]


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Make sure the VM stays until its instance is gone."""


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    """Let the deleted VM go."""


@dataclass(frozen=True, slots=True)
class BackfillIdentity:
    """Store the firmware uuid in a VM that was made without one."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Make an ownerless VMI of the VM's name the VM's own."""

    uid: str


@dataclass(frozen=True, slots=True)
class Create:
    paused: bool


@dataclass(frozen=True, slots=True)
class Delete:
    uid: str


@dataclass(frozen=True, slots=True)
class Release:
    """Take our finalizer off an instance whose end is recorded."""

    uid: str


@dataclass(frozen=True, slots=True)
class TurnOn:
    """Write the run strategy a start request of a halted VM asks for."""


@dataclass(frozen=True, slots=True)
class WriteStatus:
    status: VirtualMachineStatus


Effect = AddFinalizer | RemoveFinalizer | BackfillIdentity | Adopt | Create | Delete | Release | TurnOn | WriteStatus


class Decision(NamedTuple):
    """Effects to carry out now, in order, and when to look again though nothing happened (seconds).

    `pending`: something besides the status has to change.
    """

    effects: tuple[Effect, ...] = ()
    again_after: float | None = None
    pending: bool = False


def decide(observed: Observed, now: float) -> Decision:
    """The next effects for `observed`; none when the VM is as it should be. `now` is Unix seconds."""
    vm = observed.vm
    if vm.metadata.deletion_timestamp:
        return _decide_deleted(observed, now)
    if labels.VM_FINALIZER not in vm.metadata.finalizers:
        return Decision((AddFinalizer(),))
    if observed.vmi is not None and observed.owned is None and not is_going(observed.vmi):
        return Decision((Adopt(observed.vmi.metadata.uid),))
    requests = _settled_requests(observed)
    failure = _start_failure(observed, now)
    step = _next_step(observed, requests, failure, now)
    if step.rerun:
        requests = [VirtualMachineStateChangeRequest(action=START)]
    status = status_of(observed, requests, failure, start_withheld=step.starts, now=now)
    record = WriteStatus(status)
    unrecorded = status != vm.status
    pending = step.effect is not None
    if step.effect is not None and not (unrecorded and (step.after_record or _failure_is_news(observed))):
        return Decision((step.effect,), step.again_after, pending)
    return Decision((record,) if unrecorded else (), step.again_after, pending)


class _Step(NamedTuple):
    """One move. `after_record`: only when the status says what the move makes unknowable. `rerun`: a start is due."""

    effect: Effect | None = None
    after_record: bool = False
    starts: bool = False
    rerun: bool = False
    again_after: float | None = None


_WAIT = _Step()


def _decide_deleted(observed: Observed, now: float) -> Decision:
    vm, vmi = observed.vm, observed.owned
    status = status_of(
        observed, vm.status.state_change_requests, vm.status.start_failure, start_withheld=False, now=now
    )
    record = (WriteStatus(status),) if status != vm.status else ()
    if labels.VM_FINALIZER not in vm.metadata.finalizers:
        return Decision()
    if labels.ORPHAN_FINALIZER in vm.metadata.finalizers or vmi is None:
        return Decision((RemoveFinalizer(),))
    if not is_going(vmi) and not observed.going:
        return Decision((Delete(vmi.metadata.uid),))
    if _has_ended(vmi) and labels.VM_FINALIZER in vmi.metadata.finalizers:
        return Decision((*record, Release(vmi.metadata.uid)))
    return Decision(record)


def _next_step(observed: Observed, requests: Requests, failure: VirtualMachineStartFailure | None, now: float) -> _Step:
    vmi = observed.owned
    if vmi is None:
        return _step_without_instance(observed, requests, failure, now)
    if is_going(vmi) or observed.going:
        return _release(vmi)
    return _step_with_instance(observed, vmi, requests)


def _release(vmi: VirtualMachineInstance) -> _Step:
    if labels.VM_FINALIZER in vmi.metadata.finalizers and _has_ended(vmi):
        return _Step(Release(vmi.metadata.uid), after_record=True)
    return _WAIT


def _has_ended(vmi: VirtualMachineInstance) -> bool:
    """Final, or let go by the node agent without a last word: a delete must end either way."""
    return is_final(vmi) or (is_going(vmi) and labels.VMI_FINALIZER not in vmi.metadata.finalizers)


def _step_without_instance(
    observed: Observed, requests: Requests, failure: VirtualMachineStartFailure | None, now: float
) -> _Step:
    vm = observed.vm
    start = queued_start(requests)
    wanted = strategy(vm)
    if wanted == "Halted":
        return _Step(TurnOn()) if start is not None else _WAIT
    if not _wants_instance(wanted, start is not None, switched=vm.status.run_strategy != wanted):
        return _WAIT
    if observed.rival is not None or (observed.vmi is not None and is_going(observed.vmi)):
        return _Step(starts=True)  # the name is taken; its end wakes us
    if _identity_is_missing(observed):
        return _Step(BackfillIdentity(), starts=True)
    rest = _rest(failure, now) if wanted in BACKING_OFF else 0.0
    if rest > 0:
        return _Step(starts=True, again_after=rest)
    return _Step(
        Create(start is not None and is_paused_start(start)),
        after_record=_failure_changed(observed, failure),
        starts=True,
    )


def _wants_instance(wanted: str, start: bool, *, switched: bool) -> bool:
    match wanted:
        case "Always" | "Once":
            return True
        case "RerunOnFailure":
            return start or switched
        case "Manual":
            return start
        case _:
            return False


def _step_with_instance(observed: Observed, vmi: VirtualMachineInstance, requests: Requests) -> _Step:
    wanted = strategy(observed.vm)
    delete = Delete(vmi.metadata.uid)
    if wanted == "Halted" or is_stop_for(requests, vmi.metadata.uid):
        return _Step(delete)
    if is_final(vmi):
        if wanted == "RerunOnFailure" and phase(vmi) == FAILED:
            return _Step(delete, after_record=True, rerun=True)
        if wanted in ("Always", "RerunOnFailure"):
            return _Step(delete, after_record=True)
        return _release(vmi)
    return _WAIT


def _settled_requests(observed: Observed) -> Requests:
    """The queued requests without those that are done or can't mean anything any more.

    A stop is done when its instance is gone. A start is done when an instance lives. A start left behind by a restart
    must not turn on a VM that was halted since (the declared strategy is the later word), nor outlive the restart of an
    Always VM, which starts anyway.
    """
    requests = [*observed.vm.status.state_change_requests]
    wanted = strategy(observed.vm)
    if wanted in ("Halted", "Always"):
        behind_stop = False
        kept: Requests = []
        for request in requests:
            if request.action == STOP or (is_paused_start(request) and not (behind_stop and wanted == "Halted")):
                kept.append(request)
            behind_stop |= request.action == STOP
        requests = kept
    vmi = observed.owned
    while requests and _is_settled(requests[0], vmi, observed, wanted):
        del requests[0]
    return requests


def _is_settled(
    request: VirtualMachineStateChangeRequest, vmi: VirtualMachineInstance | None, observed: Observed, wanted: str
) -> bool:
    if request.action == STOP:
        return vmi is None or request.uid != vmi.metadata.uid
    if request.action != START:
        return True
    if vmi is None or is_going(vmi) or observed.going:
        return False
    return not (is_final(vmi) and wanted == "RerunOnFailure" and phase(vmi) == FAILED)


def _start_failure(observed: Observed, now: float) -> VirtualMachineStartFailure | None:
    """The count of starts that failed in a row, with this instance's share.

    An instance failed to start when it ended without ever running though nobody had asked for its end: one that was
    deleted, or stopped by a request, before it ran is no failure.
    """
    stored = observed.vm.status.start_failure
    vmi = observed.owned
    if strategy(observed.vm) not in BACKING_OFF:
        return None
    if vmi is None:
        return stored
    if phase(vmi) == RUNNING or (is_final(vmi) and has_run(vmi)):
        return None
    counted = stored is not None and stored.last_failed_vmi_uid == vmi.metadata.uid
    if not is_final(vmi) or counted or _was_asked_to_end(observed, vmi):
        return stored
    count = ((stored.consecutive_fail_count or 0) if stored is not None else 0) + 1
    return VirtualMachineStartFailure(
        consecutive_fail_count=count,
        last_failed_vmi_uid=vmi.metadata.uid,
        retry_after_timestamp=rfc3339(now + backoff(count, observed.jitter)),
    )


def _was_asked_to_end(observed: Observed, vmi: VirtualMachineInstance) -> bool:
    asked = is_stop_for(observed.vm.status.state_change_requests, vmi.metadata.uid)
    return asked or is_going(vmi) or observed.going


def backoff(failures: int, jitter: float) -> float:
    """Seconds to wait after so many failed starts in a row: 10·n², up to half more by chance, 300 at most."""
    base = BACKOFF_STEP * failures * failures
    return min(BACKOFF_CAP, base + base * BACKOFF_JITTER * jitter)


def _rest(failure: VirtualMachineStartFailure | None, now: float) -> float:
    """Seconds until the next start is allowed; 0 when it is."""
    until = parse_time(failure.retry_after_timestamp) if failure is not None else None
    return max(0.0, until - now) if until is not None else 0.0


def _failure_is_news(observed: Observed) -> bool:
    """Whether the last sync failed and the VM does not say so yet."""
    if observed.failure is None:
        return False
    told = next((each for each in observed.vm.status.conditions if each.type == "Failure"), None)
    return told is None or (told.reason, told.message) != tuple(observed.failure)


def _failure_changed(observed: Observed, failure: VirtualMachineStartFailure | None) -> bool:
    return failure != observed.vm.status.start_failure


def _identity_is_missing(observed: Observed) -> bool:
    firmware = observed.vm.spec.template.spec.domain.firmware
    return firmware is None or not firmware.uuid
