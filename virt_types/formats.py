"""The `format` keywords of OpenAPI schemas that an API server checks on strings."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import datetime

_DATE_TIME = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:(?:[0-5]\d|60)(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
_UUID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE)
_DURATION = re.compile(
    r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h)(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h))*"
)
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")


def _succeeds(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, binascii.Error):
            return False
        return True

    return check


def _date_time(text: str) -> bool:
    if _DATE_TIME.fullmatch(text) is None:
        return False
    return _succeeds(datetime.fromisoformat)(
        f"{text[:17]}00{text[19:]}".upper() if text[17:19] == "60" else text.upper()
    )


def _duration(text: str) -> bool:
    return text in {"0", "+0", "-0"} or _DURATION.fullmatch(text) is not None


def _byte(text: str) -> bool:
    return _succeeds(lambda value: base64.b64decode(value, validate=True))(text)


# Formats not listed are accepted unchecked, as an API server does.
FORMATS: dict[str, Callable[[str], bool]] = {
    "byte": _byte,
    "cidr": _succeeds(lambda text: ipaddress.ip_network(text, strict=False)),
    "date": _succeeds(lambda text: datetime.strptime(text, "%Y-%m-%d")),
    "date-time": _date_time,
    "duration": _duration,
    "email": lambda text: _EMAIL.fullmatch(text) is not None,
    "ipv4": _succeeds(ipaddress.IPv4Address),
    "ipv6": _succeeds(ipaddress.IPv6Address),
    "mac": lambda text: re.fullmatch(r"(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}", text) is not None,
    "uuid": lambda text: _UUID.fullmatch(text) is not None,
}
