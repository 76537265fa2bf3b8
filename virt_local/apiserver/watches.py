"""A watch as a client sees it: initial state, selector transitions, bookmarks, an end.

The HTTP face writes what `Session` yields; the in-process client hands it out as WatchEvents.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import NamedTuple

import msgspec

from virt_kube.api import ApiError, EventType, Json
from virt_local.apiserver import represent, typed
from virt_local.apiserver.builtins import type_name
from virt_local.apiserver.call import Call, Params, flag, integer
from virt_local.apiserver.reads import Selection, parse_version
from virt_local.apiserver.status import (
    expired,
    forbidden_value,
    invalid_options,
    not_supported,
    server_error,
    too_large_resource_version,
)
from virt_local.errors import Compacted
from virt_local.store import Change, Record, Store, Watch
from virt_types.errors import Cause

BOOKMARK_EVERY = 60.0  # seconds; what a real server does
BOOKMARK_BEFORE_END = 1.0
MIN_TIMEOUT = 1_800  # seconds a watch without timeoutSeconds lives at least; at most twice that
CHUNK = 500  # initial events handed out at a time


class Event(NamedTuple):
    """`change` is None for initial objects and bookmarks. `value` is a stored object (a bookmark: as served)."""

    type: EventType
    value: bytes
    change: Change | None = None


class WatchOptions(NamedTuple):
    """`since` is None when the current state comes first. Seconds."""

    since: int | None
    bookmarks: bool
    end_marker: bool
    timeout: float


def watch_options(store: Store, params: Params) -> WatchOptions:
    initial, match = params.get("sendInitialEvents"), params.get("resourceVersionMatch", "")
    bookmarks = flag(params, "allowWatchBookmarks")
    wants_initial = initial is not None and flag(params, "sendInitialEvents")
    if causes := _option_causes(match, initial is not None, "continue" in params):
        raise invalid_options("ListOptions", *causes)
    seconds = integer(params, "timeoutSeconds")
    timeout = seconds or MIN_TIMEOUT * (1 + random.random())  # noqa: S311  so that not all come back at once
    text = params.get("resourceVersion", "")
    version = parse_version(text or "0")
    if version is None:
        why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise server_error(why)
    if version > store.revision:
        raise too_large_resource_version(version, store.revision)
    if wants_initial or (version == 0 and initial is None):
        return WatchOptions(None, bookmarks, wants_initial and bookmarks, timeout)
    return WatchOptions(version or store.revision, bookmarks, False, timeout)


def _option_causes(match: str, initial: bool, continued: bool) -> list[Cause]:
    found = []
    if initial and match != "NotOlderThan":
        why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        found.append(forbidden_value("resourceVersionMatch", why))
    if match and not initial:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        found.append(forbidden_value("resourceVersionMatch", why))
    if match not in ("", "NotOlderThan"):
        found.append(not_supported("resourceVersionMatch", match, ["NotOlderThan"]))
    if continued:
        why = "resourceVersionMatch is forbidden when continue is provided"
        found.append(forbidden_value("resourceVersionMatch", why))
    return found


class Session:
    """Iterate `events()` once: it yields groups of events that can be written together.

    `current` shows a stored object as its schema has it now.
    """

    def __init__(
        self, store: Store, call: Call, chosen: Selection, options: WatchOptions, current: Callable[[Record], Record]
    ) -> None:
        self._store = store
        self._current = current
        self._call = call
        self._chosen = chosen
        self._options = options
        self._namespace = call.namespace if call.resource.namespaced else ""

    async def events(self) -> AsyncGenerator[list[Event], None]:
        """Raises ApiError 410 when the revision to continue from is no longer kept."""
        resource, options = self._call.resource.stored_as, self._options
        if options.timeout < 0:
            return
        since = self._store.revision if options.since is None else options.since
        initial = self._initial() if options.since is None else []
        try:
            watch = await self._store.watch(resource, self._namespace, since)
        except Compacted as error:
            raise expired(f"too old resource version: {since} ({error.oldest})") from None
        try:
            for start in range(0, len(initial), CHUNK):
                yield initial[start : start + CHUNK]
            if options.end_marker:
                yield [self._bookmark(since, end_of_initial=True)]
            async with aclosing(self._live(watch)) as live:
                async for group in live:
                    yield group
        finally:
            self._store.unwatch(watch)

    def _initial(self) -> list[Event]:
        found = self._store.objects(self._call.resource.stored_as, self._namespace)
        shown = (self._current(record).value for _, record in found)
        return [Event("ADDED", value) for value in shown if self._chosen.matches(value)]

    async def _live(self, watch: Watch) -> AsyncGenerator[list[Event], None]:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._options.timeout
        last_words = self._options.bookmarks
        while True:
            left = end - loop.time()
            if left <= 0:
                return
            pause = left
            if last_words:
                pause = min(left - BOOKMARK_BEFORE_END, BOOKMARK_EVERY) if left > BOOKMARK_BEFORE_END else left
            changes: list[Change] = []
            try:
                async with asyncio.timeout(max(pause, 0.001)):
                    changes = await watch.batch()
            except TimeoutError:
                if last_words:
                    yield [self._bookmark(self._store.revision)]
                    last_words = end - loop.time() > BOOKMARK_BEFORE_END
                continue
            events = [event for change in changes if (event := self._translate(change)) is not None]
            if events:
                yield events
            if watch.closed and not changes:
                return

    def _translate(self, change: Change) -> Event | None:
        """What a change means to somebody who sees only what the selector matches."""
        before = change.prev is not None and self._chosen.matches(change.prev)
        after = not change.deleted and self._chosen.matches(change.value)
        if after:
            return Event("MODIFIED" if before else "ADDED", change.value, change)
        if not before:
            return None
        if change.deleted or change.prev is None:
            return Event("DELETED", change.value, change)
        left = change.cache.get("left")
        if not isinstance(left, bytes):  # it left the selector: the old content, with the new revision
            left = change.cache["left"] = represent.with_revision(change.prev, change.rev)
        return Event("DELETED", left, change)

    def _bookmark(self, revision: int, *, end_of_initial: bool = False) -> Event:
        meta: Json = {"resourceVersion": str(revision)}
        if end_of_initial:
            meta["annotations"] = {"k8s.io/initial-events-end": "true"}
        call = self._call
        obj: Json = {"kind": call.resource.kind, "apiVersion": call.api_version, "metadata": meta}
        if call.resource.builtin:
            typed.normal(type_name(call.resource), obj)
        return Event("BOOKMARK", msgspec.json.encode(obj))


def plain_line(call: Call, event: Event) -> bytes:
    """One line of a watch stream; shared by all watchers of the same change."""
    if event.type == "BOOKMARK":
        return line(event.type, event.value)
    if event.change is None:
        return line(event.type, represent.served(event.value, call.resource, call.version))
    return cached(
        event,
        ("line", event.type, call.resource.qualified, call.version.name),
        lambda: line(event.type, represent.served(event.value, call.resource, call.version)),
    )


def cached(event: Event, key: tuple[object, ...], make: Callable[[], bytes]) -> bytes:
    if event.change is None:
        return make()
    found = event.change.cache.get(key)
    if not isinstance(found, bytes):
        found = event.change.cache[key] = make()
    return found


def line(kind: str, value: bytes) -> bytes:
    return b'{"type":"' + kind.encode() + b'","object":' + value + b"}\n"


def error_line(error: ApiError) -> bytes:
    """The last line of a stream that can't go on."""
    return line("ERROR", msgspec.json.encode(error.status))
