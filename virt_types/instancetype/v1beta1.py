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
    """Pins each virtual CPU to a CPU of its own; default false."""
    guest: Int64 = field(default_factory=int)
    """How many virtual CPUs."""
    isolate_emulator_thread: bool | None = None
    """Gives QEMU itself one more CPU of its own; default false."""
    max_sockets: Int64 | None = None
    """How many sockets can be there after plugging in."""
    model: str | None = None
    """A model QEMU knows, host-model (default) or host-passthrough."""
    numa: NUMA | None = None
    realtime: Realtime | None = None


class MemoryInstancetype(Base, kw_only=True):
    """The memory of a size."""

    guest: Quantity
    """What the guest sees."""
    hugepages: Hugepages | None = None
    max_guest: Quantity | None = None
    """How much can be there after plugging in."""
    overcommit_percent: Int32 | None = None
    """How much less than that is asked of the node, in per cent."""


class VirtualMachineInstancetypeSpec(Base, kw_only=True):
    """What every machine of this size gets; its own manifest must not say otherwise."""

    annotations: dict[str, str] = field(default_factory=dict)
    """Annotations that every machine's instance gets."""
    cpu: CPUInstancetype = field(default_factory=CPUInstancetype)
    gpus: list[GPU] = field(default_factory=list)
    """Graphics processors that every machine gets."""
    host_devices: list[HostDevice] = field(default_factory=list)
    """Devices of the node that every machine gets."""
    io_threads: DiskIOThreads | None = None
    io_threads_policy: str | None = None
    """shared, auto or supplementalPool: how disks share I/O threads."""
    launch_security: LaunchSecurity | None = None
    memory: MemoryInstancetype
    node_selector: dict[str, str] = field(default_factory=dict)
    """Labels a node must have."""
    scheduler_name: str | None = None
    """Who chooses the node; default is the cluster's scheduler."""


class VirtualMachineInstancetype(Base, kw_only=True):
    """A size for machines of one namespace."""

    api_version: str | None = None
    """The API's group and version, such as kubevirt.io/v1."""
    kind: str | None = None
    """The kind of object."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachineInstancetypeSpec


class VirtualMachineClusterInstancetype(Base, kw_only=True):
    """A size for machines of every namespace."""

    api_version: str | None = None
    """The API's group and version, such as kubevirt.io/v1."""
    kind: str | None = None
    """The kind of object."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachineInstancetypeSpec


class SpreadOptions(Base, kw_only=True):
    """How virtual CPUs are spread over sockets, cores and threads."""

    across: str | None = None
    """SocketsCores (default), SocketsCoresThreads or CoresThreads: which of them the CPUs are spread over."""
    ratio: Int64 | None = None
    """How many cores (or threads) for each socket (or core); default 2."""


class CPUPreferences(Base, kw_only=True):
    """How virtual CPUs are shown to the guest."""

    preferred_cpu_features: list[CPUFeature] = field(default_factory=list, name="preferredCPUFeatures")
    """Flags the CPU gets beside those of its model."""
    preferred_cpu_topology: str | None = field(default=None, name="preferredCPUTopology")
    """sockets, cores, threads, spread or any."""
    spread_options: SpreadOptions | None = None


class ClockPreferences(Base, kw_only=True):
    """The clock that is preferred."""

    preferred_clock_offset: ClockOffset | None = None
    preferred_timer: Timer | None = None


class DevicePreferences(Base, kw_only=True):
    """The devices that are preferred."""

    preferred_autoattach_graphics_device: bool | None = None
    """Whether guests get a screen, where the machine does not say."""
    preferred_autoattach_input_device: bool | None = None
    """Whether guests get a tablet, where the machine does not say."""
    preferred_autoattach_mem_balloon: bool | None = None
    """Whether guests get a memory balloon, where the machine does not say."""
    preferred_autoattach_pod_interface: bool | None = None
    """Whether guests get the default network, where the machine does not say."""
    preferred_autoattach_serial_console: bool | None = None
    """Whether guests get a serial console, where the machine does not say."""
    preferred_block_multi_queue: bool | None = None
    """Whether virtio disks have a queue per virtual CPU."""
    preferred_cdrom_bus: str | None = None
    """The bus of CD-ROM drives that name none: sata, scsi or usb."""
    preferred_disable_hotplug: bool | None = None
    """Whether disks can't be plugged in."""
    preferred_disk_block_size: BlockSize | None = None
    preferred_disk_bus: str | None = None
    """The bus of disks that name none: virtio, sata, scsi or usb."""
    preferred_disk_cache: str | None = None
    """The cache of disks that name none: none, writethrough or writeback."""
    preferred_disk_dedicated_io_thread: bool | None = None
    """Whether virtio disks have I/O threads of their own."""
    preferred_disk_io: str | None = field(default=None, name="preferredDiskIO")
    """The I/O mode of disks that name none: native, threads or default."""
    preferred_input_bus: str | None = None
    """The bus of input devices that name none: usb or virtio."""
    preferred_input_type: str | None = None
    """The type of input devices that name none: tablet."""
    preferred_interface_masquerade: InterfaceMasquerade | None = None
    preferred_interface_model: str | None = None
    """The model of interfaces that name none, such as virtio or e1000e."""
    preferred_lun_bus: str | None = None
    """The bus of LUNs that name none: scsi, virtio or sata."""
    preferred_network_interface_multi_queue: bool | None = None
    """Whether virtio interfaces have a queue per virtual CPU."""
    preferred_panic_device_model: str | None = None
    """The model of panic devices that name none: hyperv, isa or pvpanic."""
    preferred_rng: Rng | None = None
    preferred_sound_model: str | None = None
    """The model of sound cards that name none: ich9 or ac97."""
    preferred_tpm: TPMDevice | None = field(default=None, name="preferredTPM")
    preferred_use_virtio_transitional: bool | None = None
    """Whether virtio devices can also be driven by the drivers before virtio 1.0."""
    preferred_video_type: str | None = None
    """The graphics card of machines that name none, such as vga or virtio."""
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
    """Prefers BIOS."""
    preferred_use_bios_serial: bool | None = None
    """Prefers a BIOS that writes to the serial line; needs preferredUseBios."""
    preferred_use_efi: bool | None = None
    """Deprecated: prefers UEFI; use preferredEfi."""
    preferred_use_secure_boot: bool | None = None
    """Deprecated: prefers Secure Boot; use preferredEfi."""


