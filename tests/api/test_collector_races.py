"""The garbage collector while others change and delete what it works on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from virt_kube.api import ApiError, NotFound, Resource
from virt_local.apiserver.roles import COLLECTOR
from virt_local.apiserver.server import ApiServer
from virt_local.gc import GarbageCollector
from virt_local.inprocess import InProcessClient
from virt_local.store import Store

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    store = await Store.open(tmp_path / "store.db")
    server = ApiServer(store)
    await server.bootstrap([])
    yield server
    await server.stop()
    await store.close()


@pytest.fixture
async def running(server: ApiServer) -> AsyncIterator[tuple[GarbageCollector, asyncio.Task[None]]]:
    collector = GarbageCollector(server.store, server.registry, server.client(COLLECTOR))
    task = asyncio.create_task(collector.run())
    yield collector, task
    task.cancel()


async def made(client: InProcessClient, name: str, owner: str = "") -> str:
    meta: Any = {"name": name}
    if owner:
        meta["ownerReferences"] = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner}]
    body = await client.create(CONFIG_MAPS, "default", {"metadata": meta})
    return str(msgspec.json.decode(body)["metadata"]["uid"])


async def gone(client: InProcessClient, name: str) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                await client.get(CONFIG_MAPS, "default", name)
            except NotFound:
                return
            await asyncio.sleep(0.02)


async def test_dependents_may_vanish_while_they_are_orphaned(
    server: ApiServer, running: tuple[GarbageCollector, asyncio.Task[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    collector, task = running
    client = server.client()
    owner = await made(client, "owner")
    for number in range(3):
        await made(client, f"d{number}", owner)
    drop = collector._drop_owners
    dropped: list[str] = []

    async def slowly(node: Any, uids: set[str]) -> None:
        if not dropped:
            for number in range(3):
                if node.key.name != f"d{number}":
                    await client.delete(CONFIG_MAPS, "default", f"d{number}")
        dropped.append(node.key.name)
        await drop(node, uids)

    monkeypatch.setattr(collector, "_drop_owners", slowly)
    await client.delete(CONFIG_MAPS, "default", "owner", propagation="Orphan")
    await gone(client, "owner")
    assert not task.done()
    assert len(dropped) == 1


@pytest.mark.parametrize("error", [RuntimeError("unforeseen"), ApiError("refused")])
async def test_what_fails_is_tried_again_and_the_rest_goes_on(
    error: Exception,
    server: ApiServer,
    running: tuple[GarbageCollector, asyncio.Task[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collector, task = running
    client = server.client()
    owner = await made(client, "owner")
    for name in ("a", "b"):
        await made(client, name, owner)
    work = collector._work
    failures: list[Any] = []

    async def failing(key: Any) -> None:
        if key.name == "a" and len(failures) < 3:
            failures.append(key)
            raise error
        await work(key)

    monkeypatch.setattr(collector, "_work", failing)
    await client.delete(CONFIG_MAPS, "default", "owner")
    await gone(client, "b")
    await gone(client, "a")
    assert len(failures) == 3
    assert not task.done()
