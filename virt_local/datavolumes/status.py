"""What a DataVolume's status says: phase, progress, conditions (spec 7.1). Pure. Called by `decide`."""

from __future__ import annotations

from typing import NamedTuple

from virt_kube.clock import rfc3339
from virt_local.claims import Claim
from virt_local.datavolumes.observed import Observed
from virt_local.datavolumes.origin import Problem
from virt_local.datavolumes.phases import FAILED, FINAL, PENDING, SUCCEEDED, WAITING, WORDS, kind_of
from virt_types import labels
from virt_types.cdi.objects import DataVolumeStatus, ImportCondition

UNKNOWN_PROGRESS, WHOLE = "N/A", "100.0%"
TRANSFERS = "TransferRunning"


class Told(NamedTuple):
    """A condition without its times."""

    type: str
    status: str
    reason: str = ""
    message: str = ""


def status_of(observed: Observed, problem: Problem | None, now: float) -> DataVolumeStatus:
    """The whole status as it should be. `problem` keeps the DataVolume from going on."""
    before, work = observed.dv.status, observed.work
    if before.phase == FAILED:
        return before  # the last word on why
    phase = phase_of(observed, problem)
    restarts = max(before.restart_count or 0, work.restarts if work is not None else 0)
    wanted = (_bound(observed, problem), _ready(phase), _running(observed, phase, problem))
    return DataVolumeStatus(
        claim_name=observed.dv.metadata.name if observed.claim is not None else before.claim_name,
        phase=phase,
        progress=_progress(observed, phase),
        restart_count=restarts or None,
        conditions=[timed(condition, before.conditions, now) for condition in wanted],
    )


def phase_of(observed: Observed, problem: Problem | None) -> str:
    before, found = observed.dv.status.phase or "", observed.owned
    if before in FINAL:
        return before
    if problem is not None:
        return FAILED if problem.fatal else PENDING
    if found is None or (found.status.phase != "Bound" and not observed.filled):
        return WAITING if _waits(observed) else PENDING
    return SUCCEEDED if observed.filled else _phase_of_work(observed, found)


def _phase_of_work(observed: Observed, found: Claim) -> str:
    before, work = observed.dv.status.phase, observed.work
    kind = kind_of(observed.origin)
    words = WORDS[kind]
    if work is not None and work.stage == "failed":
        return FAILED
    if kind == "upload":
        ready = work is not None and found.metadata.annotations.get(labels.CLAIM_FILL_READY) == "true"
        return words.progress if ready else words.scheduled
    # A restart of this process is no step back.
    begun = before == words.progress or (work is not None and work.stage != "queued")
    return words.progress if begun else words.scheduled


def _waits(observed: Observed) -> bool:
    """Whether the claim is bound only when a machine wants it."""
    found, chosen = observed.owned, observed.storage_class
    if found is None or chosen is None or not chosen.waits or observed.used:
        return False
    return labels.IMMEDIATE_BINDING not in found.metadata.annotations


def _progress(observed: Observed, phase: str) -> str:
    if phase == SUCCEEDED:
        return WHOLE
    work = observed.work
    if work is None or work.progress is None:
        return UNKNOWN_PROGRESS
    return f"{min(work.progress, 99.99):.2f}%"


def _bound(observed: Observed, problem: Problem | None) -> Told:
    name, found = observed.dv.metadata.name, observed.claim
    if problem is not None and observed.owned is None:
        return Told("Bound", "False", problem.reason, problem.message)
    if found is None:
        return Told("Bound", "Unknown", "NotFound", "No PVC found")
    match found.status.phase:
        case "Bound":
            return Told("Bound", "True", "Bound", f"PVC {name} Bound")
        case "Lost":
            return Told("Bound", "False", "ClaimLost", "Claim Lost")
    return Told("Bound", "False", "Pending", f"PVC {name} Pending")


def _ready(phase: str) -> Told:
    if phase == SUCCEEDED:
        return Told("Ready", "True")
    transfers = phase in {words.progress for words in WORDS.values()}
    return Told("Ready", "False", TRANSFERS if transfers else "")


def _running(observed: Observed, phase: str, problem: Problem | None) -> Told:
    work = observed.work
    if phase == SUCCEEDED:
        noun = WORDS[kind_of(observed.origin)].noun
        return Told("Running", "False", "Completed", f"{noun} Complete")
    if problem is not None:
        return Told("Running", "False", problem.reason if problem.fatal else "Pending", problem.message)
    if work is None or work.stage == "queued":
        return Told("Running", "False", "Pending")
    if work.patient:
        return Told("Running", "False", "Pending", work.message)
    if work.stage in {"waiting", "failed"}:
        again = f". Tried again at {rfc3339(work.again_at)}" if work.stage == "waiting" and work.again_at else ""
        return Told("Running", "False", "Error", f"Unable to process data: {work.message}{again}")
    return Told("Running", "True", TRANSFERS)


def timed(wanted: Told, before: list[ImportCondition], now: float) -> ImportCondition:
    """With its times: of the last change of the status, and of the last change of anything."""
    old = next((each for each in before if each.type == wanted.type), None)
    if old is not None and (old.status, old.reason or "", old.message or "") == wanted[1:]:
        return old
    kept = old.last_transition_time if old is not None and old.status == wanted.status else None
    return ImportCondition(
        type=wanted.type,
        status=wanted.status,
        reason=wanted.reason or None,
        message=wanted.message or None,
        last_heartbeat_time=rfc3339(now),
        last_transition_time=kept or rfc3339(now),
    )
