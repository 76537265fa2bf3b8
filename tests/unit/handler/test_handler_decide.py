"""The rules of a guest's life, as a table, and the promises that hold for every situation."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virt_handler import decide as rules
from virt_handler.decide import Failure, Process, Seen, decide
from virt_handler.domains import ALIVE, REASONS, STATES, Domain
from virt_handler.records import End, Record, ShutdownClock
from virt_types.codec import from_builtins
from virt_types.v1 import VirtualMachineInstance

UID, BOOT, NOW = "uid-1", "boot-1", 1000.0


def vmi(phase: str = "Scheduled", *, deleted: bool = False, grace: int | None = 30) -> VirtualMachineInstance:
    metadata: dict[str, Any] = {"name": "vm", "namespace": "default", "uid": UID}
    if deleted:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    spec = {} if grace is None else {"terminationGracePeriodSeconds": grace}
    return from_builtins({"metadata": metadata, "spec": spec, "status": {"phase": phase}}, VirtualMachineInstance)


def record(stage: Any = "started", **more: Any) -> Record:
    return Record(UID, "default", "vm", "uuid-1", more.pop("boot_id", BOOT), stage, **more)


def domain(state: str = "running", reason: str = "unknown", uid: str = UID) -> Domain:
    return Domain("uuid-1", "default_vm", uid, state, reason)


def seen(**facts: Any) -> Seen:
    known: dict[str, Any] = {"vmi": vmi(), "record": None, "domain": None, "process": None}
    return Seen(uid=UID, boot_id=BOOT, wall=5.0, **(known | facts))


def kinds(situation: Seen, now: float = NOW) -> list[str]:
    return [type(effect).__name__ for effect in decide(situation, now)]


BURIED = ["Finish", "Undefine", "CleanUp", "PublishEnd", "Forget"]
CLOCK = ShutdownClock(NOW - 4, 30)
SITUATIONS: list[tuple[str, Seen, list[str]]] = [
    ("scheduled and nothing there: start", seen(), ["Start"]),
    ("pending is not ours to start", seen(vmi=vmi("Pending")), []),
    ("a start in flight is left alone", seen(starting=True), []),
    ("a start in flight is taken back", seen(starting=True, vmi=vmi(deleted=True)), ["CancelStart"]),
    ("a prepared start goes on", seen(record=record("preparing")), ["Start"]),
    (
        "a defined domain that never ran is started",
        seen(record=record("starting"), domain=domain("shutoff")),
        ["Start"],
    ),
    (
        "a failed start waits and is told",
        seen(failure=Failure("X", "why", False, NOW + 9)),
        ["PublishTrouble", "Again"],
    ),
    ("a failed start is tried again in time", seen(failure=Failure("X", "why", False, NOW)), ["Start"]),
    (
        "a fatal start ends the VMI",
        seen(record=record("preparing"), failure=Failure("X", "why", True, 0)),
        ["Finish", "CleanUp", "PublishEnd", "Forget"],
    ),
    ("a running guest is adopted", seen(domain=domain()), ["Adopt", "PublishRunning"]),
    (
        "a guest started but not noted is adopted",
        seen(record=record("starting"), domain=domain()),
        ["Adopt", "PublishRunning"],
    ),
    ("a known running guest is told", seen(record=record(), domain=domain()), ["PublishRunning"]),
    (
        "an I/O error is resumed",
        seen(record=record(), domain=domain("paused", "ioerror")),
        ["PublishRunning", "Resume", "Again"],
    ),
    (
        "an I/O error's next resume waits",
        seen(record=record(), domain=domain("paused", "ioerror"), resumes=(1, NOW + 3)),
        ["PublishRunning", "Again"],
    ),
    ("a user's pause is kept", seen(record=record(), domain=domain("paused", "user")), ["PublishRunning"]),
    (
        "deleted: the clock starts and the button is pressed",
        seen(vmi=vmi("Running", deleted=True), record=record(), domain=domain()),
        ["BeginShutdown", "SignalShutdown", "Again"],
    ),
    (
        "deleted without grace: destroyed at once",
        seen(vmi=vmi("Running", deleted=True, grace=0), record=record(), domain=domain()),
        ["BeginShutdown", "Destroy", "Again"],
    ),
    (
        "the button is not pressed twice within five seconds",
        seen(vmi=vmi("Running", deleted=True), record=record(shutdown=CLOCK), domain=domain(), signalled_at=NOW - 4),
        ["Again"],
    ),
    (
        "the button is pressed again",
        seen(vmi=vmi("Running", deleted=True), record=record(shutdown=CLOCK), domain=domain(), signalled_at=NOW - 5),
        ["SignalShutdown", "Again"],
    ),
    (
        "the grace is over",
        seen(vmi=vmi("Running", deleted=True, grace=4), record=record(shutdown=CLOCK), domain=domain()),
        ["Destroy", "Again"],
    ),
    (
        "a VMI that is final does not keep a guest",
        seen(vmi=vmi("Failed"), record=record(), domain=domain()),
        ["BeginShutdown", "SignalShutdown", "Again"],
    ),
    (
        "a VMI that is gone does not keep a guest",
        seen(vmi=None, record=record(), domain=domain()),
        ["BeginShutdown", "SignalShutdown", "Again"],
    ),
    ("a domain nobody recorded and nobody wants is not ours", seen(vmi=None, domain=domain()), []),
    ("the guest ended", seen(vmi=vmi("Running"), record=record(), domain=domain("shutoff", "shutdown")), BURIED),
    (
        "the guest is gone, by libvirt's word and our record",
        seen(vmi=vmi("Running"), record=record()),
        ["Finish", "CleanUp", "PublishEnd", "Forget"],
    ),
    (
        "an end already written down is not written again",
        seen(vmi=vmi("Running"), record=record(end=End("Failed", "R", "m", 1.0))),
        ["CleanUp", "PublishEnd", "Forget"],
    ),
    (
        "QEMU lives though libvirt denies it: nothing is touched",
        seen(vmi=vmi("Running"), record=record(), process=Process(7, 1)),
        ["PublishTrouble", "Again"],
    ),
    (
        "QEMU lives though libvirt denies it, and the VMI goes",
        seen(vmi=vmi("Running", deleted=True), record=record(), process=Process(7, 1)),
        ["Kill", "Again"],
    ),
    ("deleted before it started", seen(vmi=vmi(deleted=True)), ["PublishEnd"]),
    ("running by its status, and no trace anywhere", seen(vmi=vmi("Running")), ["PublishEnd"]),
    ("nothing at all", seen(vmi=None), []),
    ("another cluster's domain has the name", seen(domain=domain(uid="other")), ["PublishTrouble", "Again"]),
    (
        "a predecessor's domain is waited for",
        seen(domain=domain(uid="old"), siblings=frozenset({"old"})),
        ["Again"],
    ),
]


@pytest.mark.parametrize(("situation", "wanted"), [row[1:] for row in SITUATIONS], ids=[row[0] for row in SITUATIONS])
def test_each_situation_has_its_effects(situation: Seen, wanted: list[str]) -> None:
    assert kinds(situation) == wanted


ENDS = [
    (domain("shutoff", "shutdown"), record(), "Succeeded", "GuestShutdown"),
    (domain("shutoff", "shutdown"), record(shutdown=CLOCK), "Succeeded", "ShutdownRequested"),
    (domain("shutoff", "destroyed"), record(shutdown=CLOCK), "Failed", "GracePeriodExceeded"),
    (domain("shutoff", "destroyed"), record(), "Failed", "GuestDestroyed"),
    (domain("shutoff", "crashed"), record(), "Failed", "GuestCrashed"),
    (domain("shutoff", "crashed"), record(shutdown=CLOCK), "Failed", "GuestCrashed"),
    (domain("crashed", "panicked"), record(), "Failed", "GuestPanicked"),
    (domain("shutoff", "unknown"), record(), "Failed", "GuestLost"),
    (None, record(), "Failed", "GuestLost"),
    (None, record(boot_id="boot-0"), "Failed", "NodeRestarted"),
    (domain("shutoff", "shutdown"), record("starting"), "Succeeded", "GuestShutdown"),
]


@pytest.mark.parametrize(("down", "known", "phase", "reason"), ENDS)
def test_the_end_says_who_ended_the_guest_and_how(down: Domain | None, known: Record, phase: str, reason: str) -> None:
    effects = decide(seen(vmi=vmi("Running"), record=known, domain=down), NOW)
    end = next(effect.end for effect in effects if isinstance(effect, rules.Finish))
    assert (end.phase, end.reason) == (phase, reason)
    assert end.message


def test_a_forced_stop_is_no_failure() -> None:
    situation = seen(
        vmi=vmi("Running", deleted=True, grace=0),
        record=record(shutdown=ShutdownClock(NOW, 0)),
        domain=domain("shutoff", "destroyed"),
    )
    finish = decide(situation, NOW)[0]
    assert isinstance(finish, rules.Finish)
    assert (finish.end.phase, finish.end.reason) == ("Succeeded", "ForcedStop")


def test_a_shortened_grace_period_counts_from_the_first_signal() -> None:
    clock = ShutdownClock(NOW - 10, 300)
    situation = seen(vmi=vmi("Running", deleted=True, grace=5), record=record(shutdown=clock), domain=domain())
    assert "Destroy" in kinds(situation)


def test_the_domains_own_clock_counts_when_the_record_has_none() -> None:
    marked = domain()._replace(shutdown=ShutdownClock(NOW - 31, 30))
    assert "Destroy" in kinds(seen(vmi=vmi("Running", deleted=True), record=record(), domain=marked))


states = st.sampled_from(
    [domain(state, reason) for state in STATES for reason in REASONS.get(state, ("unknown",))] + [None]
)
vmis = st.one_of(
    st.none(),
    st.builds(
        vmi,
        st.sampled_from(["Scheduled", "Running", "Succeeded", "Failed"]),
        deleted=st.booleans(),
        grace=st.sampled_from([None, 0, 1, 30, 3600]),
    ),
)
clocks = st.one_of(st.none(), st.builds(ShutdownClock, st.floats(0, NOW), st.integers(0, 3600)))
records = st.one_of(
    st.none(), st.builds(record, st.sampled_from(["preparing", "starting", "started"]), shutdown=clocks)
)
situations = st.builds(
    seen,
    vmi=vmis,
    record=records,
    domain=states,
    process=st.sampled_from([None, Process(7, 1)]),
    starting=st.booleans(),
    signalled_at=st.one_of(st.none(), st.floats(0, NOW)),
)


@given(situations)
def test_nothing_is_started_while_something_may_run(situation: Seen) -> None:
    if "Start" in kinds(situation):
        assert situation.domain is None or not situation.domain.alive
        assert situation.process is None
        assert not situation.starting
        assert situation.record is None or situation.record.stage != "started"
        assert not rules.must_stop(situation.vmi)


@given(situations)
def test_nothing_is_removed_while_something_may_run(situation: Seen) -> None:
    if {"Undefine", "CleanUp", "Forget", "PublishEnd"} & set(kinds(situation)):
        assert situation.domain is None or situation.domain.state not in ALIVE
        assert situation.process is None
        assert not situation.starting


@given(situations)
def test_a_guest_is_ended_only_when_it_must_stop(situation: Seen) -> None:
    if {"Destroy", "Kill", "SignalShutdown", "BeginShutdown"} & set(kinds(situation)):
        assert rules.must_stop(situation.vmi)


@given(situations)
def test_a_living_guest_that_must_stop_always_comes_to_its_end(situation: Seen) -> None:
    """Carry the effects out on a guest that hears nothing: within the grace, and few steps more, it is gone."""
    if situation.domain is None or not situation.domain.alive or not rules.must_stop(situation.vmi):
        return
    if situation.vmi is None and situation.record is None:
        return  # nobody's
    situation = situation._replace(starting=False)
    now, deadline = NOW, NOW + rules.grace_of(situation.vmi, situation.record) + 1
    for _ in range(2000):
        pause = 0.0
        for effect in decide(situation, now):
            match effect:
                case rules.Destroy() | rules.Kill():
                    return
                case rules.Adopt(found):
                    situation = situation._replace(record=record(shutdown=found.shutdown))
                case rules.BeginShutdown(grace, _):
                    marked = msgspec.structs.replace(situation.record, shutdown=ShutdownClock(now, grace))
                    situation = situation._replace(record=marked)
                case rules.SignalShutdown():
                    situation = situation._replace(signalled_at=now)
                case rules.Again(after):
                    pause = after
        now += pause
        assert now <= deadline
    pytest.fail("it never ends")
