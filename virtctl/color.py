"""Which words are shown in which colour, and whether at all. Meaning never depends on it: the words stay the same."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

GOOD, CHANGING, ERROR, RESTING = "green", "yellow", "red", "dim"

# Printable statuses of machines, phases of instances, and those of the core kinds that `list` is used for.
STYLES = {
    GOOD: ("Running", "Bound", "Active"),
    CHANGING: (
        "Starting",
        "Provisioning",
        "Stopping",
        "Terminating",
        "Migrating",
        "Paused",
        "Pending",
        "Scheduling",
        "Scheduled",
        "WaitingForVolumeBinding",
        "WaitingForReceiver",
    ),
    ERROR: (
        "CrashLoopBackOff",
        "ErrImagePull",
        "ImagePullBackOff",
        "ErrorUnschedulable",
        "ErrorPvcNotFound",
        "ErrorDataVolumeNotFound",
        "DataVolumeError",
        "Failed",
        "Unknown",
        "Lost",
    ),
    RESTING: ("Stopped", "Succeeded", "Available", "Released"),
}
_STYLE_OF = {word: style for style, words in STYLES.items() for word in words}
_STATUS_COLUMNS = frozenset({"STATUS", "PHASE"})


def is_terminal(stream: TextIO) -> bool:
    """Whether lines can be redrawn there."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def wanted(stream: TextIO) -> bool:
    """Whether to colour what is written there; a NO_COLOR that is not empty says no (https://no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def status_style(word: str) -> str | None:
    """The style of a status or phase; None leaves it as it is."""
    return _STYLE_OF.get(word)


def cell_styles(headers: Sequence[str], cells: Sequence[str]) -> list[str | None]:
    """A style per cell of one row. What is not ready is only worth a look when it does not rest."""
    styles: list[str | None] = [
        status_style(cell) if header in _STATUS_COLUMNS else None for header, cell in zip(headers, cells, strict=True)
    ]
    state = next(filter(None, styles), None)
    for position, header in enumerate(headers):
        if header == "READY":
            unready = CHANGING if state in (None, GOOD) else state
            styles[position] = {"True": GOOD, "False": unready}.get(cells[position])
    return styles
