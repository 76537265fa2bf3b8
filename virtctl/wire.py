"""HTTP/1.1 over one socket: requests, streamed answers, and the upgrade of a websocket.

Our own because of start-up time: `http.client` imports the e-mail parser and takes 12 of the 45 milliseconds that
`virtctl start` may take in all, and a websocket needs the bare socket after the handshake anyway. Called by
`virtctl.http` (requests, watches) and `virtctl.websocket`.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING, Any

from virtctl.address import Address, address, describe
from virtctl.errors import Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from virt_kube.kubeconfig import ClientConfig

Headers = list[tuple[str, str]]

CONNECT_SECONDS = 5.0
MAX_HEAD_BYTES = 64 << 10
MAX_HEADERS = 500
MAX_BODY_BYTES = 512 << 20
CHUNK = 64 << 10
PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def quote(text: str) -> str:
    """Percent-encode one path segment or query value; a segment of dots stays one segment."""
    if text.strip(".") == "":
        return "%2E" * len(text)
    return "".join(chr(b) if b in _SAFE else f"%{b:02X}" for b in text.encode("utf-8", "surrogateescape"))


class Response:
    """Status and headers of an answer; the body is read on demand, once."""

    def __init__(self, connection: Connection, status: int, reason: str, headers: dict[str, str]) -> None:
        self.warnings: list[str] = []
        self.status = status
        self.reason = reason
        self.headers = headers
        self._connection = connection
        self._bodiless = status in (204, 304) or 100 <= status < 200

    def add_header(self, name: str, value: str) -> None:
        if name == "warning":
            self.warnings.append(value)
        self.headers[name] = value

    @property
    def reusable(self) -> bool:
        framed = self._bodiless or "content-length" in self.headers or self._chunked
        return framed and self.headers.get("connection", "").lower() != "close"

    @property
    def _chunked(self) -> bool:
        return self.headers.get("transfer-encoding", "").lower() == "chunked"

    def read(self, limit: int = MAX_BODY_BYTES) -> bytes:
        """The whole body, at most `limit` bytes (Unreachable beyond)."""
        body = bytearray()
        for part in self.parts():
            body += part
            if len(body) > limit:
                raise Unreachable(f"the server's answer is larger than {limit >> 20} MiB")
        return bytes(body)

    def parts(self) -> Iterator[bytes]:
        """The body as it arrives."""
        connection = self._connection
        if self._bodiless:
            return
        if self._chunked:
            while size := _size(connection.read_line(), 16):
                yield from connection.read_exactly(size)
                connection.read_line()
            while connection.read_line():
                pass
        elif "content-length" in self.headers:
            yield from connection.read_exactly(_size(self.headers["content-length"].encode(), 10))
        else:
            yield from connection.read_to_end()

    def lines(self) -> Iterator[bytes]:
        """The body's lines as they arrive: the events of a watch."""
        pending = bytearray()
        for part in self.parts():
            pending += part
            *complete, rest = pending.split(b"\n") if b"\n" in part else (pending,)
            yield from (bytes(line) for line in complete if line.strip())
            pending = bytearray(rest)
            if len(pending) > MAX_BODY_BYTES:
                raise Unreachable("the server's event is too large")
        if pending.strip():
            yield bytes(pending)


def _size(text: bytes, base: int) -> int:
    try:
        value = int(text.split(b";")[0], base)
    except ValueError:
        value = -1
    if value < 0:
        shown = text[:40].decode("latin-1")
        raise Unreachable(f'the server\'s answer is not HTTP: a body length of "{shown}"')
    return value


