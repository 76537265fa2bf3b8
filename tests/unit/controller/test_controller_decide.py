"""The rules of the VirtualMachine loop as tables: what is observed, and what has to happen next."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_kube import EPOCH
from support.machines import UID, vm, vmi

from virt_controller.backoff import backoff
from virt_controller.decisions import Failure
from virt_controller.vm.decide import decide
from virt_controller.vm.effects import (
    AddFinalizer,
    Adopt,
    BackfillIdentity,
    Create,
    Decision,
    Delete,
    Release,
    RemoveFinalizer,
    TurnOn,
    WriteStatus,
)
from virt_controller.vm.observed import Observed
from virt_kube.clock import rfc3339
from virt_types import labels
from virt_types.codec import from_builtins, to_builtins
from virt_types.v1 import VirtualMachine, VirtualMachineInstance, VirtualMachineStatus, Volume

NOW = EPOCH + 100
RUNS = "22222222-bbbb"
START: dict[str, Any] = {"action": "Start"}
PAUSED = {"action": "Start", "data": {"paused": "true"}}
STOP = {"action": "Stop", "uid": RUNS}
STALE_STOP = {"action": "Stop", "uid": "33333333-cccc"}
NONE = None

STRATEGIES = ("Always", "Halted", "Manual", "RerunOnFailure", "Once")


def settle(observed: Observed) -> list[object]:
    """What decide asks for, one after the other; each status write takes effect, anything else ends it."""
    effects: list[object] = []
    for _ in range(4):
        decision = decide(observed, NOW)
        if not decision.effects:
            return effects
        effects += decision.effects
        last = decision.effects[-1]
        if not isinstance(last, WriteStatus):
            return effects
        stored = from_builtins(to_builtins(last.status), VirtualMachineStatus)
        machine = from_builtins({**to_builtins(observed.vm), "status": to_builtins(stored)}, VirtualMachine)
        observed = observed._replace(vm=machine)
    raise AssertionError("decide writes the status for ever")


def acts(observed: Observed) -> list[str]:
    return [type(effect).__name__ for effect in settle(observed) if not isinstance(effect, WriteStatus)]


def final_status(observed: Observed) -> VirtualMachineStatus:
    """The status after all writes decide asks for."""
    writes = [effect.status for effect in settle(observed) if isinstance(effect, WriteStatus)]
    return writes[-1] if writes else observed.vm.status


# strategy, queued requests, VMI phase (None: no VMI), what happens
TABLE = [
    ("Always", [], None, ["Create"]),
    ("Always", [], "Pending", []),
    ("Always", [], "Running", []),
    ("Always", [], "Succeeded", ["Delete"]),
    ("Always", [], "Failed", ["Delete"]),
    ("Always", [STOP, START], "Running", ["Delete"]),
    ("Always", [STALE_STOP], "Running", []),
    ("Once", [], None, ["Create"]),
    ("Once", [], "Running", []),
    ("Once", [], "Succeeded", ["Release"]),
    ("Once", [], "Failed", ["Release"]),
    ("Halted", [], None, []),
    ("Halted", [], "Running", ["Delete"]),
    ("Halted", [], "Pending", ["Delete"]),
    ("Halted", [], "Succeeded", ["Delete"]),
    ("Halted", [PAUSED], None, ["TurnOn"]),
    ("Halted", [START], None, []),
    ("Halted", [STOP, START], None, []),
    ("Halted", [STOP, PAUSED], None, []),
    ("Manual", [], None, []),
    ("Manual", [START], None, ["Create"]),
    ("Manual", [PAUSED], None, ["Create"]),
    ("Manual", [STOP, START], None, ["Create"]),
    ("Manual", [STALE_STOP], None, []),
    ("Manual", [], "Running", []),
    ("Manual", [STOP], "Running", ["Delete"]),
    ("Manual", [STOP, START], "Running", ["Delete"]),
    ("Manual", [STALE_STOP, START], "Running", []),
    ("Manual", [], "Succeeded", ["Release"]),
    ("Manual", [STOP, START], "Succeeded", ["Delete"]),
    ("Manual", [START], "Succeeded", ["Release"]),
    ("RerunOnFailure", [START], None, ["Create"]),
    ("RerunOnFailure", [], "Running", []),
    ("RerunOnFailure", [STOP], "Running", ["Delete"]),
    ("RerunOnFailure", [], "Succeeded", ["Delete"]),
    ("RerunOnFailure", [], "Failed", ["Delete"]),
    ("WaitAsReceiver", [], None, []),
    (None, [], None, []),
    (None, [], "Running", ["Delete"]),
]


@pytest.mark.parametrize(("strategy", "requests", "phase", "expected"), TABLE)
def test_what_a_strategy_does(
    strategy: str | None, requests: list[dict[str, Any]], phase: str | None, expected: list[str]
) -> None:
    machine = vm(strategy, runStrategy=strategy or "Halted", stateChangeRequests=requests)
    assert acts(Observed(machine, vmi(phase) if phase else None)) == expected


def test_running_says_what_run_strategy_does() -> None:
    on = vm(None)
    on.spec.running = True
    assert acts(Observed(on)) == ["Create"]
    on.spec.running = False
    assert acts(Observed(on)) == []


@pytest.mark.parametrize(("request_", "paused"), [(START, False), (PAUSED, True)])
def test_a_start_may_be_paused(request_: dict[str, Any], paused: bool) -> None:
    machine = vm("Manual", runStrategy="Manual", stateChangeRequests=[request_])
    assert settle(Observed(machine)) == [Create(paused=paused)]


@pytest.mark.parametrize(("recorded", "expected"), [(None, ["Create"]), ("Manual", ["Create"]), ("RerunOnFailure", [])])
def test_rerun_on_failure_starts_once_when_it_becomes_the_strategy(recorded: str | None, expected: list[str]) -> None:
    machine = vm("RerunOnFailure", **({"runStrategy": recorded} if recorded else {}))
    assert acts(Observed(machine)) == expected


def test_a_stop_is_carried_out_only_when_the_strategy_is_recorded() -> None:
    """Else the VM would look as if it had just become RerunOnFailure once its instance is gone, and start again."""
    machine = vm("RerunOnFailure", runStrategy="Halted", stateChangeRequests=[STOP])
    first, second = settle(Observed(machine, vmi("Running")))
    assert isinstance(first, WriteStatus)
    assert first.status.run_strategy == "RerunOnFailure"
    assert second == Delete(RUNS)


def test_the_strategy_is_not_recorded_while_its_start_is_withheld() -> None:
    """Else a crash or back-off between the record and the create would lose the start."""
    failure = {"consecutiveFailCount": 1, "lastFailedVMIUID": "x", "retryAfterTimestamp": rfc3339(NOW + 5)}
    machine = vm("RerunOnFailure", runStrategy="Manual", startFailure=failure)
    assert final_status(Observed(machine)).run_strategy == "Manual"


def test_a_failed_guest_is_queued_for_rerun_before_it_is_deleted() -> None:
    first, second = settle(Observed(vm("RerunOnFailure"), vmi("Failed")))
    assert isinstance(first, WriteStatus)
    assert [request.action for request in first.status.state_change_requests] == ["Start"]
    assert second == Delete(RUNS)


def test_a_restart_survives_until_the_old_instance_is_gone() -> None:
    machine = vm("Manual", runStrategy="Manual", stateChangeRequests=[STOP, START])
    for observed in (
        Observed(machine, vmi("Running"), going=True),
        Observed(machine, vmi("Running", going=True)),
        Observed(machine, vmi("Succeeded", going=True)),
    ):
        assert [each.action for each in final_status(observed).state_change_requests] == ["Stop", "Start"]
        assert "Create" not in acts(observed)
    machine = vm("Manual", runStrategy="Manual", stateChangeRequests=[START])
    late = final_status(Observed(machine, vmi("Running", going=True)))
    assert [each.action for each in late.state_change_requests] == ["Start"]


def test_a_stop_of_an_always_vm_is_not_undone_by_a_queued_restart() -> None:
    """FINDINGS 1: `restart`, then `stop`, leaves [Stop, Start] behind under Halted."""
    machine = vm("Halted", runStrategy="Always", stateChangeRequests=[STOP, START])
    running = Observed(machine, vmi("Running", going=True))
    assert [each.action for each in final_status(running).state_change_requests] == ["Stop"]
    assert acts(Observed(machine)) == []
    assert final_status(Observed(machine)).state_change_requests == []


@pytest.mark.parametrize("strategy", ["Always", "RerunOnFailure", "Once"])
@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_start_that_fails_is_counted_once(strategy: str, phase: str) -> None:
    observed = Observed(vm(strategy), vmi(phase, ran=False), jitter=0.5)
    failure = final_status(observed).start_failure
    assert failure is not None
    assert failure.consecutive_fail_count == 1
    assert failure.last_failed_vmi_uid == RUNS
    assert failure.retry_after_timestamp == rfc3339(NOW + 12.5)
    again = vm(strategy, startFailure=to_builtins(failure))
    assert final_status(Observed(again, vmi(phase, ran=False, going=True))).start_failure == failure
    next_one = Observed(again, vmi(phase, ran=False, uid="44444444-dddd"), jitter=0.0)
    counted = final_status(next_one).start_failure
    assert counted is not None
    assert counted.consecutive_fail_count == 2
    assert counted.retry_after_timestamp == rfc3339(NOW + 40)


@pytest.mark.parametrize(
    "observed",
    [
        Observed(vm("Always", stateChangeRequests=[STOP]), vmi("Failed", ran=False)),
        Observed(vm("RerunOnFailure", stateChangeRequests=[STOP]), vmi("Failed", ran=False)),
        Observed(vm("Always"), vmi("Failed", ran=False, going=True)),
        Observed(vm("Always"), vmi("Failed", ran=False), going=True),
        Observed(vm("Always"), vmi("Pending")),
        Observed(vm("Always"), vmi("Failed", ran=True)),
        Observed(vm("Manual"), vmi("Failed", ran=False)),
        Observed(vm("Halted"), vmi("Failed", ran=False)),
    ],
)
def test_what_is_no_failed_start(observed: Observed) -> None:
    """FINDINGS 2 among them: stopping or restarting an instance that never ran is nobody's failure."""
    assert final_status(observed).start_failure is None


