"""One process that runs the components asked for, restarts what crashes, and says how they are.

Started by `virtctl local up`, in the background through `python -m virt_local` or in the foreground. Its state is
RUN/local.json (`virt_local.register`). When the API itself is among the components the others talk to it in process,
and are restarted with it; otherwise they use the kubeconfig of their account.
"""

from __future__ import annotations

import asyncio
import datetime
import gc
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from virt_kube.threads import in_thread
from virt_local.components import FACTORIES, Api, Context, Run
from virt_local.errors import RunDirError
from virt_local.register import ComponentState, Process, Register, start_time
from virt_local.settings import COMPONENTS, Settings
from virt_types.errors import VirtError

log = logging.getLogger("virt_local.supervisor")

FIRST_BACKOFF = 1.0
MAX_BACKOFF = 30.0
HEALTHY_AFTER = 60.0  # a component that ran this long starts with no back-off again

Ready: TypeAlias = Callable[[], None]


class Supervisor:
    """Runs `settings.components` until `stop` or a signal."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._register = Register(settings.places.register)
        self._stopping = asyncio.Event()
        pid = os.getpid()
        names = [name for name in COMPONENTS if name in settings.components]
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.process = Process(
            pid=pid,
            start_time=start_time(pid) or 0,
            started=now,
            components={name: ComponentState() for name in names},
        )
        self._ready: set[str] = set()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        """Until stopped: everything, again and again."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        await self._publish()
        group = asyncio.create_task(self._group())
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({group, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if group.done():
                group.result()
        finally:
            stopped.cancel()
            group.cancel()
            await asyncio.gather(group, stopped, return_exceptions=True)
            await asyncio.to_thread(self._register.remove, self.process.pid)
            log.info("supervisor stopped pid=%d", self.process.pid)

    async def _group(self) -> None:
        """The API first when it is ours, then the rest; a crash of the API takes the rest along."""
        if "api" not in self.process.components:
            await self._others(Context(self._settings, None))
            return

        async def together() -> None:
            async with Api(self._settings) as api:
                self.process.server = api.server
                await self._mark_ready("api")
                others = asyncio.create_task(self._others(Context(self._settings, api)))
                failure = asyncio.create_task(api.failed())
                try:
                    await asyncio.wait({others, failure}, return_when=asyncio.FIRST_COMPLETED)
                    for task in (failure, others):
                        if task.done():
                            task.result()
                finally:
                    failure.cancel()
                    others.cancel()
                    await asyncio.gather(others, failure, return_exceptions=True)
                    self._ready.clear()
                    for state in self.process.components.values():
                        state.state = "starting"

        await self._supervise("api", together)

    async def _others(self, context: Context) -> None:
        async with context, asyncio.TaskGroup() as tasks:
            for name in self.process.components:
                if name != "api":
                    tasks.create_task(self._supervise(name, self._bind(name, FACTORIES[name], context)), name=name)
            await asyncio.Event().wait()  # also when there are no others

    def _bind(self, name: str, run: Run, context: Context) -> Callable[[], Awaitable[None]]:
        loop = asyncio.get_running_loop()
        marks: set[asyncio.Task[None]] = set()

        def ready() -> None:
            task = loop.create_task(self._mark_ready(name))
            marks.add(task)
            task.add_done_callback(marks.discard)

        return lambda: run(context, ready)

    async def _supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run a component for ever: a crash is logged, shown, and followed by another start after a while."""
        state, loop, backoff = self.process.components[name], asyncio.get_running_loop(), FIRST_BACKOFF
        while True:
            began = loop.time()
            try:
                await run()
                error = "it ended by itself"
            except Exception as err:
                log.exception("component crashed component=%s", name)
                error = _text(err)
            if loop.time() - began > HEALTHY_AFTER:
                backoff = FIRST_BACKOFF
            self._ready.discard(name)
            state.state, state.error, state.restarts = "failed", error, state.restarts + 1
            await self._publish()
            log.warning("component restarts component=%s seconds=%.0f error=%s", name, backoff, error)
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, MAX_BACKOFF)
            state.state = "starting"

    async def _mark_ready(self, name: str) -> None:
        self._ready.add(name)
        self.process.components[name].state = "running"
        log.info("component ready component=%s", name)
        if self._ready >= self.process.components.keys():
            # What is here now stays: no collection need look at it again.
            gc.collect()
            gc.freeze()
        await self._publish()

    async def _publish(self) -> None:
        self.process.ready = self._ready >= self.process.components.keys()

        def write() -> None:
            try:
                with self._register.locked():
                    self._register.put(self.process)
            except (OSError, RunDirError) as error:  # a full /run: the cluster goes on, only its status is old
                log.warning("status not written error=%s", error)

        await in_thread(write)  # to its end: whoever ends us removes our entry after that


def _text(err: BaseException) -> str:
    """One line for the status; of a group the first failure that says something."""
    while isinstance(err, BaseExceptionGroup):
        err = err.exceptions[0]
    if isinstance(err, VirtError):
        return f"{err.message} ({err.hint})" if err.hint else err.message
    return f"{type(err).__name__}: {err}" if str(err) else type(err).__name__
