"""JSON patches that cannot hit the wrong object, and the difference of two objects as such a patch.

Used by whoever changes an object that somebody else writes too: the patch begins with `test`, so a stale view fails
instead of undoing the other's work.
"""

from __future__ import annotations

from typing import Any

from virt_kube.api import Json, JsonPatch
from virt_types.meta import ObjectMeta


def pointer(*tokens: str | int) -> str:
    """A JSON pointer, escaped: `pointer("metadata", "labels", "a/b")` is `/metadata/labels/a~1b`."""
    return "".join("/" + str(token).replace("~", "~0").replace("/", "~1") for token in tokens)


def guard(metadata: ObjectMeta, *, version: bool = True) -> JsonPatch:
    """Tests that begin a patch: this very object and, with `version`, unchanged since it was read."""
    tests = [{"op": "test", "path": "/metadata/uid", "value": metadata.uid}]
    if version:
        tests.append({"op": "test", "path": "/metadata/resourceVersion", "value": metadata.resource_version})
    return tests


def diff(old: Json, new: Json, *path: str, depth: int = 1) -> JsonPatch:
    """Operations that make `old` into `new`; maps are compared `depth` levels deep, what differs below is replaced."""
    operations: JsonPatch = []
    for key in sorted(old.keys() | new.keys()):
        where = pointer(*path, key)
        if key not in new:
            operations.append({"op": "remove", "path": where})
        elif key not in old:
            operations.append({"op": "add", "path": where, "value": new[key]})
        elif old[key] != new[key]:
            if depth > 1 and isinstance(old[key], dict) and isinstance(new[key], dict):
                operations += diff(old[key], new[key], *path, key, depth=depth - 1)
            else:
                operations.append({"op": "replace", "path": where, "value": new[key]})
    return operations


def diff_status(metadata: ObjectMeta, old: Json, new: Json) -> JsonPatch:
    """A guarded patch of `/status`; empty when nothing changed. An absent status is created whole."""
    if old == new:
        return []
    if not old:
        return [*guard(metadata), {"op": "add", "path": "/status", "value": new}]
    return [*guard(metadata), *diff(old, new, "status")]


def set_finalizers(metadata: ObjectMeta, finalizers: list[str]) -> JsonPatch:
    """A guarded patch that turns the finalizers just seen into `finalizers`."""
    return [*guard(metadata, version=False), *_replace_list(metadata.finalizers, finalizers, "metadata", "finalizers")]


def _replace_list(old: list[Any], new: list[Any], *path: str) -> JsonPatch:
    where = pointer(*path)
    if not old:
        return [{"op": "add", "path": where, "value": new}]
    return [{"op": "test", "path": where, "value": old}, {"op": "replace", "path": where, "value": new}]
