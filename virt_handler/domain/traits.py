"""What several sections ask about one guest, answered once: boot mode, virtio flavour, confidential memory, counts."""

from __future__ import annotations

import re
from typing import NamedTuple

from virt_handler.domain.architectures import Architecture, architecture_of
from virt_handler.domain.context import PciAddress
from virt_handler.errors import RenderError
from virt_handler.model import Guest
from virt_types.v1 import DomainSpec, LaunchSecurity

PCI_ADDRESS = re.compile(r"([0-9a-fA-F]{4}):([0-9a-fA-F]{2}):([01][0-9a-fA-F])\.([0-7])", re.ASCII)
ROOT_COMPLEX_ANNOTATION = "kubevirt.io/placePCIDevicesOnRootComplex"


class Traits(NamedTuple):
    """`vcpus` counts those the guest starts with."""

    arch: Architecture
    vcpus: int
    efi: bool
    virtio: str
    iommu: bool  # virtio goes through it: the host can't read the memory of a SEV, SEV-SNP or s390x secure guest
    dedicated: bool
    realtime: bool
    hugepages: bool


def traits_of(guest: Guest) -> Traits:
    """Raises RenderError for an architecture this agent has no rules for."""
    domain = guest.vmi.spec.domain
    arch = architecture_of(guest.vmi.spec.architecture)
    cpu = domain.cpu
    bootloader = domain.firmware.bootloader if domain.firmware else None
    return Traits(
        arch=arch,
        vcpus=vcpu_count(domain),
        efi=bool(bootloader and bootloader.efi),
        virtio=_virtio(arch, transitional=bool(domain.devices.use_virtio_transitional)),
        iommu=_behind_iommu(arch, domain.launch_security),
        dedicated=bool(cpu and cpu.dedicated_cpu_placement),
        realtime=bool(cpu and cpu.realtime),
        hugepages=bool(domain.memory and domain.memory.hugepages),
    )


def _virtio(arch: Architecture, *, transitional: bool) -> str:
    if not arch.pci:
        return "virtio"
    return "virtio-transitional" if transitional else "virtio-non-transitional"


def _behind_iommu(arch: Architecture, security: LaunchSecurity | None) -> bool:
    """Any launch security of s390x is Secure Execution."""
    return security is not None and (arch.name == "s390x" or bool(security.sev or security.snp))


def vcpu_count(domain: DomainSpec) -> int:
    """Processors at start; a topology number that is absent or zero counts as one."""
    cpu = domain.cpu
    return (cpu.sockets or 1) * (cpu.cores or 1) * (cpu.threads or 1) if cpu else 1


def pci_address(text: str, field: str) -> PciAddress:
    """`0000:81:01.0` as libvirt writes it; raises RenderError naming `field`."""
    match = PCI_ADDRESS.fullmatch(text)
    if match is None:
        raise RenderError(f"{field}: {text!r} is no PCI address", hint="write it as 0000:81:01.0")
    domain, bus, slot, function = match.groups()
    return PciAddress(f"0x{domain}", f"0x{bus}", f"0x{slot}", f"0x{function}")
