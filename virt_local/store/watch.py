"""What happened to an object, and the bounded queue in which a watcher finds it.

Called by `Store` on the event loop only. Values are shared by all watchers and never copied.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable, Iterable
from typing import NamedTuple

QUEUE_LIMIT = 2_000  # changes; a watcher further behind is cut off and resumes from the log


class Key(NamedTuple):
    """An object's identity. `resource` is `group/plural`, with an empty group for the core one."""

    resource: str
    namespace: str
    name: str


class Record(NamedTuple):
    """A stored object: its revision (the API's resourceVersion) and its JSON."""

    rev: int
    value: bytes


class Change:
    """One revision. `value` is the object after it (for a deletion: the last state, with the deletion's revision)."""

    __slots__ = ("cache", "deleted", "key", "prev", "rev", "value")

    def __init__(self, rev: int, key: Key, value: bytes, prev: bytes | None, *, deleted: bool) -> None:
        self.rev = rev
        self.key = key
        self.value = value
        self.prev = prev
        self.deleted = deleted
        self.cache: dict[Hashable, object] = {}  # what readers derived from it once for all watchers


class Watch:
    """The changes of one resource after a revision. Iterate by `batch()`; close it when done."""

    def __init__(self, resource: str, namespace: str, limit: int = QUEUE_LIMIT) -> None:
        self.resource = resource
        self.namespace = namespace
        self._limit = limit
        self._queue: deque[Change] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    @property
    def closed(self) -> bool:
        """True when cut off (too slow, or the store is closing) and everything handed out is all there will be."""
        return self._closed

    def offer(self, change: Change) -> bool:
        """Queue a change, or cut the watcher off when it is too far behind. Whether somebody waits to be woken."""
        if self._closed or (self.namespace and change.key.namespace != self.namespace):
            return False
        if len(self._queue) >= self._limit:
            self._queue.clear()
            self.close()
            return False
        self._queue.append(change)
        return self._waiter is not None

    def prepend(self, backlog: Iterable[Change]) -> None:
        """What happened before the watch was opened; the bound is for what comes after."""
        self._queue.extendleft(reversed(list(backlog)))

    def close(self) -> None:
        self._closed = True
        self.wake()

    async def batch(self) -> list[Change]:
        """Everything queued, waiting for the first; empty only when the watch has been closed."""
        while not self._queue and not self._closed:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        changes = list(self._queue)
        self._queue.clear()
        return changes

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
