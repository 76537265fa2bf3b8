"""Controllers that libvirt would not add, or not like this. Specification: domain-xml §7."""

from __future__ import annotations

from virt_handler.domain.context import Controller, Disk, HostDevice, Input
from virt_handler.domain.iothreads import Threads
from virt_handler.domain.traits import Traits
from virt_handler.model import Guest

NO_HOLE64_ANNOTATION = "kubevirt.io/disablePCIHole64"


def controllers_of(
    guest: Guest,
    traits: Traits,
    threads: Threads,
    *,
    disks: tuple[Disk, ...],
    inputs: tuple[Input, ...],
    host_devices: tuple[HostDevice, ...],
) -> tuple[Controller, ...]:
    devices = guest.vmi.spec.domain.devices
    usb = (
        traits.arch.usb
        or any(disk.bus == "usb" for disk in disks)
        or any(it.bus == "usb" for it in inputs)
        or any(device.source_usb for device in host_devices)
        or devices.client_passthrough is not None
    )
    found = [Controller("usb", 0, "qemu-xhci" if usb else "none")]
    if not devices.disable_hotplug or any(disk.bus == "scsi" for disk in disks):
        model, queues = traits.arch.scsi_model or traits.virtio, traits.vcpus if threads.scsi else 0
        found.append(Controller("scsi", 0, model, iommu=traits.iommu, iothread=threads.scsi, queues=queues))
    if devices.autoattach_serial_console is not False:
        found.append(Controller("virtio-serial", 0, traits.virtio, iommu=traits.iommu))
    if traits.arch.hole64 and guest.vmi.metadata.annotations.get(NO_HOLE64_ANNOTATION, "").lower() == "true":
        found.append(Controller("pci", 0, "pcie-root", no_hole64=True))
    return tuple(found)
