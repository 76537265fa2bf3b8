"""What a client accepts, and what of that we have: JSON, YAML or protobuf; a Table, metadata only, discovery."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from virt_local.apiserver.status import not_acceptable, nothing_acceptable

JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
SHOWN = (JSON, YAML, PROTOBUF)  # as refusals list them


class Media(NamedTuple):
    """`as_kind` is Table, PartialObjectMetadata, PartialObjectMetadataList, APIGroupDiscoveryList or empty."""

    type: str = JSON
    as_kind: str = ""
    version: str = ""
    group: str = ""


PLAIN = Media()
_TRANSFORMS = {
    ("meta.k8s.io", version, kind)
    for version in ("v1", "v1beta1")
    for kind in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
}
_METADATA = {wanted for wanted in _TRANSFORMS if wanted[2] != "Table"}
DISCOVERY = {("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList")}


def negotiate(
    accept: str,
    transforms: set[tuple[str, str, str]] = _TRANSFORMS,
    *,
    builtin: bool = False,
    protobuf: bool = False,
    metadata: bool = False,
) -> Media:
    """The first thing in `accept` that can be served; 406 when there is none.

    `protobuf`: the whole can be had as protobuf; `metadata`: metadata alone can.
    Built-in kinds are negotiated before routing on a real server, by a stricter reading and with another refusal.
    """
    if not accept or accept == JSON:
        return PLAIN
    for media, wanted in _clauses(accept):
        if media == PROTOBUF and protobuf and not wanted[2]:
            return Media(PROTOBUF)
        if media == PROTOBUF and metadata and wanted in _METADATA:
            return Media(PROTOBUF, wanted[2], wanted[1], wanted[0])
        if media not in ("*/*", JSON, YAML) and (media != "application/*" or builtin):
            continue
        kind = YAML if media == YAML else JSON
        if not wanted[2]:
            return Media(kind)
        if wanted in transforms:
            return Media(kind, wanted[2], wanted[1], wanted[0])
    raise nothing_acceptable(SHOWN) if builtin else not_acceptable(SHOWN)


def refusal_type(accept: str) -> str:
    """In which format a Status goes to a client that accepts this."""
    if not accept or accept.startswith(JSON):
        return JSON
    return next((media for media, _ in _clauses(accept) if media in SHOWN), JSON)


def _clauses(accept: str) -> Iterator[tuple[str, tuple[str, str, str]]]:
    for clause in accept.split(","):
        media, *parameters = (part.strip() for part in clause.split(";"))
        named = dict(parameter.partition("=")[::2] for parameter in parameters)
        if media:
            yield media.lower(), (named.get("g", ""), named.get("v", ""), named.get("as", ""))
