"""Who ended a VM's guest, how and when; and what a VM without guest waits for. In words, for `kubectl describe vm`.

The end is the condition `Ended`: written while the VMI that knows it still exists, kept when it is gone, dropped when
the next guest runs. What comes next is said in the message of `Ready`.
"""

from __future__ import annotations

from virt_controller.phase import FAILED, RUNNING, condition, has_run, is_final, is_going, phase, since
from virt_controller.vm.observed import Observed
from virt_controller.vm.strategy import RETRYING, START, is_stop_for, queued_start, strategy
from virt_controller.vm.volumes import awaited, needs_recovery
from virt_kube.clock import parse_time, rfc3339
from virt_types.v1 import (
    VirtualMachineCondition,
    VirtualMachineInstance,
    VirtualMachineStartFailure,
    VirtualMachineStateChangeRequest,
)

ENDED = "Ended"
EVICTION = "EvictionRequested"  # the VMI's condition that says the platform ends it

# Who is behind each reason the node agent or the node controller gives for a VMI's end; "" for an order carried out.
GUEST, CRASH, PLATFORM, USER = "by the guest", "by a crash", "by the platform", "by a user"
AUTHORS = {
    "GuestShutdown": GUEST,
    "GuestPanicked": CRASH,
    "GuestCrashed": CRASH,
    "ShutdownRequested": "",
    "ForcedStop": "",
    "GracePeriodExceeded": "",
}
DETAILS = {
    "GuestShutdown": "the guest shut itself down",
    "GuestCrashed": "the guest crashed",
    "StartFailed": "the guest could not be started",
    "FailedDataVolumeImport": "a disk could not be imported",
    "NodeUnresponsive": "its node failed and was taken out of service",
}
STOPPED = ("Stopped", "the VM was stopped")
RESTARTED = ("Restarted", "a restart was asked for")
VM_DELETED = ("VMDeleted", "the VM was deleted")
DELETED = ("InstanceDeleted", "its VMI was deleted")

ORDERED = frozenset(reason for reason, _ in (STOPPED, RESTARTED, VM_DELETED, DELETED))

RECOVERY_WAIT = (
    "waits for its volumes to be set right: a migration of volumes failed, and some may name the wrong claims; "
    "put the former ones back into spec.template.spec.volumes"
)
NEXT_TRY = "the next start is tried at {at}, {count} in a row have failed"
NAME_WAIT = "waits until the VMI of that name, which {kind} {owner} controls, is gone"
START_HINT = "start it with: virtctl start {name}"
RESTING = {
    "Halted": "stopped; " + START_HINT,
    "Manual": "waits for a start request; " + START_HINT,
    "RerunOnFailure": "runs again only after a failure; " + START_HINT,
}


def ended(observed: Observed, old: VirtualMachineCondition | None, now: float) -> VirtualMachineCondition | None:
    """The condition `Ended`; None while a guest runs, or when none ever did."""
    vmi = observed.owned
    if vmi is None:
        return old
    over = is_final(vmi) or is_going(vmi) or observed.going
    if not over:
        return None if phase(vmi) == RUNNING else old
    if old is not None and _is_about(old, vmi) and old.reason not in ORDERED:
        return old  # it had ended by itself; what removes the VMI now only tidies up
    reason, message = _cause(observed, vmi)
    told = old is not None and (old.reason, old.message) == (reason, message)
    when = _when(vmi) or (old.last_transition_time if old is not None and told else rfc3339(now))
    return VirtualMachineCondition(type=ENDED, status="True", reason=reason, message=message, last_transition_time=when)


def _is_about(told: VirtualMachineCondition, vmi: VirtualMachineInstance) -> bool:
    at, made = parse_time(told.last_transition_time), parse_time(vmi.metadata.creation_timestamp)
    return at is not None and made is not None and at >= made


def _when(vmi: VirtualMachineInstance) -> str | None:
    final = since(vmi, phase(vmi)) if is_final(vmi) else None
    return rfc3339(final) if final is not None else vmi.metadata.deletion_timestamp


def _cause(observed: Observed, vmi: VirtualMachineInstance) -> tuple[str, str]:
    """The condition's reason and message."""
    said = vmi.status.reason or ""
    how = _detail(vmi, said)
    author = AUTHORS.get(said, PLATFORM) if said else ""
    if author:
        return said, f"{author}: {how}"
    evicted = condition(vmi, EVICTION)
    if evicted is not None and evicted.status == "True" and is_going(vmi):
        return "Evicted", f"{PLATFORM}: {evicted.message or 'evicted'}{'; ' + how if how else ''}"
    order = _order(observed, vmi)
    if order is not None:
        reason, what = order
        return reason, f"{USER}: {what}{'; ' + how if how else ''}"
    reason = ("GuestCrashed" if has_run(vmi) else "StartFailed") if phase(vmi) == FAILED else "GuestShutdown"
    author = AUTHORS.get(reason, PLATFORM)
    return reason, f"{author}: {how or DETAILS[reason]}"


def _order(observed: Observed, vmi: VirtualMachineInstance) -> tuple[str, str] | None:
    requests = observed.vm.status.state_change_requests
    if observed.vm.metadata.deletion_timestamp:
        return VM_DELETED
    if strategy(observed.vm) == "Halted":
        return STOPPED
    if is_stop_for(requests, vmi.metadata.uid):
        again = strategy(observed.vm) == "Always" or any(each.action == START for each in requests)
        return RESTARTED if again else STOPPED
    return DELETED if is_going(vmi) else None


def _detail(vmi: VirtualMachineInstance, said: str) -> str:
    """How it ended, as the node agent put it behind the standard text of Ready."""
    ready = condition(vmi, "Ready")
    text = (ready.message or "") if ready is not None and is_final(vmi) else ""
    return text.partition(": ")[2] or DETAILS.get(said, said)


def awaits(
    observed: Observed,
    requests: list[VirtualMachineStateChangeRequest],
    failure: VirtualMachineStartFailure | None,
    now: float,
) -> str:
    """What a VM without guest waits for; empty when it is about to start."""
    vm = observed.vm
    wanted = strategy(vm)
    owner = observed.rival.metadata.controller if observed.rival is not None else None
    if vm.metadata.deletion_timestamp:
        return ""
    if owner is not None:
        return NAME_WAIT.format(kind=owner.kind, owner=owner.name)
    if wanted in RESTING and queued_start(requests) is None:
        return RESTING[wanted].format(name=vm.metadata.name)
    if needs_recovery(vm):
        return RECOVERY_WAIT
    until = parse_time(failure.retry_after_timestamp) if failure is not None else None
    if failure is not None and until is not None and until > now and wanted in RETRYING:
        return NEXT_TRY.format(at=failure.retry_after_timestamp, count=failure.consecutive_fail_count)
    return awaited(observed)
