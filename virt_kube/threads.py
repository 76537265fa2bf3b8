"""Blocking steps in threads, for work on open files: a cancellation waits until the step under way is over.

`asyncio.to_thread` ends at once when it is cancelled and leaves its thread to go on. Whoever closes a descriptor then
has closed it under that thread, and the next file that is opened anywhere in the process gets its number.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(step: Callable[..., T], *arguments: object) -> T:
    """What `step(*arguments)` returns or raises. Cancelled, it ends when the step has, with CancelledError."""
    return await _outlived(asyncio.ensure_future(asyncio.to_thread(step, *arguments)))


@contextlib.asynccontextmanager
async def opened(opening: Callable[..., int], *arguments: object) -> AsyncIterator[int]:
    """The descriptor that `opening(*arguments)` makes in a thread; closed in the end, come what may."""
    task = asyncio.ensure_future(asyncio.to_thread(opening, *arguments))
    try:
        fd = await _outlived(task)
    except asyncio.CancelledError:
        if task.exception() is None:
            os.close(task.result())
        raise
    try:
        yield fd
    finally:
        os.close(fd)


async def _outlived(task: asyncio.Task[T]) -> T:
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        raise
