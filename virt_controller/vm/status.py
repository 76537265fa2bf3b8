"""The status of a VM as a function of what is observed: `kubectl get vm` and virtctl print it and derive nothing.

`printable_status` is the table of spec 2.7, `conditions` the rules of 2.8.
"""

from __future__ import annotations

from msgspec.structs import replace

from virt_controller.phase import (
    RUNNING,
    STARTING_PHASES,
    SUCCEEDED,
    condition,
    is_final,
    is_going,
    phase,
)
from virt_controller.vm.observed import Observed
from virt_controller.vm.strategy import BACKING_OFF, START, is_stop_for, queued_start, strategy
from virt_kube.clock import rfc3339
from virt_types import labels
from virt_types.v1 import (
    VirtualMachineCondition,
    VirtualMachineInstance,
    VirtualMachineInstanceCondition,
    VirtualMachineStartFailure,
    VirtualMachineStateChangeRequest,
    VirtualMachineStatus,
)

OWN_CONDITIONS = frozenset({"Ready", "Failure", "RestartRequired"})
NO_INSTANCE = ("VMINotExists", "VMI does not exist")
NO_READY = ("VMIConditionMissing", "VMI is missing the Ready condition")
# Reasons of Failure that tell of our own requests; all others tell why a guest did not start.
SYNC_FAILURES = frozenset({"FailedCreate", "FailedDelete"})
# Reasons of a VMI's Synchronized condition that have a printable status of their own, in order of precedence.
SYNC_STATUS = {"ErrImagePull": "ErrImagePull", "ImagePullBackOff": "ImagePullBackOff"}


def status_of(
    observed: Observed,
    requests: list[VirtualMachineStateChangeRequest],
    start_failure: VirtualMachineStartFailure | None,
    *,
    start_withheld: bool,
    now: float,
) -> VirtualMachineStatus:
    """The whole status to store. With `start_withheld` the recorded run strategy stays, as the start is still due."""
    vm, vmi = observed.vm, observed.owned
    old = vm.status
    known = vmi is not None or old.run_strategy is not None
    wanted = strategy(vm)
    return replace(
        old,
        created=True if vmi is not None else None,
        ready=True if vmi is not None and _is_ready(vmi) else None,
        run_strategy=wanted if known and not start_withheld else old.run_strategy,
        desired_generation=vm.metadata.generation if known else old.desired_generation,
        observed_generation=_made_from(vmi) if vmi is not None else old.observed_generation,
        state_change_requests=requests,
        start_failure=start_failure,
        conditions=conditions(observed, start_failure, now),
        printable_status=printable_status(observed, requests, start_failure),
    )


def printable_status(
    observed: Observed,
    requests: list[VirtualMachineStateChangeRequest],
    start_failure: VirtualMachineStartFailure | None,
) -> str:
    """One word for people; the first rule that matches wins (spec 2.7)."""
    if observed.vm.metadata.deletion_timestamp:
        return "Terminating"
    waiting = "WaitingForVolumeBinding" if observed.unbound_claims and _set_to_start(observed, requests) else ""
    vmi = observed.owned
    if vmi is None:
        return waiting or _resting(observed, start_failure)
    answers = (
        _live_status(vmi, observed),
        _trouble(vmi),
        waiting,
        SYNC_STATUS.get(_reason(vmi, "Synchronized"), ""),
        "Starting" if phase(vmi) in STARTING_PHASES else "",
        _resting(observed, start_failure) if is_final(vmi) else "",
    )
    return next(filter(None, answers), "Unknown")


def _resting(observed: Observed, start_failure: VirtualMachineStartFailure | None) -> str:
    failed = start_failure is not None and (start_failure.consecutive_fail_count or 0) > 0
    return "CrashLoopBackOff" if failed and strategy(observed.vm) in BACKING_OFF else "Stopped"


def _live_status(vmi: VirtualMachineInstance, observed: Observed) -> str:
    if is_final(vmi):
        return ""
    if is_going(vmi) or observed.going:
        return "Stopping"
    migration = vmi.status.migration_state
    if migration is not None and migration.start_timestamp and not (migration.completed or migration.failed):
        return "Migrating"
    if phase(vmi) == RUNNING:
        paused = condition(vmi, "Paused")
        return "Paused" if paused is not None and paused.status == "True" else "Running"
    return ""


