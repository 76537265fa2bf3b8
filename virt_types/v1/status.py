"""What is observed about a running guest.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Int32, Int64, Time
from virt_types.v1.cpu import CPUTopology
from virt_types.v1.firmware import Machine
from virt_types.v1.memory import MemoryStatus
from virt_types.v1.migration import (
    PersistentVolumeClaimInfo,
    StorageMigratedVolumeInfo,
    VirtualMachineInstanceMigrationState,
)


class VirtualMachineInstanceCondition(Base, kw_only=True):
    """One aspect of a guest's state: True, False or Unknown, and why."""

    status: str = field(default_factory=str)
    """True, False or Unknown."""
    last_probe_time: Time | None = None
    """When it was last looked at."""
    last_transition_time: Time | None = None
    """When its status last changed."""
    message: str | None = None
    """Why, in a sentence."""
    reason: str | None = None
    """Why, in one word."""
    type: str = field(default_factory=str)
    """Ready, Paused, AgentConnected, LiveMigratable, Synchronized and the like."""


class VirtualMachineInstanceGuestOSInfo(Base, kw_only=True):
    """The operating system, as the guest agent tells it."""

    name: str | None = None
    """Such as Debian GNU/Linux."""
    id: str | None = None
    """Such as debian."""
    kernel_release: str | None = None
    """Such as 6.1.0-18-amd64."""
    kernel_version: str | None = None
    """The kernel's build, as uname -v has it."""
    machine: str | None = None
    """Such as x86_64."""
    pretty_name: str | None = None
    """Such as Debian GNU/Linux 12 (bookworm)."""
    version: str | None = None
    """Such as 12 (bookworm)."""
    version_id: str | None = None
    """Such as 12."""


class VirtualMachineInstanceNetworkInterface(Base, kw_only=True):
    """An interface as the guest or the host sees it."""

    name: str | None = None
    """The network; empty for interfaces that only the guest knows."""
    info_source: str | None = None
    """Who knows it: domain, guest-agent, multus-status; several with commas."""
    interface_name: str | None = None
    """Its name in the guest, such as eth0; from the guest agent."""
    ip_address: str | None = None
    """The first of ipAddresses."""
    ip_addresses: list[str] = field(default_factory=list)
    """All its addresses."""
    link_state: str | None = None
    """up or down."""
    mac: str | None = None
    """Its MAC address."""
    pod_interface_name: str | None = None
    """Its name at the launcher."""
    queue_count: Int32 | None = None
    """How many queues it has."""


class VirtualMachineInstancePhaseTransitionTimestamp(Base, kw_only=True):
    """When a phase was entered."""

    phase: str | None = None
    """The phase."""
    phase_transition_timestamp: Time | None = None
    """When it began."""


class InitrdInfo(Base, kw_only=True):
    """The initial RAM disk in use."""

    checksum: Int64 | None = None
    """Deprecated: it is no longer computed."""


class KernelInfo(Base, kw_only=True):
    """The kernel in use."""

    checksum: Int64 | None = None
    """Deprecated: it is no longer computed."""


class KernelBootStatus(Base, kw_only=True):
    """The kernel and initial RAM disk in use."""

    initrd_info: InitrdInfo | None = None
    kernel_info: KernelInfo | None = None


class TopologyHints(Base, kw_only=True):
    """What the node's hardware asks for, such as the TSC frequency."""

    tsc_frequency: Int64 | None = None
    """The frequency of the guest's TSC, in hertz."""


class VirtualMachineInstanceBackupVolumeInfo(Base, kw_only=True):
    """One volume of a backup."""

    volume_name: str = field(default_factory=str)
    """The volume."""


class VirtualMachineInstanceBackupStatus(Base, kw_only=True):
    """The current or last backup."""

    backup_msg: str | None = None
    """What there is to say about it, such as why it failed."""
    backup_name: str | None = None
    """The VirtualMachineBackup."""
    checkpoint_name: str | None = None
    """The point the next incremental backup starts from."""
    completed: bool | None = None
    """Whether it has ended, well or not."""
    end_timestamp: Time | None = None
    """When it ended."""
    failed: bool | None = None
    """Whether it has failed."""
    quiesce_status: str | None = None
    """Whether the guest's file systems could be frozen."""
    start_timestamp: Time | None = None
    """When it began."""
    volumes: list[VirtualMachineInstanceBackupVolumeInfo] = field(default_factory=list)
    """The volumes in the backup."""


