"""How long to rest after starts that failed in a row. VMs, replica sets and pools rest alike."""

from __future__ import annotations

BACKOFF_STEP = 10.0
BACKOFF_CAP = 300.0
BACKOFF_JITTER = 0.5
# Who has run for so long has started well.
STABLE_SECONDS = 60.0


def backoff(failures: int, jitter: float) -> float:
    """Seconds to wait after so many failed starts in a row: 10·n², up to half more by chance, 300 at most."""
    base = BACKOFF_STEP * failures * failures
    return min(BACKOFF_CAP, base + base * BACKOFF_JITTER * jitter)
