"""The one word for people: of everything that is true of a VM, the first line of the table in spec 2.7 wins."""

from __future__ import annotations

from typing import Any

import pytest
from support.machines import vm, vmi

from virt_controller.vm.observed import Observed
from virt_controller.vm.status import printable_status
from virt_kube.api import Json
from virt_types.cdi.objects import DataVolume
from virt_types.codec import from_builtins
from virt_types.v1 import VirtualMachine, VirtualMachineInstance

VOLUMES = [{"name": "root", "dataVolume": {"name": "disk"}}]


def machine(strategy: str = "Always", *, deleting: bool = False, **status: Any) -> VirtualMachine:
    found = vm(strategy, meta={"deletionTimestamp": "2025-06-15T15:06:40Z"} if deleting else None, **status)
    found.spec.template.spec.volumes = from_builtins({"volumes": VOLUMES}, type(found.spec.template.spec)).volumes
    return found


def volume(phase: str, **conditions: tuple[str, str]) -> DataVolume:
    told = [{"type": type_, "status": value, "reason": reason} for type_, (value, reason) in conditions.items()]
    return from_builtins({"metadata": {"name": "disk"}, "status": {"phase": phase, "conditions": told}}, DataVolume)


def condition(type_: str, value: str, reason: str = "") -> Json:
    return {"type": type_, "status": value, "reason": reason}


SYNC = "Synchronized"
MISSING = condition(SYNC, "False", "FailedPvcNotFound")
UNSCHEDULABLE = condition("PodScheduled", "False", "Unschedulable")
MIGRATION = {"startTimestamp": "2025-06-15T15:06:40Z"}
PAUSED = condition("Paused", "True", "PausedByUser")
PULL = condition(SYNC, "False", "ErrImagePull")
BACK_OFF = condition(SYNC, "False", "ImagePullBackOff")
FAILED, FILLING, WAITING = volume("Failed"), volume("ImportInProgress"), volume("WaitForFirstConsumer")
FAILURES = {"startFailure": {"consecutiveFailCount": 1}}


def living(phase: str, *conditions: Json, **status: Any) -> VirtualMachineInstance:
    return vmi(phase, conditions=list(conditions), **status)


# Each row has all that its successors have, and the sign of its own line above it.
ROWS: list[tuple[str, Observed]] = [
    ("Terminating", Observed(machine(deleting=True), vmi("Running", going=True))),
    ("Stopping", Observed(machine(), vmi("Running", going=True, migrationState=MIGRATION, conditions=[PAUSED]))),
    ("Stopping", Observed(machine(), living("Running", PAUSED, migrationState=MIGRATION), going=True)),
    ("Migrating", Observed(machine(), living("Running", PAUSED, migrationState=MIGRATION))),
    ("Running", Observed(machine(), living("Running", migrationState={**MIGRATION, "completed": True}))),
    ("Paused", Observed(machine(), living("Running", PAUSED, MISSING), data_volumes=(FAILED,))),
    ("Running", Observed(machine(), living("Running", MISSING), data_volumes=(FAILED,))),
    ("ErrorPvcNotFound", Observed(machine(), living("Pending", MISSING, UNSCHEDULABLE), data_volumes=(FAILED,))),
    ("DataVolumeError", Observed(machine(), living("Pending", UNSCHEDULABLE), data_volumes=(FAILED,))),
    (
        "DataVolumeError",
        Observed(machine(), data_volumes=(volume("ImportInProgress", Running=("False", "ImagePullFailed")),)),
    ),
    ("ErrorUnschedulable", Observed(machine(), living("Pending", UNSCHEDULABLE), data_volumes=(FILLING,))),
    (
        "Provisioning",
        Observed(machine(), living("Pending", PULL), unbound_claims=("disk",), data_volumes=(FILLING,)),
    ),
    (
        "Provisioning",
        Observed(machine(), data_volumes=(volume("WaitForFirstConsumer", Bound=("True", "Bound")),)),
    ),
    (
        "WaitingForVolumeBinding",
        Observed(machine(), living("Pending", PULL), unbound_claims=("disk",), data_volumes=(WAITING,)),
    ),
    ("WaitingForVolumeBinding", Observed(machine(), unbound_claims=("disk",))),
    ("Stopped", Observed(machine("Halted"), unbound_claims=("disk",))),
    ("ErrImagePull", Observed(machine(), living("Scheduled", PULL))),
    ("ImagePullBackOff", Observed(machine(), living("Scheduled", BACK_OFF))),
    *(("Starting", Observed(machine(), vmi(phase))) for phase in ("", "Pending", "Scheduling", "Scheduled")),
    ("CrashLoopBackOff", Observed(machine(**FAILURES))),
    ("CrashLoopBackOff", Observed(machine(**FAILURES), vmi("Failed", ran=False))),
    ("Stopped", Observed(machine("Manual", **FAILURES))),
    ("Stopped", Observed(machine("Manual"), vmi("Succeeded"))),
    ("Stopped", Observed(machine("WaitAsReceiver"))),
    ("Unknown", Observed(machine(), vmi("Unknown"))),
]


@pytest.mark.parametrize(("word", "observed"), ROWS)
def test_the_first_line_that_matches_wins(word: str, observed: Observed) -> None:
    status = observed.vm.status
    assert printable_status(observed, status.state_change_requests, status.start_failure) == word