def _trouble(vmi: VirtualMachineInstance) -> str:
    if _reason(vmi, "Synchronized") == "FailedPvcNotFound":
        return "ErrorPvcNotFound"
    return "ErrorUnschedulable" if _reason(vmi, "PodScheduled") == "Unschedulable" else ""


def _reason(vmi: VirtualMachineInstance, type_: str) -> str:
    """The reason of a condition that is False; empty otherwise."""
    found = condition(vmi, type_)
    return (found.reason or "") if found is not None and found.status == "False" else ""


def _set_to_start(observed: Observed, requests: list[VirtualMachineStateChangeRequest]) -> bool:
    vmi = observed.owned
    match strategy(observed.vm):
        case "Always":
            return True
        case "Manual":
            return (
                not is_stop_for(requests, vmi.metadata.uid) if vmi is not None else queued_start(requests) is not None
            )
        case "RerunOnFailure":
            return phase(vmi) != SUCCEEDED if vmi is not None else any(each.action == START for each in requests)
        case "Once":
            return vmi is None
        case _:
            return False


def conditions(
    observed: Observed, start_failure: VirtualMachineStartFailure | None, now: float
) -> list[VirtualMachineCondition]:
    """Ready and Failure are the VM's own; those of a living VMI are mirrored, and stay when it is gone."""
    vmi = observed.owned
    old = {each.type: each for each in observed.vm.status.conditions}
    new: dict[str, VirtualMachineCondition] = {}
    if vmi is None:
        new.update((type_, each) for type_, each in old.items() if type_ not in ("Ready", "Failure"))
    else:
        if (restart := old.get("RestartRequired")) is not None:
            new["RestartRequired"] = restart
        new.update((each.type, _mirrored(each)) for each in vmi.status.conditions if each.type not in OWN_CONDITIONS)
    new["Ready"] = _ready(vmi)
    if observed.failure is not None:
        reason, message = observed.failure
        new["Failure"] = VirtualMachineCondition(type="Failure", status="True", reason=reason, message=message)
    elif start_failure is not None and (cause := _why_not_started(vmi, start_failure, old.get("Failure"))) is not None:
        new["Failure"] = cause
    return [_timed(new[type_], old.get(type_), now) for type_ in sorted(new)]


def _why_not_started(
    vmi: VirtualMachineInstance | None, failure: VirtualMachineStartFailure, told: VirtualMachineCondition | None
) -> VirtualMachineCondition | None:
    """Why the last start failed. The VMI that knew is soon gone, so the VM says it until a start succeeds."""
    if vmi is None or not is_final(vmi) or vmi.metadata.uid != failure.last_failed_vmi_uid:
        return told if told is not None and told.reason not in SYNC_FAILURES else None
    ready = condition(vmi, "Ready")
    message = (ready.message if ready is not None else None) or "the guest ended before it ran"
    reason = vmi.status.reason or "StartFailed"
    return VirtualMachineCondition(type="Failure", status="True", reason=reason, message=message)


def _ready(vmi: VirtualMachineInstance | None) -> VirtualMachineCondition:
    if vmi is None:
        reason, message = NO_INSTANCE
    elif (ready := condition(vmi, "Ready")) is None:
        reason, message = NO_READY
    elif is_final(vmi) and ready.status == "True":
        reason, message = "GuestNotRunning", "Guest VM is not reported as running"
    else:
        return _mirrored(ready)
    return VirtualMachineCondition(type="Ready", status="False", reason=reason, message=message)


def _is_ready(vmi: VirtualMachineInstance) -> bool:
    ready = condition(vmi, "Ready")
    return ready is not None and ready.status == "True" and not is_final(vmi)


def _mirrored(source: VirtualMachineInstanceCondition) -> VirtualMachineCondition:
    return VirtualMachineCondition(
        type=source.type,
        status=source.status,
        reason=source.reason,
        message=source.message,
        last_probe_time=source.last_probe_time,
        last_transition_time=source.last_transition_time,
    )


def _timed(new: VirtualMachineCondition, old: VirtualMachineCondition | None, now: float) -> VirtualMachineCondition:
    if new.last_transition_time is None:
        same = old is not None and old.status == new.status
        new.last_transition_time = old.last_transition_time if same and old is not None else rfc3339(now)
    return new


def _made_from(vmi: VirtualMachineInstance) -> int | None:
    text = vmi.metadata.annotations.get(labels.VM_GENERATION, "")
    return int(text) if text.isdigit() else None
