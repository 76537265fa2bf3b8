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
    last_probe_time: Time | None = None
    last_transition_time: Time | None = None
    message: str | None = None
    reason: str | None = None
    type: str = field(default_factory=str)


class VirtualMachineInstanceGuestOSInfo(Base, kw_only=True):
    """The operating system, as the guest agent tells it."""

    name: str | None = None
    id: str | None = None
    kernel_release: str | None = None
    kernel_version: str | None = None
    machine: str | None = None
    pretty_name: str | None = None
    version: str | None = None
    version_id: str | None = None


class VirtualMachineInstanceNetworkInterface(Base, kw_only=True):
    """An interface as the guest or the host sees it."""

    name: str | None = None
    info_source: str | None = None
    interface_name: str | None = None
    ip_address: str | None = None
    ip_addresses: list[str] = field(default_factory=list)
    link_state: str | None = None
    mac: str | None = None
    pod_interface_name: str | None = None
    queue_count: Int32 | None = None


class VirtualMachineInstancePhaseTransitionTimestamp(Base, kw_only=True):
    """When a phase was entered."""

    phase: str | None = None
    phase_transition_timestamp: Time | None = None


class InitrdInfo(Base, kw_only=True):
    """The initial RAM disk in use."""

    checksum: Int64 | None = None


class KernelInfo(Base, kw_only=True):
    """The kernel in use."""

    checksum: Int64 | None = None


class KernelBootStatus(Base, kw_only=True):
    """The kernel and initial RAM disk in use."""

    initrd_info: InitrdInfo | None = None
    kernel_info: KernelInfo | None = None


class TopologyHints(Base, kw_only=True):
    """What the node's hardware asks for, such as the TSC frequency."""

    tsc_frequency: Int64 | None = None


class VirtualMachineInstanceBackupVolumeInfo(Base, kw_only=True):
    """One volume of a backup."""

    volume_name: str = field(default_factory=str)


class VirtualMachineInstanceBackupStatus(Base, kw_only=True):
    """The current or last backup."""

    backup_msg: str | None = None
    backup_name: str | None = None
    checkpoint_name: str | None = None
    completed: bool | None = None
    end_timestamp: Time | None = None
    failed: bool | None = None
    quiesce_status: str | None = None
    start_timestamp: Time | None = None
    volumes: list[VirtualMachineInstanceBackupVolumeInfo] = field(default_factory=list)


class ChangedBlockTrackingStatus(Base, kw_only=True):
    """Whether changed blocks are tracked for backups."""

    backup_status: VirtualMachineInstanceBackupStatus | None = None
    state: str = field(default_factory=str)


class ContainerDiskInfo(Base, kw_only=True):
    """The container disk in use."""

    checksum: Int64 | None = None


class DomainMemoryDumpInfo(Base, kw_only=True):
    """The last memory dump."""

    claim_name: str | None = None
    end_timestamp: Time | None = None
    start_timestamp: Time | None = None
    target_file_name: str | None = None


class HotplugVolumeStatus(Base, kw_only=True):
    """The pod that holds a plugged-in volume."""

    attach_pod_name: str | None = None
    attach_pod_uid: str | None = field(default=None, name="attachPodUID")


class VolumeStatus(Base, kw_only=True):
    """A volume of a running guest: its device name and, when plugged in, how far it is."""

    name: str = field(default_factory=str)
    container_disk_volume: ContainerDiskInfo | None = None
    hotplug_volume: HotplugVolumeStatus | None = None
    memory_dump_volume: DomainMemoryDumpInfo | None = None
    message: str | None = None
    persistent_volume_claim_info: PersistentVolumeClaimInfo | None = None
    phase: str | None = None
    reason: str | None = None
    size: Int64 | None = None
    target: str = field(default_factory=str)


class VirtualMachineInstanceStatus(Base, kw_only=True):
    """What is observed about a guest."""

    vsock_cid: Int64 | None = field(default=None, name="VSOCKCID")
    active_pods: dict[str, str] = field(default_factory=dict)
    changed_block_tracking: ChangedBlockTrackingStatus | None = None
    conditions: list[VirtualMachineInstanceCondition] = field(default_factory=list)
    current_cpu_topology: CPUTopology | None = field(default=None, name="currentCPUTopology")
    evacuation_node_name: str | None = None
    fs_freeze_status: str | None = None
    guest_os_info: VirtualMachineInstanceGuestOSInfo = field(
        default_factory=VirtualMachineInstanceGuestOSInfo, name="guestOSInfo"
    )
    interfaces: list[VirtualMachineInstanceNetworkInterface] = field(default_factory=list)
    kernel_boot_status: KernelBootStatus | None = None
    launcher_container_image_version: str | None = None
    machine: Machine | None = None
    memory: MemoryStatus | None = None
    migrated_volumes: list[StorageMigratedVolumeInfo] = field(default_factory=list)
    migration_method: str | None = None
    migration_state: VirtualMachineInstanceMigrationState | None = None
    migration_transport: str | None = None
    node_name: str | None = None
    phase: str | None = None
    phase_transition_timestamps: list[VirtualMachineInstancePhaseTransitionTimestamp] = field(default_factory=list)
    qos_class: str | None = None
    reason: str | None = None
    runtime_user: Int64 | None = None
    selinux_context: str | None = None
    topology_hints: TopologyHints | None = None
    virtual_machine_revision_name: str | None = None
    volume_status: list[VolumeStatus] = field(default_factory=list)
