"""Timing of whole commands, side by side: the peer and ours take turns, so a busy machine disturbs both alike."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple


class Ratio(NamedTuple):
    """Medians of one comparison, in seconds or bytes, and the most the ratio may be."""

    name: str
    ours: float
    peer: float
    limit: float
    unit: Literal["s", "B"] = "s"

    @property
    def value(self) -> float:
        return self.ours / self.peer

    @property
    def met(self) -> bool:
        return self.value <= self.limit


class Amount(NamedTuple):
    """One measured amount with its unit, and the most it may be."""

    name: str
    value: float
    unit: str
    limit: float

    @property
    def met(self) -> bool:
        return self.value <= self.limit


def environment() -> dict[str, str]:
    """The environment commands are timed in: compiled bytecode allowed, as on a user's machine."""
    return {
        key: value for key, value in os.environ.items() if key not in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
    }


def run(argv: Sequence[str], *, env: dict[str, str]) -> None:
    """Run a command that must succeed; its output is shown only when it does not."""
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def seconds(action: Callable[[], None]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def compare(
    name: str,
    *,
    ours: Callable[[], float],
    peer: Callable[[], float],
    rounds: int,
    limit: float,
) -> Ratio:
    """Both in turn, `rounds` times after one warm-up of each; each returns the seconds that count."""
    ours(), peer()
    pairs = [(ours(), peer()) for _ in range(rounds)]
    return Ratio(name, statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs), limit)


def resident_bytes(pid: int) -> int:
    """Resident memory of one process, as `ps` shows it."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no Rss in /proc/{pid}/smaps_rollup")


def shown(value: float, unit: Literal["s", "B"]) -> str:
    """In the unit a person would name."""
    if unit == "B":
        return f"{value / 2**20:.0f} MiB"
    return f"{value * 1000:.0f} ms" if value >= 0.01 else f"{value * 1e6:.0f} µs"


def cpu_seconds(pid: int) -> float:
    """User and system time of one process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine() -> str:
    """One line that says what the figures were taken on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}, Python {platform.python_version()}"
