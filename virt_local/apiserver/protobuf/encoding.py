"""Answers as protobuf, for clients that ask for it first: typed Go clients do.

JSON is what the server thinks in; an answer is translated at the very end, by the same tables requests are read with.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from virt_kube.api import Json
from virt_local.apiserver.protobuf.decoding import MAGIC
from virt_local.apiserver.protobuf.messages import Leaf, Message, message, table_name

_LIST: Message = {1: Leaf("metadata", "ListMeta", pointer=False)}
_VARINT, _FIXED64, _BYTES = 0, 1, 2


def encode(body: bytes) -> bytes:
    """A JSON object, a list or a Status, in the `k8s\\0` envelope."""
    obj: Json = msgspec.json.decode(body)
    version, kind = obj.get("apiVersion", ""), obj.get("kind", "")
    if "items" in obj:
        inner = message(table_name(version, kind.removesuffix("List")))
        raw = _object(obj, _LIST) + b"".join(_field(2, _BYTES, _object(item, inner)) for item in obj["items"])
    else:
        raw = _object(obj, message(table_name(version, kind)))
    about = _field(1, _BYTES, version.encode()) + _field(2, _BYTES, kind.encode())
    empty = _field(3, _BYTES, b"") + _field(4, _BYTES, b"")  # content encoding and type: none
    return MAGIC + _field(1, _BYTES, about) + _field(2, _BYTES, raw) + empty


def _object(obj: Json, schema: Message) -> bytes:
    return b"".join(part for number in sorted(schema) for part in _parts(number, schema[number], obj))


def _parts(number: int, field: Leaf | Message, obj: Json) -> Iterator[bytes]:
    if isinstance(field, dict):
        if inner := _object(obj, field):
            yield _field(number, _BYTES, inner)
        return
    value = obj.get(field.name)
    if value is None:
        return
    if field.type.startswith("[]"):
        for element in value:
            yield _encoded(number, element, field.type[2:])
    elif field.type.startswith("map:"):
        for key in sorted(value):
            entry = _encoded(1, key, "string") + _encoded(2, value[key], field.type[4:])
            yield _field(number, _BYTES, entry)
    else:
        yield _encoded(number, value, field.type)


def _encoded(number: int, value: Any, kind: str) -> bytes:  # noqa: PLR0911  one line for each type
    match kind:
        case "string":
            return _field(number, _BYTES, value.encode())
        case "integer" | "int64" | "boolean":
            return _field(number, _VARINT, int(value))
        case "number":
            return _varint(number << 3 | _FIXED64) + struct.pack("<d", value)
        case "bytes":
            return _field(number, _BYTES, base64.b64decode(value))
        case "time" | "microtime":
            return _field(number, _BYTES, _moment(value))
        case "quantity":
            return _field(number, _BYTES, _field(1, _BYTES, str(value).encode()))
        case "intstr":
            return _field(number, _BYTES, _int_or_string(value))
        case "any":
            return _field(number, _BYTES, _field(1, _BYTES, msgspec.json.encode(value)))
    return _field(number, _BYTES, _object(value, message(kind)))


def _moment(value: str) -> bytes:
    moment = datetime.fromisoformat(value)
    seconds = int(moment.replace(microsecond=0).timestamp())
    return _field(1, _VARINT, seconds) + _field(2, _VARINT, moment.microsecond * 1000)


def _int_or_string(value: Any) -> bytes:
    text = isinstance(value, str)
    parts = (_field(1, _VARINT, int(text)), _field(2, _VARINT, 0 if text else value))
    return b"".join(parts) + _field(3, _BYTES, value.encode() if text else b"")


def _field(number: int, wire: int, value: Any) -> bytes:
    head = _varint(number << 3 | wire)
    return head + (_varint(value) if wire == _VARINT else _varint(len(value)) + value)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
