"""Copies of the store: whole while it is written to, put back whole, refused when they are none; and a full disk."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from virt_local.cli import app
from virt_local.errors import StoreDamaged, StoreError, StoreLocked, WriteFailed
from virt_local.store import Key, Store
from virt_local.store.backup import backup, restore, verify

THINGS = "e.com/things"


async def put(store: Store, name: str, size: int = 100) -> int:
    key = Key(THINGS, "default", name)
    current = store.get(key)
    record = await store.put(key, current.rev if current else 0, lambda rev: f"{rev}".encode() + b"x" * size)
    return record.rev


async def names(path: Path) -> list[str]:
    store = await Store.open(path)
    found = [key.name for key in store.keys(THINGS)]
    await store.close()
    return found


async def test_a_copy_taken_under_writes_is_a_moment_of_the_store(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "store.db")
    acknowledged = 0

    async def writer() -> None:
        nonlocal acknowledged
        for number in range(10_000):
            acknowledged = await put(store, f"n{number:05}")

    task = asyncio.create_task(writer())
    for number in range(5):
        await asyncio.sleep(0.05)
        before = acknowledged
        copy = await asyncio.to_thread(backup, tmp_path / "store.db", tmp_path / f"copy{number}")
        assert before <= copy.revision
        found = await names(copy.path)
        assert found == [f"n{n:05}" for n in range(len(found))], "no hole"
        assert len(found) == copy.objects
    task.cancel()
    await store.close()
    assert (tmp_path / "copy0").stat().st_mode & 0o777 == 0o600


async def test_a_plain_copy_of_the_files_at_any_moment_opens_with_all_that_was_acknowledged(tmp_path: Path) -> None:
    """What a snapshot of the disk has after a power cut: the database and its log, both as they are right now."""
    source = tmp_path / "live"
    source.mkdir()
    store = await Store.open(source / "store.db")
    for number in range(60):
        last = await put(store, f"n{number % 7}", 3000)
        if number % 10 == 9:
            cut = tmp_path / f"cut{number}"
            shutil.copytree(source, cut)
            survivor = await Store.open(cut / "store.db")
            assert survivor.revision == last
            await survivor.close()
    await store.close()


async def test_restore_brings_back_what_was_and_keeps_what_is(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await Store.open(path)
    await put(store, "a")
    backup(path, tmp_path / "copy")
    await put(store, "b")
    with pytest.raises(StoreLocked):
        restore(tmp_path / "copy", path)
    await store.close()
    copy, kept = restore(tmp_path / "copy", path)
    assert (copy.path, copy.objects) == (path, 1)
    assert await names(path) == ["a"]
    assert kept is not None
    assert await names(kept) == ["a", "b"]


async def test_what_is_set_aside_needs_no_log_beside_it(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    store = await Store.open(tmp_path / "live" / "store.db")
    await put(store, "a")
    backup(tmp_path / "live" / "store.db", tmp_path / "copy")
    await put(store, "b")
    shutil.copytree(tmp_path / "live", tmp_path / "cut")  # the power fails here: "b" is in the log only
    await store.close()
    _, kept = restore(tmp_path / "copy", tmp_path / "cut" / "store.db")
    assert kept is not None
    alone = shutil.copy(kept, tmp_path / "alone.db")
    assert await names(Path(alone)) == ["a", "b"]


async def test_a_damaged_page_is_told_and_a_copy_mends_it(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await Store.open(path)
    for number in range(200):
        await put(store, f"n{number:03}", 500)
    backup(path, tmp_path / "copy")
    await store.close()
    with path.open("r+b") as file:
        for page in range(3, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 64)
    with pytest.raises(StoreDamaged) as told:
        await Store.open(path)
    assert str(path) in told.value.message
    assert "virtctl local restore" in told.value.hint
    with pytest.raises(StoreDamaged):
        backup(path, tmp_path / "bad-copy")
    assert not (tmp_path / "bad-copy").exists()
    restore(tmp_path / "copy", path)
    assert len(await names(path)) == 200


@pytest.mark.parametrize("content", [b"", b"hello, I am no database at all" * 200])
def test_what_is_no_copy_is_refused_and_touches_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "copy").write_bytes(content)
    with pytest.raises(StoreError):
        restore(tmp_path / "copy", tmp_path / "store.db")
    assert not (tmp_path / "store.db").exists()


def test_a_copy_of_another_format_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "copy") as db:
        db.executescript("CREATE TABLE meta (name TEXT, value INTEGER); INSERT INTO meta VALUES ('format', 99);")
    db.close()
    with pytest.raises(StoreDamaged, match="format 99"):
        verify(tmp_path / "copy")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "x", disk], check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


async def test_a_full_disk_refuses_writes_and_loses_nothing(small_disk: Path) -> None:
    store = await Store.open(small_disk / "store.db")
    acknowledged: list[str] = []

    async def fill() -> None:
        for number in range(1000):
            await put(store, f"n{number:03}", 20_000)
            acknowledged.append(f"n{number:03}")

    with pytest.raises(WriteFailed, match="could not write"):
        await fill()
    assert acknowledged
    assert [key.name for key in store.keys(THINGS)] == acknowledged
    await store.close()
    assert await names(small_disk / "store.db") == acknowledged


def test_the_commands(tmp_path: Path) -> None:
    async def fill() -> None:
        store = await Store.open(tmp_path / "store.db")
        await put(store, "a")
        await store.close()

    asyncio.run(fill())
    run = CliRunner().invoke
    copied = run(app, ["backup", str(tmp_path / "copy"), "--state-dir", str(tmp_path)])
    assert copied.output.startswith("Copied 1 objects at revision")
    again = run(app, ["backup", str(tmp_path / "copy"), "--state-dir", str(tmp_path)])
    assert isinstance(again.exception, StoreError)
    restored = run(app, ["restore", str(tmp_path / "copy"), "--state-dir", str(tmp_path)])
    assert "Restored 1 objects" in restored.output
    assert "before-restore-1" in restored.output
