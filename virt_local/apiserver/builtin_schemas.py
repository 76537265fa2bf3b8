"""OpenAPI schemas of the built-in kinds, from `builtin_types.txt`, a line for each field.

The registry's versions of built-in kinds call `schema`; the OpenAPI documents ask for `definitions`; `typed` and
`protobuf` read the same table. Nothing is kept: the table is read when a kind is first used or its document asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from virt_kube.api import Json

TABLE = Path(__file__).with_name("builtin_types.txt")
_QUANTITY: Json = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
_SCALARS: dict[str, Json] = {
    "string": {"type": "string"},
    "integer": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"},
    "bytes": {"type": "string"},  # base64, checked by the kind's own rules
    "quantity": _QUANTITY,
    "intstr": _QUANTITY,
    "any": {"x-kubernetes-preserve-unknown-fields": True},
    "schemaorbool": {},
    "schemaorlist": {},
}


class Field(NamedTuple):
    """`number` is the path of protobuf field numbers, empty when there is none."""

    type: str
    marks: tuple[str, ...] = ()
    description: str = ""
    number: tuple[int, ...] = ()
    pointer: bool = False
    always: bool = False


class Type(NamedTuple):
    fields: dict[str, Field]
    atomic: bool = False
    description: str = ""
    recursive: bool = False


Refer = Callable[[str], Json]


def types(table: Path = TABLE) -> dict[str, Type]:
    """Every type of a table by name."""
    found: dict[str, Type] = {}
    for line in table.read_text(encoding="utf-8").splitlines():
        text, _, description = line.partition("  # ") if not line.startswith("#") else ("", "", "")
        words = text.split()
        if not words:
            continue
        if not text.startswith(" "):
            current = found[words[0]] = Type({}, "atomic" in words, description, "recursive" in words)
        else:
            current.fields[words[0]] = _field(words[1], words[2:], description)
    return found


def _field(type_: str, marks: list[str], description: str) -> Field:
    number = next((tuple(map(int, mark[1:].split("."))) for mark in marks if mark[0] == "@"), ())
    rest = tuple(mark for mark in marks if mark[0] not in "@?!")
    return Field(type_, rest, description, number, "?" in marks, "!" in marks)


def schema(name: str) -> Json:
    """One kind with everything below it in place, as a structural schema; what holds itself is left open."""
    known = types()

    def refer(inner: str) -> Json:
        if known[inner].recursive:
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        return _type_schema(known[inner], refer)

    found = _type_schema(known[name], refer)
    identity: Json = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
    found["properties"] |= identity
    return found


def definitions(name: str, prefix: str, refs: str) -> dict[str, Json]:
    """One kind and every type below it by full name (`prefix` + its own), referring to each other under `refs`."""
    known = types()
    found: dict[str, Json] = {}

    def refer(inner: str) -> Json:
        full = prefix + inner.rpartition(".")[2]
        if full not in found:
            found[full] = {}  # taken, whatever refers to itself
            found[full] = _type_schema(known[inner], refer)
        return {"allOf": [{"$ref": refs + full}]}

    refer(name)
    return found


def _type_schema(type_: Type, refer: Refer) -> Json:
    found: Json = {
        "type": "object",
        "properties": {name: _field_schema(field, refer) for name, field in type_.fields.items()},
    }
    if type_.description:
        found["description"] = type_.description
    if type_.atomic:
        found["x-kubernetes-map-type"] = "atomic"
    return found


def _field_schema(field: Field, refer: Refer) -> Json:
    found = dict(_value_schema(field.type, refer))
    if field.description:
        found["description"] = field.description
    for mark in field.marks:
        if mark.startswith("by="):
            found |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": mark[3:].split(",")}
        elif mark == "set":
            found["x-kubernetes-list-type"] = "set"
        elif mark == "atomic":
            found["x-kubernetes-map-type"] = "atomic"
        else:
            found["default"] = mark.removeprefix("=")
    if found.get("type") == "array":
        found.setdefault("x-kubernetes-list-type", "atomic")
    return found


def _value_schema(type_: str, refer: Refer) -> Json:
    if type_.startswith("[]"):
        return {"type": "array", "items": _value_schema(type_[2:], refer)}
    if type_.startswith("map:"):
        return {"type": "object", "additionalProperties": _value_schema(type_[4:], refer)}
    return _SCALARS[type_] if type_ in _SCALARS else refer(type_)
