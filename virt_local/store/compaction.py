"""Forgetting history: what later revisions replaced goes, slice by slice, between the commits of the writer thread.

`RevisionLog` runs it on its own thread and connection. How far it has come is in the file, so that a process that dies
in between goes on where it stopped.
"""

from __future__ import annotations

import logging
import sqlite3

from virt_local.store.transactions import transaction

log = logging.getLogger("virt_local.store")

EVERY = 1_000  # revisions between two compactions
SLICE = 100  # revisions looked at in one transaction: no writer waits longer than that takes

# Every row says which one it replaced: looking at the new revisions is enough to find the old ones.
_FORGET = """
DELETE FROM log WHERE rev IN (SELECT prev FROM log WHERE rev > ?1 AND rev <= ?2 AND prev > 0)
    OR (rev > ?1 AND rev <= ?2 AND deleted = 1)
"""


class Compaction:
    """`horizon` is the newest revision whose past is gone or going; readers on other threads may look at it."""

    def __init__(self, db: sqlite3.Connection, *, window: int) -> None:
        self._db = db
        self._window = window
        self.horizon = self._meta("compacted")
        self._swept = self._meta("swept")
        self._planned_at = 0
        self.pending = self._swept < self.horizon

    def plan(self, head: int) -> None:
        """Move the horizon when enough has happened. First of all: nobody may ask for what is being removed.

        An error (the disk is full) puts it off until as much has happened again.
        """
        if self._planned_at == 0:
            self._planned_at = head
        horizon = head - self._window
        if head - self._planned_at < EVERY or horizon <= self.horizon:
            return
        self._planned_at = head
        try:
            with transaction(self._db):
                self._db.execute("INSERT OR REPLACE INTO meta VALUES ('compacted', ?)", (horizon,))
        except sqlite3.Error as error:
            log.warning("store compaction put off horizon=%d error=%s", self.horizon, error)
            return
        self.horizon = horizon
        self.pending = True

    def step(self) -> None:
        """One slice. An error (the disk is full) ends it until more has been written."""
        try:
            self._step()
        except sqlite3.Error as error:
            self.pending = False
            log.warning("store compaction failed horizon=%d swept=%d error=%s", self.horizon, self._swept, error)

    def _step(self) -> None:
        (first,) = self._db.execute("SELECT min(rev) FROM log WHERE rev > ?", (self._swept,)).fetchone()
        begin = max(self._swept, min(first or self.horizon, self.horizon) - 1)
        end = min(begin + SLICE, self.horizon)
        with transaction(self._db):
            self._db.execute(_FORGET, (begin, end))
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('swept', ?)", (end,))
        self._swept = end
        self.pending = end < self.horizon
        if not self.pending:
            log.info("store compacted horizon=%d", self.horizon)

    def _meta(self, name: str) -> int:
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0
