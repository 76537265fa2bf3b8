"""Parts of the core API's pods and claims that VirtualMachines borrow.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Int32, IntOrString, LabelSelector, Quantity


class LocalObjectReference(Base, kw_only=True):
    """The name of an object in the same namespace."""

    name: str | None = None


class TypedLocalObjectReference(Base, kw_only=True):
    """Kind and name of an object in the same namespace."""

    kind: str = field(default_factory=str)
    """The kind of object."""
    name: str = field(default_factory=str)
    api_group: str | None = None
    """The object's API group; empty is the core group."""


class TypedObjectReference(Base, kw_only=True):
    """Kind, namespace and name of an object."""

    kind: str = field(default_factory=str)
    """The kind of object."""
    name: str = field(default_factory=str)
    api_group: str | None = None
    """The object's API group; empty is the core group."""
    namespace: str | None = None
    """Where the object is; default is the same namespace."""


class ExecAction(Base, kw_only=True):
    """Runs a command in the guest."""

    command: list[str] = field(default_factory=list)
    """The program and its arguments, run in the guest by its agent; no shell is between."""


class HTTPHeader(Base, kw_only=True):
    """A header of an HTTP request."""

    name: str = field(default_factory=str)
    value: str = field(default_factory=str)
    """The header's value."""


class HTTPGetAction(Base, kw_only=True):
    """Asks the guest by HTTP."""

    host: str | None = None
    """Whom to connect to; default is the guest's address."""
    http_headers: list[HTTPHeader] = field(default_factory=list)
    """Headers sent with the request."""
    path: str | None = None
    """The path to ask for; default /."""
    port: IntOrString
    """A number from 1 to 65535, or the name of one of the guest's ports."""
    scheme: str | None = None
    """HTTP (default) or HTTPS."""


class TCPSocketAction(Base, kw_only=True):
    """Opens a TCP connection to the guest."""

    host: str | None = None
    """Whom to connect to; default is the guest's address."""
    port: IntOrString
    """A number from 1 to 65535, or the name of one of the guest's ports."""


class PodDNSConfigOption(Base, kw_only=True):
    """A resolver option."""

    name: str | None = None
    value: str | None = None
    """The option's value, where it has one."""


class PodDNSConfig(Base, kw_only=True):
    """Name servers and search domains."""

    nameservers: list[str] = field(default_factory=list)
    """IP addresses of name servers, at most 3, asked besides those of dnsPolicy."""
    options: list[PodDNSConfigOption] = field(default_factory=list)
    """Options of the resolver, besides those of dnsPolicy."""
    searches: list[str] = field(default_factory=list)
    """Search domains, at most 6, besides those of dnsPolicy."""


class ObjectFieldSelector(Base, kw_only=True):
    """A field of the object."""

    api_version: str | None = None
    """The version the field's path is of; default v1."""
    field_path: str = field(default_factory=str)
    """The field, such as metadata.labels or metadata.name."""


class ResourceFieldSelector(Base, kw_only=True):
    """A resource of the container."""

    container_name: str | None = None
    """The container; needed in volumes."""
    divisor: Quantity | None = None
    """The unit of the output; default 1."""
    resource: str = field(default_factory=str)
    """Such as limits.cpu or requests.memory."""


class DownwardAPIVolumeFile(Base, kw_only=True):
    """A file made from a field."""

    field_ref: ObjectFieldSelector | None = None
    mode: Int32 | None = None
    """The file's permission bits, 0 to 0777."""
    path: str = field(default_factory=str)
    """The file's name, a relative path without ".."."""
    resource_field_ref: ResourceFieldSelector | None = None


class VolumeResourceRequirements(Base, kw_only=True):
    """The storage asked for."""

    limits: dict[str, Quantity] = field(default_factory=dict)
    """The most storage that may be taken; key storage."""
    requests: dict[str, Quantity] = field(default_factory=dict)
    """The least storage that is needed; key storage, such as 10Gi."""


class PersistentVolumeClaimSpec(Base, kw_only=True):
    """A claim for storage."""

    access_modes: list[str] = field(default_factory=list)
    """Exactly one of ReadWriteOnce, ReadOnlyMany, ReadWriteMany, ReadWriteOncePod."""
    data_source: TypedLocalObjectReference | None = None
    data_source_ref: TypedObjectReference | None = None
    resources: VolumeResourceRequirements = field(default_factory=VolumeResourceRequirements)
    selector: LabelSelector | None = None
    storage_class_name: str | None = None
    """The storage class; default is the cluster's default class."""
    volume_attributes_class_name: str | None = None
    """A VolumeAttributesClass, for drivers that can change a volume's attributes."""
    volume_mode: str | None = None
    """Filesystem (default) or Block."""
    volume_name: str | None = None
    """The PersistentVolume to take; default is any that fits."""


class ClaimVolumeSource(Base, kw_only=True):
    """The name of a claim."""

    claim_name: str = field(default_factory=str)
    """The PersistentVolumeClaim, in the same namespace."""
    read_only: bool | None = None
    """Whether it is only read; default false."""
