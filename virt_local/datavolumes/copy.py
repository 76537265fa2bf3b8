"""A claim's disk copied into another: by reference where the file system can, else all but the holes.

Called by `fill`.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from virt_kube.threads import in_thread, opened
from virt_local.claims import IMAGE
from virt_local.datavolumes import formats
from virt_local.datavolumes.disk import DISK
from virt_local.datavolumes.errors import SourceNotReady
from virt_local.datavolumes.place import Place
from virt_local.datavolumes.plan import Plan

__all__ = ["IMAGE", "clone"]

FICLONE = 0x40049409
STEP = 16 << 20


async def clone(image: Path, place: Place, plan: Plan, report: Callable[[float], None]) -> None:
    """Into the scratch file DISK; raises SourceNotReady, TooLarge, NoSpace."""
    async with opened(_open, image) as source:
        size = os.fstat(source).st_size
        formats.check_size(size, plan.available)
        async with opened(partial(place.create, DISK, size=size)) as target:
            if await in_thread(_by_reference, source, target):
                return
            await asyncio.to_thread(place.require_space, os.fstat(source).st_blocks * 512)
            offset = 0
            while offset < size:
                offset = await in_thread(_step, source, target, offset, size)
                report(100.0 * offset / size)


def _open(image: Path) -> int:
    try:
        return os.open(image, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise SourceNotReady(f"the source has no disk: {error.strerror}") from None


def _by_reference(source: int, target: int) -> bool:
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError:
        return False
    return True


def _step(source: int, target: int, offset: int, size: int) -> int:
    """Copy the next stretch of data at or after `offset`; where to go on."""
    try:
        begin = os.lseek(source, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        raise
    end = min(os.lseek(source, begin, os.SEEK_HOLE), begin + STEP)
    while begin < end:
        copied = os.copy_file_range(source, target, end - begin, begin, begin)
        if not copied:
            raise SourceNotReady("the source became shorter while it was copied")
        begin += copied
    return end
