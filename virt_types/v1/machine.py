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
    """An empty object: being there is what it says."""


class DataVolumeTemplateSpec(Base, kw_only=True):
    """A DataVolume to create together with the machine."""

    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: DataVolumeSpec = field(default_factory=DataVolumeSpec)
    status: DataVolumeTemplateDummyStatus | None = None


class InstancetypeMatcher(Base, kw_only=True):
    """Names an instancetype, or a volume to infer it from."""

    kind: str | None = None
    name: str | None = None
    infer_from_volume: str | None = None
    infer_from_volume_failure_policy: str | None = None
    revision_name: str | None = None


class PreferenceMatcher(Base, kw_only=True):
    """Names a preference, or a volume to infer it from."""

    kind: str | None = None
    name: str | None = None
    infer_from_volume: str | None = None
    infer_from_volume_failure_policy: str | None = None
    revision_name: str | None = None


class ControllerRevisionRef(Base, kw_only=True):
    """The stored copy that is used though the original may have changed."""

    name: str | None = None


class InstancetypeStatusRef(Base, kw_only=True):
    """The instancetype or preference in use."""

    kind: str | None = None
    name: str | None = None
    controller_revision_ref: ControllerRevisionRef | None = None
    infer_from_volume: str | None = None
    infer_from_volume_failure_policy: str | None = None


class VirtualMachineCondition(Base, kw_only=True):
    """One aspect of a machine's state: True, False or Unknown, and why."""

    status: str = field(default_factory=str)
    last_probe_time: Time | None = None
    last_transition_time: Time | None = None
    message: str | None = None
    reason: str | None = None
    type: str = field(default_factory=str)


class VirtualMachineMemoryDumpRequest(Base, kw_only=True):
    """A memory dump that was asked for, and how far it is."""

    claim_name: str = field(default_factory=str)
    end_timestamp: Time | None = None
    file_name: str | None = None
    message: str | None = None
    phase: str = field(default_factory=str)
    remove: bool | None = None
    start_timestamp: Time | None = None


class VirtualMachineStartFailure(Base, kw_only=True):
    """Counts failed starts; the wait before the next try grows with them."""

    consecutive_fail_count: Int32 | None = None
    last_failed_vmi_uid: str | None = field(default=None, name="lastFailedVMIUID")
    retry_after_timestamp: Time | None = None


class VirtualMachineStateChangeRequest(Base, kw_only=True):
    """A start or stop that was asked for."""

    action: str = field(default_factory=str)
    data: dict[str, str] = field(default_factory=dict)
    uid: str | None = None


class VirtualMachineVolumeRequest(Base, kw_only=True):
    """A disk that was asked to be plugged in or pulled out."""

    add_volume_options: AddVolumeOptions | None = None
    remove_volume_options: RemoveVolumeOptions | None = None


class VolumeMigrationState(Base, kw_only=True):
    """Volumes on their way to new storage."""

    migrated_volumes: list[StorageMigratedVolumeInfo] = field(default_factory=list)


class VolumeSnapshotStatus(Base, kw_only=True):
    """Whether a volume can be snapshotted, and why not."""

    name: str = field(default_factory=str)
    enabled: bool = field(default_factory=bool)
    reason: str | None = None


class VolumeUpdateState(Base, kw_only=True):
    """How far a change of volumes is."""

    volume_migration_state: VolumeMigrationState | None = None


class VirtualMachineSpec(Base, kw_only=True):
    """What a machine is and when it runs."""

    data_volume_templates: list[DataVolumeTemplateSpec] = field(default_factory=list)
    instancetype: InstancetypeMatcher | None = None
    preference: PreferenceMatcher | None = None
    run_strategy: str | None = None
    running: bool | None = None
    template: VirtualMachineInstanceTemplateSpec = field(default_factory=VirtualMachineInstanceTemplateSpec)
    update_volumes_strategy: str | None = None


class VirtualMachineStatus(Base, kw_only=True):
    """What is observed about a machine."""

    changed_block_tracking: ChangedBlockTrackingStatus | None = None
    conditions: list[VirtualMachineCondition] = field(default_factory=list)
    created: bool | None = None
    desired_generation: Int64 | None = None
    instancetype_ref: InstancetypeStatusRef | None = None
    memory_dump_request: VirtualMachineMemoryDumpRequest | None = None
    observed_generation: Int64 | None = None
    preference_ref: InstancetypeStatusRef | None = None
    printable_status: str | None = None
    ready: bool | None = None
    restore_in_progress: str | None = None
    run_strategy: str | None = None
    snapshot_in_progress: str | None = None
    start_failure: VirtualMachineStartFailure | None = None
    state_change_requests: list[VirtualMachineStateChangeRequest] = field(default_factory=list)
    volume_requests: list[VirtualMachineVolumeRequest] = field(default_factory=list)
    volume_snapshot_statuses: list[VolumeSnapshotStatus] = field(default_factory=list)
    volume_update_state: VolumeUpdateState | None = None


class VirtualMachine(Base, kw_only=True):
    """A virtual machine that is kept: its definition, whether it shall run, and what became of it."""

    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachineSpec = field(default_factory=VirtualMachineSpec)
    status: VirtualMachineStatus = field(default_factory=VirtualMachineStatus)
