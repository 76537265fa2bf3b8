"""What a VM becomes with its instancetype and its preference; pure.

Called by admission, by the VM controller before it makes an instance, by the expand-spec verbs, and offline by
`virtctl validate` and `virt-handler render`. Who finds the two objects is virt_kube.instancetypes.
"""

from __future__ import annotations

from copy import deepcopy

from virt_types.errors import Cause
from virt_types.expansion import preferences, requirements, sizes
from virt_types.instancetype.v1beta1 import VirtualMachineInstancetypeSpec, VirtualMachinePreferenceSpec
from virt_types.v1 import VirtualMachine

__all__ = ["conflicts", "expand", "refusals"]

TEMPLATE = "spec.template"


def expand(
    vm: VirtualMachine, size: VirtualMachineInstancetypeSpec | None, preference: VirtualMachinePreferenceSpec | None
) -> VirtualMachine:
    """A copy of the VM that needs neither of them any more: its template says all, and it names none.

    Fields that conflict with the instancetype are overwritten: look at `conflicts` before.
    """
    expanded = deepcopy(vm)
    if size is not None:
        sizes.apply(expanded.spec.template, size, preference)
    if preference is not None:
        preferences.fill(expanded.spec.template, preference)
    expanded.spec.instancetype = expanded.spec.preference = None
    return expanded


def conflicts(
    vm: VirtualMachine, size: VirtualMachineInstancetypeSpec | None, preference: VirtualMachinePreferenceSpec | None
) -> list[Cause]:
    """What keeps the VM from being expanded: fields that are the instancetype's, CPUs that can't be spread."""
    return [] if size is None else list(sizes.conflicts(vm.spec.template, size, preference, TEMPLATE))


def refusals(
    vm: VirtualMachine, size: VirtualMachineInstancetypeSpec | None, preference: VirtualMachinePreferenceSpec | None
) -> list[Cause]:
    """Every reason not to store the VM: `conflicts`, and what the preference requires."""
    unmet = [] if preference is None else list(requirements.unmet(vm.spec.template.spec, size, preference))
    return [*conflicts(vm, size, preference), *unmet]
