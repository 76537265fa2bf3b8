"""A local copy of one resource, kept true by list and watch; who wants to hear of changes adds a handler.

Handlers get `(old, new)`: old is None for an object first seen, new is None for one that is gone. Events that are
doubled, late or out of order don't turn the copy back: an object's resourceVersion only grows. The result of one's own
write may be handed in with `absorb`, so that the next reconcile does not see the past. Used by all controllers.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar

from virt_kube.api import ApiError, Gone, KubeClient, ListPage, NotFound, Resource, ServerFault
from virt_types.errors import VirtError
from virt_types.meta import ObjectMeta

log = logging.getLogger("virt_kube.informer")

MIN_BACKOFF = 0.8
MAX_BACKOFF = 30.0
BACKOFF_RESET = 120.0  # a watch that lived this long was healthy
SHORT_WATCH = 1.0  # a watch ending sooner without an event counts as a failure
TOMBSTONES = 4096
UNSERVED_RETRY = 60.0  # seconds until an optional resource that is not served is asked for again


class Object(Protocol):
    """What an informer can hold: a Struct with Kubernetes metadata."""

    api_version: str | None
    kind: str | None
    metadata: ObjectMeta


T = TypeVar("T", bound=Object)
Handler = Callable[[T | None, T | None], None]
Indexer = Callable[[T], Iterable[str]]


class Key(NamedTuple):
    """An object's place; `namespace` is "" for cluster-scoped ones."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def key_of(obj: Object) -> Key:
    return Key(obj.metadata.namespace, obj.metadata.name)


