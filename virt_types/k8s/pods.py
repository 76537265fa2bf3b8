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
    name: str = field(default_factory=str)
    api_group: str | None = None


class TypedObjectReference(Base, kw_only=True):
    """Kind, namespace and name of an object."""

    kind: str = field(default_factory=str)
    name: str = field(default_factory=str)
    api_group: str | None = None
    namespace: str | None = None


class ExecAction(Base, kw_only=True):
    """Runs a command in the guest."""

    command: list[str] = field(default_factory=list)


class HTTPHeader(Base, kw_only=True):
    """A header of an HTTP request."""

    name: str = field(default_factory=str)
    value: str = field(default_factory=str)


class HTTPGetAction(Base, kw_only=True):
    """Asks the guest by HTTP."""

    host: str | None = None
    http_headers: list[HTTPHeader] = field(default_factory=list)
    path: str | None = None
    port: IntOrString
    scheme: str | None = None


class TCPSocketAction(Base, kw_only=True):
    """Opens a TCP connection to the guest."""

    host: str | None = None
    port: IntOrString


class PodDNSConfigOption(Base, kw_only=True):
    """A resolver option."""

    name: str | None = None
    value: str | None = None


class PodDNSConfig(Base, kw_only=True):
    """Name servers and search domains."""

    nameservers: list[str] = field(default_factory=list)
    options: list[PodDNSConfigOption] = field(default_factory=list)
    searches: list[str] = field(default_factory=list)


class ObjectFieldSelector(Base, kw_only=True):
    """A field of the object."""

    api_version: str | None = None
    field_path: str = field(default_factory=str)


class ResourceFieldSelector(Base, kw_only=True):
    """A resource of the container."""

    container_name: str | None = None
    divisor: Quantity | None = None
    resource: str = field(default_factory=str)


class DownwardAPIVolumeFile(Base, kw_only=True):
    """A file made from a field."""

    field_ref: ObjectFieldSelector | None = None
    mode: Int32 | None = None
    path: str = field(default_factory=str)
    resource_field_ref: ResourceFieldSelector | None = None


class VolumeResourceRequirements(Base, kw_only=True):
    """The storage asked for."""

    limits: dict[str, Quantity] = field(default_factory=dict)
    requests: dict[str, Quantity] = field(default_factory=dict)


class PersistentVolumeClaimSpec(Base, kw_only=True):
    """A claim for storage."""

    access_modes: list[str] = field(default_factory=list)
    data_source: TypedLocalObjectReference | None = None
    data_source_ref: TypedObjectReference | None = None
    resources: VolumeResourceRequirements = field(default_factory=VolumeResourceRequirements)
    selector: LabelSelector | None = None
    storage_class_name: str | None = None
    volume_attributes_class_name: str | None = None
    volume_mode: str | None = None
    volume_name: str | None = None


class ClaimVolumeSource(Base, kw_only=True):
    """The name of a claim."""

    claim_name: str = field(default_factory=str)
    read_only: bool | None = None
