"""What must stop neither the store nor its collector: a failing listener, a disk too full to forget history."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from virt_local.apiserver.registry import Registry
from virt_local.gc import GarbageCollector
from virt_local.store import Change, Key, Store, compaction

PLURAL = "/configmaps"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "store.db", window=10)
    yield store
    await store.close()


async def put(store: Store, name: str, value: bytes = b'{"metadata":{}}') -> None:
    async with asyncio.timeout(5):
        await store.put(Key(PLURAL, "ns", name), 0, lambda _: value)


async def test_a_listener_that_fails_stops_neither_the_writer_nor_the_others(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    def failing(_change: Change) -> None:
        raise ValueError("a listener's own fault")

    store.subscribe(PLURAL, failing)
    store.subscribe("", lambda change: heard.append(change.key.name))
    with caplog.at_level(logging.ERROR, "virt_local.store"):
        await put(store, "one")
        await put(store, "two")
    assert heard == ["one", "two"]
    assert "store listener failed" in caplog.text


class Full:
    """The writer's connection, on a disk that is full for whatever contains `word`."""

    def __init__(self, db: sqlite3.Connection, word: str) -> None:
        self.db, self.word, self.refused = db, word, 0

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if self.word in sql:
            self.refused += 1
            raise sqlite3.OperationalError("database or disk is full")
        return self.db.execute(sql, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)


@pytest.mark.parametrize("word", ["'compacted'", "DELETE FROM log", "'swept'"])
async def test_writes_go_on_when_history_cant_be_forgotten(
    word: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "EVERY", 20)
    full = Full(store._log._compaction._db, word)
    monkeypatch.setattr(store._log._compaction, "_db", full)
    for number in range(70):
        await put(store, f"n{number}")
    assert full.refused > 1, "it is tried again"
    full.word = "nothing of this"
    for number in range(70, 120):
        await put(store, f"n{number}")
    assert store.compacted > 70


async def test_an_object_with_metadata_nobody_should_have_let_in_stops_no_restart(store: Store) -> None:
    await put(store, "bad", b'{"metadata":{"name":"bad","uid":"u","ownerReferences":[{"uid":5}]}}')
    client: Any = None
    collector = GarbageCollector(store, Registry({}), client)
    assert [key.name for key in collector._nodes] == ["bad"]
    await put(store, "worse", b'{"metadata":{"finalizers":"none"}}')
    assert [key.name for key in collector._nodes] == ["bad", "worse"]
