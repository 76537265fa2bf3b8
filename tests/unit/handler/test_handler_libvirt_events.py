"""libvirt's event loop on asyncio's: what is watched fires, and nothing is watched that nobody would answer."""

from __future__ import annotations

import asyncio
import os

import libvirt

from virt_handler.libvirt_events import AsyncioEvents

READABLE = libvirt.VIR_EVENT_HANDLE_READABLE


def test_a_descriptor_is_watched_while_the_loop_runs_only() -> None:
    """A connection made between two loops goes without keep-alive, or the daemon hangs up after half a minute."""
    events, reader_writer, told = AsyncioEvents(), os.pipe(), asyncio.Event()
    reader, writer = reader_writer

    async def watched() -> int:
        events.loop = asyncio.get_running_loop()
        number = events._add_handle(reader, READABLE, lambda *_: told.set(), None)
        os.write(writer, b"x")
        await asyncio.wait_for(told.wait(), 5)
        events._update(number, 0)
        await asyncio.sleep(0)
        return number

    number = asyncio.run(watched())
    assert events.live == {number}
    assert events._add_handle(reader, READABLE, lambda *_: None, None) == -1
    assert events.live == {number}
    os.close(writer)
    os.close(reader)
    os.close(events._items[number].fd)  # type: ignore[union-attr]
