"""State of a live migration as the VirtualMachineInstance shows it.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Int32, Int64, Quantity, Time


class DowntimeTuningOptions(Base, kw_only=True):
    """How the allowed downtime grows during a migration."""

    cooldown_seconds: Int32 | None = None
    """Seconds between two increases; default 10."""
    initial_ms: Int64 | None = None
    """The downtime allowed at first, in milliseconds; default 150."""
    start_after_iteration: Int64 | None = None
    """After how many rounds of copying it begins; default 3."""
    steps: Int32 | None = None
    """In how many steps the limit is reached; default 7."""


class StallDetectorOptions(Base, kw_only=True):
    """When a migration counts as stalled."""

    completion_timeout_factor: Quantity | None = None
    """How often the time for completion is given when a switch is forced; default 2."""
    ewma_alpha: Quantity | None = None
    """The weight of the newest bandwidth in the average, above 0 to 1; default 0.4."""
    patience_window_decay_factor: Quantity | None = None
    """How patience shrinks each time the goal is lowered; default 0.5."""
    precopy_possible_factor: Quantity | None = None
    """How far over the allowed downtime is still tried; default 1.5."""
    search_local_minima: bool | None = None
    """Waits for a moment when little remains, instead of acting at once; default true."""
    stall_margin: Int64 | None = None
    """Per cent by which the rest must shrink, or it counts as stalled; default 4."""
    stall_progress_timeout: Int64 | None = None
    """Seconds without progress that count as stalled; default 40."""
    switchover_timeout: Int64 | None = None
    """Seconds the switch may take before the move is aborted; default 60."""


class ExperimentalMigrationOptions(Base, kw_only=True):
    """Migration options that may change."""

    compression: str | None = None
    """none (default) or zstd."""
    downtime_tuning: DowntimeTuningOptions | None = None
    stall_detector: StallDetectorOptions | None = None


class VMIMConfigurationOptions(Base, kw_only=True):
    """The limits a migration ran under."""

    allow_auto_converge: bool | None = None
    """May slow the guest down until it can be moved; default false."""
    allow_post_copy: bool | None = None
    """May start the guest on the target before its memory is there; default false."""
    allow_workload_disruption: bool | None = None
    """May pause the guest, or use post-copy, when time is up; default is allowPostCopy."""
    bandwidth_per_migration: Quantity | None = None
    """Bytes per second, such as 64Mi; default 0, no limit."""
    completion_timeout_per_gi_b: Int64 | None = None
    """Seconds a GiB of memory may take; default 150."""
    disable_tls: bool | None = field(default=None, name="disableTLS")
    """Sends the guest's memory unencrypted; default false."""
    experimental: ExperimentalMigrationOptions | None = None
    match_selinux_level_on_migration: bool | None = field(default=None, name="matchSELinuxLevelOnMigration")
    """Lets the target choose its own SELinux level; default false."""
    max_downtime_ms: Int64 | None = None
    """Milliseconds the guest may stand still at the end; default 900."""
    network: str | None = None
    """The network migrations go through; default is the pods'."""
    node_drain_taint_key: str | None = None
    """The taint of nodes that are to be emptied; default kubevirt.io/drain."""
    parallel_migrations_per_cluster: Int64 | None = None
    """How many at once; default 5."""
    parallel_outbound_migrations_per_node: Int64 | None = None
    """How many at once away from one node; default 2."""
    progress_timeout: Int64 | None = None
    """Seconds without progress after which it is aborted; default 150."""
    unsafe_migration_override: bool | None = None
    """Moves guests that QEMU would not find safe to move; default false."""
    utility_volumes_timeout: Int64 | None = None
    """Seconds to wait until utility volumes are gone; default 150."""


class PersistentVolumeClaimInfo(Base, kw_only=True):
    """What is known about the claim behind a volume."""

    access_modes: list[str] = field(default_factory=list)
    """The access modes of the claim."""
    capacity: dict[str, Quantity] = field(default_factory=dict)
    """What the claim has; key storage."""
    claim_name: str | None = None
    """The PersistentVolumeClaim, in the same namespace."""
    filesystem_overhead: str | None = None
    """The part of the claim that its file system takes, such as 0.055."""
    preallocated: bool | None = None
    """Whether all of its space is taken."""
    requests: dict[str, Quantity] = field(default_factory=dict)
    """What the claim asked for; key storage."""
    volume_mode: str | None = None
    """Filesystem or Block."""


class StorageMigratedVolumeInfo(Base, kw_only=True):
    """A volume that moves from one claim to another."""

    destination_pvc_info: PersistentVolumeClaimInfo | None = field(default=None, name="destinationPVCInfo")
    source_pvc_info: PersistentVolumeClaimInfo | None = field(default=None, name="sourcePVCInfo")
    volume_name: str = field(default_factory=str)
    """The volume that moves."""


