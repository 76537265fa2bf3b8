"""The client side of one websocket (RFC 6455) as KubeVirt's streams use it: binary, subprotocol plain.kubevirt.io.

It does not block: callers wait with select on `fileno()` and call `receive`. Written here rather than taken from
websocket-client because the handshake has to go through `virtctl.wire` (proxies, path prefixes, impersonation, -v).
"""

from __future__ import annotations

import binascii
import hashlib
import os
import select
import ssl
import time
from typing import TYPE_CHECKING, NamedTuple

from virtctl.errors import ApiRefusal, StreamBroken, Unreachable
from virtctl.http import refusal

if TYPE_CHECKING:
    from virtctl.http import Client
    from virtctl.wire import Connection, Response

SUBPROTOCOL = "plain.kubevirt.io"
PING_SECONDS = 10.0
SILENCE_SECONDS = 60.0
SEND_SECONDS = 60.0
MAX_MESSAGE = 64 << 20
CHUNK = 64 << 10

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_ACCEPT_SALT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CODES = {
    1000: "normal",
    1001: "going away",
    1002: "protocol error",
    1003: "unsupported data",
    1005: "no status",
    1006: "abnormal closure",
    1008: "policy violation",
    1009: "message too big",
    1011: "internal server error",
    1012: "service restart",
    1013: "try again later",
    4000: "taken over",  # what our node agent tells a client whose place another one takes
}


class Closed(NamedTuple):
    """How the stream ended; 1006 is a connection that broke without a close frame."""

    code: int
    reason: str

    def error(self) -> StreamBroken:
        """For a close that is not the stream's proper end."""
        title = f" ({CODES[self.code]})" if self.code in CODES else ""
        reason = f": {self.reason}" if self.reason else ""
        return StreamBroken(f"websocket: close {self.code}{title}{reason}", self.code)


class WebSocket:
    """An open stream. `closed` is set when it has ended."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._socket = connection.socket
        self._socket.setblocking(False)
        self._buffer = bytearray(connection.take_buffer())
        self._heard = self._pinged = time.monotonic()
        self._ended = False
        self.closed: Closed | None = None

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, data: bytes) -> None:
        """Send bytes as one binary message."""
        if data:
            self._send(_BINARY, data)

    def receive(self) -> bytes:
        """Everything that has arrived, without waiting. Empty: nothing has, or the stream is `closed`."""
        self._fill()
        output = bytearray()
        while self.closed is None and (frame := self._next_frame()) is not None:
            self._handle(frame, output)
        if self._ended and self.closed is None:
            self.closed = Closed(1006, "unexpected EOF")
        return bytes(output)

    def idle(self) -> None:
        """Call every few seconds: pings, and gives up on a peer that has been silent for a minute."""
        now = time.monotonic()
        if self.closed is None and now - self._heard > SILENCE_SECONDS:
            self.closed = Closed(1006, f"the server has not answered for {SILENCE_SECONDS:.0f} seconds")
        if self.closed is None and now - self._pinged > PING_SECONDS:
            self._pinged = now
            self._send(_PING, b"keep alive")

    def close(self) -> None:
        if self.closed is None:
            self._send(_CLOSE, (1000).to_bytes(2, "big"))
        self._connection.close()

    def _fill(self) -> None:
        while not self._ended:
            try:
                part = self._socket.recv(CHUNK)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:
                self.closed = Closed(1006, (error.strerror or str(error)).lower())
                return
            if not part:
                self._ended = True
                return
            self._heard = time.monotonic()
            self._buffer += part
            if len(self._buffer) >= MAX_MESSAGE:
                return

    def _next_frame(self) -> tuple[int, bytes] | None:
        """The next whole frame, (opcode, payload), or None."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start], "big")
        if buffer[1] & 0x80 or buffer[0] & 0x70 or size > MAX_MESSAGE:
            self.closed = Closed(1002, "the server sent a frame we can't read")
            return None
        if len(buffer) < start + size:
            return None
        frame = buffer[0] & 0x0F, bytes(buffer[start : start + size])
        del buffer[: start + size]
        return frame

    def _handle(self, frame: tuple[int, bytes], output: bytearray) -> None:
        opcode, payload = frame
        # Message boundaries mean nothing in these streams, so fragments are data like any other; text is not used.
        if opcode in (_BINARY, _CONTINUATION):
            output += payload
        elif opcode == _PING:
            self._send(_PONG, payload)
        elif opcode == _CLOSE:
            code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            self.closed = Closed(code, payload[2:].decode("utf-8", "replace"))

    def _send(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        if size < 126:
            head = bytes([0x80 | opcode, 0x80 | size])
        elif size < 1 << 16:
            head = bytes([0x80 | opcode, 0x80 | 126]) + size.to_bytes(2, "big")
        else:
            head = bytes([0x80 | opcode, 0x80 | 127]) + size.to_bytes(8, "big")
        key = os.urandom(4)
        self._write(head + key + _masked(payload, key))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                if not select.select([], [self._socket], [], SEND_SECONDS)[1]:
                    self.closed = Closed(1006, "the server takes no more data")
                    return
            except OSError as error:
                self.closed = Closed(1006, (error.strerror or str(error)).lower())
                return


def _masked(payload: bytes, key: bytes) -> bytes:
    size = len(payload)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")


def connect(client: Client, target: str) -> WebSocket:
    """Open a stream. Raises ApiRefusal with the server's reason, or Unreachable."""
    key = binascii.b2a_base64(os.urandom(16), newline=False)
    headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key.decode()),
        ("Sec-WebSocket-Protocol", SUBPROTOCOL),
    ]
    connection, response = client.open_stream(target, headers)
    try:
        _check_handshake(response, key, target)
        return WebSocket(connection)
    except BaseException:
        connection.close()
        raise


def _check_handshake(response: Response, key: bytes, target: str) -> None:
    if response.status != 101:
        raise _handshake_error(response.status, response.read(1 << 20), response.headers, target)
    digest = hashlib.sha1(key + _ACCEPT_SALT, usedforsecurity=False).digest()
    if response.headers.get("sec-websocket-accept", "").encode() != binascii.b2a_base64(digest, newline=False):
        raise Unreachable("Can't connect to websocket: the server did not answer the websocket handshake")


def _handshake_error(code: int, body: bytes, headers: dict[str, str], target: str) -> ApiRefusal:
    error = refusal(code, body, "GET", target)
    if error.status:
        return error
    text = f"Can't connect to websocket ({code}): websocket: bad handshake"
    if headers.get("content-type", "").startswith("text/plain") and body.strip():
        text += f": application info: {body[:400].decode('utf-8', 'replace').strip()}"
    return ApiRefusal(text, code, hint=error.hint)
