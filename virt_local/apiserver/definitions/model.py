"""A CustomResourceDefinition as the server sees it: from its JSON to a ResourceType.

The schema stays in the stored bytes; it is decoded when a walker is compiled or a document built, and let go again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from virt_kube.api import Json
from virt_local.apiserver.registry import Column, ResourceType, Scale, Version, version_rank


class _Names(msgspec.Struct, rename="camel"):
    plural: str
    kind: str
    singular: str = ""
    list_kind: str = ""
    short_names: list[str] = []
    categories: list[str] = []


class _Version(msgspec.Struct, rename="camel"):
    name: str
    served: bool = True
    storage: bool = False
    deprecated: bool = False
    deprecation_warning: str = ""
    subresources: dict[str, Any] | None = None
    additional_printer_columns: list[dict[str, Any]] = []
    selectable_fields: list[dict[str, str]] = []


class _Spec(msgspec.Struct):
    group: str
    names: _Names
    versions: list[_Version]
    scope: str = "Namespaced"


class _Status(msgspec.Struct):
    conditions: list[dict[str, Any]] | None = None


class _Crd(msgspec.Struct):
    spec: _Spec
    metadata: dict[str, Any] = {}
    status: _Status = msgspec.field(default_factory=_Status)


def resource_type(crd: bytes, stored: Callable[[], bytes | None]) -> ResourceType:
    """The resource a definition describes; `stored()` gives the definition's current bytes when a schema is wanted.

    Raises msgspec.ValidationError when the definition is not well formed.
    """
    found = msgspec.json.decode(crd, type=_Crd)
    spec, names = found.spec, found.spec.names
    singular = names.singular or names.kind.lower()
    return ResourceType(
        group=spec.group,
        plural=names.plural,
        kind=names.kind,
        versions=tuple(_version(spec, version, stored) for version in spec.versions),
        singular=singular,
        list_kind=names.list_kind or f"{names.kind}List",
        namespaced=spec.scope == "Namespaced",
        builtin=False,
        short_names=tuple(names.short_names),
        categories=tuple(names.categories),
        verbs=("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"),
        selectable=tuple(
            field["jsonPath"].removeprefix(".") for version in spec.versions for field in version.selectable_fields
        ),
        counts_generation=True,
        crd=f"{names.plural}.{spec.group}",
        digest=hashlib.sha256(crd).hexdigest(),
        established=any(c["type"] == "Established" and c["status"] == "True" for c in found.status.conditions or ()),
        terminating=bool(found.metadata.get("deletionTimestamp")),
        since=int(found.metadata.get("resourceVersion") or 0) if found.metadata.get("generation", 1) > 1 else 0,
    )


def _version(spec: _Spec, version: _Version, stored: Callable[[], bytes | None]) -> Version:
    subresources = version.subresources or {}
    warning = ""
    if version.deprecated:
        warning = version.deprecation_warning or _deprecated(spec, version.name)
    return Version(
        name=version.name,
        served=version.served,
        storage=version.storage,
        warning=warning,
        columns=tuple(_column(column) for column in version.additional_printer_columns),
        status="status" in subresources,
        scale=_scale(subresources.get("scale")),
        schema=lambda: version_schema(stored(), version.name),
    )


def _deprecated(spec: _Spec, name: str) -> str:
    """Tells the newest version to use instead, if there is one that is newer than `name`."""
    better = (other.name for other in spec.versions if other.served and not other.deprecated)
    newest = min((other for other in better if version_rank(other) < version_rank(name)), key=version_rank, default="")
    instead = f"; use {spec.group}/{newest} {spec.names.kind}" if newest else ""
    return f"{spec.group}/{name} {spec.names.kind} is deprecated{instead}"


def _column(column: Json) -> Column:
    return Column(
        name=column["name"],
        type=column["type"],
        path=column["jsonPath"],
        priority=column.get("priority", 0),
        format=column.get("format", ""),
        description=column.get("description", ""),
    )


def _scale(scale: Json | None) -> Scale | None:
    if not scale:
        return None
    return Scale(
        scale["specReplicasPath"].removeprefix("."),
        scale["statusReplicasPath"].removeprefix("."),
        scale.get("labelSelectorPath", "").removeprefix("."),
    )


def version_schema(crd: bytes | None, version: str) -> Json | None:
    """The openAPIV3Schema of one version, without its descriptions of nothing: None when there is no such version."""
    if crd is None:
        return None
    for candidate in msgspec.json.decode(crd)["spec"]["versions"]:
        if candidate["name"] == version:
            schema: Json | None = (candidate.get("schema") or {}).get("openAPIV3Schema")
            return schema
    return None