@pytest.mark.parametrize(("strategy", "instance"), [("Always", vmi("Running")), ("Manual", None), ("Halted", None)])
def test_failed_starts_are_forgiven(strategy: str, instance: VirtualMachineInstance | None) -> None:
    failure = {"consecutiveFailCount": 4, "lastFailedVMIUID": "x", "retryAfterTimestamp": rfc3339(NOW + 99)}
    assert final_status(Observed(vm(strategy, startFailure=failure), instance)).start_failure is None


def test_a_start_that_was_taken_back_is_not_rested_for() -> None:
    failure = {"consecutiveFailCount": 2, "lastFailedVMIUID": "x", "retryAfterTimestamp": rfc3339(NOW + 99)}
    machine = vm("RerunOnFailure", runStrategy="RerunOnFailure", startFailure=failure, stateChangeRequests=[START])
    assert final_status(Observed(machine)).printable_status == "CrashLoopBackOff"
    machine.status.state_change_requests = []
    assert final_status(Observed(machine)).printable_status == "Stopped"


@pytest.mark.parametrize("strategy", ["Always", "RerunOnFailure"])
def test_no_start_before_the_rest_is_over(strategy: str) -> None:
    failure = {"consecutiveFailCount": 1, "lastFailedVMIUID": "x", "retryAfterTimestamp": rfc3339(NOW + 7)}
    observed = Observed(vm(strategy, startFailure=failure, stateChangeRequests=[START]))
    assert acts(observed) == []
    assert decide(observed, NOW).again_after == 7
    assert final_status(observed).printable_status == "CrashLoopBackOff"
    assert decide(observed, NOW + 7).effects == (Create(paused=False),)


