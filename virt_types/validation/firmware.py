"""Rules about how a guest boots: its identity, firmware, kernel, tables, encryption.

Specification 5.4, rules 88 to 91 and 95.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

from virt_types.errors import Cause
from virt_types.v1 import EFI, DomainSpec, LaunchSecurity, Volume
from virt_types.validation.scope import PULL_POLICIES, Rule, Scope, file_path, invalid, one_of, required, shown

# ACPI tables come from volumes of these types.
TABLE_VOLUMES = ("secret",)
SMBIOS_SERIAL = re.compile(r"[\x20-\x7e]{0,256}", re.ASCII)


def identity(scope: Scope) -> Iterator[Cause]:
    """Upstream takes any text, and libvirt then refuses the guest."""
    firmware = scope.spec.domain.firmware
    if firmware is None:
        return
    if firmware.uuid:
        field = scope.at("domain.firmware.uuid")
        try:
            uuid.UUID(firmware.uuid)
        except ValueError:
            yield invalid(field, f"{field} '{shown(firmware.uuid)}' is not a UUID.")
    if firmware.serial and SMBIOS_SERIAL.fullmatch(firmware.serial) is None:
        field = scope.at("domain.firmware.serial")
        yield invalid(field, f"{field} must be at most 256 printable ASCII characters.")


def bootloader(scope: Scope) -> Iterator[Cause]:
    domain = scope.spec.domain
    loader = domain.firmware.bootloader if domain.firmware else None
    if loader is None:
        return
    if loader.efi is not None and loader.bios is not None:
        field = scope.at("domain.firmware.bootloader")
        yield invalid(field, f"{field} has both EFI and BIOS configured, but they are mutually exclusive.")
    keys_in_rom = domain.launch_security is not None and domain.launch_security.tdx is not None
    if loader.efi is not None and _secure(loader.efi) and not keys_in_rom and not _has_smm(domain):
        field = scope.at("domain")
        text = "has EFI SecureBoot enabled. SecureBoot requires SMM, which is currently disabled."
        yield invalid(field, f"{field} {text}")


def _has_smm(domain: DomainSpec) -> bool:
    smm = domain.features.smm if domain.features else None
    return smm is not None and smm.enabled is not False


def _secure(efi: EFI) -> bool:
    return efi.secure_boot is not False


def kernel_boot(scope: Scope) -> Iterator[Cause]:
    boot = scope.spec.domain.firmware.kernel_boot if scope.spec.domain.firmware else None
    if boot is None:
        return
    field = scope.at("domain.firmware.kernelBoot")
    container = boot.container
    if boot.kernel_args and (container is None or not container.kernel_path):
        yield invalid(f"{field}.kernelArgs", "kernel arguments cannot be provided without an external kernel")
    if container is None:
        return
    field = f"{field}.container"
    if not container.image:
        yield required(f"{field}.image", f"{field} must be defined with an image")
    if container.image_pull_policy not in (None, "", *PULL_POLICIES):
        yield one_of(f"{field}.imagePullPolicy", PULL_POLICIES)
    if not container.kernel_path and not container.initrd_path:
        choice = "at least one of the following: kernelPath, initrdPath"
        yield required(field, f"{field} must be defined with {choice}")
    for name, path in (("kernelPath", container.kernel_path), ("initrdPath", container.initrd_path)):
        if path:
            yield from file_path(f"{field}.{name}", path)


def acpi_tables(scope: Scope) -> Iterator[Cause]:
    acpi = scope.spec.domain.firmware.acpi if scope.spec.domain.firmware else None
    if acpi is None:
        return
    field = scope.at("domain.firmware.acpi")
    if not acpi.slic_name_ref and not acpi.msdm_name_ref:
        yield required(field, "ACPI was set but no SLIC nor MSDM volume reference was set")
    volumes: dict[str, Volume] = {volume.name: volume for volume in scope.spec.volumes}
    for name, reference in (("slicNameRef", acpi.slic_name_ref), ("msdmNameRef", acpi.msdm_name_ref)):
        if not reference:
            continue
        volume = volumes.get(reference)
        if volume is None:
            yield invalid(f"{field}.{name}", f"{field} does not have a matching Volume.")
        elif all(getattr(volume, kind) is None for kind in TABLE_VOLUMES):
            yield invalid(f"{field}.{name}", f"{field} refers to Volume of unsupported type.")


def launch_security(scope: Scope) -> Iterator[Cause]:
    security = scope.spec.domain.launch_security
    arch = scope.spec.architecture or scope.settings.architecture
    if security is None or arch == "s390x":  # which has Secure Execution, without settings
        return
    if arch != "amd64":
        yield invalid(scope.at("architecture"), f"No launchSecurity support for architecture: {shown(arch)}")
        return
    field = scope.at("domain.launchSecurity")
    given = [name for name in ("sev", "snp", "tdx") if getattr(security, name) is not None]
    if len(given) != 1:
        yield Cause("FieldValueForbidden", "One and only one launchSecurity type can be set", field)
        return
    gate = "WorkloadEncryptionTDX" if security.tdx is not None else "WorkloadEncryptionSEV"
    if not scope.settings.enabled(gate):
        yield invalid(field, f"{gate} feature gate is not enabled in kubevirt-config")
        return
    yield from (invalid(field, fault) for fault in _encryption_faults(scope, security, given[0].upper()))


def _encryption_faults(scope: Scope, security: LaunchSecurity, name: str) -> Iterator[str]:
    """What an encrypted guest can't have."""
    domain = scope.spec.domain
    if security.tdx is not None and _has_smm(domain):
        yield f"{name} does not work along with SMM"
    loader = domain.firmware.bootloader if domain.firmware else None
    if loader is None or loader.efi is None:
        yield f"{name} requires OVMF (UEFI)"
    else:
        if security.tdx is None and _secure(loader.efi):
            yield f"{name} does not work along with SecureBoot"
        if security.sev is None and loader.efi.persistent:
            yield f"{name} does not work along with Persistent EFI variables"
    if security.sev is not None and security.sev.attestation is not None and scope.spec.start_strategy != "Paused":
        yield "SEV attestation requires VMI StartStrategy 'Paused'"
    for interface in domain.devices.interfaces:
        if interface.boot_order is not None:
            yield f"{name} does not work with bootable NICs: {shown(interface.name)}"


RULES: tuple[Rule, ...] = (identity, bootloader, kernel_boot, acpi_tables, launch_security)
