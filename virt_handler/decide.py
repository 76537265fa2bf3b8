"""What to do about one VMI of this node: every rule of a guest's life, and nothing else.

`decide(seen, now)` is pure: it sleeps, logs and talks to nobody, so all of it is tested as a table. The agent looks
(libvirt's answer, our record, the cached VMI), decides, and carries the effects out in order; it may be killed between
any two of them, and deciding again must finish the work.

The order of wishes is the specification's: stop > clean up > start > keep the status true. Absence is not death: a
guest is gone only when libvirt answered without it, our record says that it ran, and no QEMU with its uuid is left.
"""

from __future__ import annotations

from typing import NamedTuple

from virt_handler.domains import Domain
from virt_handler.records import End, FinalPhase, Record
from virt_types.running import FINAL_PHASES
from virt_types.v1 import VirtualMachineInstance

DEFAULT_GRACE = 30
SIGNAL_INTERVAL = 5.0
IO_ERROR_FIRST, IO_ERROR_MAX = 10.0, 180.0
# Seconds until we look again: at a guest libvirt lost sight of, a name somebody else took, a predecessor being ended.
ORPHAN_INTERVAL, CONFLICT_INTERVAL, SIBLING_INTERVAL = 10.0, 30.0, 1.0


class Process(NamedTuple):
    """A QEMU found in the process table by the guest's uuid; `started` (clock ticks) tells it from a reused pid."""

    pid: int
    started: int


class Failure(NamedTuple):
    """The last attempt to start went wrong; `retry_at` is in the same seconds as `now`."""

    reason: str
    message: str
    fatal: bool
    retry_at: float


class Seen(NamedTuple):
    """Everything one decision rests on, about one VMI uid.

    `vmi` is None when the API has said that it is gone. `domain` is what libvirt answered for the VMI's name, None when
    it answered that there is none; `siblings` are the other uids of that name we have records of. The last four are the
    agent's memory of this run.
    """

    uid: str
    vmi: VirtualMachineInstance | None
    record: Record | None
    domain: Domain | None
    process: Process | None
    boot_id: str
    wall: float
    siblings: frozenset[str] = frozenset()
    starting: bool = False
    failure: Failure | None = None
    signalled_at: float | None = None
    resumes: tuple[int, float] = (0, 0.0)  # attempts after an I/O error, and when the next one is due


class Start(NamedTuple):
    """Prepare volumes and network, define, start; runs beside the loop and adds the key again when it ends."""


class CancelStart(NamedTuple):
    """Stop preparing; a start already handed to libvirt is waited for."""


class Adopt(NamedTuple):
    """Take the running domain as ours: write a record that says it was started."""

    domain: Domain


class BeginShutdown(NamedTuple):
    """Start the clock, durably."""

    grace_seconds: int
    domain: Domain


class SignalShutdown(NamedTuple):
    """Press the power button and ask the guest's agent."""

    domain: Domain
    first: bool


class Destroy(NamedTuple):
    """End QEMU; the reason is told in the end's message."""

    domain: Domain


class Kill(NamedTuple):
    """End a QEMU that libvirt has lost."""

    process: Process


class Resume(NamedTuple):
    domain: Domain
    attempt: int


class Finish(NamedTuple):
    """Write down how the guest ended, before the traces go."""

    end: End


class Undefine(NamedTuple):
    domain: Domain


class CleanUp(NamedTuple):
    """Remove files; what is not there is done already."""


class PublishEnd(NamedTuple):
    """Final phase and our finalizer's removal, in one write."""

    end: End


class Forget(NamedTuple):
    """Remove the record: nothing of the guest is left."""


class PublishRunning(NamedTuple):
    domain: Domain


class PublishTrouble(NamedTuple):
    """Condition Synchronized=False and an event."""

    reason: str
    message: str


class Again(NamedTuple):
    """Decide again after so many seconds, whatever happens meanwhile."""

    after: float


Effect = (
    Start
    | CancelStart
    | Adopt
    | BeginShutdown
    | SignalShutdown
    | Destroy
    | Kill
    | Resume
    | Finish
    | Undefine
    | CleanUp
    | PublishEnd
    | Forget
    | PublishRunning
    | PublishTrouble
    | Again
)

