"""The store: order, guards, history, watches, compaction, and that nothing acknowledged is ever lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from virt_local.errors import Compacted, StoreDamaged, StoreLocked, WriteFailed, WrongRevision
from virt_local.store import Key, Store, compaction
from virt_local.store.log import RevisionLog

THINGS = "e.com/things"


def key(name: str, namespace: str = "default") -> Key:
    return Key(THINGS, namespace, name)


async def write(store: Store, name: str, text: str = "", *, delete: bool = False, namespace: str = "default") -> int:
    current = store.get(key(name, namespace))
    expected = current.rev if current else 0
    record = await store.put(key(name, namespace), expected, lambda rev: f"{name}={text}@{rev}".encode(), delete=delete)
    return record.rev


@contextlib.asynccontextmanager
async def opened(path: Path, window: int = 10_000) -> AsyncIterator[Store]:
    store = await Store.open(path, window=window)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path / "store.db") as found:
        yield found


async def test_revisions_rise_and_values_carry_them(store: Store) -> None:
    first = await write(store, "a", "1")
    second = await write(store, "a", "2")
    assert second > first
    assert store.get(key("a")) == (second, f"a=2@{second}".encode())
    assert store.revision == second


async def test_a_write_on_another_revision_is_refused(store: Store) -> None:
    rev = await write(store, "a")
    for expected in (0, rev - 1, rev + 1):
        with pytest.raises(WrongRevision) as refused:
            await store.put(key("a"), expected, lambda _: b"")
        assert refused.value.current == rev


async def test_of_racing_guarded_writes_one_wins(store: Store) -> None:
    rev = await write(store, "a")
    outcomes = await asyncio.gather(
        *(store.put(key("a"), rev, lambda _: b"x") for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(outcome, WrongRevision) for outcome in outcomes) == 9


async def test_objects_come_in_name_order_by_namespace(store: Store) -> None:
    for namespace, name in (("b", "x"), ("a", "z"), ("a", "y"), ("ab", "w")):
        await write(store, name, namespace=namespace)
    assert [(k.namespace, k.name) for k, _ in store.objects(THINGS)] == [
        ("a", "y"),
        ("a", "z"),
        ("ab", "w"),
        ("b", "x"),
    ]
    assert [k.name for k, _ in store.objects(THINGS, "a")] == ["y", "z"]


async def test_the_past_can_be_listed(store: Store) -> None:
    await write(store, "a", "1")
    then = await write(store, "b", "1")
    await write(store, "a", "2")
    await write(store, "b", delete=True)
    await write(store, "c")
    past = await store.objects_at(THINGS, "", then)
    assert [(k.name, record.value.split(b"@")[0]) for k, record in past] == [("a", b"a=1"), ("b", b"b=1")]


async def test_a_watch_sees_the_backlog_and_then_what_comes(store: Store) -> None:
    since = await write(store, "a", "1")
    await write(store, "a", "2")
    await write(store, "b", "1", namespace="other")
    watch = await store.watch(THINGS, "default", since)
    await write(store, "a", delete=True)
    seen = []
    while len(seen) < 2:
        seen += await watch.batch()
    assert [(change.key.name, change.deleted) for change in seen] == [("a", False), ("a", True)]
    assert seen[0].prev == f"a=1@{since}".encode()
    assert seen[1].prev == seen[0].value


async def test_a_slow_watcher_is_cut_off_and_never_blocks_writers(store: Store) -> None:
    slow = await store.watch(THINGS, "", store.revision, limit=5)
    quick = await store.watch(THINGS, "", store.revision)
    await asyncio.gather(*(write(store, f"n{number}") for number in range(20)))
    assert slow.closed
    assert await slow.batch() == []
    assert len(await quick.batch()) == 20
    resumed = await store.watch(THINGS, "", store.revision - 20)
    assert len(await resumed.batch()) == 20


async def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db") as store:
        await write(store, "a", "1")
        await write(store, "gone")
        last = await write(store, "gone", delete=True)
    async with opened(tmp_path / "s.db") as store:
        assert store.revision == last
        assert [k.name for k, _ in store.objects(THINGS)] == ["a"]
        assert await write(store, "b") > last
        watch = await store.watch(THINGS, "", last - 1)
        assert [change.deleted for change in await watch.batch()] == [True, False]


async def test_compaction_forgets_history_and_keeps_the_present(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db", window=100) as store:
        first = await write(store, "kept")
        await write(store, "gone")
        await write(store, "gone", delete=True)
        for number in range(2_500):
            await write(store, "busy", str(number))
        with pytest.raises(Compacted):
            await store.watch(THINGS, "", first)
        with pytest.raises(Compacted):
            await store.objects_at(THINGS, "", first)
        assert store.compacted > first
        past = await store.objects_at(THINGS, "", store.compacted)
        assert [k.name for k, _ in past] == ["busy", "kept"]
        expected = [(k.name, record.rev) for k, record in store.objects(THINGS)]
    with contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as db:
        (rows,) = db.execute("SELECT count(*) FROM log").fetchone()
    assert rows < 1_200, "a window of 100 and at most 1,000 revisions between two compactions"
    async with opened(tmp_path / "s.db") as store:
        assert [(k.name, record.rev) for k, record in store.objects(THINGS)] == expected


@pytest.fixture
def slow_slices(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Compaction in small slices that take their time; the moments they began."""
    began: list[float] = []
    step = compaction.Compaction.step

    def slow(self: compaction.Compaction) -> None:
        began.append(time.monotonic())
        time.sleep(0.02)
        step(self)

    monkeypatch.setattr(compaction, "SLICE", 4)
    monkeypatch.setattr(compaction, "EVERY", 200)
    monkeypatch.setattr(compaction.Compaction, "step", slow)
    return began


