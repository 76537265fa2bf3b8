"""Workers that take keys off a queue and reconcile them, and the only two verdicts for trouble.

A reconciler returns None when all is well, `Retry` when time or somebody else will mend it, `Fatal` when only a change
of the object can. Whatever it raises is a Retry with the queue's back-off. Used by every controller and the node agent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple

from virt_kube.api import ApiError, Conflict
from virt_kube.workqueue import K, ShutDown, WorkQueue
from virt_types.errors import VirtError

log = logging.getLogger("virt_kube.runner")


class Retry(NamedTuple):
    """Not done yet. `after` is in seconds; None means the queue's back-off."""

    after: float | None = None
    reason: str = ""
    message: str = ""


class Fatal(NamedTuple):
    """Trying again is useless until the object changes; a condition and an event have said so."""

    reason: str
    message: str


Verdict = Retry | Fatal | None
Reconcile = Callable[[K], Awaitable[Verdict]]


class Runner(Generic[K]):
    """`workers` tasks reconciling the keys of `queue`, one key never twice at once."""

    def __init__(self, name: str, queue: WorkQueue[K], reconcile: Reconcile[K], *, workers: int = 8) -> None:
        self.name = name
        self.queue = queue
        self._reconcile = reconcile
        self._workers = workers

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(self._workers):
                    tasks.create_task(self._work(), name=f"{self.name}-{number}")
        finally:
            self.queue.shut_down()

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except ShutDown:
                return
            try:
                self._settle(key, await self._verdict(key))
            finally:
                self.queue.done(key)

    async def _verdict(self, key: K) -> Verdict:
        try:
            return await self._reconcile(key)
        except Conflict as error:
            return Retry(reason=error.reason, message=error.message)
        except (ApiError, VirtError) as error:
            log.warning("reconcile failed loop=%s key=%s reason=%s error=%s", self.name, key, error.reason, error)
            return Retry(reason=error.reason, message=error.message)
        except Exception:
            # A bug in one object's reconcile must not stop the others.
            log.exception("reconcile crashed loop=%s key=%s", self.name, key)
            return Retry(reason="InternalError")

    def _settle(self, key: K, verdict: Verdict) -> None:
        match verdict:
            case Retry(after=None):
                self.queue.add_failed(key)
            case Retry(after=float() | int() as after):
                self.queue.forget(key)
                self.queue.add_after(key, after)
            case _:
                self.queue.forget(key)
