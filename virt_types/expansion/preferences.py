"""A preference put into a VM's template: it fills what the template, its disks and its devices leave open.

The template always wins. KubeVirt overwrites `features.acpi` and `disableHotplug` instead, for want of a way to tell
whether they were set; here they can be told.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from virt_types.defaults import disks_for_bare_volumes
from virt_types.expansion.paths import get, put
from virt_types.instancetype.v1beta1 import DevicePreferences, FirmwarePreferences, VirtualMachinePreferenceSpec
from virt_types.v1 import (
    BIOS,
    EFI,
    Bootloader,
    Clock,
    Devices,
    Disk,
    DiskTarget,
    DomainSpec,
    FeatureHyperv,
    Features,
    Input,
    Interface,
    PanicDevice,
    VideoDevice,
    VirtualMachineInstanceSpec,
    VirtualMachineInstanceTemplateSpec,
    VirtualMachineSpec,
)


class Fills(NamedTuple):
    """One field of a preference's spec and the field of an instance's spec it fills when that is absent."""

    source: str
    target: str


# What decides about other defaults, and therefore comes before them.
EARLY = (
    Fills("preferredArchitecture", "architecture"),
    Fills("machine.preferredMachineType", "domain.machine.type"),
    Fills("devices.preferredAutoattachPodInterface", "domain.devices.autoattachPodInterface"),
)
FILLS = (
    Fills("clock.preferredTimer", "domain.clock.timer"),
    Fills("devices.preferredAutoattachGraphicsDevice", "domain.devices.autoattachGraphicsDevice"),
    Fills("devices.preferredAutoattachInputDevice", "domain.devices.autoattachInputDevice"),
    Fills("devices.preferredAutoattachMemBalloon", "domain.devices.autoattachMemBalloon"),
    Fills("devices.preferredAutoattachSerialConsole", "domain.devices.autoattachSerialConsole"),
    Fills("devices.preferredBlockMultiQueue", "domain.devices.blockMultiQueue"),
    Fills("devices.preferredDisableHotplug", "domain.devices.disableHotplug"),
    Fills("devices.preferredNetworkInterfaceMultiQueue", "domain.devices.networkInterfaceMultiqueue"),
    Fills("devices.preferredRng", "domain.devices.rng"),
    Fills("devices.preferredTPM", "domain.devices.tpm"),
    Fills("devices.preferredUseVirtioTransitional", "domain.devices.useVirtioTransitional"),
    Fills("features.preferredAcpi.enabled", "domain.features.acpi.enabled"),
    Fills("features.preferredApic", "domain.features.apic"),
    Fills("features.preferredKvm", "domain.features.kvm"),
    Fills("features.preferredPvspinlock", "domain.features.pvspinlock"),
    Fills("features.preferredSmm", "domain.features.smm"),
    Fills("preferredLaunchSecurity", "domain.launchSecurity"),
    Fills("preferredSubdomain", "subdomain"),
    Fills("preferredTerminationGracePeriodSeconds", "terminationGracePeriodSeconds"),
)
# Field of DevicePreferences -> field of each element it fills.
DISK = (
    Fills("preferredDiskBus", "disk.bus"),
    Fills("preferredDiskBlockSize", "blockSize"),
    Fills("preferredDiskCache", "cache"),
    Fills("preferredDiskIO", "io"),
)
CDROM = (Fills("preferredCdromBus", "cdrom.bus"),)
LUN = (Fills("preferredLunBus", "lun.bus"),)
INTERFACE = (Fills("preferredInterfaceModel", "model"),)
INPUT = (Fills("preferredInputBus", "bus"), Fills("preferredInputType", "type"))
GPU = (Fills("preferredVirtualGPUOptions", "virtualGPUOptions"),)
PANIC = (Fills("preferredPanicDeviceModel", "model"),)
STORAGE = (Fills("volumes.preferredStorageClassName", "storageClassName"),)
SOUND = (Fills("preferredSoundModel", "model"),)
VIDEO = (Fills("preferredVideoType", "type"),)

# Ways an interface may be connected, as attributes.
BINDINGS = ("binding", "bridge", "macvtap", "masquerade", "passt", "passt_binding", "slirp", "sriov")
AUTOMATIC_INPUT = "default-0"


def fill_early(spec: VirtualMachineInstanceSpec, preference: VirtualMachinePreferenceSpec) -> None:
    """What a VM stores of its preference: the defaults of admission depend on it."""
    _fill(spec, preference, EARLY)


def fill_storage(spec: VirtualMachineSpec, preference: VirtualMachinePreferenceSpec) -> None:
    """The class of the volumes a VM makes for itself."""
    for template in spec.data_volume_templates:
        for target in (template.spec.storage, template.spec.pvc):
            if target is not None:
                _fill(target, preference, STORAGE)


def fill(template: VirtualMachineInstanceTemplateSpec, preference: VirtualMachinePreferenceSpec) -> None:
    """Fill the template; an instancetype comes before."""
    spec = template.spec
    _fill(spec, preference, EARLY)
    _fill(spec, preference, FILLS)
    _clock_offset(spec.domain, preference)
    _cpu_features(spec, preference)
    _hyperv(spec.domain, preference)
    if preference.firmware is not None:
        _firmware(spec.domain, preference.firmware)
    add_automatic_input(spec.domain.devices)
    if preference.devices is not None:
        _devices(spec, preference.devices)
    template.metadata.annotations = preference.annotations | template.metadata.annotations


def add_automatic_input(devices: Devices) -> None:
    """`autoattachInputDevice` is a VM's wish: its instance gets the device, unless the template has one."""
    if devices.autoattach_input_device and not devices.inputs:
        devices.inputs = [Input(name=AUTOMATIC_INPUT)]


