"""Objects of built-in kinds as an API server written in Go reads them and writes them back.

Go's types have no "absent" but for pointers: what is zero (an empty text, 0, false, an empty list) is left out, and
some fields are written even then (`firstTimestamp: null`). A null is a zero too, also in a list or a map. Quantities
and times have one spelling (`scalars.py`). `normal` is called for every built-in object that was decoded, before any
rule looks at it; the table is `builtin_types.txt`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from virt_kube.api import Json
from virt_local.apiserver.builtin_schemas import Field, Type, types
from virt_local.apiserver.scalars import CONVERSIONS, Unreadable
from virt_types.structural.nodes import INTEGERS, METADATA_FIELDS
from virt_types.structural.walk import Path, dotted

_IDENTITY = frozenset({"apiVersion", "kind", "metadata"})
_JSON_NAMES: dict[type, str] = {
    bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object",
}  # fmt: skip
_GO_NAMES = {
    "integer": "int32", "int64": "int64", "number": "float64", "boolean": "bool", "string": "string", "intstr": "int32",
    "bytes": "[]uint8", "time": "string", "microtime": "string", "quantity": "string",
}  # fmt: skip
# What is stored as JSON keeps an empty list apart from none; all else goes through protobuf, which does not.
_KEEPS_EMPTY_LISTS = "CustomResourceDefinition"


def go_name(value: Any, wanted: str) -> str:
    """What Go calls a JSON value that does not fit the type it wants."""
    name = _JSON_NAMES.get(type(value), "null")
    return f"number {value}" if name == "number" and wanted.startswith("int") else name


class _Place(NamedTuple):
    """Where a value stands: the Go struct and its field, the path to it as Go and as Kubernetes write it."""

    struct: str
    type: str
    path: str


class _Reading:
    """What one object's reading found. Go reads on after a wrong type, and tells the first."""

    __slots__ = ("unknown", "wrong")

    def __init__(self) -> None:
        self.unknown: list[Path] = []
        self.wrong = ""

    def mismatch(self, value: Any, place: _Place) -> None:
        if not self.wrong:
            go = _go_type(place.type)
            name = go_name(value, go)
            self.wrong = f"json: cannot unmarshal {name} into Go struct field {place.struct}.{place.path} of type {go}"


# Gives the value in Go's form. The paths are of the element that is read, for what it does not know.
_Read = Callable[[Any, Path, _Reading], Any]


class _Field(NamedTuple):
    read: _Read
    keep_zero: bool
    empty: Callable[[], Any] | None  # what is written for an empty list or map


def normal(name: str, obj: Json) -> list[str]:
    """Bring an object of the type `name` of the table into the form Go writes, in place.

    Returns the paths of fields the type does not have, which are dropped. Raises Unreadable.
    """
    found = _Reading()
    unknown = [("metadata", key) for key in _unknown_metadata(obj)]
    _root(name)(obj, None, found)
    if found.wrong:
        raise Unreadable(found.wrong)
    return [".".join(path) for path in unknown] + [dotted(path) for path in found.unknown]


def _unknown_metadata(obj: Json) -> list[str]:
    meta = obj.get("metadata")
    if not isinstance(meta, dict) or meta.keys() <= METADATA_FIELDS:
        return []
    unknown = [key for key in meta if key not in METADATA_FIELDS]
    for key in unknown:
        del meta[key]
    return unknown


@functools.cache
def _table() -> dict[str, Type]:
    return types()


@functools.cache
def _root(name: str) -> _Read:
    return _struct(_Place("", name, ""), _IDENTITY, keeps_empty=name == _KEEPS_EMPTY_LISTS)


def _go_type(type_: str) -> str:
    if type_.startswith("[]"):
        return "[]" + _go_type(type_[2:])
    if type_.startswith("map:"):
        return "map[string]" + _go_type(type_[4:])
    return _GO_NAMES.get(type_) or "v1." + type_.rpartition(".")[2]


def _struct(place: _Place, others: frozenset[str] = frozenset(), *, keeps_empty: bool) -> _Read:
    """Reads a type of the table; `others` are fields that somebody else reads."""
    fields: dict[str, _Field] | None = None  # made when first used: types may hold themselves
    always: list[tuple[str, Callable[[], Any]]] = []

    def prepare() -> dict[str, _Field]:
        table = _table()[place.type].fields
        always.extend((key, _zero(field)) for key, field in table.items() if field.always or _default(field))
        return {key: _field(place, key, field, keeps_empty=keeps_empty) for key, field in table.items()}

    def read(value: Any, at: Path, found: _Reading) -> Any:
        nonlocal fields
        if type(value) is not dict:
            found.mismatch(value, place)
            return value
        if fields is None:
            fields = prepare()
        drop = []
        for key, item in value.items():
            field = fields.get(key)
            if field is None:
                if key not in others:
                    found.unknown.append((at, key))
                    drop.append(key)
                continue
            if item is None:
                drop.append(key)
                continue
            new = field.read(item, (at, key), found)
            if not new and not field.keep_zero and not found.wrong:
                drop.append(key)
            elif not new and field.empty is not None:
                value[key] = field.empty()
            elif new is not item:
                value[key] = new
        for key in drop:
            del value[key]
        for key, zero in always:
            if key not in value:
                value[key] = zero()
        return value

    return read


