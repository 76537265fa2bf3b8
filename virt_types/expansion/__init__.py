"""What a VM becomes with its instancetype and its preference; pure.

Called by admission, by the VM controller before it makes an instance, by the expand-spec verbs, and offline by
`virtctl validate` and `virt-handler render`. Who finds the two objects is virt_kube.instancetypes.
"""

from __future__ import annotations

from copy import deepcopy
from typing import NamedTuple

from virt_types.errors import Cause
from virt_types.expansion import preferences, requirements, sizes
from virt_types.instancetype.v1beta1 import VirtualMachineInstancetypeSpec, VirtualMachinePreferenceSpec
from virt_types.settings import DEFAULT, Settings
from virt_types.v1 import VirtualMachine

__all__ = ["Sizing", "conflicts", "expand", "prepare", "refusals"]

TEMPLATE = "spec.template"


class Sizing(NamedTuple):
    """What a machine is expanded with."""

    instancetype: VirtualMachineInstancetypeSpec | None = None
    preference: VirtualMachinePreferenceSpec | None = None


def prepare(
    vm: VirtualMachine, preference: VirtualMachinePreferenceSpec | None, settings: Settings = DEFAULT
) -> Settings:
    """Store in a new VM what of its preference its other defaults depend on; the settings to make those with."""
    if preference is None:
        return settings
    preferences.fill_early(vm.spec.template.spec, preference)
    preferences.fill_storage(vm.spec, preference)
    masquerade = preference.devices is not None and preference.devices.preferred_interface_masquerade is not None
    return settings._replace(interface_binding="masquerade") if masquerade else settings


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
        preferences.fill_storage(expanded.spec, preference)
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