def test_a_once_vm_whose_failed_instance_somebody_deleted_starts_at_once() -> None:
    failure = {"consecutiveFailCount": 2, "lastFailedVMIUID": "x", "retryAfterTimestamp": rfc3339(NOW + 99)}
    assert decide(Observed(vm("Once", startFailure=failure)), NOW).effects == (Create(paused=False),)


@pytest.mark.parametrize("strategy", ["Once", "WaitAsReceiver"])
def test_a_stop_left_in_the_queue_by_another_strategy_stops_nothing(strategy: str) -> None:
    assert acts(Observed(vm(strategy, stateChangeRequests=[STOP]), vmi("Running"))) == []


def test_the_strategy_in_status_is_the_declared_one_though_the_start_has_to_wait() -> None:
    """But for RerunOnFailure: that it was switched to is why it starts."""
    failure = {"consecutiveFailCount": 1, "lastFailedVMIUID": "x", "retryAfterTimestamp": rfc3339(NOW + 7)}
    for strategy, told in (("Always", "Always"), ("RerunOnFailure", "Halted")):
        resting = Observed(vm(strategy, runStrategy="Halted", startFailure=failure))
        assert final_status(resting).run_strategy == told


def test_a_receiver_is_refused_in_words() -> None:
    """Nothing here takes a guest from another cluster: the VM says so instead of waiting in silence."""
    observed = Observed(vm("WaitAsReceiver"))
    assert acts(observed) == []
    failure = next(each for each in final_status(observed).conditions if each.type == "Failure")
    assert (failure.reason, "set another run strategy" in (failure.message or "")) == ("FailedCreate", True)


