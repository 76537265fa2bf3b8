"""Which container disks may go: those no guest's overlay rests on and nobody has asked for in a long time.

What counts as a reference is on disk: a guest's directory holds its overlays until the guest is gone for good, and each
names its backing file. So nothing has to be remembered, and a record of an older agent protects its images too.
Called by `store`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from virt_handler.volumes.disk_images import backing_file

DAY = 86_400.0


class Limits(NamedTuple):
    """`unused` and `spared` are seconds, `size` is bytes on disk of all images together.

    An image used less than `spared` ago stays in any case: the guest it was asked for may not have its overlay yet.
    """

    unused: float = 14 * DAY
    size: int = 20 << 30
    spared: float = 3600.0


DEFAULT = Limits()


class Shelved(NamedTuple):
    """One image on disk: its directory's name, its allocated bytes, and when it was last asked for (Unix seconds)."""

    name: str
    size: int
    used: float


def choose(images: Iterable[Shelved], referenced: Collection[str], now: float, limits: Limits) -> list[Shelved]:
    """What to remove, longest unused first: the old, and as many more as bring all together below the size."""
    images = sorted(images, key=lambda image: image.used)
    total, chosen = sum(image.size for image in images), []
    for image in images:
        idle = now - image.used
        if image.name in referenced or idle < limits.spared:
            continue
        if idle > limits.unused or total > limits.size:
            chosen.append(image)
            total -= image.size
    return chosen


def look(directory: Path) -> list[Shelved]:
    """Every image in the store's directory."""
    found = []
    for place in directory.iterdir():
        if place.name.startswith("sha256-") and place.is_dir():
            size = sum(file.lstat().st_blocks * 512 for file in place.iterdir())
            found.append(Shelved(place.name, size, place.stat().st_mtime))
    return found


def references(guests: Path) -> set[str]:
    """Names of the images under the guests' overlays; raises OSError when one can't be read, as it may name any."""
    found = set()
    for guest in guests.iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            found |= {_rests_on(file) for file in guest.iterdir() if file.suffix == ".qcow2"}
    return found


def _rests_on(overlay: Path) -> str:
    fd = os.open(overlay, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return Path(backing_file(fd)).parent.name
    finally:
        os.close(fd)
