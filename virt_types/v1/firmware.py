"""What the machine is before the guest starts: machine type, BIOS or EFI, kernel boot, SMBIOS, launch security.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base


class ACPI(Base, kw_only=True):
    """ACPI tables from volumes, for Windows licences."""

    msdm_name_ref: str | None = None
    slic_name_ref: str | None = None


class BIOS(Base, kw_only=True):
    """Boots with BIOS."""

    use_serial: bool | None = None


class EFI(Base, kw_only=True):
    """Boots with UEFI."""

    persistent: bool | None = None
    secure_boot: bool | None = None


class Bootloader(Base, kw_only=True):
    """BIOS (default) or EFI."""

    bios: BIOS | None = None
    efi: EFI | None = None


class KernelBootContainer(Base, kw_only=True):
    """The image that holds kernel and initial RAM disk."""

    image: str = field(default_factory=str)
    image_pull_policy: str | None = None
    image_pull_secret: str | None = None
    initrd_path: str | None = None
    kernel_path: str | None = None


class KernelBoot(Base, kw_only=True):
    """Boots a kernel from a container image instead of from a disk."""

    container: KernelBootContainer | None = None
    kernel_args: str | None = None


class Firmware(Base, kw_only=True):
    """What runs before the guest, and the identity it shows."""

    acpi: ACPI | None = None
    bootloader: Bootloader | None = None
    kernel_boot: KernelBoot | None = None
    serial: str | None = None
    uuid: str | None = None


class Machine(Base, kw_only=True):
    """The machine type."""

    type: str | None = None


class Chassis(Base, kw_only=True):
    """SMBIOS chassis information."""

    asset: str | None = None
    manufacturer: str | None = None
    serial: str | None = None
    sku: str | None = None
    version: str | None = None


class SEVAttestation(Base, kw_only=True):
    """Waits for the owner's approval before the guest runs."""


class SEVPolicy(Base, kw_only=True):
    """What SEV demands."""

    encrypted_state: bool | None = None


class SEV(Base, kw_only=True):
    """AMD SEV."""

    attestation: SEVAttestation | None = None
    dh_cert: str | None = None
    policy: SEVPolicy | None = None
    session: str | None = None


class SEVSNP(Base, kw_only=True):
    """AMD SEV-SNP."""


class TDX(Base, kw_only=True):
    """Intel TDX."""


class LaunchSecurity(Base, kw_only=True):
    """Encrypts the guest's memory."""

    sev: SEV | None = None
    snp: SEVSNP | None = None
    tdx: TDX | None = None
