"""Machine, firmware, direct kernel boot and SMBIOS tables. Specification: domain-xml §3.

No `ds=nocloud` in the SMBIOS serial: the `cidata` label of the seed is what cloud-init looks for first, and the serial
belongs to the user (spec.domain.firmware.serial) and to the guest's inventory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from virt_handler.domain.context import LaunchSecurity, Loader, Os, SysInfo
from virt_handler.domain.traits import Traits
from virt_handler.errors import RenderError
from virt_handler.model import BootFiles, Guest
from virt_types import labels
from virt_types.v1 import EFI, Bootloader, Firmware, Machine, VirtualMachineInstance

BOOT_MENU_MILLISECONDS = 10_000  # long enough to attach a console to a guest that starts paused
MANUFACTURER = "KubeVirt"
CHASSIS = ("manufacturer", "version", "serial", "asset", "sku")
IGNITION_KEY = "opt/com.coreos/config"  # where Ignition looks on QEMU


class Rom(NamedTuple):
    """File names in the firmware directory; without `variables` the code is a plain ROM."""

    code: str
    variables: str = ""


# First what Debian and Ubuntu ship, then Fedora's names. Code that enforces secure boot hangs without SMM, hence last.
PLAIN = (
    Rom("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
    Rom("OVMF_CODE.fd", "OVMF_VARS.fd"),
    Rom("OVMF_CODE.secboot.fd", "OVMF_VARS.fd"),
)
# The variables hold Microsoft's keys: without enrolled keys nothing is enforced.
SECURE = (
    Rom("OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"),
    Rom("OVMF_CODE.secboot.fd", "OVMF_VARS.ms.fd"),
    Rom("OVMF_CODE.secboot.fd", "OVMF_VARS.secboot.fd"),
)
SEV = (Rom("OVMF_CODE.cc.fd", "OVMF_VARS.fd"),)
SNP = (Rom("OVMF.amdsev.fd"),)
TDX = (Rom("OVMF.inteltdx.fd"),)
TDX_SECURE = (Rom("OVMF.inteltdx.secboot.fd"),)
ARM = (Rom("AAVMF_CODE.fd", "AAVMF_VARS.fd"),)
ARM_DIRECTORY = "/usr/share/AAVMF"


def os_of(guest: Guest, traits: Traits) -> Os:
    domain = guest.vmi.spec.domain
    firmware = domain.firmware or Firmware()
    bios = firmware.bootloader.bios if firmware.bootloader else None
    boot = firmware.kernel_boot
    files = guest.boot if boot and boot.container else BootFiles()
    return Os(
        arch=traits.arch.emulated,
        machine=_machine(guest, traits),
        smbios=traits.arch.smbios,
        loader=_loader(guest, traits) if traits.efi else None,
        bootmenu_timeout=BOOT_MENU_MILLISECONDS if guest.vmi.spec.start_strategy == "Paused" else 0,
        use_serial=bool(bios and bios.use_serial),
        kernel=files.kernel,
        initrd=files.initrd,
        kernel_args=(boot.kernel_args or "") if boot else "",
        acpi_tables=tuple(_acpi_tables(guest, firmware)),
    )


def _machine(guest: Guest, traits: Traits) -> str:
    machine = (guest.vmi.spec.domain.machine or Machine()).type or traits.arch.machine
    known = guest.host.machines
    if known and machine not in known:
        raise RenderError(
            f"spec.domain.machine.type {machine!r}: QEMU on {guest.host.name} has no such machine",
            hint=f"use one of {', '.join(sorted(known)[:12])}",
        )
    return machine


def _loader(guest: Guest, traits: Traits) -> Loader:
    domain = guest.vmi.spec.domain
    bootloader = (domain.firmware or Firmware()).bootloader or Bootloader()
    secure = (bootloader.efi or EFI()).secure_boot is not False
    rom = _rom(guest, _candidates(guest, traits, secure=secure), secure=secure)
    directory = ARM_DIRECTORY if traits.arch.name == "arm64" else guest.host.firmware_dir
    return Loader(
        path=f"{directory}/{rom.code}",
        type="pflash" if rom.variables else "rom",
        secure=secure and bool(rom.variables),
        nvram=guest.files.nvram if rom.variables else "",
        nvram_template=f"{directory}/{rom.variables}" if rom.variables else "",
    )


def _candidates(guest: Guest, traits: Traits, *, secure: bool) -> tuple[Rom, ...]:
    security = guest.vmi.spec.domain.launch_security
    if traits.arch.name != "amd64":
        if traits.arch.name != "arm64":
            raise RenderError(f"spec.domain.firmware.bootloader.efi: machines of {traits.arch.name} have no EFI")
        return () if secure else ARM
    if security and security.snp:
        return () if secure else SNP
    if security and security.sev:
        return () if secure else SEV
    if security and security.tdx:
        return TDX_SECURE if secure else TDX
    return SECURE if secure else PLAIN


def _rom(guest: Guest, candidates: tuple[Rom, ...], *, secure: bool) -> Rom:
    present = guest.host.firmware_files
    for rom in candidates:
        if not present or {rom.code, rom.variables} - {""} <= present:
            return rom
    if not candidates:
        security = guest.vmi.spec.domain.launch_security
        kind = "launchSecurity.snp" if security and security.snp else "launchSecurity.sev"
        reason = f"does not go with {kind}" if security else f"has no firmware on {guest.vmi.spec.architecture}"
        raise RenderError(f"spec.domain.firmware.bootloader.efi.secureBoot {reason}", hint="set secureBoot: false")
    kind = "EFI firmware with secure boot" if secure else "EFI firmware"
    raise RenderError(
        f"spec.domain.firmware.bootloader.efi: no {kind} in {guest.host.firmware_dir} "
        f"(looked for {', '.join(rom.code for rom in candidates)})",
        hint="install the package ovmf",
    )


def _acpi_tables(guest: Guest, firmware: Firmware) -> Iterator[tuple[str, str]]:
    """The tables named in the spec, each with the file its secret volume became."""
    if firmware.acpi is None:
        return
    names = (("slic", firmware.acpi.slic_name_ref), ("msdm", firmware.acpi.msdm_name_ref))
    if not any(name for _, name in names):
        raise RenderError("spec.domain.firmware.acpi names no table", hint="set slicNameRef or msdmNameRef")
    paths = dict(guest.boot.acpi_tables)
    volumes = {volume.name: volume for volume in guest.vmi.spec.volumes}
    for table, name in names:
        if not name:
            continue
        field = f"spec.domain.firmware.acpi.{table}NameRef"
        if name not in volumes:
            raise RenderError(f"{field}: no volume {name!r} in spec.volumes")
        if volumes[name].secret is None:
            raise RenderError(f"{field}: volume {name!r} is not a secret")
        if table not in paths:
            raise RenderError(f"{field}: the table of secret volume {name!r} was not prepared on this node")
        yield table, paths[table]


def uuid_of(guest: Guest) -> str:
    firmware = guest.vmi.spec.domain.firmware
    return (firmware.uuid if firmware else None) or guest.vmi.metadata.uid


def sysinfo_of(guest: Guest) -> SysInfo:
    domain = guest.vmi.spec.domain
    firmware = domain.firmware or Firmware()
    system = [("manufacturer", MANUFACTURER), ("product", "None"), ("uuid", uuid_of(guest)), ("family", MANUFACTURER)]
    if firmware.serial:
        system.insert(2, ("serial", firmware.serial))
    chassis = [(name, getattr(domain.chassis, name)) for name in CHASSIS] if domain.chassis else []
    files = ((IGNITION_KEY, guest.boot.ignition),) if has_ignition(guest.vmi) and guest.boot.ignition else ()
    return SysInfo(tuple(system), tuple((name, value) for name, value in chassis if value), files)


def has_ignition(vmi: VirtualMachineInstance) -> bool:
    """Whether the guest brings a configuration for Ignition, CoreOS's first boot."""
    return "ignition" in vmi.metadata.annotations.get(labels.IGNITION_DATA, "")


def launch_security_of(guest: Guest, traits: Traits) -> LaunchSecurity | None:
    """None also for a secure guest of s390x: its own kernel asks for the protection, the domain only says iommu."""
    security = guest.vmi.spec.domain.launch_security
    if security is None or not (security.sev or security.snp or security.tdx) or traits.arch.name == "s390x":
        return None
    if not traits.arch.confidential:
        raise RenderError(
            f"spec.domain.launchSecurity: {traits.arch.name} has neither SEV nor TDX", hint="remove launchSecurity"
        )
    if security.sev is not None:
        encrypted = bool(security.sev.policy and security.sev.policy.encrypted_state)
        policy = "0x5" if encrypted else "0x1"
        return LaunchSecurity("sev", policy, security.sev.dh_cert or "", security.sev.session or "")
    return LaunchSecurity("sev-snp", "0x30000", "", "") if security.snp else LaunchSecurity("tdx", "", "", "")
