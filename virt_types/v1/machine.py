"""VirtualMachine: the long-lived definition that owns one VirtualMachineInstance.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.cdi.v1beta1 import DataVolumeSpec
from virt_types.meta import Base, Int32, Int64, ObjectMeta, Time
from virt_types.v1.instance import VirtualMachineInstanceTemplateSpec
from virt_types.v1.migration import StorageMigratedVolumeInfo
from virt_types.v1.status import ChangedBlockTrackingStatus
from virt_types.v1.volumes import AddVolumeOptions, RemoveVolumeOptions


class DataVolumeTemplateDummyStatus(Base, kw_only=True):
    """Nothing; KubeVirt's clients once sent it."""


class DataVolumeTemplateSpec(Base, kw_only=True):
    """A DataVolume to create together with the machine."""

    api_version: str | None = None
    """The API's group and version, such as kubevirt.io/v1."""
    kind: str | None = None
    """The kind of object."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: DataVolumeSpec = field(default_factory=DataVolumeSpec)
    status: DataVolumeTemplateDummyStatus | None = None
    """Nothing; ignored."""


class InstancetypeMatcher(Base, kw_only=True):
    """Names an instancetype, or a volume to infer it from."""

    kind: str | None = None
    """VirtualMachineClusterInstancetype (default) or VirtualMachineInstancetype."""
    name: str | None = None
    """The instancetype; this or inferFromVolume."""
    infer_from_volume: str | None = None
    """A volume whose claim or DataSource has the labels that name the instancetype."""
    infer_from_volume_failure_policy: str | None = None
    """Reject (default) or Ignore, when there are no such labels."""
    revision_name: str | None = None
    """The stored copy to use; empty takes the instancetype as it is at the next start."""


class PreferenceMatcher(Base, kw_only=True):
    """Names a preference, or a volume to infer it from."""

    kind: str | None = None
    """VirtualMachineClusterPreference (default) or VirtualMachinePreference."""
    name: str | None = None
    """The preference; this or inferFromVolume."""
    infer_from_volume: str | None = None
    """A volume whose claim or DataSource has the labels that name the preference."""
    infer_from_volume_failure_policy: str | None = None
    """Reject (default) or Ignore, when there are no such labels."""
    revision_name: str | None = None
    """The stored copy to use; empty takes the preference as it is at the next start."""


class ControllerRevisionRef(Base, kw_only=True):
    """The stored copy that is used though the original may have changed."""

    name: str | None = None
    """The ControllerRevision, in the machine's namespace."""


class InstancetypeStatusRef(Base, kw_only=True):
    """The instancetype or preference in use."""

    kind: str | None = None
    """The kind of object."""
    name: str | None = None
    controller_revision_ref: ControllerRevisionRef | None = None
    infer_from_volume: str | None = None
    """The volume it was inferred from."""
    infer_from_volume_failure_policy: str | None = None
    """Reject or Ignore, when nothing could be inferred."""


class VirtualMachineCondition(Base, kw_only=True):
    """One aspect of a machine's state: True, False or Unknown, and why."""

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
    """Ready, Paused, Failure, RestartRequired and the like."""


class VirtualMachineMemoryDumpRequest(Base, kw_only=True):
    """A memory dump that was asked for, and how far it is."""

    claim_name: str = field(default_factory=str)
    """The claim that takes the dump."""
    end_timestamp: Time | None = None
    """When it ended."""
    file_name: str | None = None
    """The dump's name on the claim."""
    message: str | None = None
    """Why it failed."""
    phase: str = field(default_factory=str)
    """Associating, InProgress, Unmounting, Completed, Dissociating or Failed."""
    remove: bool | None = None
    """Whether the claim is to be let go."""
    start_timestamp: Time | None = None
    """When it began."""


class VirtualMachineStartFailure(Base, kw_only=True):
    """Counts failed starts; the wait before the next try grows with them."""

    consecutive_fail_count: Int32 | None = None
    """Failed starts in a row."""
    last_failed_vmi_uid: str | None = field(default=None, name="lastFailedVMIUID")
    """The instance that failed last, so that none is counted twice."""
    retry_after_timestamp: Time | None = None
    """When the next start is tried."""


