"""What a DataVolume is made of (CDI), as far as a VirtualMachine's dataVolumeTemplates reach it.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.k8s.pods import (
    PersistentVolumeClaimSpec,
    TypedLocalObjectReference,
    TypedObjectReference,
    VolumeResourceRequirements,
)
from virt_types.meta import Base, LabelSelector


class PlatformOptions(Base, kw_only=True):
    """The architecture of an image."""

    architecture: str | None = None


class DataVolumeBlankImage(Base, kw_only=True):
    """An empty disk."""


class DataVolumeSourceGCS(Base, kw_only=True):
    """A disk image from Google's storage."""

    secret_ref: str | None = None
    url: str = field(default_factory=str)


class DataVolumeSourceHTTP(Base, kw_only=True):
    """A disk image from a web server."""

    cert_config_map: str | None = None
    extra_headers: list[str] = field(default_factory=list)
    secret_extra_headers: list[str] = field(default_factory=list)
    secret_ref: str | None = None
    url: str = field(default_factory=str)


class DataVolumeSourceImageIO(Base, kw_only=True):
    """A disk of oVirt."""

    cert_config_map: str | None = None
    disk_id: str = field(default_factory=str)
    insecure_skip_verify: bool | None = None
    secret_ref: str | None = None
    url: str = field(default_factory=str)


class DataVolumeSourcePVC(Base, kw_only=True):
    """A copy of a claim."""

    name: str = field(default_factory=str)
    namespace: str = field(default_factory=str)


class DataVolumeSourceRegistry(Base, kw_only=True):
    """A disk image from a container registry."""

    cert_config_map: str | None = None
    image_stream: str | None = None
    platform: PlatformOptions | None = None
    pull_method: str | None = None
    secret_ref: str | None = None
    url: str | None = None


class DataVolumeSourceS3(Base, kw_only=True):
    """A disk image from an S3 bucket."""

    cert_config_map: str | None = None
    secret_ref: str | None = None
    url: str = field(default_factory=str)


class DataVolumeSourceSnapshot(Base, kw_only=True):
    """A copy of a snapshot."""

    name: str = field(default_factory=str)
    namespace: str = field(default_factory=str)


class DataVolumeSourceUpload(Base, kw_only=True):
    """A disk image that a user uploads."""


class DataVolumeSourceVDDK(Base, kw_only=True):
    """A disk of VMware."""

    backing_file: str | None = None
    extra_args: str | None = None
    init_image_url: str | None = field(default=None, name="initImageURL")
    secret_ref: str | None = None
    thumbprint: str | None = None
    url: str | None = None
    uuid: str | None = None


class DataVolumeSource(Base, kw_only=True):
    """A DataVolume; within one, where its bytes come from."""

    blank: DataVolumeBlankImage | None = None
    gcs: DataVolumeSourceGCS | None = None
    http: DataVolumeSourceHTTP | None = None
    imageio: DataVolumeSourceImageIO | None = None
    pvc: DataVolumeSourcePVC | None = None
    registry: DataVolumeSourceRegistry | None = None
    s3: DataVolumeSourceS3 | None = None
    snapshot: DataVolumeSourceSnapshot | None = None
    upload: DataVolumeSourceUpload | None = None
    vddk: DataVolumeSourceVDDK | None = None


class DataVolumeSourceRef(Base, kw_only=True):
    """A DataSource."""

    kind: str = field(default_factory=str)
    name: str = field(default_factory=str)
    namespace: str | None = None


class DataVolumeCheckpoint(Base, kw_only=True):
    """A step of a warm migration."""

    current: str = field(default_factory=str)
    previous: str = field(default_factory=str)


class StorageSpec(Base, kw_only=True):
    """A claim with gaps that are filled in."""

    access_modes: list[str] = field(default_factory=list)
    data_source: TypedLocalObjectReference | None = None
    data_source_ref: TypedObjectReference | None = None
    resources: VolumeResourceRequirements = field(default_factory=VolumeResourceRequirements)
    selector: LabelSelector | None = None
    storage_class_name: str | None = None
    volume_mode: str | None = None
    volume_name: str | None = None


class DataVolumeSpec(Base, kw_only=True):
    """A claim and what to fill it with."""

    checkpoints: list[DataVolumeCheckpoint] = field(default_factory=list)
    content_type: str | None = None
    final_checkpoint: bool | None = None
    preallocation: bool | None = None
    priority_class_name: str | None = None
    pvc: PersistentVolumeClaimSpec | None = None
    source: DataVolumeSource | None = None
    source_ref: DataVolumeSourceRef | None = None
    storage: StorageSpec | None = None
