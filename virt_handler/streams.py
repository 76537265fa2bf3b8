"""A guest's console and screen as websockets: one client at a time, the newest wins unless it asks not to.

The console never makes a guest wait: what a slow reader does not take in time is lost to it (the log has it all). A
screen's bytes can't be left out, so there QEMU waits for the reader. Called by `server`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from aiohttp import WSCloseCode, WSMsgType, web

from virt_handler import sockets
from virt_handler.model import GuestFiles

log = logging.getLogger("virt_handler.streams")

PROTOCOL = "plain.kubevirt.io"
TAKEN_OVER = 4000
PING_INTERVAL = 10.0
READ = 1 << 16
BACKLOG = 1 << 20
MAX_MESSAGE = 4 << 20
DEFAULT_REPLAY, MAX_REPLAY = 4096, 1 << 20


class Active:
    """Who is connected to what: at most one websocket per stream."""

    def __init__(self) -> None:
        self._clients: dict[str, web.WebSocketResponse] = {}
        self._slots: set[str] = set()

    def reserve(self, keys: Iterable[str]) -> str | None:
        """The first of several streams that nobody uses, from now on until `release`; None when all are in use."""
        key = next((each for each in keys if each not in self._slots), None)
        if key is not None:
            self._slots.add(key)
        return key

    def release(self, key: str) -> None:
        self._slots.discard(key)

    def busy(self, key: str) -> bool:
        return key in self._clients

    async def take(self, key: str, client: web.WebSocketResponse, what: str) -> None:
        """Make `client` the one; the one before it is told and closed."""
        former, self._clients[key] = self._clients.get(key), client
        if former is not None:
            text = f"the {what} was taken over by another client"
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(2.0):
                    await former.close(code=TAKEN_OVER, message=text.encode())

    def leave(self, key: str, client: web.WebSocketResponse) -> None:
        if self._clients.get(key) is client:
            del self._clients[key]

    async def close_all(self) -> None:
        """The agent goes: say so to everybody."""
        for client in list(self._clients.values()):
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await client.close(code=WSCloseCode.GOING_AWAY, message=b"the node agent is restarting")


def open_websocket() -> web.WebSocketResponse:
    return web.WebSocketResponse(
        protocols=(PROTOCOL,), compress=False, heartbeat=None, max_msg_size=MAX_MESSAGE, autoping=True
    )


async def console(
    request: web.Request, files: GuestFiles, active: Active, key: str, replay: int
) -> web.WebSocketResponse:
    """Serve a console until either side ends; raises ConsoleError before the websocket opens."""
    reader, writer = await sockets.connect(files.serial_socket, "serial console")
    client = open_websocket()
    try:
        await client.prepare(request)
        await active.take(key, client, "console")
        if replay and (tail := await asyncio.to_thread(read_tail, Path(files.serial_log), replay)):
            await client.send_bytes(tail)
        await _both(client, lambda: _pump_lossy(reader, client), lambda: _from_client(client, writer))
    finally:
        active.leave(key, client)
        await _close(writer)
    return client


async def session(request: web.Request, socket: str, what: str, active: Active, key: str) -> web.WebSocketResponse:
    """Serve a screen or a USB redirection until either side ends; raises ConsoleError before the websocket opens."""
    reader, writer = await sockets.connect(socket, what)
    client = open_websocket()
    try:
        await client.prepare(request)
        await active.take(key, client, what)
        await _both(client, lambda: _pump(reader, client), lambda: _from_client(client, writer))
    finally:
        active.leave(key, client)
        await _close(writer)
    return client


def read_tail(path: Path, count: int) -> bytes:
    """The last `count` bytes of a log; of the rotated part too when the present one is shorter."""
    count = min(count, MAX_REPLAY)
    tail = _tail_of(path, count)
    if len(tail) < count:
        tail = _tail_of(path.with_name(f"{path.name}.0"), count - len(tail)) + tail
    return tail


def _tail_of(path: Path, count: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        size = os.fstat(fd).st_size
        return os.pread(fd, count, max(0, size - count))
    except OSError:
        return b""
    finally:
        os.close(fd)


async def _both(
    client: web.WebSocketResponse, out: Callable[[], Awaitable[None]], into: Callable[[], Awaitable[None]]
) -> None:
    """Both directions and pings until the first ends; then the client is told why."""
    tasks = [asyncio.ensure_future(work()) for work in (out, into, lambda: _ping(client))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended = tasks[0].done() and not tasks[0].cancelled()
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception) and not isinstance(result, OSError):
                log.error("stream broke", exc_info=result)
        if not client.closed:
            message = b"the guest closed the connection: it was stopped or restarted" if ended else b""
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(2.0):
                    await client.close(code=WSCloseCode.OK, message=message)


async def _pump(reader: asyncio.StreamReader, client: web.WebSocketResponse) -> None:
    while data := await reader.read(READ):
        await client.send_bytes(data)


async def _pump_lossy(reader: asyncio.StreamReader, client: web.WebSocketResponse) -> None:
    """Read as fast as the guest writes; beyond the backlog the oldest is dropped."""
    backlog: deque[bytes] = deque()
    size, filled, over = 0, asyncio.Event(), False

    async def send() -> None:
        nonlocal size
        while True:
            await filled.wait()
            while backlog:
                data = backlog.popleft()
                size -= len(data)
                await client.send_bytes(data)
            filled.clear()
            if over:
                return

    sender = asyncio.create_task(send())
    try:
        while (data := await reader.read(READ)) and not sender.done():
            backlog.append(data)
            size += len(data)
            while size > BACKLOG:
                size -= len(backlog.popleft())
            filled.set()
        over = True
        filled.set()
        await sender
    finally:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)


async def _from_client(client: web.WebSocketResponse, writer: asyncio.StreamWriter) -> None:
    async for message in client:
        if message.type is WSMsgType.BINARY:
            writer.write(message.data)
            await writer.drain()


async def _ping(client: web.WebSocketResponse) -> None:
    while True:
        await asyncio.sleep(PING_INTERVAL)
        await client.ping(b"keep alive")


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
