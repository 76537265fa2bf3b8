"""start, stop and restart: requests, bodies, texts and exit codes, as scripts know them; --wait."""

from __future__ import annotations

from typing import Any

import pytest
from cli_fake_api import FakeApi, Handler, status
from cli_program import Run

SUB = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachines/vm1"
VM = "/apis/kubevirt.io/v1/namespaces/default/virtualmachines"
VMI = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances"
FORCE = ["--force", "--grace-period=0"]

pytestmark = pytest.mark.usefixtures("kube")


@pytest.mark.parametrize(
    ("arguments", "body", "out"),
    [
        (["start", "vm1"], {}, "VM vm1 was scheduled to start\n"),
        (["start", "vm", "vm1"], {}, "VM vm1 was scheduled to start\n"),
        (["start", "omv", "vm1"], {}, "VM vm1 was scheduled to start\n"),
        (["start", "offlinevirtualmachine", "vm1"], {}, "VM vm1 was scheduled to start\n"),
        (["start", "VirtualMachines", "vm1"], {}, "VM vm1 was scheduled to start\n"),
        (["start", "vm1", "--paused"], {"paused": True}, "VM vm1 was scheduled to start\n"),
        (
            ["start", "vm1", "--paused", "--dry-run"],
            {"paused": True, "dryRun": ["All"]},
            "Dry Run execution\nVM vm1 was scheduled to start\n",
        ),
        (["start", "vm1", "--paused=false"], {}, "VM vm1 was scheduled to start\n"),
        (["stop", "vm1"], {}, "VM vm1 was scheduled to stop\n"),
        (["stop", "vm1", *FORCE], {"gracePeriod": 0}, "VM vm1 was scheduled to stop\n"),
        (
            ["--force", "stop", "--grace-period", "9", "vm1"],
            {"gracePeriod": 9},
            "VM vm1 was scheduled to stop\n",
        ),
        (["restart", "vm1"], {}, "VM vm1 was scheduled to restart\n"),
        (["restart", "vm1", *FORCE], {"gracePeriodSeconds": 0}, "VM vm1 was scheduled to restart\n"),
    ],
)
def test_request_and_text(api: FakeApi, virtctl: Run, arguments: list[str], body: Any, out: str) -> None:
    verb = next(word for word in arguments if word in ("start", "stop", "restart"))
    api.on("PUT", f"{SUB}/{verb}", (202, None))
    assert virtctl(*arguments) == (0, out, "")
    (seen,) = api.seen
    assert (seen.method, seen.path, seen.json) == ("PUT", f"{SUB}/{verb}", body)
    assert "content-type" not in seen.headers


def test_several_machines_in_order(api: FakeApi, virtctl: Run) -> None:
    for name in ("a", "b"):
        api.on("PUT", f"{SUB.removesuffix('vm1')}{name}/stop", (202, None))
    assert virtctl("stop", "a", "b").out == "VM a was scheduled to stop\nVM b was scheduled to stop\n"


def test_name_is_one_path_segment(api: FakeApi, virtctl: Run) -> None:
    for name, segment in {"../x": "..%2Fx", "..": "%2E%2E", "a b\n": "a%20b%0A", "ü": "%C3%BC"}.items():
        virtctl("start", name)
        assert api.seen[-1].path == f"{SUB.removesuffix('vm1')}{segment}/start"


CONFLICT = 'Operation cannot be fulfilled on virtualmachine.kubevirt.io "vm1": VM is already running'


@pytest.mark.parametrize(
    ("arguments", "prefix"),
    [
        (["start", "vm1"], "Error starting VirtualMachine "),
        (["start", "vm1", "--paused"], "Error starting VirtualMachine "),
        (["stop", "vm1"], "error stopping VirtualMachine "),
        (["stop", "vm1", *FORCE], "error force stopping VirtualMachine: "),
        (["restart", "vm1"], "error restarting VirtualMachine: "),
        (["restart", "vm1", *FORCE], "error force restarting VirtualMachine: "),
    ],
)
def test_refusal_shows_the_servers_reason(api: FakeApi, virtctl: Run, arguments: list[str], prefix: str) -> None:
    api.on("PUT", f"{SUB}/{arguments[0]}", status(409, "Conflict", CONFLICT))
    assert virtctl(*arguments) == (1, "", f"{prefix}{CONFLICT}\n")


