"""Paths a user can influence, walked one component at a time without following a single link.

Python has no openat2; opening each directory with O_NOFOLLOW relative to the one before is the same promise as its
RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS. Called for host disks and claims.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from virt_handler.errors import UnsafePath, VolumeError

MAX_PATH = 4095
DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def parts_of(path: str, field: str) -> list[str]:
    """The components of an absolute path; raises UnsafePath for what is not exactly one plain path."""
    parts = path.split("/")[1:]
    clean = path.startswith("/") and all(part not in {"", ".", ".."} for part in parts)
    if not clean or not path.isprintable() or len(os.fsencode(path)) > MAX_PATH:
        raise UnsafePath(
            f"{field}: {path[:200]!r} is not an absolute path without '.', '..', '//' and a trailing slash"
        )
    return parts


def component(name: str, field: str) -> str:
    """A name that is one path component; raises UnsafePath."""
    if not name or name in {".", ".."} or "/" in name or not name.isprintable() or len(os.fsencode(name)) > 255:
        raise UnsafePath(f"{field}: {name[:200]!r} can't be a file's name")
    return name


@contextlib.contextmanager
def directory(root: Path, parts: list[str], field: str) -> Iterator[int]:
    """A descriptor (O_PATH) of the directory `parts` below `root`; raises UnsafePath, VolumeError."""
    shown = "/".join((str(root).rstrip("/"), *parts))
    try:
        fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise VolumeError(f"{field}: can't open {root}: {error.strerror}") from None
    try:
        for part in parts:
            try:
                below = os.open(part, DIRECTORY, dir_fd=fd)
            except OSError as error:
                raise _refusal(error, field, shown) from None
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def regular_file(dir_fd: int, name: str, field: str, shown: str) -> os.stat_result | None:
    """The file's stat, None when there is nothing; raises UnsafePath for a link, socket, device or directory."""
    try:
        found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise VolumeError(f"{field}: can't look at {shown}: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise UnsafePath(f"{field}: {shown} is not a regular file", hint="links are not followed: name the file itself")
    if found.st_nlink > 1:
        raise UnsafePath(f"{field}: {shown} has {found.st_nlink} hard links; another name could be anybody's file")
    return found


def _refusal(error: OSError, field: str, shown: str) -> VolumeError:
    if error.errno in {errno.ELOOP, errno.ENOTDIR}:
        return UnsafePath(f"{field}: {shown} goes through a link or a file", hint="name the real path")
    return VolumeError(f"{field}: can't open {shown}: {error.strerror}")
