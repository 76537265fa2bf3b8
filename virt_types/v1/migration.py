"""State of a live migration as the VirtualMachineInstance shows it.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Int32, Int64, Quantity, Time


class DowntimeTuningOptions(Base, kw_only=True):
    """How the allowed downtime grows during a migration."""

    cooldown_seconds: Int32 | None = None
    initial_ms: Int64 | None = None
    start_after_iteration: Int64 | None = None
    steps: Int32 | None = None


class StallDetectorOptions(Base, kw_only=True):
    """When a migration counts as stalled."""

    completion_timeout_factor: Quantity | None = None
    ewma_alpha: Quantity | None = None
    patience_window_decay_factor: Quantity | None = None
    precopy_possible_factor: Quantity | None = None
    search_local_minima: bool | None = None
    stall_margin: Int64 | None = None
    stall_progress_timeout: Int64 | None = None
    switchover_timeout: Int64 | None = None


class ExperimentalMigrationOptions(Base, kw_only=True):
    """Migration options that may change."""

    compression: str | None = None
    downtime_tuning: DowntimeTuningOptions | None = None
    stall_detector: StallDetectorOptions | None = None


class VMIMConfigurationOptions(Base, kw_only=True):
    """The limits a migration ran under."""

    allow_auto_converge: bool | None = None
    allow_post_copy: bool | None = None
    allow_workload_disruption: bool | None = None
    bandwidth_per_migration: Quantity | None = None
    completion_timeout_per_gi_b: Int64 | None = None
    disable_tls: bool | None = field(default=None, name="disableTLS")
    experimental: ExperimentalMigrationOptions | None = None
    match_selinux_level_on_migration: bool | None = field(default=None, name="matchSELinuxLevelOnMigration")
    max_downtime_ms: Int64 | None = None
    network: str | None = None
    node_drain_taint_key: str | None = None
    parallel_migrations_per_cluster: Int64 | None = None
    parallel_outbound_migrations_per_node: Int64 | None = None
    progress_timeout: Int64 | None = None
    unsafe_migration_override: bool | None = None
    utility_volumes_timeout: Int64 | None = None


class PersistentVolumeClaimInfo(Base, kw_only=True):
    """What is known about the claim behind a volume."""

    access_modes: list[str] = field(default_factory=list)
    capacity: dict[str, Quantity] = field(default_factory=dict)
    claim_name: str | None = None
    filesystem_overhead: str | None = None
    preallocated: bool | None = None
    requests: dict[str, Quantity] = field(default_factory=dict)
    volume_mode: str | None = None


class StorageMigratedVolumeInfo(Base, kw_only=True):
    """A volume that moves from one claim to another."""

    destination_pvc_info: PersistentVolumeClaimInfo | None = field(default=None, name="destinationPVCInfo")
    source_pvc_info: PersistentVolumeClaimInfo | None = field(default=None, name="sourcePVCInfo")
    volume_name: str = field(default_factory=str)


class VirtualMachineInstanceMigrationSourceState(Base, kw_only=True):
    """A migration seen from the node it leaves."""

    domain_name: str | None = None
    domain_namespace: str | None = None
    migration_uid: str | None = field(default=None, name="migrationUID")
    node: str | None = None
    node_selectors: dict[str, str] = field(default_factory=dict)
    persistent_state_pvc_name: str | None = field(default=None, name="persistentStatePVCName")
    pod: str | None = None
    selinux_context: str | None = None
    sync_address: str | None = None
    virtual_machine_instance_uid: str | None = field(default=None, name="virtualMachineInstanceUID")


class VirtualMachineInstanceMigrationTargetState(Base, kw_only=True):
    """A migration seen from the node it goes to."""

    attachment_pod_uid: str | None = field(default=None, name="attachmentPodUID")
    cpu_set: list[Int32] = field(default_factory=list)
    direct_migration_node_ports: dict[str, Int32] = field(default_factory=dict)
    domain_detected: bool | None = None
    domain_name: str | None = None
    domain_namespace: str | None = None
    domain_ready_timestamp: Time | None = None
    migration_uid: str | None = field(default=None, name="migrationUID")
    node: str | None = None
    node_address: str | None = None
    node_topology: str | None = None
    persistent_state_pvc_name: str | None = field(default=None, name="persistentStatePVCName")
    pod: str | None = None
    selinux_context: str | None = None
    sync_address: str | None = None
    virtual_machine_instance_uid: str | None = field(default=None, name="virtualMachineInstanceUID")


class VirtualMachineInstanceMigrationState(Base, kw_only=True):
    """The current or last live migration."""

    abort_requested: bool | None = None
    abort_status: str | None = None
    completed: bool | None = None
    end_timestamp: Time | None = None
    failed: bool | None = None
    failure_reason: str | None = None
    migration_configuration: VMIMConfigurationOptions | None = None
    migration_network_type: str | None = None
    migration_policy_name: str | None = None
    migration_uid: str | None = None
    mode: str | None = None
    source_node: str | None = None
    source_persistent_state_pvc_name: str | None = field(default=None, name="sourcePersistentStatePVCName")
    source_pod: str | None = None
    source_state: VirtualMachineInstanceMigrationSourceState | None = None
    start_timestamp: Time | None = None
    target_attachment_pod_uid: str | None = field(default=None, name="targetAttachmentPodUID")
    target_cpu_set: list[Int32] = field(default_factory=list, name="targetCPUSet")
    target_direct_migration_node_ports: dict[str, Int32] = field(default_factory=dict)
    target_memory_overhead: Quantity | None = None
    target_node: str | None = None
    target_node_address: str | None = None
    target_node_domain_detected: bool | None = None
    target_node_domain_ready_timestamp: Time | None = None
    target_node_topology: str | None = None
    target_persistent_state_pvc_name: str | None = field(default=None, name="targetPersistentStatePVCName")
    target_pod: str | None = None
    target_state: VirtualMachineInstanceMigrationTargetState | None = None