class MachinePreferences(Base, kw_only=True):
    """The machine type that is preferred."""

    preferred_machine_type: str | None = None
    """The machine type where the machine does not say, such as pc-q35-7.2."""


class VolumePreferences(Base, kw_only=True):
    """The storage that is preferred."""

    preferred_storage_class_name: str | None = None
    """The storage class of dataVolumeTemplates that name none."""


class CPUPreferenceRequirement(Base, kw_only=True):
    """The least number of virtual CPUs."""

    guest: Int64 = field(default_factory=int)
    """How many virtual CPUs a machine must have at least."""


class MemoryPreferenceRequirement(Base, kw_only=True):
    """The least memory."""

    guest: Quantity
    """How much memory a machine must have at least, such as 2Gi."""


class PreferenceRequirements(Base, kw_only=True):
    """The least a machine must have to use the preference."""

    architecture: str | None = None
    """The architecture a machine must have, such as amd64."""
    cpu: CPUPreferenceRequirement | None = None
    memory: MemoryPreferenceRequirement | None = None


class VirtualMachinePreferenceSpec(Base, kw_only=True):
    """What a machine gets where its own manifest says nothing."""

    annotations: dict[str, str] = field(default_factory=dict)
    """Annotations that the instance gets where it has none of that name."""
    clock: ClockPreferences | None = None
    cpu: CPUPreferences | None = None
    devices: DevicePreferences | None = None
    features: FeaturePreferences | None = None
    firmware: FirmwarePreferences | None = None
    machine: MachinePreferences | None = None
    prefer_spread_socket_to_core_ratio: Int64 | None = None
    """Deprecated: cores for each socket when CPUs are spread; default 2. Use spreadOptions."""
    preferred_architecture: str | None = None
    """The architecture where the machine does not say, such as amd64."""
    preferred_launch_security: LaunchSecurity | None = None
    preferred_subdomain: str | None = None
    """The subdomain where the machine does not say."""
    preferred_termination_grace_period_seconds: Int64 | None = None
    """Seconds to shut down where the machine does not say."""
    requirements: PreferenceRequirements | None = None
    volumes: VolumePreferences | None = None


class VirtualMachinePreference(Base, kw_only=True):
    """Soft defaults for machines of one namespace."""

    api_version: str | None = None
    """The API's group and version, such as kubevirt.io/v1."""
    kind: str | None = None
    """The kind of object."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachinePreferenceSpec = field(default_factory=VirtualMachinePreferenceSpec)


class VirtualMachineClusterPreference(Base, kw_only=True):
    """Soft defaults for machines of every namespace."""

    api_version: str | None = None
    """The API's group and version, such as kubevirt.io/v1."""
    kind: str | None = None
    """The kind of object."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachinePreferenceSpec = field(default_factory=VirtualMachinePreferenceSpec)