MOVING = {"volumeName": "data", "sourcePVCInfo": {"claimName": "old"}, "destinationPVCInfo": {"claimName": "new"}}


@pytest.mark.parametrize(
    ("claim", "strategy", "starts"),
    [("new", "Migration", False), ("old", "Migration", True), ("new", "Replacement", True), ("new", None, True)],
)
def test_no_start_with_volumes_that_a_failed_migration_left(claim: str, strategy: str | None, starts: bool) -> None:
    condition = {"type": "ManualRecoveryRequired", "status": "True", "reason": "VMI was removed during the migration"}
    moving = {"volumeMigrationState": {"migratedVolumes": [MOVING]}}
    machine = vm("Always", conditions=[condition], volumeUpdateState=moving)
    source = from_builtins({"name": "data", "persistentVolumeClaim": {"claimName": claim}}, Volume)
    machine.spec.template.spec.volumes = [source]
    machine.spec.update_volumes_strategy = strategy
    observed = Observed(machine)
    assert acts(observed) == (["Create"] if starts else [])
    machine.spec.run_strategy = "Halted" if starts else "Always"
    told = {each.type: each.message or "" for each in final_status(observed).conditions}
    assert ("ManualRecoveryRequired" in told) is not starts
    assert ("put the former ones back" in told["Ready"]) is not starts


@pytest.mark.parametrize(
    ("failures", "low", "high"), [(1, 10, 15), (2, 40, 60), (3, 90, 135), (6, 300, 300), (99, 300, 300)]
)
def test_backoff(failures: int, low: float, high: float) -> None:
    assert backoff(failures, 0.0) == low
    assert backoff(failures, 1.0) == high


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_backoff_is_bounded_and_grows(failures: int, jitter: float) -> None:
    assert 10 <= backoff(failures, jitter) <= 300
    assert backoff(failures, jitter) <= backoff(failures + 1, jitter)


def test_a_new_vm_first_gets_its_finalizer() -> None:
    assert settle(Observed(vm("Always", meta={"finalizers": []}))) == [AddFinalizer()]


def test_a_vm_without_firmware_uuid_gets_one_before_its_first_start() -> None:
    machine = vm("Always")
    machine.spec.template.spec.domain.firmware = None
    assert acts(Observed(machine)) == ["BackfillIdentity"]
    assert settle(Observed(machine))[-1] == BackfillIdentity()


