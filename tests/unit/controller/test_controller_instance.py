"""The instance a VM starts: made from the template, which itself stays as it is."""

from __future__ import annotations

import pytest
from support.machines import vm

from virt_controller.vm.instance import build_instance
from virt_types.codec import to_builtins
from virt_types.v1 import Input

TABLET = Input(name="mine", type="tablet", bus="virtio")


@pytest.mark.parametrize(
    ("wanted", "inputs", "made"),
    [
        (True, [], ["default-0"]),
        (True, [TABLET], ["mine"]),
        (False, [], []),
        (None, [], []),
    ],
)
def test_an_input_device_is_added_when_it_is_asked_for(
    wanted: bool | None, inputs: list[Input], made: list[str]
) -> None:
    machine = vm("Always")
    devices = machine.spec.template.spec.domain.devices
    devices.autoattach_input_device, devices.inputs = wanted, inputs
    before = to_builtins(machine)
    instance = build_instance(machine, paused=True)
    assert [each.name for each in instance.spec.domain.devices.inputs] == made
    assert instance.spec.start_strategy == "Paused"
    assert to_builtins(machine) == before


def test_an_instance_knows_its_machine_and_the_generation_it_was_made_from() -> None:
    machine = vm("Always")
    machine.metadata.generation = 7
    instance = build_instance(machine, paused=False)
    assert instance.metadata.annotations["kubevirt.io/vm-generation"] == "7"
    assert instance.metadata.controller is not None
    assert instance.metadata.controller.uid == machine.metadata.uid
    assert instance.spec.start_strategy is None