# (state, reason) of a domain that is down -> phase, reason, message. Others: libvirt forgot, see `_how_it_ended`.
ENDINGS: dict[tuple[str, str], tuple[FinalPhase, str, str]] = {
    ("shutoff", "shutdown"): ("Succeeded", "GuestShutdown", "the guest shut itself down"),
    ("shutoff", "saved"): ("Succeeded", "GuestSaved", "the guest was saved to disk by libvirt's own tools"),
    ("shutoff", "from-snapshot"): ("Succeeded", "GuestReverted", "the guest was reverted by libvirt's own tools"),
    ("shutoff", "destroyed"): ("Failed", "GuestDestroyed", "the guest was destroyed by libvirt's own tools"),
    ("shutoff", "crashed"): ("Failed", "GuestCrashed", "QEMU ended unexpectedly: it crashed or was killed"),
    ("shutoff", "failed"): ("Failed", "StartFailed", "QEMU could not be started"),
    ("shutoff", "daemon"): ("Failed", "GuestLost", "QEMU ended while libvirt was not running"),
    ("crashed", "panicked"): ("Failed", "GuestPanicked", "the guest's kernel panicked"),
    ("crashed", "unknown"): ("Failed", "GuestCrashed", "the guest crashed"),
}
UNSEEN_END: tuple[FinalPhase, str, str] = ("Failed", "GuestLost", "the guest ended while nobody was looking")


def decide(seen: Seen, now: float) -> list[Effect]:  # noqa: PLR0911  one line per situation, in their order
    """The effects that bring one VMI of this node on. `now`: seconds since the host booted."""
    if seen.domain is not None and seen.domain.vmi_uid != seen.uid:
        return _foreign_domain(seen)
    if seen.starting:
        return [CancelStart()] if must_stop(seen.vmi) else []
    if seen.domain is not None and seen.domain.alive:
        if must_stop(seen.vmi) or _ended(seen):
            return _stop(seen, seen.domain, now)
        return _keep(seen, seen.domain, now)
    if seen.process is not None:
        return _stop_lost(seen, seen.process, now) if must_stop(seen.vmi) else _report_lost(seen.process)
    end = _end_of(seen)
    if end is not None:
        return _bury(seen, end)
    if seen.vmi is None:
        return []
    return _start(seen, now)


def must_stop(vmi: VirtualMachineInstance | None) -> bool:
    """Whether no guest of this VMI may run (any more)."""
    return vmi is None or vmi.metadata.deletion_timestamp is not None or vmi.status.phase in FINAL_PHASES


def grace_of(vmi: VirtualMachineInstance | None, record: Record | None) -> int:
    """Seconds between the first signal and the end; the VMI's present word counts, it may have been shortened."""
    if vmi is not None:
        seconds = vmi.spec.termination_grace_period_seconds
        return DEFAULT_GRACE if seconds is None else max(0, seconds)
    return record.grace_seconds if record is not None else DEFAULT_GRACE


def _foreign_domain(seen: Seen) -> list[Effect]:
    """Our name is taken. The agent tears down a former VMI's domain under its own uid; anybody else's is left alone."""
    if must_stop(seen.vmi):
        alone = seen._replace(domain=None)
        end = _end_of(alone)
        return _bury(alone, end) if end is not None else []
    if seen.domain is not None and seen.domain.vmi_uid not in seen.siblings:
        message = f"libvirt has a domain {seen.domain.name!r} that is not this VMI's; undefine or rename it"
        return [PublishTrouble("DomainConflict", message), Again(CONFLICT_INTERVAL)]
    return [Again(SIBLING_INTERVAL)]


def _ended(seen: Seen) -> bool:
    return seen.record is not None and seen.record.end is not None


def _stop(seen: Seen, domain: Domain, now: float) -> list[Effect]:
    if seen.record is None:
        return [Adopt(domain), Again(0)] if seen.vmi is not None else []
    grace = grace_of(seen.vmi, seen.record)
    clock = seen.record.shutdown or domain.shutdown
    if clock is None:
        begin = BeginShutdown(grace, domain)
        if grace == 0:
            return [begin, Destroy(domain), Again(0)]
        return [begin, SignalShutdown(domain, first=True), Again(min(SIGNAL_INTERVAL, grace))]
    left = clock.since + grace - now
    if left <= 0:
        return [Destroy(domain), Again(0)]
    due = 0.0 if seen.signalled_at is None else seen.signalled_at + SIGNAL_INTERVAL - now
    if due > 0:
        return [Again(min(due, left))]
    return [SignalShutdown(domain, first=False), Again(min(SIGNAL_INTERVAL, left))]


