"""Uploads, which somebody else brings: a claim that goes takes its upload along, and nothing stays taken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from virt_kube.informer import Key
from virt_local.datavolumes.errors import NotExpected
from virt_local.datavolumes.plan import Plan
from virt_local.datavolumes.workers import SIMULTANEOUS, Workers
from virt_types.cdi.v1beta1 import DataVolumeSourceUpload

CLAIM = Key("ns", "claim")
PLAN = Plan(CLAIM, "uid", DataVolumeSourceUpload(), 1, 1)


class Upload:
    def __init__(self) -> None:
        self.began, self.ended = asyncio.Event(), False

    async def __call__(self, _plan: Plan, _slot: int, _report: Callable[[float], None]) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


def workers() -> Workers:
    async def fill(_plan: Plan, _slot: int, _report: Callable[[float], None]) -> None:
        raise AssertionError("only uploads here")

    return Workers(fill, lambda _key: None, time.time)


def stage(found: Workers) -> str:
    work = found.get(CLAIM, "uid")
    return work.stage if work is not None else "unknown"


async def test_a_claim_that_goes_takes_its_upload_along() -> None:
    found, upload = workers(), Upload()
    found.expect(PLAN)
    taking = asyncio.create_task(found.take(CLAIM, "uid", upload))
    await upload.began.wait()
    found.stop(CLAIM)
    with pytest.raises(NotExpected):
        await taking
    assert upload.ended
    for _ in range(SIMULTANEOUS):  # every place is free again
        found.expect(PLAN)
        another = Upload()
        again = asyncio.create_task(found.take(CLAIM, "uid", another))
        await asyncio.wait_for(another.began.wait(), 5)
        found.stop(CLAIM)
        await asyncio.gather(again, return_exceptions=True)


async def test_a_client_that_goes_may_come_again() -> None:
    found = workers()
    found.expect(PLAN)
    for _ in range(SIMULTANEOUS + 1):
        upload = Upload()
        taking = asyncio.create_task(found.take(CLAIM, "uid", upload))
        await upload.began.wait()
        assert stage(found) == "running"
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        assert (upload.ended, stage(found)) == (True, "queued")


async def test_a_client_that_goes_while_it_stands_in_line_may_come_again() -> None:
    found, busy = workers(), [Upload() for _ in range(SIMULTANEOUS)]
    tasks = []
    for number, upload in enumerate(busy):
        plan = PLAN._replace(claim=Key("ns", f"other-{number}"))
        found.expect(plan)
        tasks.append(asyncio.create_task(found.take(plan.claim, "uid", upload)))
        await upload.began.wait()
    found.expect(PLAN)
    waiting = asyncio.create_task(found.take(CLAIM, "uid", Upload()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert stage(found) == "queued"
    await found.close()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(upload.ended for upload in busy)
