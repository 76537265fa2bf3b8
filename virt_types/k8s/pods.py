"""Parts of the core API's pods and claims that VirtualMachines borrow.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Int32, IntOrString, LabelSelector, Quantity


class LocalObjectReference(Base, kw_only=True):
    name: str | None = None


class TypedLocalObjectReference(Base, kw_only=True):
    kind: str = field(default_factory=str)
    name: str = field(default_factory=str)
    api_group: str | None = None


class TypedObjectReference(Base, kw_only=True):
    kind: str = field(default_factory=str)
    name: str = field(default_factory=str)
    api_group: str | None = None
    namespace: str | None = None


class ExecAction(Base, kw_only=True):
    command: list[str] = field(default_factory=list)


class HTTPHeader(Base, kw_only=True):
    name: str = field(default_factory=str)
    value: str = field(default_factory=str)


class HTTPGetAction(Base, kw_only=True):
    host: str | None = None
    http_headers: list[HTTPHeader] = field(default_factory=list)
    path: str | None = None
    port: IntOrString
    scheme: str | None = None


class TCPSocketAction(Base, kw_only=True):
    host: str | None = None
    port: IntOrString


class PodDNSConfigOption(Base, kw_only=True):
    name: str | None = None
    value: str | None = None


class PodDNSConfig(Base, kw_only=True):
    nameservers: list[str] = field(default_factory=list)
    options: list[PodDNSConfigOption] = field(default_factory=list)
    searches: list[str] = field(default_factory=list)


class ObjectFieldSelector(Base, kw_only=True):
    api_version: str | None = None
    field_path: str = field(default_factory=str)


class ResourceFieldSelector(Base, kw_only=True):
    container_name: str | None = None
    divisor: Quantity | None = None
    resource: str = field(default_factory=str)


class DownwardAPIVolumeFile(Base, kw_only=True):
    field_ref: ObjectFieldSelector | None = None
    mode: Int32 | None = None
    path: str = field(default_factory=str)
    resource_field_ref: ResourceFieldSelector | None = None


class VolumeResourceRequirements(Base, kw_only=True):
    limits: dict[str, Quantity] = field(default_factory=dict)
    requests: dict[str, Quantity] = field(default_factory=dict)


class PersistentVolumeClaimSpec(Base, kw_only=True):
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
    claim_name: str = field(default_factory=str)
    read_only: bool | None = None
