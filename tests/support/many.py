"""Controllers against an API in memory, for the tests of replica sets and pools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from support.fake_kube import FakeKube, loop_clock
from support.fake_node import FakeNode, add_node

from virt_controller.app import Options, run
from virt_kube.api import Json
from virt_kube.resources import EVENTS

SELECTOR: Json = {"matchLabels": {"app": "r"}}


@asynccontextmanager
async def controllers(kube: FakeKube, client: FakeKube | None = None) -> AsyncIterator[FakeNode]:
    """All loops, a node with room for hundreds, and its agent; `client` is what the loops see of the API."""
    agent = FakeNode(kube)
    await add_node(kube, cpu="64", memory="256Gi")
    work = run(client or kube, options=Options(clock=loop_clock, jitter=lambda: 0.0))
    tasks = [asyncio.create_task(work), asyncio.create_task(agent.run())]
    try:
        yield agent
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results


def guest_template(**metadata: str) -> Json:
    """The template of a VMI that SELECTOR finds; `metadata` are more labels."""
    domain = {"memory": {"guest": "64Mi"}, "devices": {}}
    return {"metadata": {"labels": {"app": "r", **metadata}}, "spec": {"domain": domain}}


def told(kube: FakeKube, component: str) -> list[tuple[str, str]]:
    """Reason and message of the events of one controller."""
    return [
        (each["reason"], each["message"])
        for each in kube.objects(EVENTS.plural)
        if each["source"]["component"] == component
    ]
