"""CDI's kinds: DataVolume, which fills a claim, and DataSource, a name for what to fill it from.

Written by hand from CDI's CRDs: KubeVirt's OpenAPI document has only the parts that VirtualMachines embed (v1beta1.py),
in an older state, which the types here extend.
"""

from __future__ import annotations

from msgspec import field

from virt_types.cdi.v1beta1 import DataVolumeSource, DataVolumeSourceHTTP, DataVolumeSourceVDDK, DataVolumeSpec
from virt_types.meta import Base, Int32, ObjectMeta, Time


class ImportCondition(Base, kw_only=True):
    """One aspect of the state."""

    status: str = field(default_factory=str)
    last_heartbeat_time: Time | None = None
    last_transition_time: Time | None = None
    message: str | None = None
    reason: str | None = None
    type: str = field(default_factory=str)


class ImportSourceHTTP(DataVolumeSourceHTTP, kw_only=True):
    """A disk image from a web server, with its checksum."""

    checksum: str | None = None
    insecure_skip_verify: bool | None = None


class ImportSourceVDDK(DataVolumeSourceVDDK, kw_only=True):
    """A disk of VMware, with the authority its server is checked by."""

    cert_config_map: str | None = None


class ImportSource(DataVolumeSource, kw_only=True):
    """Where the bytes come from: exactly one."""

    http: ImportSourceHTTP | None = None
    vddk: ImportSourceVDDK | None = None


class ImportSpec(DataVolumeSpec, kw_only=True):
    """A claim and what to fill it with."""

    source: ImportSource | None = None
    service_account_name: str | None = None


class DataVolumeStatus(Base, kw_only=True):
    """How far the claim is filled."""

    claim_name: str | None = None
    conditions: list[ImportCondition] = field(default_factory=list)
    phase: str | None = None
    progress: str | None = None
    restart_count: Int32 | None = None


class DataVolume(Base, kw_only=True):
    """A claim and what to fill it with, and how far that is."""

    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: ImportSpec = field(default_factory=ImportSpec)
    status: DataVolumeStatus = field(default_factory=DataVolumeStatus)


class DataSourceReference(Base, kw_only=True):
    """Namespace and name of what is meant."""

    name: str = field(default_factory=str)
    namespace: str = field(default_factory=str)


class DataSourceSource(Base, kw_only=True):
    """Exactly one of the three."""

    data_source: DataSourceReference | None = None
    pvc: DataSourceReference | None = None
    snapshot: DataSourceReference | None = None


class DataSourceSpec(Base, kw_only=True):
    """What the name stands for."""

    source: DataSourceSource = field(default_factory=DataSourceSource)


class DataSourceStatus(Base, kw_only=True):
    """What the name stands for right now."""

    conditions: list[ImportCondition] = field(default_factory=list)
    source: DataSourceSource | None = None


class DataSource(Base, kw_only=True):
    """A name for the claim or snapshot that DataVolumes copy."""

    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: DataSourceSpec = field(default_factory=DataSourceSpec)
    status: DataSourceStatus = field(default_factory=DataSourceStatus)
