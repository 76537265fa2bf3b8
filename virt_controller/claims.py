"""The claims and DataVolumes that VMs and VMIs name; a DataVolume's claim has its name."""

from __future__ import annotations

from virt_types.v1 import VirtualMachine, VirtualMachineInstance, Volume


def claim_names(vmi: VirtualMachineInstance) -> list[str]:
    """The claims a VMI's volumes need, in order."""
    return claims_of(vmi.spec.volumes)


def claims_of_template(vm: VirtualMachine) -> list[str]:
    """The claims the instances of a VM need, in order."""
    return claims_of(vm.spec.template.spec.volumes)


def claims_of(volumes: list[Volume]) -> list[str]:
    """The claims of these volumes, in order."""
    names = []
    for volume in volumes:
        if volume.persistent_volume_claim is not None:
            names.append(volume.persistent_volume_claim.claim_name)
        elif volume.data_volume is not None:
            names.append(volume.data_volume.name)
        elif volume.ephemeral is not None and volume.ephemeral.persistent_volume_claim is not None:
            names.append(volume.ephemeral.persistent_volume_claim.claim_name)
    return [name for name in names if name]


def template_names(vm: VirtualMachine) -> list[str]:
    """The DataVolumes a VM brings along."""
    return [template.metadata.name for template in vm.spec.data_volume_templates]


def volume_names(vm: VirtualMachine) -> list[str]:
    """Every DataVolume a VM may mean: its templates', and those named like the claims of its volumes."""
    return list(dict.fromkeys([*template_names(vm), *claims_of_template(vm)]))
