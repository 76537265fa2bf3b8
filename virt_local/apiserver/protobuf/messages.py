"""The messages of the wire, from two tables: built-in kinds and everything around them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

from virt_local.apiserver.builtin_schemas import Field, Type, types

_TABLE = Path(__file__).with_name("wire_types.txt")
_METADATA = Field("ObjectMeta", number=(1,))
# Not objects of their own: they have other metadata, or none.
_BARE = frozenset({"Status", "DeleteOptions", "APIGroupList", "APIGroup", "APIVersions", "APIResourceList"})
_REVIEWS = frozenset(
    ("LocalSubjectAccessReview", "SelfSubjectAccessReview", "SelfSubjectReview", "SelfSubjectRulesReview",
     "SubjectAccessReview", "TokenRequest", "TokenReview")
)  # fmt: skip
_STORED = frozenset(
    ("ClusterRole", "ClusterRoleBinding", "ConfigMap", "ControllerRevision", "EndpointSlice", "Endpoints", "Event",
     "Lease", "Namespace", "Node", "PersistentVolume", "PersistentVolumeClaim", "Pod", "Role", "RoleBinding", "Secret",
     "Service", "ServiceAccount", "StorageClass")
)  # fmt: skip
# A definition's schema has too many shapes to be worth a table: it goes as JSON.
READABLE = _STORED | _REVIEWS | {"DeleteOptions"}
_EVENTS_GROUP = "events.k8s.io/"


class Leaf(NamedTuple):
    """A field by its JSON name. `type` is as the tables have it."""

    name: str
    type: str
    pointer: bool


Message = dict[int, "Leaf | Message"]  # a message within a message is embedded: its fields are those of the object


def table_name(api_version: str, kind: str) -> str:
    """The name of a kind in the tables."""
    return f"events.{kind}" if api_version.startswith(_EVENTS_GROUP) else kind


def writable(kind: str) -> bool:
    """Whether answers of this kind, or lists of it, can be given as protobuf."""
    return kind in _STORED | _BARE | _REVIEWS or kind.removesuffix("List") in _STORED


@functools.cache
def message(name: str) -> Message:
    """Field numbers of a type of either table."""
    found: Message = {}
    for json_name, field in _fields(name).items():
        *outer, number = field.number or (0,)
        if not number:
            continue  # newer than the table of numbers: JSON has it
        target = found
        for step in outer:
            inner = target.setdefault(step, {})
            if isinstance(inner, dict):
                target = inner
        target[number] = Leaf(json_name, field.type, field.pointer)
    return found


@functools.cache
def _tables() -> dict[str, Type]:
    return types() | types(_TABLE)


def known(name: str) -> bool:
    return name in _tables()


def _fields(name: str) -> dict[str, Field]:
    fields = _tables()[name].fields
    kind = name.rpartition(".")[2]
    own = name in (kind, "events.Event") and kind in READABLE - _BARE
    extra = {"stringData": Field("map:string", number=(4,))} if name == "Secret" else {}
    return {**fields, **extra, **({"metadata": _METADATA} if own or name == "PersistentVolumeClaimTemplate" else {})}
