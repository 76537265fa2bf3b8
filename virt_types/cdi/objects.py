"""CDI's kinds: DataVolume, which fills a claim, and DataSource, a name for what to fill it from.

Written by hand from CDI's CRDs: KubeVirt's OpenAPI document has only the parts that VirtualMachines embed (v1beta1.py),
in an older state, which the types here extend.
"""

from __future__ import annotations

from msgspec import field

from virt_types.cdi.v1beta1 import (
    DataVolumeSource,
    DataVolumeSourceHTTP,
    DataVolumeSourceRegistry,
    DataVolumeSourceVDDK,
    DataVolumeSpec,
)
from virt_types.meta import Base, Int32, ObjectMeta, Time


class ImportCondition(Base, kw_only=True):
    """One aspect of the state."""

    status: str = field(default_factory=str)
    """True, False or Unknown."""
    last_heartbeat_time: Time | None = None
    """When it was last written."""
    last_transition_time: Time | None = None
    """When its status last changed."""
    message: str | None = None
    """Why, in a sentence."""
    reason: str | None = None
    """Why, in one word."""
    type: str = field(default_factory=str)
    """Bound, Running or Ready."""


class ImportSourceHTTP(DataVolumeSourceHTTP, kw_only=True):
    """A disk image from a web server, with its checksum."""

    checksum: str | None = None
    """Of the bytes as they are sent: md5, sha1, sha256 or sha512, a colon, hex digits."""
    insecure_skip_verify: bool | None = None
    """Takes any certificate."""


class ImportSourceVDDK(DataVolumeSourceVDDK, kw_only=True):
    """A disk of VMware, with the authority its server is checked by."""

    cert_config_map: str | None = None
    """The ConfigMap that holds the authority's certificate."""


class ImportSource(DataVolumeSource, kw_only=True):
    """Where the bytes come from: exactly one."""

    http: ImportSourceHTTP | None = None
    """A disk image from a web server."""
    vddk: ImportSourceVDDK | None = None


class ImportSpec(DataVolumeSpec, kw_only=True):
    """A claim and what to fill it with."""

    source: ImportSource | None = None
    """Where the bytes come from: exactly one."""
    service_account_name: str | None = None
    """Whom the transfer runs as."""


class DataVolumeStatus(Base, kw_only=True):
    """How far the claim is filled."""

    claim_name: str | None = None
    """The claim, which has the DataVolume's name."""
    conditions: list[ImportCondition] = field(default_factory=list)
    """Bound, Running and Ready, each with a reason and a message."""
    phase: str | None = None
    """Pending, ImportInProgress, Succeeded, Failed and the like."""
    progress: str | None = None
    """Per cent that are transferred, N/A while unknown."""
    restart_count: Int32 | None = None
    """How often the transfer began anew."""


class DataVolume(Base, kw_only=True):
    """A claim and what to fill it with, and how far that is."""

    api_version: str | None = None
    """The API's group and version, such as kubevirt.io/v1."""
    kind: str | None = None
    """The kind of object."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: ImportSpec = field(default_factory=ImportSpec)
    """The claim and its source; fixed once it is created."""
    status: DataVolumeStatus = field(default_factory=DataVolumeStatus)


class DataSourceReference(Base, kw_only=True):
    """Namespace and name of what is meant."""

    name: str = field(default_factory=str)
    namespace: str = field(default_factory=str)
    """The object's namespace."""


class DataSourceSource(Base, kw_only=True):
    """At most one. `http` and `registry` are not CDI's: published examples have them, and one machine reads them."""

    data_source: DataSourceReference | None = None
    http: ImportSourceHTTP | None = None
    pvc: DataSourceReference | None = None
    registry: DataVolumeSourceRegistry | None = None
    snapshot: DataSourceReference | None = None


class DataSourceSpec(Base, kw_only=True):
    """What the name stands for."""

    source: DataSourceSource = field(default_factory=DataSourceSource)


class DataSourceStatus(Base, kw_only=True):
    """What the name stands for right now."""

    conditions: list[ImportCondition] = field(default_factory=list)
    """Ready and Running, each with a reason and a message."""
    source: DataSourceSource | None = None


class DataSource(Base, kw_only=True):
    """A name for the claim or snapshot that DataVolumes copy."""

    api_version: str | None = None
    """The API's group and version, such as kubevirt.io/v1."""
    kind: str | None = None
    """The kind of object."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: DataSourceSpec = field(default_factory=DataSourceSpec)
    status: DataSourceStatus = field(default_factory=DataSourceStatus)
