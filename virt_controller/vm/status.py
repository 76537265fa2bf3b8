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
from virt_controller.vm.changes import Changes
from virt_controller.vm.ending import ENDED, awaits, ended
from virt_controller.vm.observed import Observed
from virt_controller.vm.strategy import BACKING_OFF, START, is_stop_for, queued_start, strategy
from virt_controller.vm.volumes import RECOVERY, mounted, needs_recovery
from virt_controller.vm.volumes import printable as printable_volumes
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

OWN_CONDITIONS = frozenset({"Ready", "Failure", "RestartRequired", ENDED})
NO_INSTANCE = ("VMINotExists", "VMI does not exist")
STOPPING = ("PodTerminating", "the guest is being stopped")  # the reason is that of KubeVirt's launcher pod
NO_READY = ("VMIConditionMissing", "VMI is missing the Ready condition")
NO_RECEIVER = (
    "spec.runStrategy WaitAsReceiver waits for a guest of another cluster, which can't be received here: "
    "set another run strategy"
)
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
    changed: Changes | None,
    now: float,
) -> VirtualMachineStatus:
    """The whole status to store. With `start_withheld` a RerunOnFailure VM keeps the strategy it had: its start is due.

    `changed`: the difference to what the guest was started from; None when it is not known.
    """
    vm, vmi = observed.vm, observed.owned
    old = vm.status
    known = vmi is not None or old.run_strategy is not None
    wanted = strategy(vm)
    return replace(
        old,
        created=True if vmi is not None else None,
        ready=True if vmi is not None and _is_ready(vmi, observed.going) else None,
        run_strategy=old.run_strategy if (start_withheld and wanted == "RerunOnFailure") or not known else wanted,
        desired_generation=vm.metadata.generation if known else old.desired_generation,
        observed_generation=_observed_generation(observed, changed),
        state_change_requests=requests,
        start_failure=start_failure,
        conditions=conditions(observed, requests, start_failure, changed, now),
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
    vmi = observed.owned
    volumes = printable_volumes(mounted(observed))
    answers = (
        _live_status(vmi, observed) if vmi is not None else "",
        "ErrorPvcNotFound" if _reason(vmi, "Synchronized") == "FailedPvcNotFound" else "",
        volumes if volumes == "DataVolumeError" else "",
        "ErrorUnschedulable" if _reason(vmi, "PodScheduled") == "Unschedulable" else "",
        volumes,
        "WaitingForVolumeBinding" if observed.unbound_claims and _set_to_start(observed, requests) else "",
        SYNC_STATUS.get(_reason(vmi, "Synchronized"), ""),
        "Starting" if vmi is not None and phase(vmi) in STARTING_PHASES else "",
        _resting(observed, start_failure) if vmi is None or is_final(vmi) else "",
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


def _reason(vmi: VirtualMachineInstance | None, type_: str) -> str:
    """The reason of a condition that is False; empty otherwise."""
    found = condition(vmi, type_) if vmi is not None else None
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
    observed: Observed,
    requests: list[VirtualMachineStateChangeRequest],
    start_failure: VirtualMachineStartFailure | None,
    changed: Changes | None,
    now: float,
) -> list[VirtualMachineCondition]:
    """The VM's own conditions; those of a living VMI are mirrored, and stay when it is gone."""
    vmi = observed.owned
    old = {each.type: each for each in observed.vm.status.conditions}
    if vmi is None:
        new = {type_: each for type_, each in old.items() if type_ not in OWN_CONDITIONS}
        if not needs_recovery(observed.vm):
            new.pop(RECOVERY, None)
    else:
        new = {each.type: _mirrored(each) for each in vmi.status.conditions if each.type not in OWN_CONDITIONS}
    own = (
        _ready(vmi, observed.going)
        if vmi is not None
        else _no_instance(awaits(observed, requests, start_failure, now)),
        _failure(observed, start_failure, old.get("Failure")),
        _restart_required(observed, changed, old.get("RestartRequired")),
        ended(observed, old.get(ENDED), now),
    )
    new.update((each.type, each) for each in own if each is not None)
    return [_timed(new[type_], old.get(type_), now) for type_ in sorted(new)]


def _failure(
    observed: Observed, start_failure: VirtualMachineStartFailure | None, told: VirtualMachineCondition | None
) -> VirtualMachineCondition | None:
    if observed.failure is not None:
        reason, message = observed.failure
        return VirtualMachineCondition(type="Failure", status="True", reason=reason, message=message)
    if strategy(observed.vm) == "WaitAsReceiver":
        return VirtualMachineCondition(type="Failure", status="True", reason="FailedCreate", message=NO_RECEIVER)
    if start_failure is None or observed.vm.metadata.deletion_timestamp:
        return None
    return _why_not_started(observed.owned, start_failure, told)


def _restart_required(
    observed: Observed, changed: Changes | None, told: VirtualMachineCondition | None
) -> VirtualMachineCondition | None:
    """What waits for a restart (spec 2.9); what is not known stays as it was told, while the guest lives."""
    vmi = observed.owned
    if vmi is None:
        return told
    if is_final(vmi):
        return None
    if changed is None:
        return None if made_from(vmi) == observed.vm.metadata.generation else told
    if not changed.restart:
        return None
    return VirtualMachineCondition(type="RestartRequired", status="True", message=changed.restart)


def _observed_generation(observed: Observed, changed: Changes | None) -> int | None:
    """The generation the guest agrees with: the one it was made from, or a later one with the same template."""
    if observed.owned is None:
        return observed.vm.status.observed_generation
    same = changed is not None and changed.same_template
    return observed.vm.metadata.generation if same else made_from(observed.owned)


def _why_not_started(
    vmi: VirtualMachineInstance | None, failure: VirtualMachineStartFailure, told: VirtualMachineCondition | None
) -> VirtualMachineCondition | None:
    """Why the last start failed. The VMI that knew is soon gone, so the VM says it until a guest runs."""
    if vmi is not None and phase(vmi) == RUNNING:
        return None
    if vmi is None or not is_final(vmi) or vmi.metadata.uid != failure.last_failed_vmi_uid:
        return told if told is not None and told.reason not in SYNC_FAILURES else None
    ready = condition(vmi, "Ready")
    message = (ready.message if ready is not None else None) or "the guest ended before it ran"
    reason = vmi.status.reason or "StartFailed"
    return VirtualMachineCondition(type="Failure", status="True", reason=reason, message=message)


def _no_instance(awaits: str) -> VirtualMachineCondition:
    reason, message = NO_INSTANCE
    message = f"{message}: {awaits}" if awaits else message
    return VirtualMachineCondition(type="Ready", status="False", reason=reason, message=message)


def _ready(vmi: VirtualMachineInstance, going: bool) -> VirtualMachineCondition:
    ready = condition(vmi, "Ready")
    if ready is None:
        reason, message = NO_READY
    elif (is_going(vmi) or going) and ready.status == "True" and not is_final(vmi):
        reason, message = STOPPING
    elif is_final(vmi) and ready.status == "True":
        reason, message = "GuestNotRunning", "Guest VM is not reported as running"
    else:
        return _mirrored(ready)
    return VirtualMachineCondition(type="Ready", status="False", reason=reason, message=message)


def _is_ready(vmi: VirtualMachineInstance, going: bool) -> bool:
    ready = condition(vmi, "Ready")
    return ready is not None and ready.status == "True" and not (is_final(vmi) or is_going(vmi) or going)


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


def made_from(vmi: VirtualMachineInstance) -> int | None:
    """The VM's generation the instance was made from, or was found to agree with."""
    text = vmi.metadata.annotations.get(labels.VM_GENERATION, "")
    return int(text) if text.isdigit() else None
