"""Refusals of a VirtualMachineInstance's subresources against what KubeVirt's own API answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from virt_api import guest
from virt_kube.api import ApiError
from virt_types import codec
from virt_types.v1 import VirtualMachineInstance

RECORDED = Path(__file__).parents[3].parent / "shared/data/oracle/subresources.jsonl"
CHECKS: dict[str, Callable[[VirtualMachineInstance], ApiError | None]] = {
    "pause": guest.check_pause,
    "unpause": guest.check_unpause,
    "softreboot": guest.check_softreboot,
    "reset": guest.check_reset,
    "console": guest.check_console,
    "vnc": guest.check_vnc,
    "vnc-screenshot": guest.check_vnc,
    "guestosinfo": guest.check_guest_agent,
    "userlist": guest.check_guest_agent,
    "filesystemlist": guest.check_guest_agent,
}
# They answer every refusal of these with 500 and plain text; we answer with the code it deserves.
WRAPPED = {"vnc-screenshot", "guestosinfo", "userlist", "filesystemlist"}
# What their stand-in for a node agent answered when the request got that far.
REACHED_THE_AGENT = ("Can't connect to websocket (404)", "unexpected return code 404")


def recorded() -> list[Any]:
    if not RECORDED.exists():
        return []
    cases = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    return [
        pytest.param(case, id=f"{case['case']}:{case['step']}")
        for case in cases
        if case["action"].removesuffix("-dryrun") in CHECKS and (case.get("before") or {}).get("vmi")
    ]


def as_vmi(observed: dict[str, Any]) -> VirtualMachineInstance:
    status = {"phase": observed["phase"], "conditions": observed.get("conditions", [])}
    return codec.from_builtins({"metadata": {"name": "NAME"}, "status": status}, VirtualMachineInstance)


def answer(response: dict[str, Any]) -> str:
    body = response["body"]
    return str(body.get("message", "")) if isinstance(body, dict) else str(body or "")


@pytest.mark.skipif(not RECORDED.exists(), reason=f"recorded answers not found at {RECORDED}")
@pytest.mark.parametrize("case", recorded())
def test_same_refusal_as_recorded(case: dict[str, Any]) -> None:
    action, response = case["action"].removesuffix("-dryrun"), case["response"]
    refusal = CHECKS[action](as_vmi(case["before"]["vmi"]))
    text = answer(response)
    if response["code"] == 200 or any(words in text for words in REACHED_THE_AGENT):
        assert refusal is None
        return
    assert refusal is not None
    assert refusal.message == text
    if action not in WRAPPED:
        assert refusal.code == response["code"]


def vmi(**fields: Any) -> VirtualMachineInstance:
    return codec.from_builtins(
        {"metadata": {"name": "x"}, "status": {"phase": "Running"}} | fields, VirtualMachineInstance
    )


@pytest.mark.parametrize(
    ("check", "spec", "code", "message"),
    [
        (guest.check_pause, {"livenessProbe": {"tcpSocket": {"port": 22}}}, 403, "non-GuestAgentPing LivenessProbe"),
        (guest.check_pause, {"livenessProbe": {"guestAgentPing": {}}}, 0, ""),
        (guest.check_softreboot, {"domain": {"features": {"acpi": {"enabled": False}}}}, 409, "nor the ACPI feature"),
        (guest.check_softreboot, {"domain": {"features": {"acpi": {}}}}, 0, ""),
    ],
)
def test_what_the_spec_forbids(
    check: Callable[[VirtualMachineInstance], ApiError | None], spec: dict[str, Any], code: int, message: str
) -> None:
    refusal = check(vmi(spec=spec))
    assert (refusal.code if refusal else 0) == code
    assert message in (refusal.message if refusal else "")
