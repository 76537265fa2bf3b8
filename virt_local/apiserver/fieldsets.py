"""Sets of field paths, as server-side apply reasons in: what an object has, what changed, what to take away.

A path is a tuple of FieldsV1 elements: `f:NAME` a field or map key, `k:{...}` a list element by its keys, `v:VALUE` an
element of a set. Pure; `ownership.py` and `apply.py` call it. Rules: sigs.k8s.io/structured-merge-diff.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from virt_kube.api import Json

Path = tuple[str, ...]
FieldSet = frozenset[Path]

MISSING: Any = object()
_DEDUCED: Json = {}
_TEXT: Json = {"type": "string"}
_FLAG: Json = {"type": "boolean"}
_NUMBER: Json = {"type": "integer"}
_OWNER: Json = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("apiVersion", "kind", "name", "uid"), _TEXT),
        **dict.fromkeys(("controller", "blockOwnerDeletion"), _FLAG),
    },
}
_TEXTS: Json = {"type": "object", "additionalProperties": _TEXT}
META_SCHEMA: Json = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("name", "generateName", "namespace", "selfLink", "uid", "resourceVersion"), _TEXT),
        **dict.fromkeys(("creationTimestamp", "deletionTimestamp"), _TEXT),
        **dict.fromkeys(("generation", "deletionGracePeriodSeconds"), _NUMBER),
        "labels": _TEXTS,
        "annotations": _TEXTS,
        "finalizers": {"type": "array", "items": _TEXT, "x-kubernetes-list-type": "set"},
        "ownerReferences": {
            "type": "array",
            "items": _OWNER | {"x-kubernetes-map-type": "atomic"},
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["uid"],
        },
        "managedFields": {"type": "array", "items": {"type": "object"}},
    },
}


class Changes(NamedTuple):
    added: FieldSet
    modified: FieldSet
    removed: FieldSet


def granular(value: Any, schema: Json) -> str:
    """How a value is owned: `map` or `list` by its parts, "" as a whole."""
    if isinstance(value, dict):
        return "" if schema.get("x-kubernetes-map-type") == "atomic" else "map"
    if isinstance(value, list) and schema.get("x-kubernetes-list-type") in ("set", "map"):
        return "list"
    return ""


def child_schema(schema: Json, name: str) -> Json:
    found = (schema.get("properties") or {}).get(name)
    if found is None:
        found = schema.get("additionalProperties")
    return found if isinstance(found, dict) else _DEDUCED


def is_field(schema: Json, name: str) -> bool:
    """Whether it is declared, not a key of a map."""
    return name in (schema.get("properties") or {})


def element_key(item: Any, schema: Json) -> str:
    """The path element of a list's item; keys with a default have it when the item leaves them out."""
    if schema.get("x-kubernetes-list-type") == "set":
        return "v:" + _text(item)
    fields = schema.get("items", {}).get("properties") or {}
    keys = {}
    for key in schema.get("x-kubernetes-list-map-keys", ()):
        value = item.get(key, fields.get(key, {}).get("default", MISSING)) if isinstance(item, dict) else MISSING
        if value is not MISSING:
            keys[key] = value
    return "k:" + _text(dict(sorted(keys.items())))


def children(value: Any, schema: Json) -> Iterator[tuple[str, Any, Json]]:
    """The owned parts of a granular value: path element, value, schema."""
    if isinstance(value, dict):
        for name, child in value.items():
            yield "f:" + name, child, child_schema(schema, name)
    else:
        for item in value:
            yield element_key(item, schema), item, schema.get("items") or _DEDUCED


def fields_of(value: Any, schema: Json, path: Path = ()) -> FieldSet:
    """Every path a value speaks for."""
    found: set[Path] = set()
    _collect(value, schema, path, found)
    return frozenset(found)


def _collect(value: Any, schema: Json, path: Path, found: set[Path]) -> None:
    kind = granular(value, schema)
    if not kind or (not value and kind == "map"):
        found.add(path)
        return
    for element, child, below in children(value, schema):
        if element[0] != "f" or not is_field(schema, element[2:]):
            found.add((*path, element))
        _collect(child, below, (*path, element), found)


