"""What KubeVirt lets through and libvirt or QEMU on this node would refuse: said in the manifest's words beforehand.

`render` itself makes these domains, as KubeVirt does; the node agent asks here first, and `virt-handler render` shows
the sentences beside the domain.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from virt_handler.domain.architectures import architecture_of
from virt_handler.domain.disks import attachments_of
from virt_handler.domain.traits import pci_address, traits_of, vcpu_count
from virt_handler.errors import RenderError
from virt_handler.model import Guest
from virt_types.v1 import Devices, Features, Firmware

# Since which libvirt a panic device of this model, confidential memory of this kind, and two ACPI tables are known.
PANIC_MODELS = {"isa": 0, "pseries": 0, "hyperv": 0, "s390": 0, "pvpanic": 9_001_000}
LIBVIRT_SNP, LIBVIRT_TDX, LIBVIRT_TWO_TABLES = 10_005_000, 11_006_000, 11_002_000
# The slots of bus 00 that a q35 keeps for itself.
CHIPSET_SLOTS = (0x00, 0x1F)


class Obstacle(NamedTuple):
    """Why the guest can't start here, and the way out."""

    message: str
    hint: str = ""


def obstacles(guest: Guest) -> tuple[Obstacle, ...]:
    """All of them, in the order of the manifest; raises RenderError for what is no domain at all."""
    return (
        *_machine(guest),
        *_processor(guest),
        *_firmware(guest),
        *_security(guest),
        *_devices(guest),
        *_disks(guest),
        *_addresses(guest),
    )


def refuse(guest: Guest) -> None:
    """Raises RenderError for the first obstacle."""
    for found in obstacles(guest):
        raise RenderError(found.message, hint=found.hint)


def _machine(guest: Guest) -> Iterator[Obstacle]:
    spec, host = guest.vmi.spec, guest.host
    arch = architecture_of(spec.architecture)
    if arch.emulated != host.arch:
        yield Obstacle(
            f"spec.architecture {arch.name!r}: node {host.name} is {host.arch}", "run it on a node of that architecture"
        )
    if spec.domain.memory is None or not spec.domain.memory.guest or str(spec.domain.memory.guest) == "0":
        yield Obstacle("spec.domain.memory.guest: a guest needs memory", "set it, e.g. 1Gi")


def _processor(guest: Guest) -> Iterator[Obstacle]:
    wanted, limit = vcpu_count(guest.vmi.spec.domain), guest.host.max_vcpus
    if limit and wanted > limit:
        yield Obstacle(
            f"spec.domain.cpu: {wanted} vCPUs, QEMU on {guest.host.name} gives {limit}",
            "lower sockets, cores or threads",
        )


def _firmware(guest: Guest) -> Iterator[Obstacle]:
    domain = guest.vmi.spec.domain
    firmware, features = domain.firmware or Firmware(), domain.features or Features()
    efi = firmware.bootloader.efi if firmware.bootloader else None
    smm = features.smm is not None and features.smm.enabled is not False
    if efi and efi.secure_boot is not False and not smm and domain.launch_security is None and _is_pc(guest):
        yield Obstacle(
            "spec.domain.firmware.bootloader.efi.secureBoot needs system management mode",
            "set features.smm.enabled: true, or secureBoot: false",
        )
    tables = firmware.acpi and firmware.acpi.slic_name_ref and firmware.acpi.msdm_name_ref
    if tables and guest.host.libvirt_version < LIBVIRT_TWO_TABLES:
        yield Obstacle(
            "spec.domain.firmware.acpi: libvirt here takes one table only", "name slicNameRef or msdmNameRef"
        )
    vendor = features.hyperv.vendorid if features.hyperv else None
    if vendor and vendor.enabled is not False and not vendor.vendorid:
        yield Obstacle("spec.domain.features.hyperv.vendorid is without its value", "set vendorid, 1 to 12 characters")


def _is_pc(guest: Guest) -> bool:
    return (guest.vmi.spec.architecture or "amd64") == "amd64"