def test_unknown_machine_comes_with_a_way_out(virtctl: Run) -> None:
    result = virtctl("start", "vm1")
    assert result.code == 1
    assert "`virtctl list` shows what there is" in result.err


def test_body_that_is_no_status(api: FakeApi, virtctl: Run) -> None:
    api.on("PUT", f"{SUB}/start", (500, b'broken "pipe"'))
    shown = "an error on the server (\"broken 'pipe'\") has prevented the request from succeeding"
    assert f"{shown} (put virtualmachines.kubevirt.io vm1)" in virtctl("start", "vm1").err


@pytest.mark.parametrize("arguments", [["stop", "vm1", "--force"], ["restart", "vm1", "--grace-period=3"]])
def test_force_and_grace_period_go_together(api: FakeApi, virtctl: Run, arguments: list[str]) -> None:
    assert virtctl(*arguments) == (1, "", "Must both use --force=true and set --grace-period.\n")
    assert api.seen == []


def test_kind_that_can_not_be_started(api: FakeApi, virtctl: Run) -> None:
    assert 'unsupported resource type "vmi"' in virtctl("start", "vmi", "vm1").err
    assert api.seen == []


def vm(word: str, version: str = "1", **more: Any) -> dict[str, Any]:
    return {
        "kind": "VirtualMachine",
        "metadata": {"name": "vm1", "resourceVersion": version},
        "status": {"printableStatus": word, **more},
    }


def vmi(uid: str, phase: str) -> dict[str, Any]:
    return {"metadata": {"name": "vm1", "uid": uid, "resourceVersion": "1"}, "status": {"phase": phase}}


def test_wait_watches_until_running(api: FakeApi, virtctl: Run) -> None:
    def watch(handler: Handler) -> None:
        assert "watch=true" in handler.path
        assert "fieldSelector=metadata.name%3Dvm1" in handler.path
        assert "resourceVersion=1" in handler.path
        handler.watch(
            {"type": "MODIFIED", "object": vm("Starting", "2")}, {"type": "MODIFIED", "object": vm("Running", "3")}
        )

    api.on("PUT", f"{SUB}/start", (202, None))
    api.on("GET", f"{VM}/vm1", (200, vm("Stopped")))
    api.on("GET", VM, watch)
    expected = "VM vm1 was scheduled to start\nVM vm1 is running\n"
    said = "Waiting for VM vm1 to be Running: Stopped\nWaiting for VM vm1 to be Running: Starting\n"
    assert virtctl("start", "vm1", "--wait", "--timeout", "20s") == (0, expected, said)


def test_wait_goes_on_when_the_server_ends_the_watch(api: FakeApi, virtctl: Run) -> None:
    api.on("PUT", f"{SUB}/stop", (202, None))
    api.on("GET", f"{VM}/vm1", (200, vm("Running")), (200, vm("Stopped", "9")))
    api.on("GET", VM, lambda handler: handler.watch({"type": "ERROR", "object": {"code": 410}}))
    assert virtctl("stop", "vm1", "--wait").out.endswith("VM vm1 is stopped\n")