def _fill(obj: msgspec.Struct, source: msgspec.Struct, rows: tuple[Fills, ...]) -> None:
    for row in rows:
        wanted = get(source, row.source)
        if wanted is not None and _is_open(get(obj, row.target)):
            put(obj, row.target, wanted)


def _is_open(value: Any) -> bool:
    """Whether the template left this open. A flag that is false, and 0, are answers."""
    return value is None or value == ""


def _clock_offset(domain: DomainSpec, preference: VirtualMachinePreferenceSpec) -> None:
    """Time zone and UTC exclude each other: either the VM's, or the preference's."""
    offset = preference.clock.preferred_clock_offset if preference.clock is not None else None
    clock = domain.clock
    if offset is None or (clock is not None and (clock.utc is not None or clock.timezone)):
        return
    clock = domain.clock = clock or Clock()
    put(clock, "utc", offset.utc)
    clock.timezone = offset.timezone


def _cpu_features(spec: VirtualMachineInstanceSpec, preference: VirtualMachinePreferenceSpec) -> None:
    wanted = preference.cpu.preferred_cpu_features if preference.cpu is not None else []
    if wanted:
        present = get(spec, "domain.cpu.features") or []
        named = {feature.name for feature in present}
        put(spec, "domain.cpu.features", [*present, *(each for each in wanted if each.name not in named)])


def _hyperv(domain: DomainSpec, preference: VirtualMachinePreferenceSpec) -> None:
    wanted = preference.features.preferred_hyperv if preference.features is not None else None
    if wanted is None or get(domain, "features.hypervPassthrough.enabled"):
        return
    features = domain.features = domain.features or Features()
    features.hyperv = features.hyperv or FeatureHyperv()
    names = FeatureHyperv.__struct_encode_fields__
    _fill(features.hyperv, wanted, tuple(Fills(name, name) for name in names))


def _firmware(domain: DomainSpec, wanted: FirmwarePreferences) -> None:
    """A VM that names a boot loader keeps it; of the preference's, BIOS comes before EFI, and new fields before old."""
    bootloader = get(domain, "firmware.bootloader") or Bootloader()
    if bootloader.bios is None and bootloader.efi is None:
        if wanted.preferred_use_bios:
            bootloader.bios = BIOS()
        elif wanted.preferred_efi is not None:
            put(bootloader, "efi", wanted.preferred_efi)
        elif wanted.preferred_use_efi:
            bootloader.efi = EFI()
    if bootloader.bios is not None and bootloader.bios.use_serial is None:
        bootloader.bios.use_serial = wanted.preferred_use_bios_serial
    if bootloader.efi is not None and bootloader.efi.secure_boot is None and wanted.preferred_efi is None:
        bootloader.efi.secure_boot = wanted.preferred_use_secure_boot
    if bootloader.bios is not None or bootloader.efi is not None:
        put(domain, "firmware.bootloader", bootloader)


def _devices(spec: VirtualMachineInstanceSpec, wanted: DevicePreferences) -> None:
    disks_for_bare_volumes(spec)
    devices = spec.domain.devices
    for disk in devices.disks:
        _disk(disk, wanted)
    for interface in devices.interfaces:
        _interface(interface, spec, wanted)
    for item in devices.inputs:
        _fill(item, wanted, INPUT)
    for gpu in devices.gpus:
        _fill(gpu, wanted, GPU)
    if devices.sound is not None:
        _fill(devices.sound, wanted, SOUND)
    if wanted.preferred_video_type and devices.autoattach_graphics_device is not False:
        devices.video = devices.video or VideoDevice()
        _fill(devices.video, wanted, VIDEO)
    if wanted.preferred_panic_device_model:
        devices.panic_devices = devices.panic_devices or [PanicDevice()]
        for panic in devices.panic_devices:
            _fill(panic, wanted, PANIC)


def _disk(disk: Disk, wanted: DevicePreferences) -> None:
    if disk.cdrom is not None:
        _fill(disk, wanted, CDROM)
    elif disk.lun is not None:
        _fill(disk, wanted, LUN)
    else:
        disk.disk = disk.disk or DiskTarget()
        _fill(disk, wanted, DISK)
        if disk.disk.bus == "virtio" and disk.dedicated_io_thread is None:  # other buses have none
            disk.dedicated_io_thread = wanted.preferred_disk_dedicated_io_thread


def _interface(interface: Interface, spec: VirtualMachineInstanceSpec, wanted: DevicePreferences) -> None:
    _fill(interface, wanted, INTERFACE)
    if wanted.preferred_interface_masquerade is None or _is_bound(interface):
        return
    if any(network.name == interface.name and network.pod is not None for network in spec.networks):
        put(interface, "masquerade", wanted.preferred_interface_masquerade)


def _is_bound(interface: Interface) -> bool:
    return any(getattr(interface, binding) is not None for binding in BINDINGS)