def _field(parent: _Place, key: str, field: Field, *, keeps_empty: bool) -> _Field:
    here = f"{parent.path}.{key}" if parent.path else key
    read = _reader(parent.type.rpartition(".")[2], field.type, here, keeps_empty=keeps_empty)
    is_many = field.type.startswith(("[]", "map:"))
    keep = field.pointer or (field.always and not _default(field))
    return _Field(read, keep, (lambda: None) if is_many and field.always and not keeps_empty else None)


def _default(field: Field) -> str:
    return next((mark[1:] for mark in field.marks if mark.startswith("=")), "")


def _zero(field: Field) -> Callable[[], Any]:
    """What Go writes for the zero value of a field."""
    if default := _default(field):
        return lambda: default
    return _zero_of(field.type)


_ZEROS: dict[str, Any] = {
    "string": "", "bytes": "", "integer": 0, "int64": 0, "number": 0, "boolean": False, "intstr": 0, "quantity": "0",
}  # fmt: skip


def _zero_of(type_: str) -> Callable[[], Any]:
    if type_ in _ZEROS:
        return lambda: _ZEROS[type_]
    if type_ not in _table():
        return lambda: None  # lists, maps and times

    def empty() -> Json:
        found: Json = {}
        _root(type_)(found, None, _Reading())
        return found

    return empty


def _reader(struct: str, type_: str, path: str, *, keeps_empty: bool) -> _Read:
    place = _Place(struct, type_, path)
    for mark, many in (("[]", _list), ("map:", _map)):
        if type_.startswith(mark):
            inner = type_.removeprefix(mark)
            return many(place, _reader(struct, inner, path, keeps_empty=keeps_empty), _zero_of(inner))
    if type_ in _table():
        return _struct(place, _NESTED_IDENTITY if type_ in _OBJECTS else frozenset(), keeps_empty=keeps_empty)
    if type_ in CONVERSIONS:
        return _converted(place)
    if type_ in _SCHEMA_OR:
        return _schema_or(place)
    return _as_it_is if type_ == "any" else _scalar(place)


def _as_it_is(value: Any, _at: Path, _found: _Reading) -> Any:
    return value


def _list(place: _Place, item: _Read, zero: Callable[[], Any]) -> _Read:
    def read(value: Any, at: Path, found: _Reading) -> Any:
        if type(value) is not list:
            found.mismatch(value, place)
            return value
        for index, element in enumerate(value):
            value[index] = zero() if element is None else item(element, (at, index), found)
        return value

    return read


def _map(place: _Place, item: _Read, zero: Callable[[], Any]) -> _Read:
    def read(value: Any, at: Path, found: _Reading) -> Any:
        if type(value) is not dict:
            found.mismatch(value, place)
            return value
        for key, element in value.items():
            value[key] = zero() if element is None else item(element, (at, key), found)
        return value

    return read


# A schema may stand where true, or a list of schemas, does.
_SCHEMA_OR = {"schemaorbool": bool, "schemaorlist": list}


def _schema_or(place: _Place) -> _Read:
    other = _SCHEMA_OR[place.type]
    schema = _struct(_Place(place.struct, "JSONSchemaProps", ""), keeps_empty=True)

    def read(value: Any, at: Path, _found: _Reading) -> Any:
        if type(value) is not other and type(value) is not dict:
            if other is bool:
                raise Unreadable("boolean or JSON schema expected")
            return None
        inside = _Reading()  # what it does not know it does not tell
        for one in value if type(value) is list else [value]:
            if type(one) is not bool:
                schema(one, at, inside)
        if inside.wrong:
            raise Unreadable(inside.wrong)
        return value

    return read


_RANGES = {"integer": INTEGERS["int32"], "intstr": INTEGERS["int32"], "int64": INTEGERS["int64"]}
_PYTHON: dict[str, tuple[type, ...]] = {
    "string": (str,), "boolean": (bool,), "number": (int, float), "integer": (int,), "int64": (int,),
    "intstr": (int, str),
}  # fmt: skip
_OBJECTS = frozenset({"PersistentVolumeClaimTemplate"})  # have metadata, but no kind
_NESTED_IDENTITY = frozenset({"metadata"})


def _scalar(place: _Place) -> _Read:
    accepted = _PYTHON[place.type]
    low, high = _RANGES.get(place.type, (-math.inf, math.inf))

    def read(value: Any, _at: Path, found: _Reading) -> Any:
        if type(value) not in accepted or (type(value) is int and not low <= value <= high):
            found.mismatch(value, place)
        elif type(value) is float and value.is_integer():
            return int(value)
        return value

    return read


def _converted(place: _Place) -> _Read:
    accepted, convert = CONVERSIONS[place.type]

    def read(value: Any, _at: Path, found: _Reading) -> Any:
        if type(value) not in accepted:
            found.mismatch(value, place)
            return value
        return convert(value)

    return read
