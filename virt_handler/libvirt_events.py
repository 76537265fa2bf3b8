"""libvirt's event loop, carried by asyncio.

libvirt lets a process register one event loop, for good, and calls it from whatever thread talks to libvirt. So every
change hops to the asyncio loop, and what is watched there is a duplicate of libvirt's descriptor: libvirt may close its
own, and the number be reused, before the hop arrives. (libvirtaio touches the loop from those threads.)
Called by `libvirt_host` only.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from typing import Any

import libvirt

Callback = Callable[..., None]


class _Handle:
    """One watched descriptor; lives on the loop."""

    def __init__(self, events: AsyncioEvents, watch: int, fd: int, callback: Callback, opaque: Any) -> None:
        self.fd = os.dup(fd)
        self._theirs = fd
        self._events = events
        self._watch = watch
        self._callback = callback
        self._opaque = opaque

    def update(self, mask: int) -> None:
        loop = self._events.loop
        if mask & libvirt.VIR_EVENT_HANDLE_READABLE:
            loop.add_reader(self.fd, self._fire, libvirt.VIR_EVENT_HANDLE_READABLE)
        else:
            loop.remove_reader(self.fd)
        if mask & libvirt.VIR_EVENT_HANDLE_WRITABLE:
            loop.add_writer(self.fd, self._fire, libvirt.VIR_EVENT_HANDLE_WRITABLE)
        else:
            loop.remove_writer(self.fd)

    def close(self) -> None:
        self.update(0)
        os.close(self.fd)
        libvirt.virEventInvokeFreeCallback(self._opaque)

    def _fire(self, event: int) -> None:
        if self._watch in self._events.live:
            self._callback(self._watch, self._theirs, event, self._opaque)


class _Timer:
    """One repeating timer; lives on the loop. An interval below zero means: not now."""

    def __init__(self, events: AsyncioEvents, number: int, callback: Callback, opaque: Any) -> None:
        self._events = events
        self._number = number
        self._callback = callback
        self._opaque = opaque
        self._interval = -1
        self._due: asyncio.TimerHandle | None = None

    def update(self, interval: int) -> None:
        self._interval = interval
        if self._due is not None:
            self._due.cancel()
        self._due = self._events.loop.call_later(interval / 1000, self._fire) if interval >= 0 else None

    def close(self) -> None:
        self.update(-1)
        libvirt.virEventInvokeFreeCallback(self._opaque)

    def _fire(self) -> None:
        self.update(self._interval)
        if self._number in self._events.live:
            self._callback(self._number, self._opaque)


class AsyncioEvents:
    """The six functions libvirt asks of an event loop. `live` is what libvirt has not removed yet."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop
        self.live: set[int] = set()
        self._numbers = itertools.count(1)
        self._items: dict[int, _Handle | _Timer] = {}

    def register(self) -> None:
        libvirt.virEventRegisterImpl(
            self._add_handle, self._update, self._remove, self._add_timeout, self._update, self._remove
        )

    def _add_handle(self, fd: int, mask: int, callback: Callback, opaque: Any) -> int:
        """Refused while the loop stands still: the daemon would ask after a client that can't answer, and hang up."""
        if not self.loop.is_running():
            return -1
        number = next(self._numbers)
        self._items[number] = _Handle(self, number, fd, callback, opaque)
        self.live.add(number)
        self._update(number, mask)
        return number

    def _add_timeout(self, interval: int, callback: Callback, opaque: Any) -> int:
        number = next(self._numbers)
        self._items[number] = _Timer(self, number, callback, opaque)
        self.live.add(number)
        self._update(number, interval)
        return number

    def _update(self, number: int, value: int) -> None:
        self._hop(self._updated, number, value)

    def _remove(self, number: int) -> int:
        self.live.discard(number)
        self._hop(self._removed, number)
        return 0

    def _updated(self, number: int, value: int) -> None:
        if number in self.live:
            self._items[number].update(value)

    def _removed(self, number: int) -> None:
        item = self._items.pop(number, None)
        if item is not None:
            item.close()

    def _hop(self, function: Callable[..., None], *args: int) -> None:
        if not self.loop.is_closed():  # a connection collected after its loop: nothing is watched any more
            self.loop.call_soon_threadsafe(function, *args)


_events: AsyncioEvents | None = None


def carry_events() -> None:
    """Let libvirt's events run on the running loop; before the first connection, and again in a later loop."""
    global _events  # noqa: PLW0603  libvirt itself allows one loop per process
    if _events is None:
        _events = AsyncioEvents()
        _events.loop = asyncio.get_running_loop()
        _events.register()
    _events.loop = asyncio.get_running_loop()
