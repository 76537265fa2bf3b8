"""Instancetypes size a machine, preferences fill what it leaves open (group instancetype.kubevirt.io).

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Int32, Int64, ObjectMeta, Quantity
from virt_types.v1.cpu import NUMA, CPUFeature, Realtime
from virt_types.v1.devices import GPU, HostDevice, Rng, TPMDevice, VGPUOptions
from virt_types.v1.disks import BlockSize, DiskIOThreads
from virt_types.v1.features import ClockOffset, FeatureAPIC, FeatureHyperv, FeatureKVM, FeatureState, Timer
from virt_types.v1.firmware import EFI, LaunchSecurity
from virt_types.v1.memory import Hugepages
from virt_types.v1.network import InterfaceMasquerade


class CPUInstancetype(Base, kw_only=True):
    """The processors of a size."""

    dedicated_cpu_placement: bool | None = field(default=None, name="dedicatedCPUPlacement")
    guest: Int64 = field(default_factory=int)
    isolate_emulator_thread: bool | None = None
    max_sockets: Int64 | None = None
    model: str | None = None
    numa: NUMA | None = None
    realtime: Realtime | None = None


class MemoryInstancetype(Base, kw_only=True):
    """The memory of a size."""

    guest: Quantity
    hugepages: Hugepages | None = None
    max_guest: Quantity | None = None
    overcommit_percent: Int32 | None = None


class VirtualMachineInstancetypeSpec(Base, kw_only=True):
    """What every machine of this size gets; its own manifest must not say otherwise."""

    annotations: dict[str, str] = field(default_factory=dict)
    cpu: CPUInstancetype = field(default_factory=CPUInstancetype)
    gpus: list[GPU] = field(default_factory=list)
    host_devices: list[HostDevice] = field(default_factory=list)
    io_threads: DiskIOThreads | None = None
    io_threads_policy: str | None = None
    launch_security: LaunchSecurity | None = None
    memory: MemoryInstancetype
    node_selector: dict[str, str] = field(default_factory=dict)
    scheduler_name: str | None = None


class VirtualMachineInstancetype(Base, kw_only=True):
    """A size for machines of one namespace."""

    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachineInstancetypeSpec


class VirtualMachineClusterInstancetype(Base, kw_only=True):
    """A size for machines of every namespace."""

    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachineInstancetypeSpec


class SpreadOptions(Base, kw_only=True):
    """How virtual CPUs are spread over sockets, cores and threads."""

    across: str | None = None
    ratio: Int64 | None = None


class CPUPreferences(Base, kw_only=True):
    """How virtual CPUs are shown to the guest."""

    preferred_cpu_features: list[CPUFeature] = field(default_factory=list, name="preferredCPUFeatures")
    preferred_cpu_topology: str | None = field(default=None, name="preferredCPUTopology")
    spread_options: SpreadOptions | None = None


class ClockPreferences(Base, kw_only=True):
    """The clock that is preferred."""

    preferred_clock_offset: ClockOffset | None = None
    preferred_timer: Timer | None = None


class DevicePreferences(Base, kw_only=True):
    """The devices that are preferred."""

    preferred_autoattach_graphics_device: bool | None = None
    preferred_autoattach_input_device: bool | None = None
    preferred_autoattach_mem_balloon: bool | None = None
    preferred_autoattach_pod_interface: bool | None = None
    preferred_autoattach_serial_console: bool | None = None
    preferred_block_multi_queue: bool | None = None
    preferred_cdrom_bus: str | None = None
    preferred_disable_hotplug: bool | None = None
    preferred_disk_block_size: BlockSize | None = None
    preferred_disk_bus: str | None = None
    preferred_disk_cache: str | None = None
    preferred_disk_dedicated_io_thread: bool | None = None
    preferred_disk_io: str | None = field(default=None, name="preferredDiskIO")
    preferred_input_bus: str | None = None
    preferred_input_type: str | None = None
    preferred_interface_masquerade: InterfaceMasquerade | None = None
    preferred_interface_model: str | None = None
    preferred_lun_bus: str | None = None
    preferred_network_interface_multi_queue: bool | None = None
    preferred_panic_device_model: str | None = None
    preferred_rng: Rng | None = None
    preferred_sound_model: str | None = None
    preferred_tpm: TPMDevice | None = field(default=None, name="preferredTPM")
    preferred_use_virtio_transitional: bool | None = None
    preferred_video_type: str | None = None
    preferred_virtual_gpu_options: VGPUOptions | None = field(default=None, name="preferredVirtualGPUOptions")


class FeaturePreferences(Base, kw_only=True):
    """The hypervisor features that are preferred."""

    preferred_acpi: FeatureState | None = None
    preferred_apic: FeatureAPIC | None = None
    preferred_hyperv: FeatureHyperv | None = None
    preferred_kvm: FeatureKVM | None = None
    preferred_pvspinlock: FeatureState | None = None
    preferred_smm: FeatureState | None = None


class FirmwarePreferences(Base, kw_only=True):
    """The firmware that is preferred."""

    preferred_efi: EFI | None = None
    preferred_use_bios: bool | None = None
    preferred_use_bios_serial: bool | None = None
    preferred_use_efi: bool | None = None
    preferred_use_secure_boot: bool | None = None


class MachinePreferences(Base, kw_only=True):
    """The machine type that is preferred."""

    preferred_machine_type: str | None = None


class VolumePreferences(Base, kw_only=True):
    """The storage that is preferred."""

    preferred_storage_class_name: str | None = None


class CPUPreferenceRequirement(Base, kw_only=True):
    """The least number of virtual CPUs."""

    guest: Int64 = field(default_factory=int)


class MemoryPreferenceRequirement(Base, kw_only=True):
    """The least memory."""

    guest: Quantity


class PreferenceRequirements(Base, kw_only=True):
    """The least a machine must have to use the preference."""

    architecture: str | None = None
    cpu: CPUPreferenceRequirement | None = None
    memory: MemoryPreferenceRequirement | None = None


class VirtualMachinePreferenceSpec(Base, kw_only=True):
    """What a machine gets where its own manifest says nothing."""

    annotations: dict[str, str] = field(default_factory=dict)
    clock: ClockPreferences | None = None
    cpu: CPUPreferences | None = None
    devices: DevicePreferences | None = None
    features: FeaturePreferences | None = None
    firmware: FirmwarePreferences | None = None
    machine: MachinePreferences | None = None
    prefer_spread_socket_to_core_ratio: Int64 | None = None
    preferred_architecture: str | None = None
    preferred_launch_security: LaunchSecurity | None = None
    preferred_subdomain: str | None = None
    preferred_termination_grace_period_seconds: Int64 | None = None
    requirements: PreferenceRequirements | None = None
    volumes: VolumePreferences | None = None


class VirtualMachinePreference(Base, kw_only=True):
    """Soft defaults for machines of one namespace."""

    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachinePreferenceSpec = field(default_factory=VirtualMachinePreferenceSpec)


class VirtualMachineClusterPreference(Base, kw_only=True):
    """Soft defaults for machines of every namespace."""

    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachinePreferenceSpec = field(default_factory=VirtualMachinePreferenceSpec)
