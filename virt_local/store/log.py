"""The SQLite file under the store: one writer thread with group commit, short-lived readers.

Only `Store` uses it. A write is acknowledged after the COMMIT that holds it has reached the disk
(WAL, synchronous=FULL). The writer sleeps on its queue: an idle store costs no CPU.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from virt_local.errors import StoreDamaged, StoreError, StoreLocked, WriteFailed
from virt_local.store.compaction import Compaction
from virt_local.store.transactions import transaction
from virt_local.store.watch import Change, Key, Record

log = logging.getLogger("virt_local.store")

FORMAT = 1
FIRST_REVISION = 2  # what an empty store is at; 1, which people write by hand, is always history nobody kept

_SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    rev INTEGER PRIMARY KEY,
    resource TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    prev INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    value BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS log_object ON log (resource, namespace, name, rev);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""
_LATEST = """
WITH latest AS (SELECT max(rev) AS rev FROM log WHERE rev <= ? {where} GROUP BY resource, namespace, name)
SELECT resource, namespace, name, rev, value FROM latest JOIN log USING (rev) WHERE deleted = 0
ORDER BY resource, namespace, name
"""
_CHANGES = """
SELECT l.rev, l.namespace, l.name, l.value, l.deleted, p.value
FROM log l LEFT JOIN log p ON p.rev = l.prev
WHERE l.rev > ? AND l.rev <= ? AND +l.resource = ? ORDER BY l.rev
"""


class Write(NamedTuple):
    """One row to append; `prev` is the revision it replaces, 0 when the object is new."""

    rev: int
    key: Key
    value: bytes
    prev: int
    deleted: bool


Settle = Callable[[list[Write], WriteFailed | None], None]


class RevisionLog:
    """`settle` is called on the writer thread once per commit, with all its writes, in order."""

    def __init__(self, path: Path, settle: Settle, *, window: int) -> None:
        self.path = path
        self._settle = settle
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._lock_file = lock_file(path)
        try:
            self._db = _connect(path)
            self._prepare()
            self._compaction = Compaction(self._db, window=window)
            self.revision = max(self.compacted, self._scalar("SELECT max(rev) FROM log"))
        except (sqlite3.Error, StoreError) as error:
            os.close(self._lock_file)
            if isinstance(error, StoreError):
                raise
            raise _damaged(path, error) from error
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)

    @property
    def compacted(self) -> int:
        """The revision the kept history begins after."""
        return self._compaction.horizon

    def start(self) -> None:
        self._thread.start()

    def append(self, write: Write) -> None:
        self._queue.put(write)

    def close(self) -> None:
        """Commit what is queued, then release the file and its lock."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()
        os.close(self._lock_file)

    def current(self) -> Iterator[tuple[Key, Record]]:
        """Every living object. Only before `start`."""
        try:
            for resource, namespace, name, rev, value in self._db.execute(_LATEST.format(where=""), (self.revision,)):
                yield Key(resource, namespace, name), Record(rev, value)
        except sqlite3.Error as error:
            raise _damaged(self.path, error) from error

    def objects_at(self, resource: str, rev: int) -> list[tuple[Key, Record]]:
        """The objects of a resource as they were at a revision. Blocks: call it in a thread."""
        with self._reader() as db:
            rows = db.execute(_LATEST.format(where="AND resource = ?"), (rev, resource))
            return [(Key(r, namespace, name), Record(found, value)) for r, namespace, name, found, value in rows]

    def changes(self, resource: str, after: int, until: int) -> list[Change]:
        """The changes of a resource in (after, until]. Blocks: call it in a thread."""
        with self._reader() as db:
            return [
                Change(rev, Key(resource, namespace, name), value, prev, deleted=bool(deleted))
                for rev, namespace, name, value, deleted, prev in db.execute(_CHANGES, (after, until, resource))
            ]

    @contextlib.contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        try:
            db = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)
        except sqlite3.Error as error:
            raise _damaged(self.path, error) from error
        try:
            yield db
        except sqlite3.Error as error:
            raise _damaged(self.path, error) from error
        finally:
            db.close()

    def _run(self) -> None:
        stopping = False
        while not stopping:
            group, stopping = self._next_group(wait=not self._compaction.pending)
            if group:
                self._settle(group, self._commit(group))
                self._compaction.plan(group[-1].rev)
            if self._compaction.pending and not stopping:
                self._compaction.step()

    def _next_group(self, *, wait: bool) -> tuple[list[Write], bool]:
        """All that is queued, and whether that is the end."""
        group: list[Write] = []
        with contextlib.suppress(queue.Empty):
            item = self._queue.get(block=wait)
            while item is not None:
                group.append(item)
                item = self._queue.get_nowait()
            return group, True
        return group, False

    def _commit(self, group: list[Write]) -> WriteFailed | None:
        rows = [(w.rev, *w.key, w.prev, w.deleted, w.value) for w in group]
        try:
            with transaction(self._db):
                self._db.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        except sqlite3.Error as error:
            log.exception("store commit failed path=%s writes=%d", self.path, len(group))
            return WriteFailed(f"the store {self.path} could not write: {error}", hint="Is the disk full or read-only?")
        return None

    def _prepare(self) -> None:
        with transaction(self._db):
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute(
                "INSERT OR IGNORE INTO meta VALUES ('format', ?), ('compacted', ?)", (FORMAT, FIRST_REVISION)
            )
            # A store of before has rows nobody swept.
            self._db.execute(
                "INSERT OR IGNORE INTO meta VALUES ('swept', CASE WHEN EXISTS (SELECT 1 FROM log) THEN 0 ELSE ? END)",
                (FIRST_REVISION,),
            )
        found = self._scalar("SELECT value FROM meta WHERE name = 'format'")
        if found != FORMAT:
            raise StoreDamaged(
                f"the store {self.path} has format {found}, this program reads format {FORMAT}",
                hint="Use the version of virtctl that wrote it, or move the file away to start anew.",
            )

    def _scalar(self, sql: str) -> int:
        (value,) = self._db.execute(sql).fetchone()
        return int(value or 0)


def _connect(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    # isolation_level=None: transactions are begun and ended here, never by the driver.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA wal_autocheckpoint=4000")
    db.execute("PRAGMA cache_size=-2000")
    return db


def lock_file(path: Path) -> int:
    """An advisory lock beside the file, as a descriptor; the kernel drops it when the process dies, however it dies.

    Raises StoreLocked.
    """
    fd = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise StoreLocked(
            f"the store {path} is in use by process {holder}",
            hint="One process serves a state directory: stop the other, or use another --state-dir.",
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _damaged(path: Path, error: sqlite3.Error) -> StoreDamaged:
    return StoreDamaged(
        f"the store {path} can't be read: {error}",
        hint="Put a copy in its place: virtctl local restore FILE. Or move it (and its -wal file) away to start empty.",
    )