def compare(old: Any, new: Any, schema: Json) -> Changes:
    """What it takes to get from one object to the other, in paths."""
    added: set[Path] = set()
    modified: set[Path] = set()
    removed: set[Path] = set()

    def all_of(value: Any, schema: Json, path: Path, into: set[Path]) -> None:
        into.add(path)
        if granular(value, schema):
            for element, child, below in children(value, schema):
                all_of(child, below, (*path, element), into)

    def visit(old: Any, new: Any, schema: Json, path: Path) -> None:
        if old == new and type(old) is type(new):
            return
        if not (kind := granular(new, schema)) or kind != granular(old, schema):
            modified.add(path)
            return
        before = {element: child for element, child, _ in children(old, schema)}
        for element, child, below in children(new, schema):
            if element in before:
                visit(before.pop(element), child, below, (*path, element))
            else:
                all_of(child, below, (*path, element), added)
        for element, child, below in children(old, schema):
            if element in before:
                all_of(child, below, (*path, element), removed)

    visit(old, new, schema, ())
    return Changes(frozenset(added), frozenset(modified), frozenset(removed))


def prefixes(paths: FieldSet) -> FieldSet:
    """Every path, and every path it lies below."""
    return frozenset(path[:length] for path in paths for length in range(1, len(path) + 1))


def without(value: Any, schema: Json, paths: FieldSet, path: Path = ()) -> Any:
    """The value less what lies at these paths, and less what that leaves empty; in place."""
    if not granular(value, schema):
        return value
    if isinstance(value, dict):
        for name, child in list(value.items()):
            here = (*path, "f:" + name)
            if here in paths or (child and not without(child, child_schema(schema, name), paths, here)):
                del value[name]
        return value
    items = schema.get("items") or _DEDUCED
    kept = []
    for item in value:
        here = (*path, element_key(item, schema))
        if here not in paths:
            kept.append(without(item, items, paths, here))
    value[:] = kept
    return value


def encode(paths: FieldSet) -> Json:
    """As FieldsV1: nested maps, `.` for a path that is owned itself and has owned parts."""
    tree: Json = {}
    inner = {path[:-1] for path in prefixes(paths)}
    for path in sorted(paths):
        node = tree
        for element in path:
            node = node.setdefault(element, {})
        if path in inner:
            node["."] = {}
    return _sorted(tree)


def _sorted(tree: Json) -> Json:
    return {key: _sorted(tree[key]) for key in sorted(tree)}


def decode(tree: Any) -> FieldSet:
    """Paths of FieldsV1. Raises ValueError."""
    found: set[Path] = set()

    def visit(node: Any, path: Path) -> None:
        if not isinstance(node, Mapping):
            raise ValueError(f"{'/'.join(path)} is not an object")  # noqa: TRY004  one error for whatever is wrong with it
        if path and (not node or "." in node):
            found.add(path)
        for element, below in node.items():
            if element != ".":
                if element[:2] not in ("f:", "k:", "v:"):
                    raise ValueError(f'"{element}" is no path element')
                visit(below, (*path, _normal(element)))

    visit(tree, ())
    return frozenset(found)


def _normal(element: str) -> str:
    """Keys and values as this module writes them, whoever wrote them."""
    if element[0] == "f":
        return element
    value = msgspec.json.decode(element[2:])
    return element[:2] + _text(dict(sorted(value.items())) if isinstance(value, dict) else value)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def dotted(path: Path) -> str:
    """As messages show it: `.spec.ports[port=80,protocol="TCP"].name`."""
    shown = ""
    for element in path:
        if element[0] == "f":
            shown += "." + element[2:]
        elif element[0] == "v":
            shown += f"[={element[2:]}]"
        elif element[0] == "i":
            shown += f"[{element[2:]}]"
        else:
            keys = msgspec.json.decode(element[2:])
            shown += "[" + ",".join(f"{key}={_text(value)}" for key, value in keys.items()) + "]"
    return shown
