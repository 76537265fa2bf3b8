"""Controllers that die at any request and come back, in front of an API that lies until it is told to be calm."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

from support.fake_kube import FakeKube, Faults, Request, loop_clock

from virt_controller.app import Options, run

CALM = Faults()
LONGER_THAN_ANY_BACKOFF = 3000.0


def lying(seed: int) -> Faults:
    """An API that refuses, loses, repeats and mixes up, by the chances of `seed`."""
    return Faults(
        refuse=0.05,
        lose_answer=0.05,
        conflict=0.05,
        lose_event=0.02,
        double_event=0.1,
        late_event=0.1,
        stale_event=0.1,
        cut_watch=0.05,
        compact=0.1,
        rng=random.Random(seed),  # noqa: S311  a story to replay, no secret
    )


class Doomed:
    """`crash` is the chance, before and after each request, that the process dies there."""

    def __init__(self, kube: FakeKube, rng: random.Random, faults: Faults | None, crash: float) -> None:
        self.kube = kube
        self.rng = rng
        self.faults = faults
        self.crash = crash
        self.calm = False
        self.incarnations = 0

    async def keep_running(self) -> None:
        while True:
            self.incarnations += 1
            dead = asyncio.Event()
            client = self.kube.view(None if self.calm else self.faults, self._freeze(dead))
            work = asyncio.create_task(run(client, options=Options(clock=loop_clock, jitter=self.rng.random)))
            waiting = asyncio.create_task(dead.wait())
            try:
                await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
                assert not work.done(), work.exception()
            finally:
                work.cancel()
                waiting.cancel()
                await asyncio.gather(work, waiting, return_exceptions=True)
            await asyncio.sleep(self.rng.random())

    async def settle(self) -> None:
        """No more faults and deaths, the API's own word on everything, and time; then nothing may be left to do."""
        self.calm = True
        if self.faults:
            vars(self.faults).update(vars(replace(CALM, rng=self.faults.rng)))
        self.kube.compact()
        await asyncio.sleep(LONGER_THAN_ANY_BACKOFF)
        self.kube.requests.clear()
        await asyncio.sleep(LONGER_THAN_ANY_BACKOFF)
        writes = [f"{each.verb} {each.plural}/{each.name} {each.body}" for each in self.kube.writes()]
        assert writes == [], f"it never settles: {writes[:4]}"

    def _freeze(self, dead: asyncio.Event) -> Callable[[Request, str], bool]:
        def freeze(request: Request, moment: str) -> bool:
            if not self.calm and request.verb not in ("list", "watch") and self.rng.random() < self.crash:
                dead.set()
            return dead.is_set()

        return freeze


def check_alive(tasks: list[asyncio.Task[None]]) -> None:
    """Raise what a task died of."""
    for task in tasks:
        if task.done():
            task.result()