class VirtualMachineStateChangeRequest(Base, kw_only=True):
    """A start or stop that was asked for."""

    action: str = field(default_factory=str)
    """Start or Stop."""
    data: dict[str, str] = field(default_factory=dict)
    """More about it, such as paused: "true" for a start."""
    uid: str | None = None
    """The instance that a stop means."""


class VirtualMachineVolumeRequest(Base, kw_only=True):
    """A disk that was asked to be plugged in or pulled out."""

    add_volume_options: AddVolumeOptions | None = None
    remove_volume_options: RemoveVolumeOptions | None = None


class VolumeMigrationState(Base, kw_only=True):
    """Volumes on their way to new storage."""

    migrated_volumes: list[StorageMigratedVolumeInfo] = field(default_factory=list)
    """The volumes that move."""


class VolumeSnapshotStatus(Base, kw_only=True):
    """Whether a volume can be snapshotted, and why not."""

    name: str = field(default_factory=str)
    """The volume."""
    enabled: bool = field(default_factory=bool)
    """Whether it can be snapshotted."""
    reason: str | None = None
    """Why it can't."""


class VolumeUpdateState(Base, kw_only=True):
    """How far a change of volumes is."""

    volume_migration_state: VolumeMigrationState | None = None


class VirtualMachineSpec(Base, kw_only=True):
    """What a machine is and when it runs."""

    data_volume_templates: list[DataVolumeTemplateSpec] = field(default_factory=list)
    """DataVolumes created with the machine and owned by it."""
    instancetype: InstancetypeMatcher | None = None
    """Where CPU and memory come from, instead of the template."""
    preference: PreferenceMatcher | None = None
    """Soft defaults for what the template leaves open."""
    run_strategy: str | None = None
    """Always, Halted, Manual, RerunOnFailure or Once; instead of running."""
    running: bool | None = None
    """Deprecated: true is runStrategy Always, false is Halted."""
    template: VirtualMachineInstanceTemplateSpec = field(default_factory=VirtualMachineInstanceTemplateSpec)
    """The instance that is made at every start; changes count from the next start on."""
    update_volumes_strategy: str | None = None
    """Replacement (at the next start) or Migration (of a running guest)."""


class VirtualMachineStatus(Base, kw_only=True):
    """What is observed about a machine."""

    changed_block_tracking: ChangedBlockTrackingStatus | None = None
    conditions: list[VirtualMachineCondition] = field(default_factory=list)
    """Ready, Paused, Failure and the like, each with a reason and a message."""
    created: bool | None = None
    """Whether the instance object exists."""
    desired_generation: Int64 | None = None
    """The generation of the machine as it is written."""
    instancetype_ref: InstancetypeStatusRef | None = None
    memory_dump_request: VirtualMachineMemoryDumpRequest | None = None
    observed_generation: Int64 | None = None
    """The generation the running instance was made from."""
    preference_ref: InstancetypeStatusRef | None = None
    printable_status: str | None = None
    """The state in one word, such as Stopped, Starting or Running."""
    ready: bool | None = None
    """Whether the guest runs and is ready."""
    restore_in_progress: str | None = None
    """The VirtualMachineRestore that is under way."""
    run_strategy: str | None = None
    """The strategy the controller acted on last."""
    snapshot_in_progress: str | None = None
    """The VirtualMachineSnapshot that is under way."""
    start_failure: VirtualMachineStartFailure | None = None
    """How often in a row the start failed and when the next try is."""
    state_change_requests: list[VirtualMachineStateChangeRequest] = field(default_factory=list)
    """Starts and stops that were asked for and are not done."""
    volume_requests: list[VirtualMachineVolumeRequest] = field(default_factory=list)
    """Disks that were asked to be plugged in or pulled out."""
    volume_snapshot_statuses: list[VolumeSnapshotStatus] = field(default_factory=list)
    """For each volume, whether it can be snapshotted."""
    volume_update_state: VolumeUpdateState | None = None


class VirtualMachine(Base, kw_only=True):
    """A virtual machine that is kept: its definition, whether it shall run, and what became of it."""

    api_version: str | None = None
    """The API's group and version, such as kubevirt.io/v1."""
    kind: str | None = None
    """The kind of object."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachineSpec = field(default_factory=VirtualMachineSpec)
    """What the machine is and whether it shall run."""
    status: VirtualMachineStatus = field(default_factory=VirtualMachineStatus)
    """What is observed; written by the controller."""
