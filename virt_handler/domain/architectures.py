"""What machines of each architecture have, as a table: the sections ask here and know no architecture by name."""

from __future__ import annotations

from typing import NamedTuple

from virt_handler.errors import RenderError


class Architecture(NamedTuple):
    """One of the names in `spec.architecture`. `emulated` is what libvirt and QEMU call it."""

    name: str
    emulated: str
    machine: str  # without spec.domain.machine.type
    disk_bus: str  # of a disk that names none
    scsi_model: str  # empty: the flavour of all virtio devices
    watchdog: str  # empty: QEMU has none
    pci: bool  # virtio devices are PCI devices, with a ROM and one of two flavours
    pci_root: bool  # devices can be placed on the root complex
    hole64: bool  # has a 64-bit PCI hole that can be turned off
    usb: bool  # always has a USB controller
    vcpu_hotplug: bool
    smbios: bool
    vmport: bool
    memfd: bool  # memory of other processes' reach sits in NUMA cells, which not all have
    old_models: bool  # has CPU models with features that newer processors have lost
    confidential: bool  # SEV, SNP and TDX


ARCHITECTURES = {
    "amd64": Architecture(
        name="amd64",
        emulated="x86_64",
        machine="q35",
        disk_bus="sata",
        scsi_model="",
        watchdog="i6300esb",
        pci=True,
        pci_root=True,
        hole64=True,
        usb=False,
        vcpu_hotplug=True,
        smbios=True,
        vmport=True,
        memfd=True,
        old_models=True,
        confidential=True,
    ),
    "arm64": Architecture(
        name="arm64",
        emulated="aarch64",
        machine="virt",
        disk_bus="virtio",
        scsi_model="",
        watchdog="",
        pci=True,
        pci_root=True,
        hole64=False,
        usb=True,
        vcpu_hotplug=False,
        smbios=True,
        vmport=False,
        memfd=True,
        old_models=False,
        confidential=False,
    ),
    "s390x": Architecture(
        name="s390x",
        emulated="s390x",
        machine="s390-ccw-virtio",
        disk_bus="virtio",
        scsi_model="virtio-scsi",
        watchdog="diag288",
        pci=False,
        pci_root=False,
        hole64=False,
        usb=False,
        vcpu_hotplug=True,
        smbios=False,
        vmport=False,
        memfd=False,
        old_models=False,
        confidential=False,
    ),
}


def architecture_of(name: str | None) -> Architecture:
    """The row of `spec.architecture`; raises RenderError for one this agent has no rules for."""
    try:
        return ARCHITECTURES[name or "amd64"]
    except KeyError:
        raise RenderError(
            f"spec.architecture {name!r} is not supported", hint=f"use one of {', '.join(ARCHITECTURES)}"
        ) from None