async def test_writers_go_between_the_slices_of_a_compaction(tmp_path: Path, slow_slices: list[float]) -> None:
    async with opened(tmp_path / "s.db", window=10) as store:
        while not slow_slices:
            await write(store, "busy")
        waited = []
        for _ in range(10):
            begin = time.monotonic()
            await write(store, "busy")
            waited.append(time.monotonic() - begin)
        assert store._log._compaction.pending, "it goes on"
        assert min(waited) < 0.2, "fifty slices of 20 ms were left"


async def test_a_compaction_cut_off_goes_on_at_the_next_start(tmp_path: Path, slow_slices: list[float]) -> None:
    async with opened(tmp_path / "s.db", window=10) as store:
        while not slow_slices:
            await write(store, "busy")
        horizon = store.compacted
    async with opened(tmp_path / "s.db", window=10) as store:
        assert store._log._compaction.pending
        assert store.compacted == horizon, "what is half gone is gone"
        await write(store, "wakes the writer")
        async with asyncio.timeout(20):
            while store._log._compaction.pending:  # noqa: ASYNC110  a thread's progress
                await asyncio.sleep(0.05)
    with contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as db:
        (rows,) = db.execute("SELECT count(*) FROM log WHERE rev <= ?", (horizon,)).fetchone()
    assert rows == 1


async def test_a_writer_has_its_answer_before_the_last_of_many_watchers(store: Store) -> None:
    seen = 0

    async def look() -> None:
        nonlocal seen
        await (await store.watch(THINGS, "", store.revision)).batch()
        seen += 1

    tasks = [asyncio.create_task(look()) for _ in range(2_000)]
    await asyncio.sleep(0.1)
    await write(store, "a")
    assert seen < 1_000
    async with asyncio.timeout(20):
        await asyncio.gather(*tasks)
    assert seen == 2_000


async def test_a_second_process_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreLocked, match=f"in use by process {os.getpid()}"):
        await Store.open(tmp_path / "store.db")


@pytest.mark.parametrize("content", [b"this is no database at all", b"SQLite format 3\0" + b"\xff" * 4096])
async def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.db").write_bytes(content)
    with pytest.raises(StoreDamaged, match=r"s\.db"):
        await Store.open(tmp_path / "s.db")
    (tmp_path / "s.db").unlink()
    async with opened(tmp_path / "s.db"):
        """The lock of the failed attempt is gone."""


async def test_a_store_of_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "s.db"):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "s.db")) as db, db:
        db.execute("UPDATE meta SET value = 99 WHERE name = 'format'")
    with pytest.raises(StoreDamaged, match="format 99"):
        await Store.open(tmp_path / "s.db")


async def test_a_failed_commit_is_told_and_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rev = await write(store, "a", "1")
    good = RevisionLog._commit
    monkeypatch.setattr(RevisionLog, "_commit", lambda self, group: WriteFailed("disk full"))
    with pytest.raises(WriteFailed, match="disk full"):
        await write(store, "a", "2")
    assert store.get(key("a")).rev == rev  # type: ignore[union-attr]
    assert store.revision == rev
    monkeypatch.setattr(RevisionLog, "_commit", good)
    assert await write(store, "a", "3") > rev


async def test_an_abandoned_write_still_lands(store: Store) -> None:
    task = asyncio.create_task(write(store, "a"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await write(store, "b")  # later in the same queue
    assert store.get(key("a")) is not None


_WRITER = """
import asyncio, sys
from pathlib import Path
from virt_local.store import Key, Store, compaction

async def client(store, name):
    rev = 0
    number = 0
    while True:
        number += 1
        text = f"{name}:{number}".encode()
        rev = (await store.put(Key("e.com/things", "default", name), rev, lambda _: text)).rev
        print(name, rev, number, flush=True)

async def main():
    store = await Store.open(Path(sys.argv[1]), window=500)
    await asyncio.gather(*(client(store, f"n{number}") for number in range(8)))

asyncio.run(main())
"""


@pytest.mark.slow
async def test_kill_nine_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Eight clients write; the process is killed at a random moment, again and again."""
    path = tmp_path / "s.db"
    for round_number in range(5):
        path.unlink(missing_ok=True)
        command = [sys.executable, "-c", _WRITER, str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220  nothing else runs
        assert process.stdout is not None
        acknowledged: dict[str, tuple[int, int]] = {}
        for count, line in enumerate(process.stdout):
            if not line.endswith("\n"):
                break
            name, rev, number = line.split()
            acknowledged[name] = (int(rev), int(number))
            if count == 400 + round_number * 333:
                process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        async with opened(path) as store:
            assert store.revision >= max(rev for rev, _ in acknowledged.values())
            for name, (rev, number) in acknowledged.items():
                record = store.get(key(name))
                assert record is not None
                assert record.rev >= rev
                assert int(record.value.decode().split(":")[1]) >= number
            assert await write(store, "after") > store.compacted
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
