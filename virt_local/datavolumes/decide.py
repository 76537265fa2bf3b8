"""What has to happen for one DataVolume: every rule of its loop, and nothing else.

`decide` names effects in order; `controller` carries them out. A claim is marked as filled before the DataVolume says
so, and only when the worker has put the whole disk in place: until then, and after a crash, it is no disk to anybody.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from virt_kube.api import Json
from virt_kube.informer import Key
from virt_local.claims import Claim
from virt_local.datavolumes import claim as claims
from virt_local.datavolumes.observed import Observed
from virt_local.datavolumes.origin import Problem
from virt_local.datavolumes.phases import FINAL, WORDS, kind_of
from virt_local.datavolumes.plan import ARCHIVE, Plan, usable
from virt_local.datavolumes.status import status_of
from virt_local.datavolumes.workers import Work
from virt_types import labels
from virt_types.cdi.claims import awaits_filling
from virt_types.cdi.objects import DataVolumeStatus
from virt_types.cdi.v1beta1 import DataVolumeSourceUpload
from virt_types.quantity import to_bytes


@dataclass(frozen=True, slots=True)
class CreateClaim:
    body: Json = field(hash=False)


@dataclass(frozen=True, slots=True)
class Adopt:
    """Make a claim without a controller the DataVolume's own."""


