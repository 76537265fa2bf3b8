"""Wall-clock time as the API writes it, and the clock that controllers and tests hand in.

A `Clock` answers Unix seconds. Waiting is asyncio's business (`loop.time`), so that both can be faked together.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]

system_clock: Clock = time.time


def rfc3339(seconds: float) -> str:
    """Unix seconds as the API's Time: UTC, whole seconds, rounded down."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(seconds: float) -> str:
    """Unix seconds as the API's MicroTime."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str | None) -> float | None:
    """Unix seconds of an RFC 3339 text; None when it is absent or not a time."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