def deleted(*finalizers: str) -> VirtualMachine:
    return vm("Always", meta={"deletionTimestamp": rfc3339(NOW), "finalizers": list(finalizers)})


@pytest.mark.parametrize(
    ("machine", "instance", "expected"),
    [
        (deleted(labels.VM_FINALIZER), None, RemoveFinalizer()),
        (deleted(labels.VM_FINALIZER), vmi("Running"), Delete(RUNS)),
        (deleted(labels.VM_FINALIZER), vmi("Succeeded", going=True), Release(RUNS)),
        (deleted(labels.VM_FINALIZER, labels.ORPHAN_FINALIZER), vmi("Running"), RemoveFinalizer()),
        (deleted(labels.VM_FINALIZER), vmi("Running", owner=None), RemoveFinalizer()),
        (deleted("somebody/elses"), vmi("Running"), None),
    ],
)
def test_deletion(machine: VirtualMachine, instance: VirtualMachineInstance | None, expected: object) -> None:
    effects = [effect for effect in settle(Observed(machine, instance)) if not isinstance(effect, WriteStatus)]
    assert effects == ([expected] if expected else [])


def test_a_vm_waits_for_the_end_of_its_instance() -> None:
    waiting = Observed(deleted(labels.VM_FINALIZER), vmi("Running", going=True))
    assert acts(waiting) == []
    assert final_status(waiting).printable_status == "Terminating"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_an_ownerless_instance_is_adopted(strategy: str) -> None:
    assert settle(Observed(vm(strategy), vmi("Running", owner=None))) == [Adopt(RUNS)]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("taken", [vmi(going=True, owner=None), None])
def test_no_create_while_the_name_is_taken(strategy: str, taken: VirtualMachineInstance | None) -> None:
    rival = None if taken else vmi(owner="somebody else")
    machine = vm(strategy, stateChangeRequests=[] if strategy == "Halted" else [START])
    assert acts(Observed(machine, taken, rival)) == []


@pytest.mark.parametrize("instance", [vmi("Succeeded"), vmi("Failed"), vmi("Succeeded", going=True)])
def test_an_instance_is_let_go_only_when_its_end_is_recorded(instance: VirtualMachineInstance) -> None:
    first, second = settle(Observed(vm("Manual"), instance))
    assert isinstance(first, WriteStatus)
    assert first.status.printable_status == "Stopped"
    assert second == Release(RUNS)


def test_an_instance_without_a_last_word_is_let_go_too() -> None:
    """The node agent has taken its finalizer off: a delete must end even if no final phase was written."""
    left = vmi("Running", going=True, meta={"finalizers": [labels.VM_FINALIZER]})
    assert acts(Observed(vm("Always"), left)) == ["Release"]
    assert acts(Observed(vm("Always"), vmi("Running", going=True))) == []


def test_a_failure_is_told_before_it_is_tried_again() -> None:
    observed = Observed(vm("Always"), failure=Failure("FailedCreate", "no room"))
    first = decide(observed, NOW)
    assert isinstance(first.effects[0], WriteStatus)
    told = {each.type: each for each in first.effects[0].status.conditions}["Failure"]
    assert (told.status, told.reason, told.message) == ("True", "FailedCreate", "no room")
    assert acts(observed) == ["Create"]


def test_a_told_failure_ends_with_its_cause() -> None:
    failed = {"type": "Failure", "status": "True", "reason": "FailedCreate", "message": "no room"}
    status = final_status(Observed(vm("Always", conditions=[failed]), vmi("Running")))
    assert "Failure" not in {each.type for each in status.conditions}


