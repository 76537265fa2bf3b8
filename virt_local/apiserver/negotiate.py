"""What a client accepts, and what of that we have: JSON or YAML, a Table, metadata only, aggregated discovery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from virt_local.apiserver.status import not_acceptable

JSON, YAML = "application/json", "application/yaml"
BUILTIN_TYPES = (JSON, YAML, "application/vnd.kubernetes.protobuf")
CUSTOM_TYPES = (JSON, YAML)


class Media(NamedTuple):
    """`as_kind` is Table, PartialObjectMetadata, PartialObjectMetadataList, APIGroupDiscoveryList or empty."""

    type: str = JSON
    as_kind: str = ""
    version: str = ""
    group: str = ""


PLAIN = Media()
_TRANSFORMS = {
    ("meta.k8s.io", "v1", "Table"),
    ("meta.k8s.io", "v1beta1", "Table"),
    ("meta.k8s.io", "v1", "PartialObjectMetadata"),
    ("meta.k8s.io", "v1beta1", "PartialObjectMetadata"),
    ("meta.k8s.io", "v1", "PartialObjectMetadataList"),
    ("meta.k8s.io", "v1beta1", "PartialObjectMetadataList"),
}
DISCOVERY = {("apidiscovery.k8s.io", version, "APIGroupDiscoveryList") for version in ("v2", "v2beta1")}


def negotiate(accept: str, transforms: set[tuple[str, str, str]] = _TRANSFORMS) -> Media:
    """The first thing in `accept` that can be served; 406 when there is none."""
    if not accept.strip():
        return PLAIN
    for clause in accept.split(","):
        media, *parameters = (part.strip() for part in clause.split(";"))
        named = dict(parameter.partition("=")[::2] for parameter in parameters)
        kind = _type(media.lower())
        if kind is None:
            continue
        wanted = (named.get("g", ""), named.get("v", ""), named.get("as", ""))
        if not wanted[2]:
            return Media(kind)
        if wanted in transforms:
            return Media(kind, wanted[2], wanted[1], wanted[0])
    raise not_acceptable(CUSTOM_TYPES)


def _type(media: str) -> str | None:
    if media in ("*/*", "application/*", JSON):
        return JSON
    return YAML if media == YAML else None


def accepted(types: Sequence[str]) -> str:
    return ", ".join(types)
