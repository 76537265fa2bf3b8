"""What the machine is before the guest starts: machine type, BIOS or EFI, kernel boot, SMBIOS, launch security.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base


class ACPI(Base, kw_only=True):
    """ACPI tables from volumes, for Windows licences."""

    msdm_name_ref: str | None = None
    """The volume, a Secret, that holds the table MSDM (Windows 8 and later)."""
    slic_name_ref: str | None = None
    """The volume, a Secret, that holds the table SLIC (Windows 7 and before)."""


class BIOS(Base, kw_only=True):
    """Boots with BIOS."""

    use_serial: bool | None = None
    """Writes BIOS messages to the serial line; default false."""


class EFI(Base, kw_only=True):
    """Boots with UEFI."""

    persistent: bool | None = None
    """Keeps the UEFI variables over restarts."""
    secure_boot: bool | None = None
    """Boots signed code only; default true, and needs features.smm."""


class Bootloader(Base, kw_only=True):
    """BIOS (default) or EFI."""

    bios: BIOS | None = None
    efi: EFI | None = None


class KernelBootContainer(Base, kw_only=True):
    """The image that holds kernel and initial RAM disk."""

    image: str = field(default_factory=str)
    """The image, such as registry/name:tag."""
    image_pull_policy: str | None = None
    """Always (default for tag latest or none), IfNotPresent (default else) or Never."""
    image_pull_secret: str | None = None
    """A Secret with the credentials of the registry."""
    initrd_path: str | None = None
    """The initial RAM disk's absolute path in the image."""
    kernel_path: str | None = None
    """The kernel's absolute path in the image."""


class KernelBoot(Base, kw_only=True):
    """Boots a kernel from a container image instead of from a disk."""

    container: KernelBootContainer | None = None
    kernel_args: str | None = None
    """The kernel's command line; needs a container with a kernel."""


class Firmware(Base, kw_only=True):
    """What runs before the guest, and the identity it shows."""

    acpi: ACPI | None = None
    bootloader: Bootloader | None = None
    kernel_boot: KernelBoot | None = None
    serial: str | None = None
    """Shown to the guest; chosen once and kept."""
    uuid: str | None = None
    """Shown to the guest; chosen once and kept."""


class Machine(Base, kw_only=True):
    """The machine type."""

    type: str | None = None
    """Such as q35 (default on amd64)."""


class Chassis(Base, kw_only=True):
    """SMBIOS chassis information."""

    asset: str | None = None
    """The asset tag."""
    manufacturer: str | None = None
    """Who made it."""
    serial: str | None = None
    """The serial number."""
    sku: str | None = None
    """The stock-keeping unit."""
    version: str | None = None
    """The version."""


class SEVAttestation(Base, kw_only=True):
    """Waits for the owner's approval before the guest runs."""


class SEVPolicy(Base, kw_only=True):
    """What SEV demands."""

    encrypted_state: bool | None = None
    """Demands SEV-ES, encrypted registers; default false."""


class SEV(Base, kw_only=True):
    """AMD SEV."""

    attestation: SEVAttestation | None = None
    dh_cert: str | None = None
    """The owner's Diffie-Hellman key, in base64."""
    policy: SEVPolicy | None = None
    session: str | None = None
    """The owner's session blob, in base64."""


class SEVSNP(Base, kw_only=True):
    """AMD SEV-SNP."""


class TDX(Base, kw_only=True):
    """Intel TDX."""


class LaunchSecurity(Base, kw_only=True):
    """Encrypts the guest's memory."""

    sev: SEV | None = None
    snp: SEVSNP | None = None
    tdx: TDX | None = None
