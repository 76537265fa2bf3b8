"""What a controller has asked for and its caches have not shown yet.

Between a create or delete and its watch event the cache is stale; acting on it would do the work twice. Creates are
expected by count, deletes by UID. What is not seen within five minutes is given up: the event was lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

TIMEOUT = 300.0


class _Pending:
    __slots__ = ("creates", "deletes", "since")

    def __init__(self, since: float) -> None:
        self.creates = 0
        self.deletes: set[str] = set()
        self.since = since


class Expectations(Generic[K]):
    """Expected creates and deletes per owner key, timed by the event loop's clock."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._pending: dict[K, _Pending] = {}

    def expect_creates(self, key: K, count: int = 1) -> None:
        self._of(key).creates += count

    def expect_delete(self, key: K, uid: str) -> None:
        self._of(key).deletes.add(uid)

    def created(self, key: K) -> None:
        """A create was seen, or it failed for sure."""
        if pending := self._pending.get(key):
            pending.creates = max(0, pending.creates - 1)
            self._settle(key, pending)

    def deleted(self, key: K, uid: str) -> None:
        """A delete was seen (gone or going), or it failed for sure."""
        if pending := self._pending.get(key):
            pending.deletes.discard(uid)
            self._settle(key, pending)

    def creates(self, key: K) -> int:
        pending = self._alive(key)
        return pending.creates if pending else 0

    def deletes(self, key: K) -> frozenset[str]:
        pending = self._alive(key)
        return frozenset(pending.deletes) if pending else frozenset()

    def remaining(self, key: K) -> float | None:
        """Seconds until unmet expectations of the key are given up; None when all are met."""
        pending = self._alive(key)
        return None if pending is None else pending.since + self._timeout - _now()

    def forget(self, key: K) -> None:
        self._pending.pop(key, None)

    def _of(self, key: K) -> _Pending:
        pending = self._alive(key)
        if pending is None:
            pending = self._pending[key] = _Pending(_now())
        pending.since = _now()
        return pending

    def _alive(self, key: K) -> _Pending | None:
        pending = self._pending.get(key)
        if pending is not None and _now() >= pending.since + self._timeout:
            del self._pending[key]
            return None
        return pending

    def _settle(self, key: K, pending: _Pending) -> None:
        if not pending.creates and not pending.deletes:
            del self._pending[key]


def _now() -> float:
    return asyncio.get_running_loop().time()
