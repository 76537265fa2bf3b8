"""start, stop and restart against what KubeVirt's own API answered and wrote, case by case."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from virt_api import refusals
from virt_api.lifecycle import (
    Accept,
    Refusal,
    RestartOptions,
    StartOptions,
    StopOptions,
    decide_restart,
    decide_start,
    decide_stop,
)
from virt_api.objects import parse_options
from virt_kube.api import ApiError
from virt_types import codec
from virt_types.v1 import VirtualMachine, VirtualMachineInstance

RECORDED = Path(__file__).parents[3].parent / "shared/data/oracle/subresources.jsonl"
VERBS: dict[str, Any] = {
    "start": (decide_start, StartOptions),
    "stop": (decide_stop, StopOptions),
    "restart": (decide_restart, RestartOptions),
}
CONFLICT = 'Operation cannot be fulfilled on virtualmachine.kubevirt.io "NAME": '

Difference = tuple[str, Callable[[dict[str, Any]], bool], tuple[int, str]]
# Where we differ on purpose: why, in which cases, and our answer (its message may go on).
DIFFERENCES: list[Difference] = [
    (
        "a negative grace period is refused, not stored",
        lambda case: case["action"] == "stop-grace-neg",
        (400, "gracePeriod has to be greater or equal to 0"),
    ),
    (
        "a body that can't be read is refused before anything else, for every verb",
        lambda case: case["action"].endswith("badbody"),
        (400, "Can not unmarshal Request body to struct, error: "),
    ),
    (
        "queued requests are a conflict, not a failure of the server",
        lambda case: case["response"]["code"] == 500 and "already underway" in message(case),
        (409, CONFLICT + "unable to complete request: stop/start already underway"),
    ),
    (
        "stop takes back a start that is still queued",
        lambda case: case["action"].startswith("stop") and "VM is not running" in message(case) and start_queued(case),
        (202, ""),
    ),
]


def message(case: dict[str, Any]) -> str:
    answer = case["response"]["body"]
    return str(answer.get("message", "")) if isinstance(answer, dict) else ""


def start_queued(case: dict[str, Any]) -> bool:
    return any(r["action"] == "Start" for r in case["before"]["vm"]["status"].get("stateChangeRequests", []))


def recorded() -> Iterator[Any]:
    if not RECORDED.exists():
        return
    for line in RECORDED.read_text().splitlines():
        case = json.loads(line)
        verb = case["action"].split("-")[0]
        if verb in VERBS and (case.get("before") or {}).get("vm"):
            yield pytest.param(case, id=f"{case['case']}:{case['step']}")


def as_vm(observed: dict[str, Any]) -> VirtualMachine:
    vm = observed["vm"]
    return codec.from_builtins(
        {"metadata": {"name": "NAME", "namespace": "NS"}, "spec": vm["spec"], "status": vm["status"]}, VirtualMachine
    )


def as_vmi(observed: dict[str, Any]) -> VirtualMachineInstance | None:
    vmi = observed["vmi"]
    if not vmi:
        return None
    return codec.from_builtins(
        {
            "metadata": {"name": "NAME", "namespace": "NS", "uid": vmi["uid"]},
            "spec": {"terminationGracePeriodSeconds": vmi["terminationGracePeriodSeconds"]},
            "status": {"phase": vmi["phase"], "conditions": vmi.get("conditions", [])},
        },
        VirtualMachineInstance,
    )


def body(request: dict[str, Any]) -> bytes:
    value = request["body"]
    if value is None:
        return b""
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


def decide(case: dict[str, Any]) -> tuple[int, str, Accept | None]:
    verb, options_type = VERBS[case["action"].split("-")[0]]
    try:
        options = parse_options(body(case["request"]), {}, options_type)
    except ApiError as err:
        return err.code, err.message, None
    decision = verb(as_vm(case["before"]), as_vmi(case["before"]), options)
    if isinstance(decision, Refusal):
        prefix = CONFLICT if decision.code == 409 else ""
        return decision.code, prefix + decision.message, None
    return 202, "", Accept({}, {}) if options.dry_run else decision


@pytest.mark.skipif(not RECORDED.exists(), reason=f"recorded answers not found at {RECORDED}")
@pytest.mark.parametrize("case", list(recorded()))
def test_same_answer_and_effect_as_recorded(case: dict[str, Any]) -> None:
    code, text, accepted = decide(case)
    for _why, applies, ours in DIFFERENCES:
        if applies(case):
            assert code == ours[0]
            assert text.startswith(ours[1])
            return
    assert (code, text) == (case["response"]["code"], message(case))
    if accepted:
        assert effect(case, accepted) == recorded_effect(case)


def effect(case: dict[str, Any], accepted: Accept) -> tuple[Any, ...]:
    before = case["before"]
    spec = before["vm"]["spec"] | accepted.spec
    queue = accepted.status.get("stateChangeRequests", before["vm"]["status"].get("stateChangeRequests"))
    grace = (before["vmi"] or {}).get("terminationGracePeriodSeconds")
    return spec, queue or None, accepted.grace_period if accepted.grace_period is not None else grace


def recorded_effect(case: dict[str, Any]) -> tuple[Any, ...]:
    after = case["after_request"]
    queue = after["vm"]["status"].get("stateChangeRequests")
    grace = (after["vmi"] or {}).get("terminationGracePeriodSeconds")
    if case["action"] == "stop" and after["vm"]["spec"] != case["before"]["vm"]["spec"]:
        queue = None  # they leave a queued restart behind, which undoes the stop
    if (case["before"]["vmi"] or {}).get("phase") in {"Succeeded", "Failed"}:
        grace = case["before"]["vmi"]["terminationGracePeriodSeconds"]  # they change a guest that has ended
    return after["vm"]["spec"], queue or None, grace


def test_a_missing_vm_is_named_as_clients_know_it() -> None:
    err = refusals.not_found(refusals.VM, "nosuch")
    assert (err.code, err.message) == (404, 'virtualmachine.kubevirt.io "nosuch" not found')
    assert err.status["details"] == {"name": "nosuch", "group": "kubevirt.io", "kind": "virtualmachine"}
