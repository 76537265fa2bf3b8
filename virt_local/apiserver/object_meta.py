"""`metadata` as an API server written in Go reads it: which JSON type each field has, and what a null stands for.

Called by `metadata.require_shape` for every object that is written, built in or defined by somebody. The table is Go's
ObjectMeta; the texts name Go's structs, as people who search for them find them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from virt_kube.api import Json
from virt_local.apiserver.scalars import CONVERSIONS, Unreadable

_GO_NAMES: dict[type, str] = {
    bool: "bool",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}

# Gives the value to keep; raises Unreadable. `place` is "STRUCT.PATH" as Go names it.
_Read = Callable[[Any, str], Any]


def read(meta: Any, struct: str, path: str) -> None:
    """Check all of an object's metadata, in place: nulls become what Go makes of them. Raises Unreadable.

    `struct` and `path` place it: the kind and "metadata" for an object that is decoded whole, both empty for one whose
    metadata is read alone, as those of custom resources are (in the order of the keys, then).
    """
    if not isinstance(meta, dict):
        raise _mismatch(meta, f"field {struct}.{path}" if path else "value", "v1.ObjectMeta")
    _fields("ObjectMeta", path, _META, meta, in_order=not path)


def _fields(struct: str, path: str, table: Mapping[str, _Read], found: Json, *, in_order: bool = False) -> None:
    prefix = f"{struct}.{path}." if path else f"{struct}."
    for key in sorted(found) if in_order else list(found):
        read_field = table.get(key)
        if found[key] is None:
            del found[key]
        elif read_field is not None:
            found[key] = read_field(found[key], prefix + key)


def _mismatch(value: Any, where: str, type_: str) -> Unreadable:
    name = _GO_NAMES.get(type(value), "null")
    if name == "number" and type_ == "int64":
        name = f"number {value}"
    into = f"Go struct {where}" if where.startswith("field") else f"Go {where}"
    return Unreadable(f"json: cannot unmarshal {name} into {into} of type {type_}")


def _scalar(type_: str, *accepted: type) -> _Read:
    def read_scalar(value: Any, place: str) -> Any:
        if type(value) not in accepted:
            raise _mismatch(value, f"field {place}", type_)
        return value

    return read_scalar


def _time(value: Any, place: str) -> Any:
    _TEXT(value, place)
    return CONVERSIONS["time"][1](value)


def _anything(value: Any, _place: str) -> Any:
    return value


def _texts(value: Any, place: str) -> Any:
    if type(value) is not dict:
        raise _mismatch(value, f"field {place}", "map[string]string")
    for key, text in value.items():
        value[key] = "" if text is None else _TEXT(text, place)
    return value


def _list_of(type_: str, element: _Read) -> _Read:
    def read_list(value: Any, place: str) -> Any:
        if type(value) is not list:
            raise _mismatch(value, f"field {place}", f"[]{type_}")
        return [element(item, place) for item in value]

    return read_list


def _text_or_null(value: Any, place: str) -> Any:
    return "" if value is None else _TEXT(value, place)


def _struct(name: str, table: Mapping[str, _Read]) -> _Read:
    def read_struct(value: Any, place: str) -> Any:
        if value is None:
            return {}
        if type(value) is not dict:
            raise _mismatch(value, f"field {place}", f"v1.{name}")
        for key in value.keys() - table.keys():
            del value[key]
        _fields(name, place.partition(".")[2], table, value)
        return value

    return read_struct


_TEXT = _scalar("string", str)
_UID = _scalar("types.UID", str)
_FLAG = _scalar("bool", bool)
_NUMBER = _scalar("int64", int)

_OWNER: dict[str, _Read] = {
    "apiVersion": _TEXT, "kind": _TEXT, "name": _TEXT, "uid": _UID, "controller": _FLAG, "blockOwnerDeletion": _FLAG,
}  # fmt: skip
_ENTRY: dict[str, _Read] = {
    "manager": _TEXT, "operation": _TEXT, "apiVersion": _TEXT, "time": _time, "fieldsType": _TEXT,
    "fieldsV1": _anything, "subresource": _TEXT,
}  # fmt: skip
_META: dict[str, _Read] = {
    "name": _TEXT, "generateName": _TEXT, "namespace": _TEXT, "selfLink": _TEXT, "uid": _UID, "resourceVersion": _TEXT,
    "generation": _NUMBER, "creationTimestamp": _time, "deletionTimestamp": _time,
    "deletionGracePeriodSeconds": _NUMBER, "labels": _texts, "annotations": _texts,
    "finalizers": _list_of("string", _text_or_null),
    "ownerReferences": _list_of("v1.OwnerReference", _struct("OwnerReference", _OWNER)),
    "managedFields": _list_of("v1.ManagedFieldsEntry", _struct("ManagedFieldsEntry", _ENTRY)),
}  # fmt: skip