phases = st.sampled_from(["Pending", "Scheduling", "Scheduled", "Running", "Succeeded", "Failed", "Unknown"])
request = st.sampled_from([START, PAUSED, STOP, STALE_STOP])
machines = st.builds(
    lambda strategy, requests, recorded: vm(
        strategy, stateChangeRequests=requests, **({"runStrategy": recorded} if recorded else {})
    ),
    st.sampled_from([*STRATEGIES, "WaitAsReceiver", None]),
    st.lists(request, max_size=3),
    st.sampled_from([None, *STRATEGIES]),
)
instances = st.one_of(st.none(), st.builds(vmi, phases, ran=st.booleans(), going=st.booleans()))


@given(machines, instances, st.booleans())
def test_whatever_is_observed(machine: VirtualMachine, instance: VirtualMachineInstance | None, going: bool) -> None:
    """No second instance beside the first, no delete of one that goes already, and no endless writing."""
    observed = Observed(machine, instance, going=going and instance is not None)
    effects = settle(observed)
    names = {type(effect).__name__ for effect in effects}
    if instance is not None:
        assert not names & {"Create", "TurnOn", "Adopt"}
        if observed.going or instance.metadata.deletion_timestamp:
            assert "Delete" not in names
    else:
        assert not names & {"Delete", "Release"}
    assert names <= {"Create", "Delete", "Release", "TurnOn", "WriteStatus"}


def test_nothing_to_do_is_nothing_written() -> None:
    settled = Observed(
        vm("Always", **to_builtins(final_status(Observed(vm("Always"), vmi("Running"))))), vmi("Running")
    )
    assert decide(settled, NOW + 999) == Decision()
    assert settled.vm.metadata.uid == UID


def test_turning_on_is_one_effect() -> None:
    machine = vm("Halted", stateChangeRequests=[PAUSED])
    assert [effect for effect in settle(Observed(machine)) if not isinstance(effect, WriteStatus)] == [TurnOn()]


@pytest.mark.parametrize(
    ("requests", "instance", "left"),
    [
        ([STALE_STOP], vmi("Running"), []),
        ([STALE_STOP, START], vmi("Running"), []),
        ([STOP], None, []),
        ([STOP], vmi("Running"), ["Stop"]),
        ([STOP, START], vmi("Running"), ["Stop", "Start"]),
        ([START], vmi("Pending"), []),
        ([START], vmi("Running", going=True), ["Start"]),
    ],
)
def test_a_request_that_is_done_is_dropped(
    requests: list[dict[str, Any]], instance: VirtualMachineInstance | None, left: list[str]
) -> None:
    machine = vm("Manual", runStrategy="Manual", stateChangeRequests=requests)
    assert [each.action for each in final_status(Observed(machine, instance)).state_change_requests] == left


def test_a_machine_says_why_its_last_start_failed_after_the_instance_is_gone() -> None:
    cause = {"type": "Ready", "status": "False", "reason": "GuestNotRunning", "message": "no file /disk/none.img"}
    ended = vmi("Failed", ran=False, reason="ImageRefused", conditions=[cause])
    with_instance = final_status(Observed(vm("Always"), ended))
    stored = to_builtins(with_instance)
    alone = final_status(Observed(vm("Always", **stored), None))
    for status in (with_instance, alone):
        told = {each.type: each for each in status.conditions}["Failure"]
        assert (told.reason, told.message) == ("ImageRefused", "no file /disk/none.img")
        assert status.printable_status == "CrashLoopBackOff"
    runs = final_status(Observed(vm("Always", **to_builtins(alone)), vmi("Running", uid="44444444-dddd")))
    assert "Failure" not in {each.type for each in runs.conditions}


@pytest.mark.parametrize("going", [False, True])
def test_a_guest_that_is_being_stopped_is_not_ready(going: bool) -> None:
    """From the moment its end was asked for, though its agent still reports that it runs."""
    ready = [{"type": "Ready", "status": "True"}]
    stopping = Observed(vm("Halted"), vmi("Running", going=going, conditions=ready), going=not going)
    status = final_status(stopping)
    found = next(each for each in status.conditions if each.type == "Ready")
    assert (status.ready, found.status, found.reason) == (None, "False", "PodTerminating")
    assert final_status(Observed(vm("Always"), vmi("Running", conditions=ready))).ready is True
