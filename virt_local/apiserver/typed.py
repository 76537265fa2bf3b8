"""Objects of built-in kinds as an API server written in Go reads them and writes them back.

Go's types have no "absent" but for pointers: what is zero (an empty text, 0, false, an empty list) is left out, and
some fields are written even then (`firstTimestamp: null`). Quantities and times have one spelling. `normal` is called
for every built-in object that was decoded, after the schema walk; the table is `builtin_types.txt`.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from virt_kube.api import Json
from virt_local.apiserver.builtin_schemas import Type, types
from virt_types.errors import VirtError
from virt_types.quantity import QuantityError, canonical

Convert = Callable[[Any], Any]

_NO_QUANTITY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_ABSENT: Any = object()
_MICROSECONDS = re.compile(r"\.\d{6}(?:Z|[+-]\d\d:\d\d)$")  # neither more nor less
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")


class Unreadable(VirtError):
    """A value that Go could not read into its type; the caller words the 400."""

    reason = "Unreadable"


class _Plan(NamedTuple):
    name: str
    convert: Convert | None
    keep_zero: bool
    zero: Callable[[], Any] | None  # None: absent when zero


def normal(name: str, obj: Json) -> None:
    """Bring an object of the type `name` of the table into the form Go writes, in place. Raises Unreadable."""
    _apply(_plan(name), obj)


@functools.cache
def _table() -> dict[str, Type]:
    return types()


@functools.cache
def _plan(name: str) -> tuple[_Plan, ...]:
    plans = []
    for field_name, field in _table()[name].fields.items():
        zero = _zero(field.type) if field.always else None
        plans.append(_Plan(field_name, _convert(field.type), field.pointer or field.always, zero))
    return tuple(plans)


def _apply(plans: tuple[_Plan, ...], obj: Json) -> None:
    for name, convert, keep_zero, zero in plans:
        value = obj.get(name, _ABSENT)
        if value is None or value is _ABSENT:
            if zero is not None:
                obj[name] = zero()
            elif value is None:
                del obj[name]
            continue
        if convert is not None:
            obj[name] = value = convert(value)
        if not keep_zero and not value:
            del obj[name]


def _zero(type_: str) -> Callable[[], Any]:
    """What Go writes for the zero value of a type."""
    known: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "intstr": 0, "quantity": "0"}
    if type_ in known:
        return lambda: known[type_]
    if type_ not in _table():
        return lambda: None  # lists, maps and times

    def empty() -> Json:
        found: Json = {}
        _apply(_plan(type_), found)
        return found

    return empty


def _convert(type_: str) -> Convert | None:
    if type_.startswith("[]"):
        return _each(_convert(type_[2:]))
    if type_.startswith("map:"):
        return _each_value(_convert(type_[4:]))
    if type_ in _SCALARS:
        return _SCALARS[type_]
    if type_ not in _table():
        return None

    def struct(value: Any) -> Any:
        if isinstance(value, dict):
            _apply(_plan(type_), value)
        return value

    return struct


def _each(inner: Convert | None) -> Convert | None:
    return None if inner is None else lambda value: [inner(item) for item in value]


def _each_value(inner: Convert | None) -> Convert | None:
    return None if inner is None else lambda value: {key: inner(item) for key, item in value.items()}


def _quantity(value: Any) -> str:
    try:
        return canonical(value)
    except QuantityError:
        raise Unreadable(_NO_QUANTITY) from None


def _time(value: Any) -> str:
    return _moment(value).strftime("%Y-%m-%dT%H:%M:%SZ")


def _microtime(value: Any) -> str:
    if isinstance(value, str) and not _MICROSECONDS.search(value):
        layout = "2006-01-02T15:04:05.000000Z07:00"
        rest = value[19:]
        raise Unreadable(f'parsing time "{value}" as "{layout}": cannot parse "{rest}" as ".000000"')
    return _moment(value).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _moment(value: Any) -> datetime:
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        text = f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" as "2006"'
        raise Unreadable(text) from None


def _bytes(value: Any) -> str:
    text = str(value)
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        wrong = _NOT_BASE64.search(text.rstrip("="))
        place = wrong.start() if wrong else len(text)
        raise Unreadable(f"illegal base64 data at input byte {place}") from None
    return text


_SCALARS: dict[str, Convert] = {"quantity": _quantity, "time": _time, "microtime": _microtime, "bytes": _bytes}
