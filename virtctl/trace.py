"""What `-v` shows on stderr: 6 the requests, 7 their headers, 8 their bodies. Credentials and guest secrets never."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virtctl.wire import Response

MAX_BODY = 4096
MASK = "--- MASKED ---"
_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
_SECRET_FIELDS = frozenset(
    {
        *("data", "stringData", "userData", "userDataBase64", "networkData", "networkDataBase64", "token", "password"),
        # Annotations: a copy of all that was applied, a Secret's data too, and a guest's first configuration.
        *("kubectl.kubernetes.io/last-applied-configuration", "kubevirt.io/ignitiondata"),
    }
)


def request(level: int, method: str, url: str, headers: list[tuple[str, str]], body: bytes | None) -> None:
    if level < 7:
        return
    _line(f"{method} {url}")
    for name, value in headers:
        _line(f"    {name}: {MASK if name.lower() in _SECRET_HEADERS else value}")
    if level >= 8 and body:
        _line(f"Request Body: {masked(body)}")


def response(level: int, method: str, url: str, answer: Response, seconds: float) -> None:
    _line(f"{method} {url} {answer.status} {answer.reason} in {seconds * 1000:.0f} milliseconds")
    if level >= 7:
        for name, value in answer.headers.items():
            _line(f"    {name}: {MASK if name in _SECRET_HEADERS else value}")


def body(level: int, data: bytes) -> None:
    if level >= 8 and data:
        _line(f"Response Body: {masked(data)}")


def masked(data: bytes) -> str:
    """A JSON body without its secrets, shortened; a body that is not JSON by its size only."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return f"[{len(data)} bytes]"
    text = json.dumps(_without_secrets(document), separators=(",", ":"), ensure_ascii=False)
    return text if len(text) <= MAX_BODY else f"{text[:MAX_BODY]} [truncated {len(text) - MAX_BODY} chars]"


def _without_secrets(value: object) -> object:
    if isinstance(value, dict):
        return {k: MASK if k in _SECRET_FIELDS else _without_secrets(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return value


def _line(text: str) -> None:
    print(text, file=sys.stderr)