class ChangedBlockTrackingStatus(Base, kw_only=True):
    """Whether changed blocks are tracked for backups."""

    backup_status: VirtualMachineInstanceBackupStatus | None = None
    state: str = field(default_factory=str)
    """Undefined, PendingRestart, Initializing, Enabled, Disabled or FGDisabled."""


class ContainerDiskInfo(Base, kw_only=True):
    """The container disk in use."""

    checksum: Int64 | None = None
    """Deprecated: it is no longer computed."""


class DomainMemoryDumpInfo(Base, kw_only=True):
    """The last memory dump."""

    claim_name: str | None = None
    """The claim that took the dump."""
    end_timestamp: Time | None = None
    """When it ended."""
    start_timestamp: Time | None = None
    """When it began."""
    target_file_name: str | None = None
    """The dump's name on the claim."""


class HotplugVolumeStatus(Base, kw_only=True):
    """The pod that holds a plugged-in volume."""

    attach_pod_name: str | None = None
    """The pod, by name."""
    attach_pod_uid: str | None = field(default=None, name="attachPodUID")
    """The pod, by UID."""


class VolumeStatus(Base, kw_only=True):
    """A volume of a running guest: its device name and, when plugged in, how far it is."""

    name: str = field(default_factory=str)
    """The volume."""
    container_disk_volume: ContainerDiskInfo | None = None
    hotplug_volume: HotplugVolumeStatus | None = None
    memory_dump_volume: DomainMemoryDumpInfo | None = None
    message: str | None = None
    """What is known about a plugged-in volume."""
    persistent_volume_claim_info: PersistentVolumeClaimInfo | None = None
    phase: str | None = None
    """Pending, Bound, AttachedToNode, MountedToPod, Ready, Detaching, UnMountedFromPod and steps of a memory dump."""
    reason: str | None = None
    """Why it is in this phase, in one word."""
    size: Int64 | None = None
    """Bytes, of disks made for the instance."""
    target: str = field(default_factory=str)
    """The disk's name on its bus as libvirt counts it, such as vda."""


class VirtualMachineInstanceStatus(Base, kw_only=True):
    """What is observed about a guest."""

    vsock_cid: Int64 | None = field(default=None, name="VSOCKCID")
    """The address of the guest's socket to the node."""
    active_pods: dict[str, str] = field(default_factory=dict)
    """The guest's launchers: pod UID and node."""
    changed_block_tracking: ChangedBlockTrackingStatus | None = None
    conditions: list[VirtualMachineInstanceCondition] = field(default_factory=list)
    """Ready, Paused, AgentConnected, LiveMigratable and the like."""
    current_cpu_topology: CPUTopology | None = field(default=None, name="currentCPUTopology")
    evacuation_node_name: str | None = None
    """The node the guest has to leave."""
    fs_freeze_status: str | None = None
    """frozen while the guest's file systems are."""
    guest_os_info: VirtualMachineInstanceGuestOSInfo = field(
        default_factory=VirtualMachineInstanceGuestOSInfo, name="guestOSInfo"
    )
    interfaces: list[VirtualMachineInstanceNetworkInterface] = field(default_factory=list)
    """The guest's interfaces and addresses."""
    kernel_boot_status: KernelBootStatus | None = None
    launcher_container_image_version: str | None = None
    """The image the guest's launcher runs."""
    machine: Machine | None = None
    memory: MemoryStatus | None = None
    migrated_volumes: list[StorageMigratedVolumeInfo] = field(default_factory=list)
    """Volumes that move to new storage."""
    migration_method: str | None = None
    """LiveMigration (shared disks) or BlockMigration (disks are copied)."""
    migration_state: VirtualMachineInstanceMigrationState | None = None
    migration_transport: str | None = None
    """How memory is sent; Unix."""
    node_name: str | None = None
    """The node the guest is on."""
    phase: str | None = None
    """Pending, Scheduling, Scheduled, Running, Succeeded, Failed or Unknown."""
    phase_transition_timestamps: list[VirtualMachineInstancePhaseTransitionTimestamp] = field(default_factory=list)
    """When each phase began."""
    qos_class: str | None = None
    """Guaranteed, Burstable or BestEffort, from requests and limits."""
    reason: str | None = None
    """Why it is in this phase, in one word, such as NodeUnresponsive."""
    runtime_user: Int64 | None = None
    """The user id QEMU was asked to run as; 107."""
    selinux_context: str | None = None
    """The SELinux context of the guest's launcher."""
    topology_hints: TopologyHints | None = None
    virtual_machine_revision_name: str | None = None
    """The ControllerRevision with the machine as it was at this start."""
    volume_status: list[VolumeStatus] = field(default_factory=list)
    """The state of each volume."""
