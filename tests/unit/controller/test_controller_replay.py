"""What the real controller left behind after each step of its recorded life, held against what ours makes of it.

Given the VM's declaration and its VMI as they stood when a step was over, our status must be the recorded one and
nothing may be left to do: the real controller had settled. `DELIBERATE` lists every place where we differ, and why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.fake_kube import EPOCH
from support.machines import UID

from virt_controller.backoff import backoff
from virt_controller.vm.decide import decide
from virt_controller.vm.effects import WriteStatus
from virt_controller.vm.ending import ENDED
from virt_controller.vm.observed import Observed
from virt_controller.vm.status import printable_status
from virt_kube.clock import rfc3339
from virt_types.codec import from_builtins, to_builtins
from virt_types.v1 import VirtualMachine, VirtualMachineInstance

RECORDING = Path(__file__).parents[4] / "shared/data/oracle/vm-lifecycle.jsonl"
DELAYS = RECORDING.with_name("backoff.jsonl")
CASES = ("Always", "Manual", "RerunOnFailure", "Once", "running=true", "running=false", "orphan", "strategy-switch")

# case, step: the fields that differ, and why
DELIBERATE: dict[tuple[str, str], tuple[set[str], str]] = {
    ("Once", "start-8"): ({"conditions"}, "as in strategy-back"),
    ("Once", "strategy-back"): (
        {"conditions"},
        "a start that failed is explained in Failure, also when the VMI is gone",
    ),
    ("orphan", "vm-on-top-of-standalone"): (
        {"printableStatus", "created", "ready", "runStrategy", "desiredGeneration", "Ready", "conditions"},
        "FINDINGS 3: there the status of a VM that adopts a stand-alone VMI is never updated",
    ),
    ("strategy-switch", "7-to-Halted"): (
        {"desiredGeneration"},
        "there the last generation is missed, as the status is not looked at after the change was the last",
    ),
}


class Moment(NamedTuple):
    """The last views of one step."""

    case: str
    step: str
    vm: dict[str, Any] | None
    vmi: dict[str, Any] | None


def moments() -> Iterator[Moment]:
    """Each step's end; the recording has its cases interleaved."""
    entries = [json.loads(line) for line in RECORDING.read_text().splitlines()] if RECORDING.exists() else []
    for case in CASES:
        current: dict[str, dict[str, Any] | None] = {"VM": None, "VMI": None}
        mine = sorted((entry for entry in entries if entry["case"] == case), key=lambda entry: entry["seq"])
        for step, group in groupby(mine, key=lambda entry: entry["step"]):
            for entry in group:
                if entry["kind"] in current:
                    current[entry["kind"]] = None if entry["event"] == "DELETED" else entry["view"]
            yield Moment(case, step, current["VM"], current["VMI"])


def machine(view: dict[str, Any]) -> VirtualMachine:
    status = {**view["status"], "conditions": view["conditions"]}
    failure = status.get("startFailure")
    if failure and failure.get("retryAfterTimestamp"):
        failure["retryAfterTimestamp"] = rfc3339(EPOCH + 60)  # recorded within its back-off
    template = {"spec": {"domain": {"firmware": {"uuid": "u"}, "devices": {}}}}
    metadata = {"name": "vm1", "namespace": "ns", "uid": UID, "generation": view["generation"]}
    metadata["finalizers"] = view["finalizers"]
    if view.get("deleting"):
        metadata["deletionTimestamp"] = rfc3339(EPOCH)
    spec = {key: value for key, value in view["spec"].items() if key in ("running", "runStrategy")}
    return from_builtins(
        {"metadata": metadata, "spec": {**spec, "template": template}, "status": status}, VirtualMachine
    )


def instance(view: dict[str, Any]) -> VirtualMachineInstance:
    owners = [{**owner, "uid": UID} for owner in view.get("ownerReferences", [])]
    metadata = {
        "name": "vm1",
        "namespace": "ns",
        "uid": view["uid"],
        "annotations": view.get("annotations", {}),
        "finalizers": view["finalizers"],
        "ownerReferences": owners,
        **({"deletionTimestamp": rfc3339(EPOCH)} if view.get("deleting") else {}),
    }
    stamps = [{"phase": phase, "phaseTransitionTimestamp": rfc3339(EPOCH)} for phase in view["phases"]]
    status = {"phase": view["phase"], "conditions": view["conditions"], "phaseTransitionTimestamps": stamps}
    body = {"metadata": metadata, "spec": {"domain": {"devices": {}}}, "status": {**status, "nodeName": "n1"}}
    return from_builtins(body, VirtualMachineInstance)