class Connection:
    """One socket to the API server, for one exchange after the other. Every failure is an Unreachable."""

    def __init__(self, config: ClientConfig, *, timeout: float | None = None) -> None:
        self.address = address(config.server)
        self._timeout = timeout
        self._buffer = bytearray()
        self._idle: Callable[[], None] | None = None
        try:
            self.socket = self._connect(config)
        except OSError as error:
            raise Unreachable(
                f"Unable to connect to the server: {describe(error, self.address)}", hint=_hint(error, config)
            ) from error

    def _connect(self, config: ClientConfig) -> socket.socket:
        limit = min(CONNECT_SECONDS, self._timeout or CONNECT_SECONDS)
        plain = _dial(config.proxy_url, self.address, limit)
        # Without it the request waits 40 ms for the acknowledgement of the handshake.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = config.ssl_context()
        if context is None:
            plain.settimeout(self._timeout)
            return plain
        try:
            secure = context.wrap_socket(plain, server_hostname=_ascii(config.tls_server_name or self.address.host))
        except BaseException:
            plain.close()
            raise
        secure.settimeout(self._timeout)
        return secure

    def send(self, method: str, target: str, headers: Headers, body: bytes | None) -> Response:
        """One request. `target` is the path below the server's prefix, with its query."""
        lines = [f"{method} {self.address.prefix}{target} HTTP/1.1", f"Host: {self.address.authority}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body is not None or method in ("PUT", "POST", "PATCH"):
            lines.append(f"Content-Length: {len(body or b'')}")
        if any(c in line for line in lines for c in "\r\n\0"):
            raise Unreachable(
                "a header of the request holds a line break; check token and user name for stray characters"
            )
        with self.failures():
            self.socket.sendall("\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + (body or b""))
        return self._response()

    def _response(self) -> Response:
        while True:
            version, _, rest = self.read_line().decode("latin-1").partition(" ")
            code, _, reason = rest.partition(" ")
            if not version.startswith("HTTP/1.") or not code.isdecimal():
                raise Unreachable(
                    f"the server at {self.address.authority} does not speak HTTP",
                    hint="Is it an https:// address written as http://, or another service's port?",
                )
            response = Response(self, int(code), reason, {})
            for _ in range(MAX_HEADERS):
                line = self.read_line()
                if not line:
                    break
                name, _, value = line.decode("utf-8", "replace").partition(":")
                response.add_header(name.strip().lower(), value.strip())
            else:
                raise Unreachable("the server's answer has too many headers")
            if response.status == 101 or not 100 <= response.status < 200:
                return response

    def read_line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise Unreachable("the server's answer is not HTTP: a line without an end")
            self._fill()
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        return line

    def read_exactly(self, size: int) -> Iterator[bytes]:
        while size:
            if not self._buffer:
                self._fill()
            part = bytes(self._buffer[:size])
            del self._buffer[: len(part)]
            size -= len(part)
            yield part

    def read_to_end(self) -> Iterator[bytes]:
        while True:
            if self._buffer:
                yield bytes(self._buffer)
                self._buffer.clear()
            part = self._receive()
            if not part:
                return
            self._buffer += part

    def take_buffer(self) -> bytes:
        """What arrived behind the head of an upgrade."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def on_idle(self, seconds: float, call: Callable[[], None]) -> None:
        """From now on `call` whenever nothing arrived for `seconds`, instead of failing."""
        self.socket.settimeout(seconds)
        self._idle = call

    def _fill(self) -> None:
        part = self._receive()
        if not part:
            raise ConnectionDropped("the server closed the connection before its answer was complete")
        self._buffer += part

    def _receive(self) -> bytes:
        with self.failures():
            while True:
                try:
                    return self.socket.recv(CHUNK)
                except TimeoutError:
                    if self._idle is None:
                        raise
                    self._idle()

    def failures(self) -> _Mapped:
        return _Mapped(self.address)

    def close(self) -> None:
        self.socket.close()


def _dial(proxy_url: str, target: Address, timeout: float) -> socket.socket:
    if proxy_url or any(name in os.environ for name in PROXY_VARIABLES):
        from virtctl import proxy

        return proxy.connect(proxy_url, target, timeout)
    host: Any = _ascii(target.host)  # typeshed knows of str only
    return socket.create_connection((host, target.port), timeout)


def _ascii(host: str) -> str | bytes:
    """Bytes when that is enough: a str makes Python import its IDNA codec."""
    return host.encode() if host.isascii() else host


class ConnectionDropped(Unreachable):
    """The server hung up without an answer: a kept-alive connection may have been too old."""


class _Mapped:
    """Turns socket errors into Unreachable (a class: contextlib would cost its import)."""

    def __init__(self, target: Address) -> None:
        self._address = target

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ConnectionResetError | BrokenPipeError):
            raise ConnectionDropped(f"Unable to connect to the server: {describe(error, self._address)}") from error
        if isinstance(error, OSError):
            raise Unreachable(f"Unable to connect to the server: {describe(error, self._address)}") from error


def _hint(error: OSError, config: ClientConfig) -> str:
    local = address(config.server).host in ("127.0.0.1", "localhost", "::1")
    if isinstance(error, ssl.SSLError):
        return "Check certificate-authority and the server address in the kubeconfig."
    if local:
        return "Is it running? `virtctl local up` starts the one-machine cluster, `virtctl local status` shows it."
    where = f" in {config.source}" if config.source else ""
    return f"Check the server address{where}, the network and the proxy settings."