def test_wait_outlives_a_server_that_restarts(api: FakeApi, virtctl: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang_up(handler: Handler) -> None:
        handler.close_connection = True

    monkeypatch.setattr("virtctl.waiting.time.sleep", lambda _: None)
    api.on("PUT", f"{SUB}/start", (202, None))
    api.on("GET", f"{VM}/vm1", hang_up, hang_up, hang_up, (200, vm("Stopped")), (200, vm("Running")))
    api.on("GET", VM, hang_up)
    assert virtctl("start", "vm1", "--wait").out.endswith("VM vm1 is running\n")


def test_wait_for_restart_wants_another_instance(api: FakeApi, virtctl: Run) -> None:
    api.on("PUT", f"{SUB}/restart", (202, None))
    api.on("GET", f"{VMI}/vm1", (200, vmi("old", "Running")))
    events = [
        ("MODIFIED", vmi("old", "Succeeded")),
        ("MODIFIED", vmi("new", "Scheduled")),
        ("MODIFIED", vmi("new", "Running")),
    ]
    api.on("GET", VMI, lambda handler: handler.watch(*({"type": kind, "object": obj} for kind, obj in events)))
    assert virtctl("restart", "vm1", "--wait").out.endswith("VM vm1 is running again\n")


NOT_YET = {"type": "Ready", "status": "False", "reason": "GuestNotRunning", "message": "Guest VM is not running"}
UNREADY = {"type": "Ready", "status": "False", "reason": "AgentGone", "message": "node agent is silent"}
NO_IMAGE = {"type": "Synchronized", "status": "False", "reason": "ErrImagePull", "message": "image x is not there"}
NO_ROOM = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "not enough memory"}
FAILURE = {"type": "Failure", "status": "True", "reason": "FailedCreate", "message": "quota"}


@pytest.mark.parametrize(
    ("word", "conditions", "expected"),
    [
        ("Starting", [NOT_YET], "it is Starting\n"),
        ("Starting", [UNREADY], "it is Starting (AgentGone: node agent is silent)\n"),
        ("Starting", [UNREADY, NO_IMAGE], "it is Starting (ErrImagePull: image x is not there)\n"),
        ("ErrImagePull", [NOT_YET, NO_IMAGE], "it is ErrImagePull (image x is not there)\n"),
        ("Starting", [UNREADY, NO_ROOM], "it is Starting (Unschedulable: not enough memory)\n"),
        ("Starting", [NO_IMAGE, FAILURE], "it is Starting (FailedCreate: quota)\n"),
        ("Stopped", [UNREADY], "it is Stopped\n"),
        ("Stopped", [UNREADY, FAILURE], "it is Stopped (FailedCreate: quota)\n"),
        ("Starting", [{**NO_IMAGE, "status": "True"}], "it is Starting\n"),
    ],
)
def test_wait_gives_up_with_the_condition_that_explains_most(
    api: FakeApi, virtctl: Run, word: str, conditions: list[dict[str, str]], expected: str
) -> None:
    api.on("PUT", f"{SUB}/start", (202, None))
    api.on("GET", f"{VM}/vm1", (200, vm(word, conditions=conditions)))
    result = virtctl("start", "vm1", "--wait", "--timeout=0s")
    assert (result.code, result.out) == (1, "VM vm1 was scheduled to start\n")
    assert f"timed out after 0s waiting for VM vm1 to be Running: {expected}" in result.err


def test_wait_in_a_pipe_says_each_status_once(api: FakeApi, virtctl: Run) -> None:
    states = [vm("Starting", "2"), vm("Starting", "3"), vm("Starting", "4", conditions=[NO_IMAGE]), vm("Running", "5")]
    api.on("PUT", f"{SUB}/start", (202, None))
    api.on("GET", f"{VM}/vm1", (200, vm("Stopped")))
    api.on("GET", VM, lambda handler: handler.watch(*({"type": "MODIFIED", "object": state} for state in states)))
    assert virtctl("start", "vm1", "--wait").err.splitlines() == [
        "Waiting for VM vm1 to be Running: Stopped",
        "Waiting for VM vm1 to be Running: Starting",
        "Waiting for VM vm1 to be Running: Starting · ErrImagePull: image x is not there",
    ]


def test_wait_ends_when_the_machine_is_deleted(api: FakeApi, virtctl: Run) -> None:
    api.on("PUT", f"{SUB}/start", (202, None))
    assert "VM vm1 was deleted while waiting" in virtctl("start", "vm1", "--wait").err