class VirtualMachineInstanceMigrationSourceState(Base, kw_only=True):
    """A migration seen from the node it leaves."""

    domain_name: str | None = None
    """The guest's libvirt domain on this side."""
    domain_namespace: str | None = None
    """The namespace in that domain's name."""
    migration_uid: str | None = field(default=None, name="migrationUID")
    """The VirtualMachineInstanceMigration on this side."""
    node: str | None = None
    """The node on this side."""
    node_selectors: dict[str, str] = field(default_factory=dict)
    """Labels the target needs."""
    persistent_state_pvc_name: str | None = field(default=None, name="persistentStatePVCName")
    """The claim with the firmware's state on this side."""
    pod: str | None = None
    """The launcher on this side."""
    selinux_context: str | None = None
    """The launcher's SELinux context on this side."""
    sync_address: str | None = None
    """Where this side listens for the other, host and port."""
    virtual_machine_instance_uid: str | None = field(default=None, name="virtualMachineInstanceUID")
    """The VirtualMachineInstance on this side."""


class VirtualMachineInstanceMigrationTargetState(Base, kw_only=True):
    """A migration seen from the node it goes to."""

    attachment_pod_uid: str | None = field(default=None, name="attachmentPodUID")
    """The pod that holds plugged-in volumes at the target."""
    cpu_set: list[Int32] = field(default_factory=list)
    """The target's CPUs that become the guest's own, by number."""
    direct_migration_node_ports: dict[str, Int32] = field(default_factory=dict)
    """The target's ports, and what each is for."""
    domain_detected: bool | None = None
    """Whether the target has seen the guest."""
    domain_name: str | None = None
    """The guest's libvirt domain on this side."""
    domain_namespace: str | None = None
    """The namespace in that domain's name."""
    domain_ready_timestamp: Time | None = None
    """When the guest ran at the target."""
    migration_uid: str | None = field(default=None, name="migrationUID")
    """The VirtualMachineInstanceMigration on this side."""
    node: str | None = None
    """The node on this side."""
    node_address: str | None = None
    """Where the target listens."""
    node_topology: str | None = None
    """The target's NUMA cells, as JSON, for guests with CPUs of their own."""
    persistent_state_pvc_name: str | None = field(default=None, name="persistentStatePVCName")
    """The claim with the firmware's state on this side."""
    pod: str | None = None
    """The launcher on this side."""
    selinux_context: str | None = None
    """The launcher's SELinux context on this side."""
    sync_address: str | None = None
    """Where this side listens for the other, host and port."""
    virtual_machine_instance_uid: str | None = field(default=None, name="virtualMachineInstanceUID")
    """The VirtualMachineInstance on this side."""


class VirtualMachineInstanceMigrationState(Base, kw_only=True):
    """The current or last live migration."""

    abort_requested: bool | None = None
    """Whether somebody wants it to stop."""
    abort_status: str | None = None
    """Aborting, Succeeded or Failed."""
    completed: bool | None = None
    """Whether it has ended, well or not."""
    end_timestamp: Time | None = None
    """When it ended."""
    failed: bool | None = None
    """Whether it has failed."""
    failure_reason: str | None = None
    """Why it failed."""
    migration_configuration: VMIMConfigurationOptions | None = None
    migration_network_type: str | None = None
    """pod or migration: the network it goes through."""
    migration_policy_name: str | None = None
    """The MigrationPolicy whose limits it runs under."""
    migration_uid: str | None = None
    """The VirtualMachineInstanceMigration that asked for it."""
    mode: str | None = None
    """PreCopy, PostCopy or Paused."""
    source_node: str | None = None
    """The node it leaves."""
    source_persistent_state_pvc_name: str | None = field(default=None, name="sourcePersistentStatePVCName")
    """The claim with the firmware's state, at the source."""
    source_pod: str | None = None
    """The launcher it leaves."""
    source_state: VirtualMachineInstanceMigrationSourceState | None = None
    start_timestamp: Time | None = None
    """When it began."""
    target_attachment_pod_uid: str | None = field(default=None, name="targetAttachmentPodUID")
    """The pod that holds plugged-in volumes at the target."""
    target_cpu_set: list[Int32] = field(default_factory=list, name="targetCPUSet")
    """The target's CPUs that become the guest's own, by number."""
    target_direct_migration_node_ports: dict[str, Int32] = field(default_factory=dict)
    """The target's ports, and what each is for."""
    target_memory_overhead: Quantity | None = None
    """What QEMU and its launcher need at the target."""
    target_node: str | None = None
    """The node it goes to."""
    target_node_address: str | None = None
    """Where the target listens."""
    target_node_domain_detected: bool | None = None
    """Whether the target has seen the guest."""
    target_node_domain_ready_timestamp: Time | None = None
    """When the guest ran at the target."""
    target_node_topology: str | None = None
    """The target's NUMA cells, as JSON, for guests with CPUs of their own."""
    target_persistent_state_pvc_name: str | None = field(default=None, name="targetPersistentStatePVCName")
    """The claim with the firmware's state, at the target."""
    target_pod: str | None = None
    """The launcher it goes to."""
    target_state: VirtualMachineInstanceMigrationTargetState | None = None
