"""What one client, and all together, may take of the server: connections, requests at a time, watches, unread bytes.

`server.py` listens with `Connection`s, `door.py` passes every request through the `Gate`. Nothing here waits or polls:
a deadline is set when something begins and dropped when it ends. Refusals are 429 with Retry-After, as a real server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from virt_kube.admission import UserInfo
from virt_kube.api import ApiError
from virt_local.apiserver.status import failure

log = logging.getLogger("virt_local.apiserver")

RETRY_AFTER = 1  # seconds
SPARE_FILES = 256  # descriptors left for the store, sockets of guests and everything else
_BUSY = "Too many requests, please try again later."


class Limits(NamedTuple):
    """`strangers` are connections that nobody has yet proved to be on. Seconds and bytes."""

    connections: int = 8_192
    strangers: int = 512
    user_connections: int = 4_096
    requests: int = 400
    streams: int = 6_000  # watches, consoles, forwarded ports
    user_streams: int = 3_000
    unread: int = 256 << 20  # answers made and not yet taken, of all clients
    bodies: int = 64 << 20  # requests half received, of all clients
    body_seconds: float = 60.0
    stall_seconds: float = 30.0
    handshake_seconds: float = 10.0
    headers: int = 128
    field: int = 16 * 1024  # one header field, and the request line


DEFAULTS = Limits()


def too_many(why: str = _BUSY) -> ApiError:
    return failure(429, "TooManyRequests", why, {"retryAfterSeconds": RETRY_AFTER})


class Gate:
    """Counts what is going on. All methods run on the server's loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._strangers: dict[Connection, None] = {}  # oldest first
        self._stalled: set[Connection] = set()
        self._connections = 0
        self._of_user: Counter[str] = Counter()
        self._requests = 0
        self._streams = 0
        self._streams_of_user: Counter[str] = Counter()
        self._bodies = 0

    def opened(self, connection: Connection) -> None:
        """A stranger too many makes the one go who has been silent for longest."""
        self._connections += 1
        self._strangers[connection] = None
        if len(self._strangers) > self.limits.strangers or self._connections > self.limits.connections:
            next(iter(self._strangers)).drop("too many connections nobody identified on")

    def closed(self, connection: Connection) -> None:
        self._connections -= 1
        self._strangers.pop(connection, None)
        self._stalled.discard(connection)
        if connection.user:
            _less(self._of_user, connection.user)

    def known(self, connection: Any, user: UserInfo) -> None:
        """Somebody has proved who they are. Raises 429 when they have too many connections already."""
        if not isinstance(connection, Connection) or connection.user == user.name:
            return
        if self._of_user[user.name] >= self.limits.user_connections:
            raise too_many(f"User {user.name!r} has {self.limits.user_connections} connections open already")
        self._strangers.pop(connection, None)
        if connection.user:
            _less(self._of_user, connection.user)
        connection.user = user.name
        self._of_user[user.name] += 1

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Room for one more request that ends by itself. Raises 429."""
        if self._requests >= self.limits.requests or self._unread() > self.limits.unread:
            raise too_many()
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    @contextlib.contextmanager
    def stream(self, user: UserInfo) -> Iterator[None]:
        """Room for one more request without an end. Raises 429."""
        if self._streams >= self.limits.streams or self._unread() > self.limits.unread:
            raise too_many()
        if self._streams_of_user[user.name] >= self.limits.user_streams:
            raise too_many(f"User {user.name!r} has {self.limits.user_streams} watches and streams open already")
        self._streams += 1
        self._streams_of_user[user.name] += 1
        try:
            yield
        finally:
            self._streams -= 1
            _less(self._streams_of_user, user.name)

    @contextlib.contextmanager
    def body(self) -> Iterator[Body]:
        """Room for the body of one request, taken piece by piece."""
        body = Body(self)
        try:
            yield body
        finally:
            self._bodies -= body.size

    def take(self, size: int) -> None:
        if self._bodies + size > self.limits.bodies:
            raise too_many()
        self._bodies += size

    def stalled(self, connection: Connection) -> None:
        self._stalled.add(connection)

    def flowing(self, connection: Connection) -> None:
        self._stalled.discard(connection)

    def _unread(self) -> int:
        return sum(connection.unread() for connection in self._stalled)


class Body:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.size = 0

    def take(self, size: int) -> None:
        """Raises 429."""
        self._gate.take(size)
        self.size += size


def _less(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]


class Connection(web.RequestHandler):
    """One client's connection. Whoever asks and then does not read is hung up on; bad heads get a Status."""

    def __init__(self, manager: web.Server, gate: Gate, **options: Any) -> None:
        super().__init__(manager, **options)
        self.user = ""
        self._gate = gate
        self._deadline: asyncio.TimerHandle | None = None
        self._left = 0  # unread bytes at the last look

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._gate.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget()
        self._gate.closed(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._gate.stalled(self)
        self._left = self.unread()
        self._deadline = self._loop.call_later(self._gate.limits.stall_seconds, self._look)

    def resume_writing(self) -> None:
        self._forget()
        self._gate.flowing(self)
        super().resume_writing()

    def unread(self) -> int:
        """Bytes made and not yet taken by the client's side."""
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    def _look(self) -> None:
        left = self.unread()
        if left >= self._left:
            self.drop("it does not read what it asked for")
            return
        self._left = left
        self._deadline = self._loop.call_later(self._gate.limits.stall_seconds, self._look)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def drop(self, why: str) -> None:
        log.info("connection dropped user=%s why=%r", self.user or "-", why)
        if self.transport is not None:
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A Status for a request whose head can't be read; one line in the log instead of a traceback."""
        if status == 500 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        code, reason = (431, "RequestHeaderFieldsTooLarge") if isinstance(exc, LineTooLong) else (status, "BadRequest")
        log.info("request refused code=%d error=%s", code, type(exc).__name__)
        refused = failure(code, reason, message.partition("\n")[0] if message else "the request can't be read")
        answer = web.Response(status=code, body=msgspec.json.encode(refused.status), content_type="application/json")
        answer.force_close()
        return answer


class Listener(web.Server):
    """Makes a `Connection` for each client."""

    def __init__(self, handler: Any, gate: Gate, **options: Any) -> None:
        super().__init__(handler, **options)
        self._gate = gate

    def __call__(self) -> web.RequestHandler:
        return Connection(self, self._gate, loop=self._loop, **self._kwargs)


def raise_file_limit(connections: int) -> int:
    """Let this process open as many files as the connections need; how many connections that really makes room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == resource.RLIM_INFINITY else max(min(connections, soft - SPARE_FILES), 16)
