"""Who ended a guest, how and when, and what the VM waits for: in words, also when the VMI is long gone."""

from __future__ import annotations

from typing import Any

import pytest
from support.fake_kube import EPOCH, FakeKube
from support.machines import vm, vmi
from test_controller_budget import controllers, settle, status, vm_object
from test_controller_decide import NOW, START, STOP, final_status

from virt_controller.vm.observed import Observed
from virt_controller.vm.status import status_of
from virt_kube.api import Json
from virt_kube.clock import rfc3339
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from virt_types.codec import to_builtins
from virt_types.v1 import VirtualMachineCondition, VirtualMachineStatus


def told(status_: VirtualMachineStatus, type_: str) -> VirtualMachineCondition | None:
    return next((each for each in status_.conditions if each.type == type_), None)


def ready(message: str) -> list[Json]:
    text = f"Guest VM is not reported as running: {message}"
    return [{"type": "Ready", "status": "False", "reason": "GuestNotRunning", "message": text}]


# the VM's strategy and requests, how the VMI ended -> reason and message
ENDS: list[tuple[Observed, str, str]] = [
    (
        Observed(
            vm("Manual"), vmi("Succeeded", reason="GuestShutdown", conditions=ready("the guest shut itself down"))
        ),
        "GuestShutdown",
        "by the guest: the guest shut itself down",
    ),
    (Observed(vm("Manual"), vmi("Succeeded")), "GuestShutdown", "by the guest: the guest shut itself down"),
    (
        Observed(vm("Always"), vmi("Failed", reason="GuestPanicked", conditions=ready("the guest's kernel panicked"))),
        "GuestPanicked",
        "by a crash: the guest's kernel panicked",
    ),
    (Observed(vm("Always"), vmi("Failed")), "GuestCrashed", "by a crash: the guest crashed"),
    (
        Observed(vm("Always"), vmi("Failed", ran=False, reason="StartFailed", conditions=ready("no space left"))),
        "StartFailed",
        "by the platform: no space left",
    ),
    (
        Observed(vm("Always"), vmi("Failed", reason="NodeUnresponsive")),
        "NodeUnresponsive",
        "by the platform: its node failed and was taken out of service",
    ),
    (Observed(vm("Halted"), vmi("Running", going=True)), "Stopped", "by a user: the VM was stopped"),
    (
        Observed(
            vm("Manual", runStrategy="Manual", stateChangeRequests=[STOP]),
            vmi(
                "Failed",
                going=True,
                reason="GracePeriodExceeded",
                conditions=ready("the guest did not shut down within its grace period of 30 s and was destroyed"),
            ),
        ),
        "Stopped",
        "by a user: the VM was stopped; the guest did not shut down within its grace period of 30 s and was destroyed",
    ),
    (
        Observed(vm("Always", stateChangeRequests=[STOP, START]), vmi("Running", going=True)),
        "Restarted",
        "by a user: a restart was asked for",
    ),
    (Observed(vm("Always"), vmi("Running", going=True)), "InstanceDeleted", "by a user: its VMI was deleted"),
    (
        Observed(vm("Always", meta={"deletionTimestamp": rfc3339(EPOCH)}), vmi("Running", going=True)),
        "VMDeleted",
        "by a user: the VM was deleted",
    ),
]


@pytest.mark.parametrize(("observed", "reason", "message"), ENDS)
def test_who_ended_the_guest(observed: Observed, reason: str, message: str) -> None:
    ended = told(final_status(observed), "Ended")
    assert ended is not None
    assert (ended.reason, ended.message, ended.last_transition_time) == (reason, message, rfc3339(EPOCH))


def test_a_deletion_that_is_not_seen_yet_is_told_once() -> None:
    """Else the status would be written every second until the cache shows it."""
    observed = Observed(vm("Halted"), vmi("Running"), going=True)
    first = final_status(observed)
    machine = vm("Halted", **to_builtins(first))
    assert told(
        status_of(observed._replace(vm=machine), [], None, start_withheld=False, changed=None, now=NOW + 5), "Ended"
    ) == told(first, "Ended")


def condition(type_: str, reason: str, at: float = EPOCH) -> Json:
    return {"type": type_, "status": "True", "reason": reason, "message": "m", "lastTransitionTime": rfc3339(at)}


