"""The VMI a VM starts, made from its template (spec 2.4), and the VM's legacy firmware identity."""

from __future__ import annotations

from uuid import UUID, uuid5

from msgspec.structs import replace

from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from virt_types import labels
from virt_types.expansion.preferences import AUTOMATIC_INPUT
from virt_types.meta import ObjectMeta, OwnerReference
from virt_types.v1 import (
    Input,
    VirtualMachine,
    VirtualMachineInstance,
    VirtualMachineInstanceSpec,
    VirtualMachineInstanceStatus,
)

LEGACY_FIRMWARE_NAMESPACE = UUID("6a1a24a1-4061-4607-8bf4-a3963d0c5895")


def build_instance(vm: VirtualMachine, *, paused: bool) -> VirtualMachineInstance:
    """A new VMI; shares parts of the VM's spec, so it is to be encoded, not changed (but for its own status)."""
    template = vm.spec.template
    spec = _with_input(template.spec)
    if paused:
        spec = replace(spec, start_strategy="Paused")
    return VirtualMachineInstance(
        api_version=VIRTUAL_MACHINE_INSTANCES.api_version,
        kind=VIRTUAL_MACHINE_INSTANCES.kind,
        metadata=ObjectMeta(
            name=vm.metadata.name,
            namespace=vm.metadata.namespace,
            labels={**template.metadata.labels},
            annotations={**template.metadata.annotations, labels.VM_GENERATION: str(vm.metadata.generation)},
            owner_references=[owner_reference(vm)],
            finalizers=[labels.VM_FINALIZER, labels.VMI_FINALIZER],
        ),
        spec=spec,
        status=VirtualMachineInstanceStatus(),
    )


def _with_input(spec: VirtualMachineInstanceSpec) -> VirtualMachineInstanceSpec:
    """`autoattachInputDevice` is a VM's wish: its instance gets the device, unless the template has one."""
    devices = spec.domain.devices
    if not devices.autoattach_input_device or devices.inputs:
        return spec
    devices = replace(devices, inputs=[Input(name=AUTOMATIC_INPUT)])
    return replace(spec, domain=replace(spec.domain, devices=devices))


def owner_reference(vm: VirtualMachine) -> OwnerReference:
    return OwnerReference(
        api_version=VIRTUAL_MACHINES.api_version,
        kind=VIRTUAL_MACHINES.kind,
        name=vm.metadata.name,
        uid=vm.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )


def firmware_uuid(vm: VirtualMachine, vmi: VirtualMachineInstance | None) -> str:
    """The uuid a VM stored without one gets: that of its running guest, else the one KubeVirt used to derive."""
    firmware = vmi.spec.domain.firmware if vmi is not None else None
    if firmware is not None and firmware.uuid:
        return firmware.uuid
    return str(uuid5(LEGACY_FIRMWARE_NAMESPACE, vm.metadata.name))
