"""Copies of the store: one taken while it is in use, and one put in its place when it is damaged or regretted.

`virtctl local backup` and `virtctl local restore` call it. Both look through the whole copy before they trust it.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from virt_local.errors import StoreDamaged, StoreError
from virt_local.store.log import FORMAT, lock_file

_SIDES = ("", "-wal", "-shm")  # the files SQLite keeps for one database


class Copy(NamedTuple):
    """What a copy holds: its newest revision, how many objects, and where it is."""

    path: Path
    revision: int
    objects: int


def backup(store: Path, target: Path) -> Copy:
    """A copy of the store as it is now, whoever writes to it meanwhile. `target` must not exist; it becomes 0600.

    Raises StoreError, or StoreDamaged when the store can't be read whole.
    """
    if not store.exists():
        raise StoreError(f"there is no store at {store}", hint="Start the cluster once: virtctl local up")
    if target.exists():
        raise StoreError(f"{target} exists already", hint="Name a new file, or remove that one first.")
    partial = target.with_name(target.name + ".partial")
    try:
        _remove(partial)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _copy(store, partial)
        found = verify(partial)
        partial.replace(target)
        _sync(target.parent)
    except OSError as error:
        raise StoreError(
            f"can't write {target}: {error.strerror}", hint="Is there room, and may you write there?"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            _remove(partial)
    return found._replace(path=target)


def restore(source: Path, store: Path) -> tuple[Copy, Path | None]:
    """Put a copy in the place of the store; the store that was there is kept beside it and its path returned.

    Raises StoreLocked while the cluster runs, StoreDamaged when the copy is none.
    """
    found = verify(source)
    store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = lock_file(store)
    fresh = store.with_name(store.name + ".restoring")
    try:
        _remove(fresh)
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _copy(source, fresh)
        kept = _set_aside(store)
        fresh.replace(store)
        _sync(store.parent)
    except OSError as error:
        raise StoreError(f"can't write {store}: {error.strerror}", hint="Is there room on the disk?") from error
    finally:
        with contextlib.suppress(OSError):
            _remove(fresh)
        os.close(lock)
    return found._replace(path=store), kept


def verify(path: Path) -> Copy:
    """Read all of a copy. Raises StoreDamaged that says what is wrong with it."""
    if not path.is_file():
        raise StoreError(f"there is no file {path}")
    with _reading(path) as db:
        problems = [row[0] for row in db.execute("PRAGMA integrity_check(3)")]
        if problems != ["ok"]:
            raise StoreDamaged(f"{path} is damaged: {'; '.join(problems)}", hint="Use another copy.")
        (form,) = db.execute("SELECT value FROM meta WHERE name = 'format'").fetchone() or (None,)
        if form != FORMAT:
            raise StoreDamaged(
                f"{path} has format {form}, this program reads format {FORMAT}",
                hint="Use the version of virtctl that wrote it.",
            )
        (revision,) = db.execute("SELECT max(rev) FROM log").fetchone()
        (objects,) = db.execute(
            "SELECT count(*) FROM log l WHERE deleted = 0 AND NOT EXISTS (SELECT 1 FROM log n WHERE n.rev > l.rev "
            "AND n.resource = l.resource AND n.namespace = l.namespace AND n.name = l.name)"
        ).fetchone()
    return Copy(path, revision or 0, objects)


def _copy(source: Path, target: Path) -> None:
    with _reading(source) as db, contextlib.closing(sqlite3.connect(target)) as copy:
        db.backup(copy)
        # One file that needs no log beside it, whatever mode the source was in.
        copy.execute("PRAGMA journal_mode=DELETE")
    with target.open("rb") as file:
        os.fsync(file.fileno())


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            yield db
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"can't read or copy {path}: {error}", hint="Is the disk full, or the file no store?"
        ) from error
    except sqlite3.Error as error:
        raise StoreDamaged(f"{path} is damaged: {error}", hint="Use another copy.") from error


def _set_aside(store: Path) -> Path | None:
    """Move the store with its log to a name that is free; a log of another store must never meet the restored one."""
    if not store.exists():
        _remove(store)  # a log without its store
        return None
    kept = next(
        path
        for number in range(1, 10_000)
        if not (path := store.with_name(f"{store.name}.before-restore-{number}")).exists()
    )
    # Into one file first, so that a power cut between the moves parts nothing; a damaged store is moved as it is.
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(store)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for side in _SIDES[1:] + _SIDES[:1]:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{store}{side}").rename(f"{kept}{side}")
    return kept


def _remove(path: Path) -> None:
    for side in _SIDES:
        Path(f"{path}{side}").unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