def shown(status: dict[str, Any]) -> dict[str, Any]:
    """The parts of a status that the recording has, without times."""
    ready = next((each for each in status.get("conditions", []) if each["type"] == "Ready"), {})
    return {
        "printableStatus": status.get("printableStatus"),
        "created": status.get("created", False),
        "ready": status.get("ready", False),
        "runStrategy": status.get("runStrategy"),
        "observedGeneration": status.get("observedGeneration"),
        "desiredGeneration": status.get("desiredGeneration"),
        "requests": status.get("stateChangeRequests", []),
        "failures": status.get("startFailure", {}).get("consecutiveFailCount", 0),
        "Ready": (ready.get("status"), ready.get("reason")),
        # Who ended a guest, and how, is told by ours alone.
        "conditions": sorted({each["type"] for each in status.get("conditions", [])} - {ENDED}),
    }


def differences(moment: Moment) -> dict[str, tuple[object, object]]:
    assert moment.vm is not None
    observed = Observed(machine(moment.vm), instance(moment.vmi) if moment.vmi else None)
    recorded = shown({**moment.vm["status"], "conditions": moment.vm["conditions"]})
    effects: list[str] = []
    for _ in range(3):
        decision = decide(observed, EPOCH)
        if not decision.effects:
            break
        effect = decision.effects[-1]
        if not isinstance(effect, WriteStatus):
            effects.append(type(effect).__name__)
            break
        stored = {**to_builtins(observed.vm), "status": to_builtins(effect.status)}
        observed = observed._replace(vm=from_builtins(stored, VirtualMachine))
    ours = shown(to_builtins(observed.vm.status))
    different = {field: (recorded[field], ours[field]) for field in recorded if recorded[field] != ours[field]}
    if effects:
        different["effects"] = ([], effects)
    return different


@pytest.mark.skipif(not DELAYS.exists(), reason=f"no recording at {DELAYS}")
def test_every_recorded_rest_is_one_of_ours() -> None:
    recorded = [json.loads(line) for line in DELAYS.read_text().splitlines()]
    assert {entry["n"] for entry in recorded} == {1, 2, 3}
    for entry in recorded:  # the timestamps they wait for are whole seconds
        assert backoff(entry["n"], 0.0) - 1 <= entry["delay_s"] <= backoff(entry["n"], 1.0) + 1


LAG = 2  # VMI events the recorded status may be behind
needs_recording = pytest.mark.skipif(not RECORDING.exists(), reason=f"no recording at {RECORDING}")


@needs_recording
@pytest.mark.parametrize("case", CASES)
def test_every_step_ends_as_recorded(case: str) -> None:
    steps = [moment for moment in moments() if moment.case == case and moment.vm is not None]
    assert len(steps) >= 4
    for moment in steps:
        fields, why = DELIBERATE.get((case, moment.step), (set(), ""))
        found = differences(moment)
        assert found.keys() == fields, f"{moment.step}: (recorded, ours) {found} {why}"


@needs_recording
def test_every_deliberate_difference_is_in_the_recording() -> None:
    assert DELIBERATE.keys() <= {(moment.case, moment.step) for moment in moments()}


def unexplained(case: str) -> list[tuple[str, str, set[str]]]:
    """Statuses on the way that ours gives for none of the VMI states the real controller may have looked at."""
    entries = [json.loads(line) for line in RECORDING.read_text().splitlines()]
    mine = sorted((entry for entry in entries if entry["case"] == case), key=lambda entry: entry["seq"])
    recent: list[dict[str, Any] | None] = [None]
    odd = []
    for entry in mine:
        if entry["kind"] == "VMI":
            recent.append(None if entry["event"] == "DELETED" else entry["view"])
        elif entry["kind"] == "VM" and entry["event"] != "DELETED":
            said = entry["view"]["status"].get("printableStatus")
            vm = machine(entry["view"])
            ours = {_printable(vm, view, going) for view in recent for going in (False, True)}
            just_deleted = "deleting" in entry["view"] and said != "Terminating"  # not looked at yet
            if said and said not in ours and not just_deleted:
                odd.append((entry["step"], said, ours))
            recent = recent[-LAG:]
    return odd


def _printable(vm: VirtualMachine, view: dict[str, Any] | None, going: bool) -> str:
    observed = Observed(vm, instance(view) if view else None, going=going)
    return printable_status(observed, vm.status.state_change_requests, vm.status.start_failure)


@needs_recording
@pytest.mark.parametrize("case", CASES)
def test_every_status_on_the_way_is_one_of_ours(case: str) -> None:
    assert unexplained(case) == []