class Informer(Generic[T]):
    """The cache of `resource`. Objects handed out are shared: read them, never change them.

    An `optional` resource may be one the API doesn't serve: its cache is then empty, `served` is false, and it is asked
    for again once in a while.
    """

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        decode: Callable[[bytes], T],
        *,
        namespace: str = "",
        label_selector: str = "",
        indexers: Mapping[str, Indexer[T]] | None = None,
        optional: bool = False,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.resource = resource
        self.synced = asyncio.Event()
        self.served = True
        self._optional = optional
        self._client = client
        self._decode = decode
        self._namespace = namespace
        self._label_selector = label_selector
        self._jitter = jitter
        self._objects: dict[Key, T] = {}
        self._indexers = dict(indexers or {})
        self._indices: dict[str, dict[str, dict[Key, T]]] = {name: {} for name in self._indexers}
        self._tombstones: OrderedDict[Key, int] = OrderedDict()
        self._handlers: list[Handler[T]] = []
        self._version = ""

    # What readers use.

    def get(self, namespace: str, name: str) -> T | None:
        return self._objects.get(Key(namespace, name))

    def list(self, namespace: str = "") -> list[T]:
        """All objects, or those of one namespace."""
        if not namespace:
            return [*self._objects.values()]
        return [obj for key, obj in self._objects.items() if key.namespace == namespace]

    def by_index(self, index: str, value: str) -> Iterable[T]:
        """The objects for which the indexer `index` gave `value`."""
        return tuple(self._indices[index].get(value, {}).values())

    def __contains__(self, key: Key) -> bool:
        return key in self._objects

    def __len__(self) -> int:
        return len(self._objects)

    def add_handler(self, handler: Handler[T]) -> None:
        """Call `handler(old, new)` after each change; for what is there already, at once."""
        self._handlers.append(handler)
        for obj in self._objects.values():
            handler(None, obj)

    def absorb(self, data: bytes) -> T | None:
        """Take in an object the API has just answered; older than what is known, it is ignored.

        Returns what the cache holds of it now. Never removes an object: only a watch or a list proves that it is gone.
        """
        obj = self._read(data)
        if obj is None:
            return None
        self._store(obj)
        return self._objects.get(key_of(obj))

    # What keeps it true.

    async def run(self) -> None:
        """List and watch until cancelled, whatever the API does meanwhile."""
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                if not self._version:
                    self._replace(await self._list())
                if not await self._watch() and loop.time() - began < SHORT_WATCH:
                    raise ServerFault("the watch ended at once")
                failures = 0
                continue
            except Gone as error:
                log.info("relisting resource=%s reason=%s", self.resource.plural, error.message)
                self._version = ""
            except ApiError as error:
                if self._optional and isinstance(error, NotFound):
                    self._replace(ListPage([], ""))
                    self.served = False
                    await asyncio.sleep(UNSERVED_RETRY)
                    continue
                if isinstance(error, ServerFault) or self._version:
                    log.info("watch failed resource=%s error=%s", self.resource.plural, error)
                else:
                    log.warning("list failed resource=%s error=%s", self.resource.plural, error)
            if loop.time() - began > BACKOFF_RESET:
                failures = 0
            await asyncio.sleep(self._backoff(failures))
            failures += 1

    def _backoff(self, failures: int) -> float:
        """0.8 s doubled per failure, up to 30 s, of which up to half is left to chance."""
        full = min(MAX_BACKOFF, MIN_BACKOFF * 2.0 ** min(failures, 10) * 2)
        return max(MIN_BACKOFF, full * (1 + self._jitter()) / 2)

    async def _list(self) -> ListPage:
        return await self._client.list(self.resource, self._namespace, label_selector=self._label_selector)

    async def _watch(self) -> bool:
        """Follow one watch to its end; whether it brought anything."""
        stream = self._client.watch(
            self.resource,
            self._namespace,
            resource_version=self._version,
            label_selector=self._label_selector,
        )
        brought = False
        try:
            async for event in stream:
                brought = True
                if event.type == "BOOKMARK":
                    self._bookmark(event.object)
                elif (obj := self._read(event.object)) is not None:
                    self._advance(obj.metadata.resource_version)
                    if event.type == "DELETED":
                        self._delete(obj)
                    else:
                        self._store(obj)
        finally:
            await _close(stream)
        return brought

    def _bookmark(self, data: bytes) -> None:
        if (obj := self._read(data)) is not None:
            self._advance(obj.metadata.resource_version)

    def _advance(self, version: str) -> None:
        if version and not _later(self._version, version):
            self._version = version

    def _replace(self, page: ListPage) -> None:
        """Make the cache what the list says, but keep what is newer than the list."""
        listed: set[Key] = set()
        complete = True
        for data in page.items:
            obj = self._read(data)
            if obj is None:
                complete = False
                continue
            listed.add(key_of(obj))
            self._store(obj)
        if complete:
            for key in self._objects.keys() - listed:
                if not _later(self._objects[key].metadata.resource_version, page.resource_version):
                    self._forget(key)
        self._tombstones.clear()
        self.served = True
        self._version = page.resource_version
        self.synced.set()

    def _read(self, data: bytes) -> T | None:
        """One object; None when it can't be read, which must not stop the others."""
        try:
            obj = self._decode(data)
        except VirtError as error:
            log.error("unreadable object resource=%s error=%s", self.resource.plural, error)  # noqa: TRY400
            return None
        obj.metadata.managed_fields = []  # a third of an object's memory, and nobody here reads it
        # Lists of built-in kinds carry no type.
        obj.kind = obj.kind or self.resource.kind
        obj.api_version = obj.api_version or self.resource.api_version
        return obj

    def _store(self, obj: T) -> None:
        key = key_of(obj)
        version = obj.metadata.resource_version
        old = self._objects.get(key)
        if old is not None and (_later(old.metadata.resource_version, version) or _same(old, obj)):
            return
        if old is None and version.isdigit() and int(version) <= self._tombstones.get(key, -1):
            return
        self._objects[key] = obj
        self._reindex(key, old, obj)
        if old is not None and old.metadata.uid != obj.metadata.uid:
            self._tell(old, None)  # its DELETED was missed: nobody may take the new object for the old one
            old = None
        self._tell(old, obj)

    def _delete(self, obj: T) -> None:
        key = key_of(obj)
        version = obj.metadata.resource_version
        old = self._objects.get(key)
        if old is not None and old.metadata.uid != obj.metadata.uid and _later(old.metadata.resource_version, version):
            return
        if version.isdigit():
            self._tombstones[key] = max(int(version), self._tombstones.pop(key, 0))
            if len(self._tombstones) > TOMBSTONES:
                self._tombstones.popitem(last=False)
        if old is not None:
            self._forget(key)

    def _forget(self, key: Key) -> None:
        old = self._objects.pop(key)
        self._reindex(key, old, None)
        self._tell(old, None)

    def _reindex(self, key: Key, old: T | None, new: T | None) -> None:
        for name, indexer in self._indexers.items():
            index = self._indices[name]
            for value in indexer(old) if old is not None else ():
                bucket = index.get(value)
                if bucket is not None:
                    bucket.pop(key, None)
                    if not bucket:
                        del index[value]
            for value in indexer(new) if new is not None else ():
                index.setdefault(value, {})[key] = new  # type: ignore[assignment]  # the loop is empty for None

    def _tell(self, old: T | None, new: T | None) -> None:
        for handler in self._handlers:
            handler(old, new)


async def _close(stream: AsyncIterator[object]) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()


def _same(left: Object, right: Object) -> bool:
    return (left.metadata.uid, left.metadata.resource_version) == (right.metadata.uid, right.metadata.resource_version)


def _later(left: str, right: str) -> bool:
    """Whether resourceVersion `left` is after `right`; those that are no numbers are ordered by arrival only."""
    return left.isdigit() and right.isdigit() and int(left) > int(right)