@dataclass(frozen=True, slots=True)
class Start:
    """Begin to fill the claim, counting on from so many restarts."""

    plan: Plan
    restarts: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Nobody waits for it any more."""


@dataclass(frozen=True, slots=True)
class MarkClaim:
    """Write annotations that say how far the claim is."""

    annotations: dict[str, str] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Tell:
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class WriteStatus:
    status: DataVolumeStatus


Effect = CreateClaim | Adopt | Start | Stop | MarkClaim | Tell | WriteStatus
EXISTS = 'Resource "{name}" already exists and is not managed by DataVolume'
GOING = 'Resource "{name}" is being deleted; the DataVolume waits for its end'
LOST = "PVC {name} lost"


def decide(observed: Observed, now: float) -> tuple[Effect, ...]:
    """The next effects for `observed`; none when the DataVolume is as it should be. `now` is Unix seconds."""
    dv = observed.dv
    if dv.metadata.deletion_timestamp:
        return (Stop(),) if observed.work is not None else ()
    problem = None if dv.status.phase in FINAL else _problem(observed)
    moves: tuple[Effect, ...] = () if problem is not None or dv.status.phase in FINAL else _moves(observed)
    status = status_of(observed, problem, now)
    if status == dv.status:
        return moves
    return (*moves, *_news(observed, status, problem), WriteStatus(status))


def _problem(observed: Observed) -> Problem | None:
    """What keeps the DataVolume from having a claim of its own, or its claim from being filled."""
    name = observed.dv.metadata.name
    found = observed.claim
    if found is None:
        return observed.origin.problem or claims.refused(observed.dv, observed.storage_class)
    if found.metadata.deletion_timestamp:
        return Problem("ErrResourceMarkedForDeletion", GOING.format(name=name))
    if observed.owned is None:
        return None if _may_adopt(observed) else Problem("ErrResourceExists", EXISTS.format(name=name))
    if found.status.phase == "Lost":
        return Problem("ErrClaimLost", LOST.format(name=name), fatal=True)
    return None if observed.filled else observed.origin.problem


def _may_adopt(observed: Observed) -> bool:
    found = observed.claim
    if found is None or found.metadata.controller is not None:
        return False
    annotated = (observed.dv.metadata.annotations, found.metadata.annotations)
    return any(annotations.get(labels.CLAIM_ADOPTION) == "true" for annotations in annotated)


def _moves(observed: Observed) -> tuple[Effect, ...]:
    dv, found = observed.dv, observed.claim
    if found is None:
        if observed.storage_class is None:
            return ()
        return (CreateClaim(claims.build(dv, observed.storage_class, observed.origin)),)
    if observed.owned is None:
        return (Adopt(),)
    return () if observed.filled or found.status.phase != "Bound" else _fill(observed, found)


def _fill(observed: Observed, found: Claim) -> tuple[Effect, ...]:
    dv, work = observed.dv, observed.work
    if work is None:
        plan = plan_of(observed)
        return (Start(plan, dv.status.restart_count or 0),) if plan is not None else ()
    if work.stage == "done":
        restarts = {labels.CLAIM_FILL_RESTARTS: str(work.restarts)}
        return (MarkClaim({labels.CLAIM_FILL_PHASE: "Succeeded", **restarts}),)
    if kind_of(observed.origin) == "upload" and found.metadata.annotations.get(labels.CLAIM_FILL_READY) != "true":
        return (MarkClaim({labels.CLAIM_FILL_PHASE: "Running", labels.CLAIM_FILL_READY: "true"}),)
    return ()


def decide_upload(found: Claim, work: Work | None) -> tuple[Effect, ...]:
    """The same for a claim that is filled by an upload without a DataVolume; nothing for any other claim."""
    meta = found.metadata
    wanted = labels.UPLOAD_TARGET in meta.annotations and meta.controller is None and awaits_filling(meta.annotations)
    if not wanted or meta.deletion_timestamp or found.status.phase != "Bound":
        return (Stop(),) if work is not None else ()
    if work is None:
        return (Start(_upload_plan(found), int(meta.annotations.get(labels.CLAIM_FILL_RESTARTS) or 0)),)
    if work.stage == "done":
        return (MarkClaim({labels.CLAIM_FILL_PHASE: "Succeeded"}),)
    if meta.annotations.get(labels.CLAIM_FILL_READY) != "true":
        return (MarkClaim({labels.CLAIM_FILL_PHASE: "Running", labels.CLAIM_FILL_READY: "true"}),)
    return ()


def _upload_plan(found: Claim) -> Plan:
    request = to_bytes(found.spec.resources.requests.get("storage", 0))
    return Plan(
        Key(found.metadata.namespace, found.metadata.name),
        found.metadata.uid,
        DataVolumeSourceUpload(),
        size=usable(request),
        available=request,
        archive=found.metadata.annotations.get(labels.CLAIM_CONTENT_TYPE) == ARCHIVE,
    )


def plan_of(observed: Observed) -> Plan | None:
    """What the claim is to be filled with; None while that is unknown."""
    dv, found, source = observed.dv, observed.claim, observed.origin.source
    if found is None or source is None:
        return None
    request = to_bytes(found.spec.resources.requests.get("storage", 0))
    return Plan(
        Key(dv.metadata.namespace, dv.metadata.name),
        found.metadata.uid,
        source,
        size=usable(request),
        available=request,
        archive=claims.is_archive(dv),
        preallocate=bool(dv.spec.preallocation),
    )


def _news(observed: Observed, status: DataVolumeStatus, problem: Problem | None) -> tuple[Tell, ...]:
    """The events of what changes with `status`."""
    before, words = observed.dv.status, WORDS[kind_of(observed.origin)]
    name = observed.dv.metadata.name
    found: list[Tell] = []
    if problem is not None and not _is_told(before, problem):
        found.append(Tell("Warning", problem.reason, problem.message))
    work = observed.work
    if work is not None and work.message and (status.restart_count or 0) > (before.restart_count or 0):
        text = words.text("failed", observed.dv, observed.origin)
        found.append(Tell("Warning", words.reason("failed"), f"{text}: {work.message}"))
    if work is not None and work.patient and not _is_told(before, Problem("Pending", work.message)):
        found.append(Tell("Normal", work.reason, work.message))
    step = words.step_of(status.phase or "")
    if status.phase != before.phase and step not in {"", "failed"}:
        found.append(Tell("Normal", words.reason(step), words.text(step, observed.dv, observed.origin)))
    if status.phase != before.phase and status.phase in {"Pending", "WaitForFirstConsumer"} and problem is None:
        found.append(Tell("Normal", status.phase, f"PVC {name} {status.phase}"))
    return tuple(found)


def _is_told(before: DataVolumeStatus, problem: Problem) -> bool:
    return any(
        (condition.reason, condition.message) == (problem.reason, problem.message) for condition in before.conditions
    )
