"""Directories that other users have to pass through: QEMU's, and the one that reads foreign images.

Called by whoever makes the state and run directories and what is in them.
"""

from __future__ import annotations

import os
from pathlib import Path

PASSABLE = 0o711  # entered by everybody, listed by its owner only


def make_passable(path: Path) -> None:
    """Make a directory, and what is missing above it; one of ours that was made closed is opened. Raises OSError."""
    if not path.parent.exists():
        make_passable(path.parent)
    path.mkdir(mode=PASSABLE, exist_ok=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if found.st_uid == os.geteuid() and found.st_mode & PASSABLE != PASSABLE:
            os.fchmod(fd, found.st_mode & 0o7777 | PASSABLE)
    finally:
        os.close(fd)
