"""Who fills claims: so many at a time, each tried again until it works, and what is known of each.

`controller` starts and stops work and reads `Work`; it is told when there is news. Nothing here is kept: after a
restart of the process the API says what is still to be done, and `Place` what of it is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

from virt_kube.clock import Clock
from virt_kube.informer import Key
from virt_local.datavolumes.errors import FillError, NotExpected, SourceFailed, SourceNotReady
from virt_local.datavolumes.plan import Plan
from virt_types.errors import VirtError

log = logging.getLogger("virt_local.datavolumes")

SIMULTANEOUS = 4
FIRST_RETRY, MAX_RETRY = 1.0, 300.0
NOT_READY_RETRY = 15.0  # at most: what is waited for is near, a guest's end or a secret
NEWS = 2.0  # seconds between two reports of progress
Stage = Literal["queued", "running", "waiting", "done", "failed"]
Fill = Callable[[Plan, int, Callable[[float], None]], Awaitable[None]]


class Work(NamedTuple):
    """What is known of one claim's filling. `progress` in percent; `again_at` in Unix seconds, when waiting."""

    stage: Stage
    restarts: int = 0
    progress: float | None = None
    reason: str = ""
    message: str = ""
    again_at: float = 0.0
    patient: bool = False  # nothing is wrong: it waits for somebody else


class _Entry:
    def __init__(self, plan: Plan, work: Work) -> None:
        self.plan, self.work = plan, work
        self.task: asyncio.Task[None] | None = None  # while it is being filled
        self.told = 0.0


class Workers:
    """Calls `fill(plan, slot, report)`; `changed(key)` hears of every step and, seldom enough, of progress."""

    def __init__(self, fill: Fill, changed: Callable[[Key], None], clock: Clock) -> None:
        self._fill, self._changed, self._clock = fill, changed, clock
        self._entries: dict[Key, _Entry] = {}
        self._slots: asyncio.Queue[int] = asyncio.Queue()
        for slot in range(SIMULTANEOUS):
            self._slots.put_nowait(slot)

    def get(self, key: Key, uid: str) -> Work | None:
        """What is known of the claim `uid`; of a predecessor of the same name nothing."""
        entry = self._entries.get(key)
        return entry.work if entry is not None and entry.plan.uid == uid else None

    def start(self, plan: Plan, restarts: int = 0) -> None:
        """Begin, unless it has begun."""
        if self.get(plan.claim, plan.uid) is not None:
            return
        self.stop(plan.claim)
        entry = self._entries[plan.claim] = _Entry(plan, Work("queued", restarts))
        entry.task = asyncio.create_task(self._run(entry), name=f"fill {plan.claim}")

    def expect(self, plan: Plan, restarts: int = 0) -> None:
        """Be ready for a fill that somebody else brings to `take`, unless it is known already."""
        if self.get(plan.claim, plan.uid) is None:
            self.stop(plan.claim)
            self._entries[plan.claim] = _Entry(plan, Work("queued", restarts))
            self._changed(plan.claim)

    async def take(self, key: Key, uid: str, fill: Fill) -> None:
        """Fill an expected claim now; raises FillError, NotExpected when nothing is expected (any more)."""
        entry = self._entries.get(key)
        if entry is None or entry.plan.uid != uid or entry.work.stage not in {"queued", "waiting"}:
            raise NotExpected(f"nothing is expected for the claim {key} now")
        self._set(entry, entry.work._replace(stage="running", reason="", message="", patient=False))
        entry.task = asyncio.create_task(self._in_turn(entry, fill), name=f"take {key}")
        try:
            await entry.task
        except FillError as error:
            self._settle(entry, error, 0.0)
            raise
        except BaseException:
            self._set(entry, entry.work._replace(stage="queued", progress=None))
            caller = asyncio.current_task()
            if self._entries.get(key) is entry or (caller is not None and caller.cancelling()):
                raise
            raise NotExpected(f"the claim {key} is not to be filled any more") from None
        finally:
            entry.task = None
        self._set(entry, entry.work._replace(stage="done", progress=100.0))

    async def _in_turn(self, entry: _Entry, fill: Fill) -> None:
        slot = await self._slots.get()
        try:
            await fill(entry.plan, slot, lambda percent: self._progress(entry, percent))
        finally:
            self._slots.put_nowait(slot)

    def stop(self, key: Key) -> None:
        """End and forget it, an upload that is under way too."""
        entry = self._entries.pop(key, None)
        if entry is not None and entry.task is not None:
            entry.task.cancel()

    async def close(self) -> None:
        """End all of it; what there is stays for the next process."""
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        self._entries.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, entry: _Entry) -> None:
        delay = FIRST_RETRY
        while True:
            slot = await self._slots.get()
            try:
                self._set(entry, entry.work._replace(stage="running", reason="", message="", patient=False))
                await self._fill(entry.plan, slot, lambda percent: self._progress(entry, percent))
            except FillError as error:
                failure: VirtError = error
            except Exception as error:
                log.exception("filling crashed claim=%s", entry.plan.claim)
                failure = FillError(f"{type(error).__name__}: {error}", reason="InternalError")
            else:
                log.info("claim filled claim=%s restarts=%d", entry.plan.claim, entry.work.restarts)
                self._set(entry, entry.work._replace(stage="done", progress=100.0))
                return
            finally:
                self._slots.put_nowait(slot)
            if isinstance(failure, SourceFailed) and entry.work.progress:
                delay = FIRST_RETRY  # it got on
            if self._settle(entry, failure, delay):
                return
            await asyncio.sleep(delay)
            delay = min(delay * 2, NOT_READY_RETRY if isinstance(failure, SourceNotReady) else MAX_RETRY)

    def _settle(self, entry: _Entry, failure: VirtError, delay: float) -> bool:
        """Note a failed attempt; whether it was the last."""
        fatal = isinstance(failure, FillError) and failure.fatal
        patient = isinstance(failure, SourceNotReady)
        message = f"{failure.message} ({failure.hint})" if failure.hint else failure.message
        work = entry.work._replace(
            stage="failed" if fatal else "waiting",
            restarts=entry.work.restarts + (0 if patient else 1),
            patient=patient,
            progress=None,
            reason=failure.reason,
            message=message,
            again_at=self._clock() + delay if delay else 0.0,
        )
        log.warning("filling failed claim=%s attempt=%d reason=%s", entry.plan.claim, work.restarts, work.reason)
        self._set(entry, work)
        return fatal

    def _progress(self, entry: _Entry, percent: float) -> None:
        now = self._clock()
        entry.work = entry.work._replace(progress=max(percent, entry.work.progress or 0.0))
        if now - entry.told >= NEWS:
            self._set(entry, entry.work)

    def _set(self, entry: _Entry, work: Work) -> None:
        entry.work, entry.told = work, self._clock()
        if self._entries.get(entry.plan.claim) is entry:
            self._changed(entry.plan.claim)
