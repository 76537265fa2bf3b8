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
    """The network data in plain text, at most 2048 bytes."""
    network_data_base64: str | None = None
    """The network data in base64, at most 2048 bytes decoded."""
    network_data_secret_ref: LocalObjectReference | None = None
    """A Secret whose key networkdata holds the network data."""
    secret_ref: LocalObjectReference | None = None
    """A Secret whose key userdata holds the user data."""
    user_data: str | None = None
    """The user data in plain text, at most 2048 bytes."""
    user_data_base64: str | None = None
    """The user data in base64, at most 2048 bytes decoded."""


class CloudInitConfigDriveSource(Base, kw_only=True):
    """A cloud-init disk in OpenStack's form, label config-2."""

    network_data: str | None = None
    """The network data in plain text, at most 2048 bytes."""
    network_data_base64: str | None = None
    """The network data in base64, at most 2048 bytes decoded."""
    network_data_secret_ref: LocalObjectReference | None = None
    """A Secret whose key networkdata holds the network data."""
    secret_ref: LocalObjectReference | None = None
    """A Secret whose key userdata holds the user data."""
    user_data: str | None = None
    """The user data in plain text, at most 2048 bytes."""
    user_data_base64: str | None = None
    """The user data in base64, at most 2048 bytes decoded."""


class ConfigMapVolumeSource(Base, kw_only=True):
    """A ConfigMap's keys as files on a disk."""

    name: str | None = None
    """The ConfigMap, in the same namespace."""
    optional: bool | None = None
    """Whether the guest may start without it; default false."""
    volume_label: str | None = None
    """The label by which the guest finds the disk, such as cidata, config-2 or OEMDRV."""


class ContainerDiskSource(Base, kw_only=True):
    """A disk from a container image; changes are lost at the end."""

    image: str = field(default_factory=str)
    """The image; its disk is in the directory /disk."""
    image_pull_policy: str | None = None
    """Always, IfNotPresent or Never."""
    image_pull_secret: str | None = None
    """A Secret with the credentials of the registry."""
    path: str | None = None
    """The disk's path in the image, when /disk holds no single file."""


class ContainerPathVolumeSource(Base, kw_only=True):
    """A directory of the launcher, read-only."""

    path: str = field(default_factory=str)
    """The directory's absolute path at the launcher, at most 4096 characters."""
    read_only: bool | None = None
    """true, the default; nothing else is possible."""


class DataVolumeSource(Base, kw_only=True):
    """A DataVolume; within one, where its bytes come from."""

    name: str = field(default_factory=str)
    hotpluggable: bool | None = None
    """Whether it can be pulled out while the guest runs; default false."""


class DownwardAPIVolumeSource(Base, kw_only=True):
    """Fields of the object as files on a disk."""

    fields: list[DownwardAPIVolumeFile] = field(default_factory=list)
    """The files and what is in them."""
    volume_label: str | None = None
    """The label by which the guest finds the disk, such as cidata, config-2 or OEMDRV."""


class DownwardMetricsVolumeSource(Base, kw_only=True):
    """Metrics of the node, as a small disk."""


class EmptyDiskSource(Base, kw_only=True):
    """A new, empty disk; gone at the end."""

    capacity: Quantity
    """Its size, such as 2Gi."""


class EphemeralVolumeSource(Base, kw_only=True):
    """A claim's disk, read-only, with changes that are lost at the end."""

    persistent_volume_claim: ClaimVolumeSource | None = None


class HostDisk(Base, kw_only=True):
    """A disk image on the node."""

    capacity: Quantity | None = None
    """The size to create it with."""
    path: str = field(default_factory=str)
    """The image's absolute path on the node."""
    shared: bool | None = None
    """Whether every node has the same file there, so that the guest can move; default false."""
    type: str = field(default_factory=str)
    """Disk (it exists) or DiskOrCreate."""


class MemoryDumpVolumeSource(Base, kw_only=True):
    """A claim that takes memory dumps."""

    claim_name: str = field(default_factory=str)
    """The PersistentVolumeClaim, in the same namespace."""
    hotpluggable: bool | None = None
    """Whether it can be pulled out while the guest runs; default false."""
    read_only: bool | None = None
    """Whether it is only read; default false."""


class PersistentVolumeClaimVolumeSource(Base, kw_only=True):
    """A PersistentVolumeClaim."""

    claim_name: str = field(default_factory=str)
    """The PersistentVolumeClaim, in the same namespace."""
    hotpluggable: bool | None = None
    """Whether it can be pulled out while the guest runs; default false."""
    read_only: bool | None = None
    """Whether it is only read; default false."""


class SecretVolumeSource(Base, kw_only=True):
    """A Secret's keys as files on a disk."""

    optional: bool | None = None
    """Whether the guest may start without it; default false."""
    secret_name: str | None = None
    """The Secret, in the same namespace."""
    volume_label: str | None = None
    """The label by which the guest finds the disk, such as cidata, config-2 or OEMDRV."""


class ServiceAccountVolumeSource(Base, kw_only=True):
    """A service account's token as a file on a disk."""

    service_account_name: str | None = None
    """The service account, in the same namespace."""


class SysprepSource(Base, kw_only=True):
    """Windows answer files from a ConfigMap or Secret."""

    config_map: LocalObjectReference | None = None
    secret: LocalObjectReference | None = None


class Volume(Base, kw_only=True):
    """Where a disk's bytes come from: exactly one source."""

    name: str = field(default_factory=str)
    """Unique within the guest; its disk or file system has the same name."""
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
    """Unique among all volumes of the guest."""
    claim_name: str = field(default_factory=str)
    """The PersistentVolumeClaim, in the same namespace."""
    read_only: bool | None = None
    """Whether it is only read; default false."""
    type: str | None = None
    """What it is for, such as MemoryDump or Backup."""


class HotplugVolumeSource(Base, kw_only=True):
    """A volume to plug in."""

    data_volume: DataVolumeSource | None = None
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None


class AddVolumeOptions(Base, kw_only=True):
    """A disk to plug in."""

    name: str = field(default_factory=str)
    """The new volume and its disk, whatever name the disk has."""
    disk: Disk = field(default_factory=Disk)
    dry_run: list[str] = field(default_factory=list)
    """["All"] only checks."""
    volume_source: HotplugVolumeSource = field(default_factory=HotplugVolumeSource)


class RemoveVolumeOptions(Base, kw_only=True):
    """A disk to pull out."""

    name: str = field(default_factory=str)
    """The volume and its disk."""
    dry_run: list[str] = field(default_factory=list)
    """["All"] only checks."""