def _keep(seen: Seen, domain: Domain, now: float) -> list[Effect]:
    effects: list[Effect] = []
    if seen.record is None or seen.record.stage != "started":
        effects.append(Adopt(domain))
    effects.append(PublishRunning(domain))
    if (domain.state, domain.reason) == ("paused", "ioerror"):
        attempts, due = seen.resumes
        if now >= due:
            pause = min(IO_ERROR_FIRST * 2.0**attempts, IO_ERROR_MAX)
            effects += [Resume(domain, attempts + 1), Again(pause)]
        else:
            effects.append(Again(due - now))
    return effects


def _stop_lost(seen: Seen, process: Process, now: float) -> list[Effect]:
    """libvirt can't signal this guest any more: its process is ended, after what is left of a grace that has begun."""
    clock = seen.record.shutdown if seen.record is not None else None
    since = clock.since if clock is not None else None
    if since is not None and now < since + grace_of(seen.vmi, seen.record):
        return [Again(min(SIGNAL_INTERVAL, since + grace_of(seen.vmi, seen.record) - now))]
    return [Kill(process), Again(1.0)]


def _report_lost(process: Process) -> list[Effect]:
    message = (
        f"QEMU runs as process {process.pid}, but libvirt does not know the guest; "
        "it is left alone, and will be ended when the VMI is deleted"
    )
    return [PublishTrouble("GuestUnknownToLibvirt", message), Again(ORPHAN_INTERVAL)]


def _end_of(seen: Seen) -> End | None:  # noqa: PLR0911  one line per situation, in their order
    """How the guest ended, or that it never will begin; None while it is still to be started."""
    record, vmi = seen.record, seen.vmi
    if record is not None and record.end is not None:
        return record.end
    if record is not None and (record.stage == "started" or _ran_unnoticed(seen, record)):
        return _how_it_ended(seen, record)
    if vmi is not None and vmi.status.phase in FINAL_PHASES:
        return _end(seen, "Failed" if vmi.status.phase == "Failed" else "Succeeded", vmi.status.reason or "", "")
    if must_stop(vmi):
        if record is None and vmi is None:
            return None
        return _end(seen, "Succeeded", "DeletedBeforeStart", "the VirtualMachineInstance was deleted before it started")
    if record is None and vmi is not None and vmi.status.phase == "Running":
        return _end(seen, *UNSEEN_END)
    if seen.failure is not None and seen.failure.fatal:
        return _end(seen, "Failed", seen.failure.reason, seen.failure.message)
    return None


def _ran_unnoticed(seen: Seen, record: Record) -> bool:
    """Whether the guest ended before its start was written down: a domain that never ran has no reason."""
    if record.stage != "starting" or seen.domain is None:
        return False
    return (seen.domain.state, seen.domain.reason) in ENDINGS and seen.domain.reason != "failed"


def _how_it_ended(seen: Seen, record: Record) -> End:
    if record.boot_id != seen.boot_id:
        return _end(seen, "Failed", "NodeRestarted", "the node was restarted under the running guest")
    where = (seen.domain.state, seen.domain.reason) if seen.domain is not None else ("", "")
    if record.shutdown is not None:
        if where == ("shutoff", "destroyed"):
            return _destroyed(seen, grace_of(seen.vmi, record))
        if where == ("shutoff", "shutdown"):
            return _end(seen, "Succeeded", "ShutdownRequested", "the guest shut down as it was asked to")
    return _end(seen, *ENDINGS.get(where, UNSEEN_END))


def _destroyed(seen: Seen, grace: int) -> End:
    if grace == 0:
        return _end(seen, "Succeeded", "ForcedStop", "the guest was destroyed at once, as it was asked for")
    message = f"the guest did not shut down within its grace period of {grace} s and was destroyed"
    return _end(seen, "Failed", "GracePeriodExceeded", message)


def _end(seen: Seen, phase: FinalPhase, reason: str, message: str) -> End:
    return End(phase, reason, message, seen.wall)


def _bury(seen: Seen, end: End) -> list[Effect]:
    effects: list[Effect] = []
    if seen.record is not None and seen.record.end is None:
        effects.append(Finish(end))
    if seen.domain is not None:
        effects.append(Undefine(seen.domain))
    if seen.record is not None:
        effects.append(CleanUp())
    if seen.vmi is not None:
        effects.append(PublishEnd(end))
    if seen.record is not None:
        effects.append(Forget())
    return effects


def _start(seen: Seen, now: float) -> list[Effect]:
    if seen.vmi is None or seen.vmi.status.phase not in {"Scheduled", "Running"}:
        return []
    if seen.failure is None:
        return [Start()]
    trouble = PublishTrouble(seen.failure.reason, seen.failure.message)
    if now < seen.failure.retry_at:
        return [trouble, Again(seen.failure.retry_at - now)]
    return [Start()]
