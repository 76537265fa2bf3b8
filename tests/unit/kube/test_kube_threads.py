"""A step in a thread is never left alone with a descriptor that others may get."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from virt_kube.threads import in_thread, opened


class Step:
    """Blocks its thread until it may end."""

    def __init__(self) -> None:
        self.began, self.may_end, self.ended = threading.Event(), threading.Event(), False

    def __call__(self, result: int = 0) -> int:
        self.began.set()
        self.may_end.wait(5)
        self.ended = True
        return result


async def cancelled_in_mid_step(task: asyncio.Task[None], step: Step) -> None:
    await asyncio.to_thread(step.began.wait, 5)
    for _ in range(3):  # impatience changes nothing
        task.cancel()
        await asyncio.sleep(0.01)
    assert not task.done()
    step.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert step.ended


async def test_a_cancellation_waits_for_the_step() -> None:
    step = Step()

    async def work() -> None:
        await in_thread(step)

    await cancelled_in_mid_step(asyncio.create_task(work()), step)


async def test_a_descriptor_that_nobody_waits_for_any_more_is_closed() -> None:
    step, fd = Step(), os.open("/dev/null", os.O_RDONLY)

    async def work() -> None:
        async with opened(step, fd):
            raise AssertionError("cancelled before")

    await cancelled_in_mid_step(asyncio.create_task(work()), step)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


async def test_results_errors_and_the_end(tmp_path: Path) -> None:
    assert await in_thread(max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 1, 0)
    with pytest.raises(FileNotFoundError):
        async with opened(os.open, tmp_path / "no", os.O_RDONLY):
            raise AssertionError("it was opened")
    async with opened(os.open, tmp_path, os.O_RDONLY) as fd:
        assert os.path.samestat(os.fstat(fd), await in_thread(os.stat, tmp_path))
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
