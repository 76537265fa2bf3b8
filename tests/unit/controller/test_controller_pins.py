"""What holds a VM to its instancetype and preference: when something is to be stored, and under which name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.machines import vm

from virt_controller.decisions import Failure
from virt_controller.vm.decide import decide
from virt_controller.vm.effects import Create, Pin
from virt_controller.vm.observed import Observed
from virt_controller.vm.pins import LONGEST_NAME, copy_of, revisions_in_use, unpinned
from virt_kube.instancetypes import Found
from virt_types.codec import from_builtins
from virt_types.instancetype.v1beta1 import VirtualMachineInstancetype
from virt_types.v1 import InstancetypeMatcher, VirtualMachine

REF = {"name": "small", "kind": "VirtualMachineInstancetype", "controllerRevisionRef": {"name": "r"}}
KIND = "VirtualMachineInstancetype"


def sized(matcher: InstancetypeMatcher | None, strategy: str = "Always", **status: Any) -> VirtualMachine:
    machine = vm(strategy, **status)
    machine.spec.instancetype = matcher
    return machine


@pytest.mark.parametrize(
    ("matcher", "ref", "words"),
    [
        (None, None, []),
        (None, REF, ["instancetype"]),
        (InstancetypeMatcher(name="small", kind=KIND), None, ["instancetype"]),
        (InstancetypeMatcher(name="small", kind=KIND), REF, []),
        (InstancetypeMatcher(name="small", kind="virtualmachineinstancetypes"), REF, []),
        (InstancetypeMatcher(name="small"), REF, ["instancetype"]),  # the cluster's of that name
        (InstancetypeMatcher(name="large", kind=KIND), REF, ["instancetype"]),
        (InstancetypeMatcher(name="small", kind=KIND, revision_name="r"), REF, []),
        (InstancetypeMatcher(name="small", kind=KIND, revision_name="s"), REF, ["instancetype"]),
        (InstancetypeMatcher(name="small", kind=KIND), {"name": "small", "kind": KIND}, ["instancetype"]),
        (InstancetypeMatcher(name="small", kind="Foo"), REF, ["instancetype"]),
    ],
)
def test_unpinned(matcher: InstancetypeMatcher | None, ref: Any, words: list[str]) -> None:
    status = {} if ref is None else {"instancetypeRef": ref}
    assert [reference.word for reference in unpinned(sized(matcher, **status))] == words


def test_a_vm_is_held_before_it_starts_and_while_it_is_off() -> None:
    matcher = InstancetypeMatcher(name="small", kind=KIND)
    for strategy in ("Always", "Halted"):
        assert decide(Observed(sized(matcher, strategy)), 0.0).effects == (Pin(),)
    (effect,) = decide(Observed(sized(matcher, instancetypeRef=REF)), 0.0).effects
    assert isinstance(effect, Create)


def test_a_failure_to_hold_it_stops_nothing_but_its_start() -> None:
    failure = Failure("FailedFindInstancetype", "not found")
    told = {"type": "Failure", "status": "True", "reason": failure.reason, "message": failure.message}
    matcher = InstancetypeMatcher(name="small", kind=KIND)
    starting = Observed(sized(matcher, conditions=[told]), failure=failure)
    assert decide(starting, 0.0).effects == (Pin(),)
    halted = Observed(sized(matcher, "Halted", conditions=[told]), failure=failure)
    assert Pin() not in decide(halted, 0.0).effects


def test_copies_are_named_for_what_they_are_of() -> None:
    body = {
        "apiVersion": "instancetype.kubevirt.io/v1beta1",
        "kind": KIND,
        "metadata": {"name": "n" * 240, "uid": "u1", "generation": 2, "managedFields": [{"manager": "x"}]},
        "spec": {"cpu": {"guest": 1}, "memory": {"guest": "1Gi"}},
    }
    found = Found(json.dumps(body).encode(), from_builtins(body, VirtualMachineInstancetype).spec, "")
    copy = copy_of(vm(), found)
    assert copy.name.startswith("vm1-nnn")
    assert copy.name.endswith("n-v1beta1-u1-2")
    assert len(copy.name) == LONGEST_NAME
    assert copy.data["spec"] == body["spec"]
    assert "managedFields" not in copy.data["metadata"]
    assert copy.marks.keys() == {
        f"instancetype.kubevirt.io/object-{key}" for key in ("generation", "kind", "uid", "version")
    }


def test_what_a_status_needs() -> None:
    assert revisions_in_use(vm(instancetypeRef=REF, preferenceRef={"name": "x"}).status) == {"r"}
