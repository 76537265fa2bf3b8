"""A VMI's phase and conditions, read and written one way by every loop here."""

from __future__ import annotations

from virt_kube.clock import parse_time, rfc3339
from virt_types.running import FINAL_PHASES
from virt_types.v1 import (
    VirtualMachineInstance,
    VirtualMachineInstanceCondition,
    VirtualMachineInstancePhaseTransitionTimestamp,
    VirtualMachineInstanceStatus,
)

PENDING = "Pending"
SCHEDULED = "Scheduled"
RUNNING = "Running"
SUCCEEDED = "Succeeded"
FAILED = "Failed"
STARTING_PHASES = frozenset({"", PENDING, "Scheduling", SCHEDULED})


def phase(vmi: VirtualMachineInstance) -> str:
    return vmi.status.phase or ""


def is_final(vmi: VirtualMachineInstance) -> bool:
    return vmi.status.phase in FINAL_PHASES


def is_going(vmi: VirtualMachineInstance) -> bool:
    return vmi.metadata.deletion_timestamp is not None


def has_run(vmi: VirtualMachineInstance) -> bool:
    return any(entry.phase == RUNNING for entry in vmi.status.phase_transition_timestamps)


def since(vmi: VirtualMachineInstance, phase_: str) -> float | None:
    """When the VMI first entered a phase, in Unix seconds; None when it never did."""
    stamps = (each for each in vmi.status.phase_transition_timestamps if each.phase == phase_)
    return next((parse_time(each.phase_transition_timestamp) for each in stamps), None)


def is_placed(vmi: VirtualMachineInstance) -> bool:
    """Whether a node agent owns the VMI's status already."""
    return bool(vmi.status.node_name) or phase(vmi) not in STARTING_PHASES - {SCHEDULED}


def condition(vmi: VirtualMachineInstance, type_: str) -> VirtualMachineInstanceCondition | None:
    return next((each for each in vmi.status.conditions if each.type == type_), None)


def enter(status: VirtualMachineInstanceStatus, new_phase: str, now: float) -> None:
    """Set the phase of a status one owns, and its first-time stamp (spec 3.1)."""
    status.phase = new_phase
    if not any(entry.phase == new_phase for entry in status.phase_transition_timestamps):
        status.phase_transition_timestamps = [
            *status.phase_transition_timestamps,
            VirtualMachineInstancePhaseTransitionTimestamp(phase=new_phase, phase_transition_timestamp=rfc3339(now)),
        ]


def set_condition(
    status: VirtualMachineInstanceStatus, type_: str, value: bool | str, *, reason: str, message: str, now: float
) -> None:
    """Put the condition, keeping its transition time when its value did not change."""
    old = next((each for each in status.conditions if each.type == type_), None)
    text = value if isinstance(value, str) else str(value)
    since = old.last_transition_time if old is not None and old.status == text else rfc3339(now)
    new = VirtualMachineInstanceCondition(
        type=type_, status=text, reason=reason, message=message, last_transition_time=since
    )
    status.conditions = [new if each.type == type_ else each for each in status.conditions]
    if old is None:
        status.conditions.append(new)


def drop_conditions(status: VirtualMachineInstanceStatus, *types: str) -> None:
    status.conditions = [each for each in status.conditions if each.type not in types]
