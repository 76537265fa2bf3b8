"""Why an applied object can't be told into the fields of its schema, in the words of structured-merge-diff.

Server-side apply asks before it merges (`Schemas.untyped`). An explicit null conforms to anything. The schemas are the
slim ones of `schemas.py`.
"""

from __future__ import annotations

import json
from typing import Any

from virt_kube.api import Json
from virt_local.apiserver.fieldsets import Path, child_schema, dotted, element_key
from virt_local.apiserver.strategic import go_value

_OBJECT_FIELDS = ("apiVersion", "kind", "metadata")
_NUMBERS = ("integer", "number")
_GO_TYPES: dict[type, str] = {
    str: "string", bool: "bool", list: "[]interface {}", dict: "map[string]interface {}",
}  # fmt: skip


def problem(value: Any, schema: Json, path: Path = ()) -> str:
    """The first thing that does not conform, empty when all does."""
    kind = schema.get("type")
    if value is None or (kind is None and "properties" not in schema):
        return ""
    if kind == "array":
        return _list(value, schema, path) if isinstance(value, list) else _told(path, f"expected list, got {_v(value)}")
    if kind in ("object", None):
        return _map(value, schema, path) if isinstance(value, dict) else _told(path, f"expected map, got {_v(value)}")
    why = _scalar(value, kind)
    return _told(path, why) if why else ""


def _scalar(value: Any, kind: str) -> str:
    if kind == "string" and not isinstance(value, str):
        return f"expected string, got &value.valueUnstructured{{Value:{_literal(value)}}}"
    if kind == "boolean" and not isinstance(value, bool):
        return f"expected boolean, got {_v(value)}"
    if kind in _NUMBERS and (isinstance(value, bool) or not isinstance(value, int | float)):
        return f"expected numeric (int or float), got {_GO_TYPES[type(value)]}"
    return ""


def _told(path: Path, why: str) -> str:
    return f"{dotted(path)}: {why}"


def _map(value: Json, schema: Json, path: Path) -> str:
    known = schema.get("properties")
    open_ended = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields") or known is None
    embedded = schema.get("x-kubernetes-embedded-resource")
    for name, child in value.items():
        here = (*path, "f:" + name)
        if known is not None and name not in known and not open_ended and not (embedded and name in _OBJECT_FIELDS):
            return _told(here, "field not declared in schema")
        if found := problem(child, child_schema(schema, name), here):
            return found
    return ""


def _list(value: list[Any], schema: Json, path: Path) -> str:
    form, items = schema.get("x-kubernetes-list-type"), schema.get("items") or {}
    for index, item in enumerate(value):
        if form == "map" and not isinstance(item, dict):
            return _told(path, f"element {index}: associative list with keys may not have non-map elements")
        if form == "set" and item is None:
            why = "associative list without keys has an element that's an explicit null"
            return _told(path, f"element {index}: {why}")
        element = element_key(item, schema) if form in ("map", "set") else f"i:{index}"
        if found := problem(item, items, (*path, element)):
            return found
    return ""


def _v(value: Any) -> str:
    """As Go's %v prints a value of structured-merge-diff."""
    return "&{" + go_value(value) + "}"


def _literal(value: Any) -> str:
    """As Go's %#v prints a decoded JSON value."""
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(map(_literal, value)) + "}"
    if isinstance(value, dict):
        return "map[string]interface {}{" + ", ".join(f"{json.dumps(k)}:{_literal(v)}" for k, v in value.items()) + "}"
    return "interface {}(nil)" if value is None else json.dumps(value, ensure_ascii=False)
