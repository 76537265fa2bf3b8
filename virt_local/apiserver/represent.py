"""Stored bytes and served bytes: objects are stored at one version and served at the one asked for.

Stored JSON always begins with apiVersion and kind, so that another version (or none, inside typed lists) is a matter of
replacing a prefix; only the two Event groups differ in their fields and need decoding.
"""

from __future__ import annotations

from typing import Any

import msgspec

from virt_kube.api import Json
from virt_local.apiserver import typed
from virt_local.apiserver.patches import same_json
from virt_local.apiserver.registry import ResourceType, Version

# core/v1 Event field -> events.k8s.io/v1 field.
_EVENT_NAMES = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_EVENT_NAMES_BACK = {new: old for old, new in _EVENT_NAMES.items()}


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] = {}
    deletion_timestamp: str | None = None


class _Partial(msgspec.Struct):
    metadata: _Meta


_partial = msgspec.json.Decoder(_Partial)


def encode(obj: Json, resource: ResourceType) -> bytes:
    """The bytes to store."""
    return _encode(obj, _stored_version(resource), resource.shown.kind)


def _stored_version(resource: ResourceType) -> str:
    return resource.shown.api_version(resource.shown.storage)


def _is_newer_event(resource: ResourceType) -> bool:
    """An Event of events.k8s.io: a view in other fields. Other views differ in name only."""
    return resource.view_of is not None and resource.builtin


def _encode(obj: Json, api_version: str, kind: str) -> bytes:
    ordered = {"apiVersion": api_version, "kind": kind, "metadata": obj.get("metadata", {})}
    ordered.update((key, value) for key, value in obj.items() if key not in ordered)
    return msgspec.json.encode(ordered)


def decode(value: bytes) -> Json:
    found: Json = msgspec.json.decode(value)
    return found


def same(obj: Json, value: bytes) -> bool:
    """Whether a decoded object is what the bytes say."""
    return same_json(obj, decode(value))


def meta(value: bytes) -> _Meta:
    """Labels and identity, without decoding the rest."""
    return _partial.decode(value).metadata


def _prefix(api_version: str, kind: str) -> bytes:
    return f'{{"apiVersion":"{api_version}","kind":"{kind}",'.encode()


def served(value: bytes, resource: ResourceType, version: Version) -> bytes:
    """A stored object as one version of one resource shows it."""
    if _is_newer_event(resource):
        return _encode(from_storage(decode(value), resource), resource.api_version(version), resource.kind)
    if version.storage and resource.view_of is None:
        return value
    stored = _prefix(_stored_version(resource), resource.shown.kind)
    return _prefix(resource.api_version(version), resource.kind) + value.removeprefix(stored)


def list_item(value: bytes, resource: ResourceType, version: Version) -> bytes:
    """As `served`; items of built-in lists carry no apiVersion and kind."""
    found = served(value, resource, version)
    if not resource.builtin:
        return found
    return b"{" + found.removeprefix(_prefix(resource.api_version(version), resource.kind))


def to_storage(obj: Json, resource: ResourceType) -> Json:
    """A decoded object of any version, renamed to the stored one."""
    if _is_newer_event(resource):
        obj = core_event(obj)
        typed.normal("Event", obj)
    obj["apiVersion"] = _stored_version(resource)
    obj["kind"] = resource.shown.kind
    return obj


def from_storage(obj: Json, resource: ResourceType) -> Json:
    """A decoded stored object in the fields of the resource that views it."""
    obj["kind"] = resource.kind
    if not _is_newer_event(resource):
        return obj
    found = _event(obj, _EVENT_NAMES)
    typed.normal("events.Event", found)
    return found


def core_event(obj: Json) -> Json:
    """An event of events.k8s.io in the fields of the core group."""
    return _event(obj, _EVENT_NAMES_BACK)


def _event(obj: Json, names: dict[str, str]) -> Json:
    return {names.get(key, key): value for key, value in obj.items()}


def with_revision(value: bytes, rev: int) -> bytes:
    """The same object, saying another resourceVersion."""
    obj: dict[str, Any] = decode(value)
    obj["metadata"]["resourceVersion"] = str(rev)
    return msgspec.json.encode(obj)
