"""The store the API server works on: current objects in memory as bytes, every write through the log.

All methods run on one event loop, which makes it the place where writes get their order: a write is checked and given
its revision here, and becomes visible to reads, lists and watches when its commit has reached the disk.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from virt_local.errors import Compacted, StoreError, WriteFailed, WrongRevision
from virt_local.store.log import RevisionLog, Write
from virt_local.store.watch import QUEUE_LIMIT, Change, Key, Record, Watch

log = logging.getLogger("virt_local.store")

WOKEN_AT_ONCE = 32  # watchers in one turn of the loop
HISTORY = 10_000  # revisions kept for watches that resume and for lists at an exact version


class _Table:
    """The living objects of one resource, in key order."""

    def __init__(self) -> None:
        self.records: dict[Key, Record] = {}
        self.order: list[Key] = []
        self.last_change = 0

    def put(self, key: Key, record: Record) -> None:
        if key not in self.records:
            insort(self.order, key)
        self.records[key] = record

    def drop(self, key: Key) -> None:
        del self.records[key]
        del self.order[bisect_left(self.order, key)]


class Store:
    """Objects by key, revisions, watches. Open it with `await Store.open(path)`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: Path, *, window: int) -> None:
        self._loop = loop
        self._log = RevisionLog(path, self._committed, window=window)
        self._tables: dict[str, _Table] = {}
        self._watches: dict[str, set[Watch]] = {}
        self._pending: dict[Key, asyncio.Future[Record]] = {}
        self._next = self._log.revision + 1
        self._sleepers: deque[Watch] = deque()
        self._listeners: dict[str, list[Callable[[Change], None]]] = {}
        self.closed = False
        self.revision = self._log.revision

    @classmethod
    async def open(cls, path: Path, *, window: int = HISTORY) -> Store:
        """Raises StoreLocked or StoreDamaged. Creates the file (0600) when absent."""
        store = cls(asyncio.get_running_loop(), path, window=window)
        try:
            for key, record in store._log.current():
                store._table(key.resource).put(key, record)
        except StoreError:
            store._log.close()
            raise
        store._log.start()
        return store

    @property
    def compacted(self) -> int:
        return self._log.compacted

    def get(self, key: Key) -> Record | None:
        return self._table(key.resource).records.get(key)

    def keys(self, resource: str, namespace: str = "") -> list[Key]:
        """In (namespace, name) order; one namespace, or all with ""."""
        order = self._table(resource).order
        if not namespace:
            return order.copy()
        start = bisect_left(order, Key(resource, namespace, ""))
        return order[start : bisect_left(order, Key(resource, namespace + "\0", ""))]

    def objects(self, resource: str, namespace: str = "") -> list[tuple[Key, Record]]:
        records = self._table(resource).records
        return [(key, records[key]) for key in self.keys(resource, namespace)]

    def resources(self) -> Iterable[str]:
        """The resources that have living objects."""
        return [resource for resource, table in self._tables.items() if table.records]

    async def objects_at(self, resource: str, namespace: str, rev: int) -> list[tuple[Key, Record]]:
        """The objects as they were at `rev`. Raises Compacted."""
        table = self._table(resource)
        if rev >= table.last_change:
            self._require_history(rev)
            return self.objects(resource, namespace)
        self._require_history(rev)
        found = await self._loop.run_in_executor(None, self._log.objects_at, resource, rev)
        self._require_history(rev)  # compaction may have passed while the file was read
        return [(key, record) for key, record in found if not namespace or key.namespace == namespace]

    async def put(self, key: Key, expected: int, build: Callable[[int], bytes], *, delete: bool = False) -> Record:
        """Write the object `build(revision)` makes; returns when it is on disk.

        `expected` is the revision being replaced, 0 for a new object. Raises WrongRevision or WriteFailed. A deletion
        stores the object's last state.
        """
        while (running := self._pending.get(key)) is not None:
            await asyncio.wait([running])
        if self.closed:
            raise WriteFailed("the store is closed")
        current = self.get(key)
        found = current.rev if current else 0
        if found != expected:
            raise WrongRevision(f"{'/'.join(key)} is at revision {found}, not {expected}", current=found)
        rev, self._next = self._next, self._next + 1
        value = build(rev)
        future: asyncio.Future[Record] = self._loop.create_future()
        self._pending[key] = future
        self._log.append(Write(rev, key, value, found, delete))
        # The write is on its way whatever happens to the caller.
        return await asyncio.shield(future)

    async def watch(self, resource: str, namespace: str, since: int, *, limit: int = QUEUE_LIMIT) -> Watch:
        """Changes after `since`. Raises Compacted."""
        self._require_history(since)
        watch = Watch(resource, namespace, limit)
        until = self.revision
        backlog: list[Change] = []
        watches = self._watches.setdefault(resource, set())
        watches.add(watch)
        try:
            if since < until and since < self._table(resource).last_change:
                backlog = await self._loop.run_in_executor(None, self._log.changes, resource, since, until)
                self._require_history(since)
        except BaseException:
            self.unwatch(watch)
            raise
        watch.prepend(change for change in backlog if not namespace or change.key.namespace == namespace)
        return watch

    def unwatch(self, watch: Watch) -> None:
        watch.close()
        self._watches.get(watch.resource, set()).discard(watch)

    def subscribe(self, resource: str, listener: Callable[[Change], None]) -> None:
        """Call `listener` with every change of a resource ("": of all), before whoever wrote goes on."""
        self._listeners.setdefault(resource, []).append(listener)

    def end_watches(self) -> None:
        """Whoever watches gets what is queued, then the end."""
        for watches in self._watches.values():
            for watch in watches:
                watch.close()

    async def close(self) -> None:
        """Waits for queued writes; watches end."""
        self.closed = True
        await self._loop.run_in_executor(None, self._log.close)
        await asyncio.sleep(0)  # let the last commit's call_soon_threadsafe run
        self.end_watches()

    def _table(self, resource: str) -> _Table:
        table = self._tables.get(resource)
        if table is None:
            table = self._tables[resource] = _Table()
            table.last_change = self._log.revision  # the newest change before this process is not worth a query
        return table

    def _require_history(self, rev: int) -> None:
        if rev < self._log.compacted:
            raise Compacted(f"revision {rev} is no longer kept", oldest=self._log.compacted)

    def _committed(self, writes: list[Write], failure: WriteFailed | None) -> None:
        self._loop.call_soon_threadsafe(self._settle, writes, failure)

    def _settle(self, writes: list[Write], failure: WriteFailed | None) -> None:
        for write in writes:
            future = self._pending.pop(write.key)
            if failure is not None:
                future.set_exception(failure)
                future.exception()  # the caller may have gone away
                continue
            record = Record(write.rev, write.value)
            self._publish(write, record)
            future.set_result(record)

    def _publish(self, write: Write, record: Record) -> None:
        table = self._table(write.key.resource)
        old = table.records.get(write.key)
        if write.deleted:
            table.drop(write.key)
        else:
            table.put(write.key, record)
        table.last_change = self.revision = write.rev
        change = Change(write.rev, write.key, write.value, old.value if old else None, deleted=write.deleted)
        for listener in (*self._listeners.get(write.key.resource, ()), *self._listeners.get("", ())):
            try:
                listener(change)
            except Exception:
                # The write is on disk: whoever made it is told so, and every other listener hears of it.
                log.exception("store listener failed key=%s revision=%d", "/".join(write.key), write.rev)
        idle = not self._sleepers
        self._sleepers.extend(watch for watch in self._watches.get(write.key.resource, ()) if watch.offer(change))
        if idle and self._sleepers:
            self._loop.call_soon(self._wake_some)

    def _wake_some(self) -> None:
        """Some watchers at a time: in between, writers get their answers and everybody else their turn."""
        for _ in range(min(WOKEN_AT_ONCE, len(self._sleepers))):
            self._sleepers.popleft().wake()
        if self._sleepers:
            self._loop.call_soon(self._wake_some)