def _security(guest: Guest) -> Iterator[Obstacle]:
    security, host = guest.vmi.spec.domain.launch_security, guest.host
    if security is None:
        return
    kinds = (
        ("sev", security.sev, 0, host.sev),
        ("snp", security.snp, LIBVIRT_SNP, host.sev),
        ("tdx", security.tdx, LIBVIRT_TDX, None),
    )
    for name, asked, since, able in kinds:
        if asked is not None and (able is False or host.libvirt_version < since):
            yield Obstacle(
                f"spec.domain.launchSecurity.{name}: node {host.name} can't keep a guest's memory from itself",
                "run it on a node with the hardware, or remove launchSecurity",
            )


def _devices(guest: Guest) -> Iterator[Obstacle]:
    devices, host = guest.vmi.spec.domain.devices, guest.host
    if devices.tpm is not None and devices.tpm.enabled is not False and host.tpm is False:
        yield Obstacle(
            f"spec.domain.devices.tpm: node {host.name} can't emulate a TPM", "apt install swtpm swtpm-tools"
        )
    for number, share in enumerate(devices.filesystems):
        if share.name not in guest.shares and share.name not in guest.directories:
            yield Obstacle(
                f"spec.domain.devices.filesystems[{number}]: nothing on node {host.name} serves {share.name!r}",
                "run the node's agent as root (libvirt's session starts no virtiofs daemon), or attach it as a disk",
            )
    yield from _screen(devices, guest)
    models = [name for name, since in PANIC_MODELS.items() if since <= host.libvirt_version]
    for number, panic in enumerate(devices.panic_devices):
        if panic.model and panic.model not in models:
            yield Obstacle(
                f"spec.domain.devices.panicDevices[{number}].model {panic.model!r} is unknown to libvirt here",
                f"use one of {', '.join(models)}",
            )


def _screen(devices: Devices, guest: Guest) -> Iterator[Obstacle]:
    known, asked = guest.host.video_models, devices.video.type if devices.video else None
    if known and asked and asked not in known and devices.autoattach_graphics_device is not False:
        yield Obstacle(
            f"spec.domain.devices.video.type {asked!r}: QEMU on {guest.host.name} has no such device",
            f"use one of {', '.join(sorted(known))}",
        )


def _disks(guest: Guest) -> Iterator[Obstacle]:
    for it in attachments_of(guest, traits_of(guest)):
        if it.device != "lun":
            continue
        if it.bus not in ("scsi", "virtio"):
            yield Obstacle(f"{it.field}.lun.bus {it.bus!r}: a LUN is on a SCSI bus", "set bus: scsi")
        elif it.source is not None and not it.source.block:
            yield Obstacle(
                f"{it.field}.lun: volume {it.spec.name!r} is a file, a LUN is a block device", "use disk instead of lun"
            )


def _addresses(guest: Guest) -> Iterator[Obstacle]:
    """PCI addresses the manifest chose: each once, and where a PCI Express machine has a place for a device."""
    taken: dict[str, str] = {}
    machine = guest.vmi.spec.domain.machine
    q35 = machine is None or (machine.type != "pc" and not (machine.type or "").startswith("pc-i440fx"))
    for field, text in _chosen_addresses(guest.vmi.spec.domain.devices):
        address = pci_address(text, field)
        if text in taken:
            yield Obstacle(f"{field} {text!r} is taken by {taken[text]}", "give each device an address of its own")
        taken.setdefault(text, field)
        bus, slot = int(address.bus, 16), int(address.slot, 16)
        if q35 and bus == 0 and slot in CHIPSET_SLOTS:
            yield Obstacle(f"{field} {text!r}: the machine's own chipset is in slot {slot:02x}", "use another slot")
        if q35 and bus != 0 and slot != 0:
            yield Obstacle(f"{field} {text!r}: a PCI Express bus has slot 00 only", "use slot 00, or bus 00")


def _chosen_addresses(devices: Devices) -> Iterator[tuple[str, str]]:
    """Field and address."""
    for number, disk in enumerate(devices.disks):
        if disk.disk is not None and disk.disk.pci_address:
            yield f"spec.domain.devices.disks[{number}].disk.pciAddress", disk.disk.pci_address
    for number, interface in enumerate(devices.interfaces):
        if interface.pci_address:
            yield f"spec.domain.devices.interfaces[{number}].pciAddress", interface.pci_address
