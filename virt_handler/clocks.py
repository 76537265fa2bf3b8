"""The clock that deadlines of guests are kept in: no change of the time of day moves it."""

from __future__ import annotations

import time


def since_boot() -> float:
    """Seconds since the host booted, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
