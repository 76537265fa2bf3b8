"""Events expire by their last time and are bounded in number; whoever watches sees them go."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from virt_local.apiserver import expiry
from virt_local.apiserver.expiry import EVENTS, EventExpiry, last_happened
from virt_local.store import Key, Store


def event(age: float, **fields: Any) -> dict[str, Any]:
    when = datetime.now(UTC) - timedelta(seconds=age)
    return {"metadata": {"creationTimestamp": when.strftime("%Y-%m-%dT%H:%M:%SZ")}, **fields}


async def put(store: Store, name: str, obj: dict[str, Any]) -> None:
    await store.put(Key(EVENTS, "default", name), 0, lambda _: json.dumps(obj).encode())


def names(store: Store) -> list[str]:
    return [key.name for key in store.keys(EVENTS)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "2020-01-01T00:00:00Z"),
        ({"lastTimestamp": "2021-01-01T00:00:00Z"}, "2021-01-01T00:00:00Z"),
        ({"eventTime": "2022-01-01T00:00:00.000001Z", "lastTimestamp": None}, "2022-01-01T00:00:00.000001Z"),
        ({"series": {"lastObservedTime": "2023-01-01T00:00:00Z", "count": 3}}, "2023-01-01T00:00:00Z"),
        ({"lastTimestamp": "yesterday"}, "2020-01-01T00:00:00Z"),
    ],
)
def test_an_event_is_as_old_as_its_last_time(fields: dict[str, Any], expected: str) -> None:
    value = json.dumps({"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}, **fields}).encode()
    assert last_happened(value) == datetime.fromisoformat(expected).timestamp()


async def test_old_events_go_and_watchers_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "PAUSE", 0.01)
    store = await Store.open(tmp_path / "s.db")
    await put(store, "old", event(7200))
    await put(store, "counted", event(7200, lastTimestamp=event(0)["metadata"]["creationTimestamp"]))
    await put(store, "new", event(10))
    watch = await store.watch(EVENTS, "", store.revision)
    task = asyncio.create_task(EventExpiry(store).run())
    (gone,) = await watch.batch()
    assert (gone.key.name, gone.deleted) == ("old", True)
    assert json.loads(gone.value)["metadata"]["resourceVersion"] == str(gone.rev)
    await asyncio.sleep(0.05)
    assert names(store) == ["counted", "new"]
    task.cancel()
    await store.close()


async def test_there_are_never_many_more_than_there_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "PAUSE", 0.01)
    store = await Store.open(tmp_path / "s.db")
    task = asyncio.create_task(EventExpiry(store, most=5).run())
    for number in range(20):
        await put(store, f"e{number:02}", event(100 - number))
    async with asyncio.timeout(5):
        while len(names(store)) > 5:  # noqa: ASYNC110  nothing tells when the sweep is over
            await asyncio.sleep(0.01)
    assert names(store) == [f"e{number}" for number in range(15, 20)]
    task.cancel()
    await store.close()


async def test_it_wakes_when_the_oldest_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "PAUSE", 0.01)
    store = await Store.open(tmp_path / "s.db")
    task = asyncio.create_task(EventExpiry(store, time_to_live=1.5).run())
    await put(store, "e", event(0))
    async with asyncio.timeout(5):
        while names(store):  # noqa: ASYNC110  likewise
            await asyncio.sleep(0.05)
    task.cancel()
    await store.close()
