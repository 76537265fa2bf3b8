"""How long ago, as kubectl shows it: 5s, 3m20s, 4h, 2d. Used by the cells of Tables."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any


def age(timestamp: Any, at: float | None = None) -> str:
    """How long ago, in kubectl's short form: 5s, 3m20s, 4h, 2d."""
    try:
        begin = datetime.fromisoformat(str(timestamp)).timestamp()
    except ValueError:
        return "<unknown>" if timestamp in (None, "") else "<invalid>"
    return duration(int((time.time() if at is None else at) - begin))


def duration(seconds: int) -> str:  # noqa: PLR0911  one line for each band of the ladder
    """k8s.io/apimachinery/pkg/util/duration.HumanDuration."""
    if seconds < -1:
        return "<invalid>"
    seconds = max(seconds, 0)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years = days // 365
    return f"{years}y{days % 365}d" if years < 8 and days % 365 else f"{years}y"
