"""Durations in Go's notation, as Kubernetes objects and clients write them.

Standard library only: the command line imports it on its fast path.
"""

from __future__ import annotations

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(text: str) -> float | None:
    """A duration as Go writes it (1h30m, 500ms), or a plain number of seconds; None when it is neither."""
    import re

    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    if not re.fullmatch(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ns|us|µs|ms|s|m|h))+", text):
        return None
    return sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"([0-9.]+)([a-zµ]+)", text))
