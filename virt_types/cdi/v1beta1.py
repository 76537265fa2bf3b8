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
    """Such as amd64 or arm64, where an image has several."""


class DataVolumeBlankImage(Base, kw_only=True):
    """An empty disk."""


class DataVolumeSourceGCS(Base, kw_only=True):
    """A disk image from Google's storage."""

    secret_ref: str | None = None
    """A Secret with the credentials."""
    url: str = field(default_factory=str)
    """Where the image is: gs://BUCKET/OBJECT, or https."""


class DataVolumeSourceHTTP(Base, kw_only=True):
    """A disk image from a web server."""

    cert_config_map: str | None = None
    """A ConfigMap with the authority the server's certificate is checked by, as PEM."""
    extra_headers: list[str] = field(default_factory=list)
    """Headers sent with every request, each as "Name: value"."""
    secret_extra_headers: list[str] = field(default_factory=list)
    """Secrets whose values are such headers."""
    secret_ref: str | None = None
    """A Secret with a user name (key accessKeyId) and a password (key secretKey)."""
    url: str = field(default_factory=str)
    """Where the image is: http or https."""


class DataVolumeSourceImageIO(Base, kw_only=True):
    """A disk of oVirt."""

    cert_config_map: str | None = None
    """A ConfigMap with the authority the engine's certificate is checked by."""
    disk_id: str = field(default_factory=str)
    """The disk, as the engine names it."""
    insecure_skip_verify: bool | None = None
    """Takes any certificate; default false."""
    secret_ref: str | None = None
    """A Secret with the credentials of the engine."""
    url: str = field(default_factory=str)
    """Where the oVirt engine is."""


class DataVolumeSourcePVC(Base, kw_only=True):
    """A copy of a claim."""

    name: str = field(default_factory=str)
    """The claim to copy."""
    namespace: str = field(default_factory=str)
    """Where the claim is."""


class DataVolumeSourceRegistry(Base, kw_only=True):
    """A disk image from a container registry."""

    cert_config_map: str | None = None
    """A ConfigMap with the authority the registry's certificate is checked by."""
    image_stream: str | None = None
    """An image stream of OpenShift, instead of a url."""
    platform: PlatformOptions | None = None
    pull_method: str | None = None
    """pod (default: the importer pulls) or node (the node's container runtime does)."""
    secret_ref: str | None = None
    """A Secret with the credentials of the registry."""
    url: str | None = None
    """The image: docker://REGISTRY/NAME:TAG, or oci-archive:PATH."""


class DataVolumeSourceS3(Base, kw_only=True):
    """A disk image from an S3 bucket."""

    cert_config_map: str | None = None
    """A ConfigMap with the authority the server's certificate is checked by."""
    secret_ref: str | None = None
    """A Secret with the access key (key accessKeyId) and the secret key (key secretKey)."""
    url: str = field(default_factory=str)
    """Where the image is: s3://BUCKET/OBJECT, or https."""


class DataVolumeSourceSnapshot(Base, kw_only=True):
    """A copy of a snapshot."""

    name: str = field(default_factory=str)
    """The VolumeSnapshot to copy."""
    namespace: str = field(default_factory=str)
    """Where the VolumeSnapshot is."""


class DataVolumeSourceUpload(Base, kw_only=True):
    """A disk image that a user uploads."""


class DataVolumeSourceVDDK(Base, kw_only=True):
    """A disk of VMware."""

    backing_file: str | None = None
    """The path of the virtual disk on its server, such as "[store] vm/vm.vmdk"."""
    extra_args: str | None = None
    """A ConfigMap with settings for the VDDK library."""
    init_image_url: str | None = field(default=None, name="initImageURL")
    """A container image that has the VDDK library."""
    secret_ref: str | None = None
    """A Secret with user name and password of the server."""
    thumbprint: str | None = None
    """The server's certificate, by its SHA-1 thumbprint."""
    url: str | None = None
    """Where the vCenter or ESXi server is."""
    uuid: str | None = None
    """The machine on that server that has the disk."""


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
    """DataSource; there is no other."""
    name: str = field(default_factory=str)
    """The DataSource."""
    namespace: str | None = None
    """Where the DataSource is; default is the DataVolume's namespace."""


class DataVolumeCheckpoint(Base, kw_only=True):
    """A step of a warm migration."""

    current: str = field(default_factory=str)
    """The snapshot of this step, as the source names it."""
    previous: str = field(default_factory=str)
    """The snapshot of the step before; empty for the first."""


class StorageSpec(Base, kw_only=True):
    """A claim with gaps that are filled in."""

    access_modes: list[str] = field(default_factory=list)
    """Such as ReadWriteOnce; default is what the storage class is known to do best."""
    data_source: TypedLocalObjectReference | None = None
    data_source_ref: TypedObjectReference | None = None
    resources: VolumeResourceRequirements = field(default_factory=VolumeResourceRequirements)
    selector: LabelSelector | None = None
    storage_class_name: str | None = None
    """The storage class; default is the cluster's default for machines."""
    volume_mode: str | None = None
    """Filesystem or Block; default is what the storage class is known to do best."""
    volume_name: str | None = None
    """The PersistentVolume to take; default is any that fits."""


class DataVolumeSpec(Base, kw_only=True):
    """A claim and what to fill it with."""

    checkpoints: list[DataVolumeCheckpoint] = field(default_factory=list)
    """The steps of a warm migration, in order."""
    content_type: str | None = None
    """kubevirt (default: a disk image) or archive (a tar file, unpacked)."""
    final_checkpoint: bool | None = None
    """Whether the last checkpoint ends the transfer; default false."""
    preallocation: bool | None = None
    """Takes all of the disk's space at once; default false."""
    priority_class_name: str | None = None
    """The priority of the pods that transfer."""
    pvc: PersistentVolumeClaimSpec | None = None
    """The claim, word for word."""
    source: DataVolumeSource | None = None
    """Where the bytes come from: exactly one."""
    source_ref: DataVolumeSourceRef | None = None
    storage: StorageSpec | None = None
    """The claim; access mode and volume mode are filled in."""
