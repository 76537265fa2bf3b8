"""Starts that failed in a row, and the rest before the next one (spec 2.3).

A start failed when its instance ended without ever running, or crashed within a minute of it (shut itself down within
five seconds), though nobody had asked for its end. The first short life is forgiven at once; a guest that ends again
and again right after it booted backs off like one that never boots. (KubeVirt forgets failures the moment a guest runs,
and restarts such a guest for ever.)
"""

from __future__ import annotations

from virt_controller.backoff import STABLE_SECONDS, backoff
from virt_controller.phase import FAILED, RUNNING, SUCCEEDED, has_run, is_final, is_going, phase, since
from virt_controller.vm.observed import Observed
from virt_controller.vm.strategy import BACKING_OFF, START, is_stop_for, strategy
from virt_kube.clock import parse_time, rfc3339
from virt_types.v1 import VirtualMachineInstance, VirtualMachineStartFailure

SHORT_LIFE = {FAILED: STABLE_SECONDS, SUCCEEDED: 5.0}


def start_failure(observed: Observed, now: float) -> VirtualMachineStartFailure | None:
    """The count of starts that failed in a row, with this instance's share."""
    stored = observed.vm.status.start_failure
    vmi = observed.owned
    if strategy(observed.vm) not in BACKING_OFF:
        return None
    if vmi is None:
        return stored if _is_due(observed) else None
    if not is_final(vmi):
        return None if phase(vmi) == RUNNING and _lived(vmi, now) >= STABLE_SECONDS else stored
    if has_run(vmi) and not _is_short_life(observed, vmi, now):
        return None
    counted = stored is not None and stored.last_failed_vmi_uid == vmi.metadata.uid
    if counted or _was_asked_to_end(observed, vmi):
        return stored
    count = ((stored.consecutive_fail_count or 0) if stored is not None else 0) + 1
    rest = backoff(count - 1 if has_run(vmi) else count, observed.jitter)
    return VirtualMachineStartFailure(
        consecutive_fail_count=count,
        last_failed_vmi_uid=vmi.metadata.uid,
        retry_after_timestamp=rfc3339(now + rest),
    )


def until_forgiven(observed: Observed, failure: VirtualMachineStartFailure | None, now: float) -> float | None:
    """Seconds until the running guest has lived long enough; None when there is nothing to forgive."""
    vmi = observed.owned
    if failure is None or vmi is None or phase(vmi) != RUNNING:
        return None
    return max(0.0, STABLE_SECONDS - _lived(vmi, now))


def rest(failure: VirtualMachineStartFailure | None, now: float) -> float:
    """Seconds until the next start is allowed; 0 when it is."""
    until = parse_time(failure.retry_after_timestamp) if failure is not None else None
    return max(0.0, until - now) if until is not None else 0.0


def _is_due(observed: Observed) -> bool:
    """Whether another start may come: a RerunOnFailure VM whose queued start was taken back rests for nothing."""
    status = observed.vm.status
    queued = any(request.action == START for request in status.state_change_requests)
    return queued or strategy(observed.vm) != "RerunOnFailure" or status.run_strategy != "RerunOnFailure"


def _is_short_life(observed: Observed, vmi: VirtualMachineInstance, now: float) -> bool:
    """Whether a guest that would be started again ended too soon."""
    again = {FAILED: ("Always", "RerunOnFailure"), SUCCEEDED: ("Always",)}[phase(vmi)]
    return strategy(observed.vm) in again and _lived(vmi, now) < SHORT_LIFE[phase(vmi)]


def _lived(vmi: VirtualMachineInstance, now: float) -> float:
    began = since(vmi, RUNNING)
    ended = since(vmi, phase(vmi)) if is_final(vmi) else None
    return (now if ended is None else ended) - (now if began is None else began)


def _was_asked_to_end(observed: Observed, vmi: VirtualMachineInstance) -> bool:
    asked = is_stop_for(observed.vm.status.state_change_requests, vmi.metadata.uid)
    return asked or is_going(vmi) or observed.going
