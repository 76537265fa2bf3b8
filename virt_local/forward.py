"""The data path of a Service on one machine: listen on an address, copy to a backend, TCP or UDP.

`virt_local.service_proxy` opens, re-targets and closes these. A listener exists only while there is a backend, so a
client without one is refused at once by the kernel instead of hanging.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Sequence, Set
from typing import NamedTuple, Protocol

log = logging.getLogger("virt_local.forward")

CHUNK = 64 << 10
DIAL_TIMEOUT = 5.0
MAX_CONNECTIONS = 1024
MAX_SESSIONS = 1024
MAX_WAITING = 64  # datagrams of one client kept while its session is made
UDP_IDLE = 60.0


class Backend(NamedTuple):
    """A guest's port; `guest` is the VMI's uid, so that a restarted guest is another backend."""

    guest: str
    address: str
    port: int


class Forward(Protocol):
    """A listening address. `retarget` ends connections to guests that no longer run."""

    @property
    def busy(self) -> bool:
        """Whether somebody is still served."""
        ...

    def retarget(self, backends: Sequence[Backend], alive: Set[str]) -> None: ...

    def stop(self) -> None:
        """Listen no more; who is connected stays."""
        ...

    async def close(self) -> None: ...


class TcpForward:
    """One listening TCP address; each connection goes to the next backend in turn that answers."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._server: asyncio.Server | None = None
        self._turn = itertools.count()
        self._backends = tuple(backends)
        self._connections: dict[asyncio.Task[None], Backend | None] = {}

    async def open(self, address: str, port: int) -> None:
        """Listen; raises OSError when the address is taken."""
        self._server = await asyncio.start_server(self._accept, address, port, limit=CHUNK)

    def retarget(self, backends: Sequence[Backend], alive: Set[str]) -> None:
        self._backends = tuple(backends)
        for task, backend in self._connections.items():
            if backend is not None and backend.guest not in alive:
                task.cancel()

    @property
    def busy(self) -> bool:
        return bool(self._connections)

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        self.stop()
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections[task] = None
        try:
            await self._serve(task, reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            del self._connections[task]

    async def _serve(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        dialled = await self._dial()
        if dialled is None:
            writer.transport.abort()
            return
        backend, guest_reader, guest_writer = dialled
        self._connections[task] = backend
        try:
            await splice((reader, writer), (guest_reader, guest_writer))
        except BaseException:
            guest_writer.transport.abort()
            raise

    async def _dial(self) -> tuple[Backend, asyncio.StreamReader, asyncio.StreamWriter] | None:
        backends = self._backends
        first = next(self._turn)
        for offset in range(len(backends)):
            backend = backends[(first + offset) % len(backends)]
            try:
                async with asyncio.timeout(DIAL_TIMEOUT):
                    reader, writer = await asyncio.open_connection(backend.address, backend.port, limit=CHUNK)
            except OSError as err:
                log.debug("backend refused address=%s port=%d error=%s", backend.address, backend.port, err)
                continue
            return backend, reader, writer
        return None


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def splice(left: Stream, right: Stream) -> None:
    """Copy both ways until both have ended; an end of one direction is passed on and leaves the other open."""
    results = await asyncio.gather(_copy(left[0], right[1]), _copy(right[0], left[1]), return_exceptions=True)
    broken = any(isinstance(result, BaseException) for result in results)
    for writer in (left[1], right[1]):
        if broken:
            writer.transport.abort()
            continue
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
    except OSError:
        # One side broke: the other direction must not wait for it.
        sink.transport.abort()
        raise


class UdpForward(asyncio.DatagramProtocol):
    """One UDP address; each client keeps its backend until it was silent for a minute."""

    def __init__(self, backends: Sequence[Backend]) -> None:
        self._backends = tuple(backends)
        self._turn = itertools.count()
        self._transport: asyncio.DatagramTransport | None = None
        self._sessions: dict[tuple[str, int], _Session] = {}
        self._opening: dict[tuple[str, int], list[bytes]] = {}  # what came while the session is being made
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, address: str, port: int) -> None:
        """Listen; raises OSError when the address is taken."""
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(address, port))

    def retarget(self, backends: Sequence[Backend], alive: Set[str]) -> None:
        self._backends = tuple(backends)
        for session in [each for each in self._sessions.values() if each.backend.guest not in alive]:
            session.end()

    @property
    def busy(self) -> bool:
        return bool(self._sessions or self._opening)

    def stop(self) -> None:
        """UDP has one socket for both: who was served is cut off."""
        for task in self._tasks:
            task.cancel()
        for session in list(self._sessions.values()):
            session.end()
        if self._transport is not None:
            self._transport.close()

    async def close(self) -> None:
        self.stop()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        session = self._sessions.get(addr)
        if session is not None:
            session.send(data)
        elif (waiting := self._opening.get(addr)) is not None:
            if len(waiting) < MAX_WAITING:
                waiting.append(data)
        elif self._backends and len(self._sessions) + len(self._opening) < MAX_SESSIONS:
            backend = self._backends[next(self._turn) % len(self._backends)]
            self._opening[addr] = [data]
            task = asyncio.ensure_future(self._begin(addr, backend))
            self._tasks.add(task)
            task.add_done_callback(lambda task: self._begun(addr, task))

    def _begun(self, client: tuple[str, int], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._opening.pop(client, None)

    async def _begin(self, client: tuple[str, int], backend: Backend) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            _, session = await loop.create_datagram_endpoint(
                lambda: _Session(self, client, backend), remote_addr=(backend.address, backend.port)
            )
            self._sessions[client] = session
            for data in self._opening.pop(client):
                session.send(data)

    def reply(self, data: bytes, client: tuple[str, int]) -> None:
        if self._transport is not None:
            self._transport.sendto(data, client)

    def forget(self, client: tuple[str, int]) -> None:
        self._sessions.pop(client, None)


class _Session(asyncio.DatagramProtocol):
    """One client's datagrams to and from one backend."""

    def __init__(self, forward: UdpForward, client: tuple[str, int], backend: Backend) -> None:
        self.backend = backend
        self._forward, self._client = forward, client
        self._transport: asyncio.DatagramTransport | None = None
        self._idle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a datagram endpoint has no other kind
        self._touch()

    def send(self, data: bytes) -> None:
        if self._transport is not None:
            self._touch()
            self._transport.sendto(data)

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002  asyncio's signature
        self._touch()
        self._forward.reply(data, self._client)

    def end(self) -> None:
        self._forward.forget(self._client)
        if self._idle is not None:
            self._idle.cancel()
        if self._transport is not None:
            self._transport.close()

    def _touch(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(UDP_IDLE, self.end)
