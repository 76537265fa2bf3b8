"""What several sections ask about one guest, answered once: boot mode, virtio flavour, confidential memory, counts."""

from __future__ import annotations

import re
from typing import NamedTuple

from virt_handler.domain.context import PciAddress
from virt_handler.errors import RenderError
from virt_handler.model import Guest
from virt_types.v1 import DomainSpec

ARCHITECTURES = {"amd64": "x86_64", "arm64": "aarch64"}
PCI_ADDRESS = re.compile(r"([0-9a-fA-F]{4}):([0-9a-fA-F]{2}):([01][0-9a-fA-F])\.([0-7])", re.ASCII)
ROOT_COMPLEX_ANNOTATION = "kubevirt.io/placePCIDevicesOnRootComplex"


class Traits(NamedTuple):
    """`vcpus` counts those the guest starts with."""

    arch: str
    vcpus: int
    efi: bool
    virtio: str
    sev: bool  # SEV, SEV-ES or SEV-SNP: virtio goes through the IOMMU
    dedicated: bool
    realtime: bool
    hugepages: bool


def traits_of(guest: Guest) -> Traits:
    """Raises RenderError for an architecture this agent has no rules for."""
    spec, domain = guest.vmi.spec, guest.vmi.spec.domain
    arch = spec.architecture or "amd64"
    if arch not in ARCHITECTURES:
        raise RenderError(f"spec.architecture {arch!r} is not supported", hint=f"use one of {', '.join(ARCHITECTURES)}")
    cpu, security = domain.cpu, domain.launch_security
    bootloader = domain.firmware.bootloader if domain.firmware else None
    return Traits(
        arch=arch,
        vcpus=vcpu_count(domain),
        efi=bool(bootloader and bootloader.efi) or arch == "arm64",
        virtio="virtio-transitional" if domain.devices.use_virtio_transitional else "virtio-non-transitional",
        sev=bool(security and (security.sev or security.snp)),
        dedicated=bool(cpu and cpu.dedicated_cpu_placement),
        realtime=bool(cpu and cpu.realtime),
        hugepages=bool(domain.memory and domain.memory.hugepages),
    )


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
