"""Where a disk's bytes come from.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.k8s.pods import ClaimVolumeSource, DownwardAPIVolumeFile, LocalObjectReference
from virt_types.meta import Base, Quantity
from virt_types.v1.disks import Disk


class CloudInitNoCloudSource(Base, kw_only=True):
    """A cloud-init disk, found by its label cidata."""

    network_data: str | None = None
    network_data_base64: str | None = None
    network_data_secret_ref: LocalObjectReference | None = None
    secret_ref: LocalObjectReference | None = None
    user_data: str | None = None
    user_data_base64: str | None = None


class CloudInitConfigDriveSource(Base, kw_only=True):
    """A cloud-init disk in OpenStack's form, label config-2."""

    network_data: str | None = None
    network_data_base64: str | None = None
    network_data_secret_ref: LocalObjectReference | None = None
    secret_ref: LocalObjectReference | None = None
    user_data: str | None = None
    user_data_base64: str | None = None


class ConfigMapVolumeSource(Base, kw_only=True):
    """A ConfigMap's keys as files on a disk."""

    name: str | None = None
    optional: bool | None = None
    volume_label: str | None = None


class ContainerDiskSource(Base, kw_only=True):
    """A disk from a container image; changes are lost at the end."""

    image: str = field(default_factory=str)
    image_pull_policy: str | None = None
    image_pull_secret: str | None = None
    path: str | None = None


class ContainerPathVolumeSource(Base, kw_only=True):
    """A directory of the launcher, read-only."""

    path: str = field(default_factory=str)
    read_only: bool | None = None


class DataVolumeSource(Base, kw_only=True):
    """A DataVolume; within one, where its bytes come from."""

    name: str = field(default_factory=str)
    hotpluggable: bool | None = None


class DownwardAPIVolumeSource(Base, kw_only=True):
    """Fields of the object as files on a disk."""

    fields: list[DownwardAPIVolumeFile] = field(default_factory=list)
    volume_label: str | None = None


class DownwardMetricsVolumeSource(Base, kw_only=True):
    """Metrics of the node, as a small disk."""


class EmptyDiskSource(Base, kw_only=True):
    """A new, empty disk; gone at the end."""

    capacity: Quantity


class EphemeralVolumeSource(Base, kw_only=True):
    """A claim's disk, read-only, with changes that are lost at the end."""

    persistent_volume_claim: ClaimVolumeSource | None = None


class HostDisk(Base, kw_only=True):
    """A disk image on the node."""

    capacity: Quantity | None = None
    path: str = field(default_factory=str)
    shared: bool | None = None
    type: str = field(default_factory=str)


class MemoryDumpVolumeSource(Base, kw_only=True):
    """A claim that takes memory dumps."""

    claim_name: str = field(default_factory=str)
    hotpluggable: bool | None = None
    read_only: bool | None = None


class PersistentVolumeClaimVolumeSource(Base, kw_only=True):
    """A PersistentVolumeClaim."""

    claim_name: str = field(default_factory=str)
    hotpluggable: bool | None = None
    read_only: bool | None = None


class SecretVolumeSource(Base, kw_only=True):
    """A Secret's keys as files on a disk."""

    optional: bool | None = None
    secret_name: str | None = None
    volume_label: str | None = None


class ServiceAccountVolumeSource(Base, kw_only=True):
    """A service account's token as a file on a disk."""

    service_account_name: str | None = None


class SysprepSource(Base, kw_only=True):
    """Windows answer files from a ConfigMap or Secret."""

    config_map: LocalObjectReference | None = None
    secret: LocalObjectReference | None = None


class Volume(Base, kw_only=True):
    """Where a disk's bytes come from: exactly one source."""

    name: str = field(default_factory=str)
    cloud_init_config_drive: CloudInitConfigDriveSource | None = None
    cloud_init_no_cloud: CloudInitNoCloudSource | None = None
    config_map: ConfigMapVolumeSource | None = None
    container_disk: ContainerDiskSource | None = None
    container_path: ContainerPathVolumeSource | None = None
    data_volume: DataVolumeSource | None = None
    downward_api: DownwardAPIVolumeSource | None = field(default=None, name="downwardAPI")
    downward_metrics: DownwardMetricsVolumeSource | None = None
    empty_disk: EmptyDiskSource | None = None
    ephemeral: EphemeralVolumeSource | None = None
    host_disk: HostDisk | None = None
    memory_dump: MemoryDumpVolumeSource | None = None
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None
    secret: SecretVolumeSource | None = None
    service_account: ServiceAccountVolumeSource | None = None
    sysprep: SysprepSource | None = None


class UtilityVolume(Base, kw_only=True):
    """A claim for the launcher's own use."""

    name: str = field(default_factory=str)
    claim_name: str = field(default_factory=str)
    read_only: bool | None = None
    type: str | None = None


class HotplugVolumeSource(Base, kw_only=True):
    """A volume to plug in."""

    data_volume: DataVolumeSource | None = None
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None


class AddVolumeOptions(Base, kw_only=True):
    """A disk to plug in."""

    name: str = field(default_factory=str)
    disk: Disk = field(default_factory=Disk)
    dry_run: list[str] = field(default_factory=list)
    volume_source: HotplugVolumeSource = field(default_factory=HotplugVolumeSource)


class RemoveVolumeOptions(Base, kw_only=True):
    """A disk to pull out."""

    name: str = field(default_factory=str)
    dry_run: list[str] = field(default_factory=list)