def test_tidying_up_is_no_second_end() -> None:
    """A guest that shut itself down stays one that did, though its VMI is deleted for the restart."""
    machine = vm("Always", conditions=[condition("Ended", "GuestShutdown")])
    made = {"creationTimestamp": rfc3339(EPOCH - 100)}
    ended = told(final_status(Observed(machine, vmi("Succeeded", going=True, meta=made))), "Ended")
    assert ended is not None
    assert ended.reason == "GuestShutdown"


@pytest.mark.parametrize(
    ("observed", "kept"),
    [
        (Observed(vm("Manual", conditions=[condition("Ended", "Stopped")])), True),
        (Observed(vm("Always", conditions=[condition("Ended", "Stopped")]), vmi("Scheduled", ran=False)), True),
        (Observed(vm("Always", conditions=[condition("Ended", "Stopped")]), vmi("Running")), False),
    ],
)
def test_an_end_is_told_until_the_next_guest_runs(observed: Observed, kept: bool) -> None:
    assert (told(final_status(observed), "Ended") is not None) == kept


FAILURE: dict[str, Any] = {
    "consecutiveFailCount": 2,
    "lastFailedVMIUID": "x",
    "retryAfterTimestamp": rfc3339(NOW + 30),
}
WAITS = [
    (Observed(vm("Halted")), ": stopped; start it with: virtctl start vm1"),
    (Observed(vm("Manual")), ": waits for a start request; start it with: virtctl start vm1"),
    (
        Observed(vm("RerunOnFailure", runStrategy="RerunOnFailure")),
        ": runs again only after a failure; start it with: virtctl start vm1",
    ),
    (
        Observed(vm("Always", startFailure=FAILURE)),
        f": the next start is tried at {rfc3339(NOW + 30)}, 2 in a row have failed",
    ),
    (
        Observed(vm("Always"), rival=vmi(owner="somebody")),
        ": waits until the VMI of that name, which VirtualMachine vm1 controls, is gone",
    ),
    (Observed(vm("Always", meta={"deletionTimestamp": rfc3339(EPOCH)})), ""),
]


@pytest.mark.parametrize(("observed", "words"), WAITS)
def test_what_a_vm_without_guest_waits_for(observed: Observed, words: str) -> None:
    failure = observed.vm.status.start_failure
    status_ = status_of(observed, [], failure, start_withheld=True, changed=None, now=NOW)
    said = told(status_, "Ready")
    assert said is not None
    assert (said.reason, said.message) == ("VMINotExists", f"VMI does not exist{words}")


def ended_of(kube: FakeKube) -> str | None:
    return next((each["reason"] for each in status(kube)["conditions"] if each["type"] == "Ended"), None)


@pytest.mark.looptime
async def test_the_end_survives_the_instance() -> None:
    kube = FakeKube()
    async with controllers(kube) as agent:
        await kube.create(VIRTUAL_MACHINES, "default", vm_object(runStrategy="Always"))
        await settle(100)
        await kube.patch(VIRTUAL_MACHINES, "default", "vm1", {"spec": {"runStrategy": "Halted"}}, kind="merge")
        await settle()
        assert kube.find(VIRTUAL_MACHINE_INSTANCES, "default", "vm1") is None
        assert ended_of(kube) == "Stopped"
        await kube.patch(VIRTUAL_MACHINES, "default", "vm1", {"spec": {"runStrategy": "Manual"}}, kind="merge")
        await settle()
        assert ended_of(kube) == "Stopped"
        request = {"status": {"stateChangeRequests": [START]}}
        await kube.patch(VIRTUAL_MACHINES, "default", "vm1", request, kind="merge", subresource="status")
        await settle(100)
        assert (status(kube)["printableStatus"], ended_of(kube)) == ("Running", None)
        await agent.end("default", "vm1", "Failed")
        await settle()
        assert ended_of(kube) == "GuestCrashed"


@pytest.mark.looptime
async def test_a_guest_that_crashes_as_soon_as_it_runs_backs_off_and_is_forgiven_when_it_lives() -> None:
    kube = FakeKube()
    async with controllers(kube) as agent:
        await kube.create(VIRTUAL_MACHINES, "default", vm_object(runStrategy="Always"))
        await settle()
        starts = []
        for _ in range(4):
            await agent.end("default", "vm1", "Failed")
            began = len(agent.started)
            waited = 0
            while len(agent.started) == began:
                await settle()
                waited += 1
            starts.append(waited)
        assert starts == [1, 11, 41, 91]
        assert status(kube)["startFailure"]["consecutiveFailCount"] == 4
        await settle(61)
        assert "startFailure" not in status(kube)
        kube.requests.clear()
        await settle(600)
        assert kube.writes() == []
