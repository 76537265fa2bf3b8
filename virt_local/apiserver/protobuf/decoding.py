"""Protobuf request bodies: kubectl 1.32 and typed Go clients send them for built-in kinds and do not fall back.

Go's encoder writes zero values of plain fields, which JSON leaves out; only fields that are pointers in Go keep theirs.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from virt_kube.api import Json
from virt_local.apiserver.protobuf.messages import READABLE, Message, known, message, table_name
from virt_local.apiserver.status import bad_request, unsupported_media_type

MAGIC = b"k8s\0"


class _TruncatedError(Exception):
    """The message ends in the middle of a field, or has a wire type nobody uses."""


def decode(body: bytes, kind: str) -> Json:
    """The object in a `k8s\\0` envelope. 400 for what is none, 415 for kinds the tables do not know."""
    if not body.startswith(MAGIC):
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): provided data does not appear to be a "
            f"protobuf message, expected prefix [107 56 115 0] ({_begin(body)})"
        )
    try:
        envelope = dict(_wire(body[len(MAGIC) :]))
        about = {number: value.decode() for number, value in _wire(envelope.get(1, b""))}
        version, found = about.get(1, ""), about.get(2, "") or kind
        if found not in READABLE:
            raise unsupported_media_type(f"this server does not read protobuf bodies of {found}: send application/json")
        obj = _object(envelope.get(2, b""), message(table_name(version, found)))
    except (_TruncatedError, ValueError, OverflowError, OSError, AttributeError, TypeError, struct.error) as error:
        raise bad_request(f"the object provided is unrecognized (must be of type {kind}): {error}") from None
    return {"apiVersion": version, "kind": found, **obj}


def _begin(body: bytes) -> str:
    return body[:30].hex() + (" ..." if len(body) > 30 else "") if body else "<empty>"


def _wire(data: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers with their values: int for varints, bytes for the rest."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        match tag & 7:
            case 0:
                value, position = _varint(data, position)
                yield tag >> 3, value
                continue
            case 1:
                size = 8
            case 2:
                size, position = _varint(data, position)
            case 5:
                size = 4
            case _:
                raise _TruncatedError(f"proto: illegal wireType {tag & 7}")
        if position + size > len(data):
            raise _TruncatedError("unexpected EOF")
        yield tag >> 3, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise _TruncatedError("unexpected EOF")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position += 1
        shift += 7
        if byte < 0x80:
            return value, position


def _object(data: bytes, schema: Message) -> Json:
    found: Json = {}
    for number, value in _wire(data):
        field = schema.get(number)
        if field is None:
            continue
        if isinstance(field, dict):
            found.update(_object(value, field))
        elif field.type.startswith("[]"):
            found.setdefault(field.name, []).append(_value(value, field.type[2:]))
        elif field.type.startswith("map:"):
            entry = dict(_wire(value))
            inner = _value(entry[2], field.type[4:]) if 2 in entry else _EMPTY.get(field.type[4:], "")
            found.setdefault(field.name, {})[entry.get(1, b"").decode()] = inner
        else:
            decoded = _value(value, field.type)
            if field.pointer or decoded not in ("", 0, False, None, {}):
                found[field.name] = decoded
    return found


_EMPTY: dict[str, Any] = {"quantity": "0", "any": None}


def _value(value: Any, kind: str) -> Any:  # noqa: PLR0911  one line for each type
    match kind:
        case "string":
            return value.decode()
        case "integer" | "int64":
            return value - (1 << 64) if value >= 1 << 63 else value
        case "boolean":
            return bool(value)
        case "number":
            return struct.unpack("<d", value)[0]
        case "bytes":
            return base64.b64encode(value).decode()
        case "time" | "microtime":
            return _time(dict(_wire(value)), micro=kind == "microtime")
        case "quantity":
            return dict(_wire(value)).get(1, b"0").decode()
        case "intstr":
            entry = dict(_wire(value))
            return entry.get(3, b"").decode() if entry.get(1) else _value(entry.get(2, 0), "integer")
        case "any":
            raw = dict(_wire(value)).get(1, b"")
            return msgspec.json.decode(raw) if raw else None
        case _ if known(kind):
            return _object(value, message(kind))
    raise _TruncatedError(f"proto: no such type {kind}")


def _time(parts: dict[int, int], *, micro: bool) -> str | None:
    seconds = _value(parts.get(1, 0), "integer")
    if not parts or seconds <= 0:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    fraction = f".{parts.get(2, 0) // 1000:06d}" if micro else ""
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + fraction + "Z"
