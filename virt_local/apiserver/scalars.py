"""The spelling of scalar values: quantities, times and bytes as Go reads them and writes them back.

`typed` calls these for each such field of a built-in object.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from virt_types.errors import VirtError
from virt_types.quantity import QuantityError, canonical

_NO_QUANTITY = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_MICROSECONDS = re.compile(r"\.\d{6}(?:Z|[+-]\d\d:\d\d)$")  # neither more nor less
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")


class Unreadable(VirtError):
    """A value that Go could not read into its type; the caller words the 400."""

    reason = "Unreadable"


def _quantity(value: Any) -> str:
    try:
        return canonical(value)
    except QuantityError:
        raise Unreadable(_NO_QUANTITY) from None


def _time(value: str) -> str:
    return _moment(value).strftime("%Y-%m-%dT%H:%M:%SZ")


def _microtime(value: str) -> str:
    if not _MICROSECONDS.search(value):
        layout = "2006-01-02T15:04:05.000000Z07:00"
        rest = value[19:]
        raise Unreadable(f'parsing time "{value}" as "{layout}": cannot parse "{rest}" as ".000000"')
    return _moment(value).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _moment(value: str) -> datetime:
    try:
        if _RFC_3339.fullmatch(value):
            return datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Unreadable(f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" as "2006"')


def _bytes(value: str | list[Any]) -> str:
    if isinstance(value, list):  # Go's bytes are a list of numbers too
        try:
            return base64.b64encode(bytes(value)).decode()
        except (TypeError, ValueError):
            raise Unreadable("json: cannot unmarshal array into Go value of type []uint8") from None
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        wrong = _NOT_BASE64.search(value.rstrip("="))
        place = wrong.start() if wrong else len(value)
        raise Unreadable(f"illegal base64 data at input byte {place}") from None
    return value


# By type of the table: the JSON types it is read from, and how.
CONVERSIONS: dict[str, tuple[tuple[type, ...], Callable[[Any], Any]]] = {
    "quantity": ((str, int, float, bool, list, dict), _quantity),
    "time": ((str,), _time),
    "microtime": ((str,), _microtime),
    "bytes": ((str, list), _bytes),
}
