"""The websocket's own rules: pings, silence, fragments, nonsense; nothing blocks."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtctl import websocket
from virtctl.websocket import WebSocket


@pytest.fixture
def ends() -> Iterator[tuple[WebSocket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(5)
        yield stream_on(ours), theirs


def stream_on(ours: socket.socket, early: bytes = b"") -> WebSocket:
    connection: Any = SimpleNamespace(socket=ours, take_buffer=lambda: early, close=ours.close)
    return WebSocket(connection)


def frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    size = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    return bytes([(0x80 if final else 0) | opcode]) + size + payload


def test_nothing_there_is_no_wait(ends: tuple[WebSocket, socket.socket]) -> None:
    stream, _ = ends
    assert stream.receive() == b""
    assert stream.closed is None


def test_bytes_that_came_with_the_handshake() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert stream_on(ours, frame(2, b"early")).receive() == b"early"


def test_ping_is_answered_and_text_ignored(ends: tuple[WebSocket, socket.socket]) -> None:
    stream, peer = ends
    peer.sendall(frame(9, b"keep alive") + frame(1, b"text") + frame(2, b"data"))
    assert stream.receive() == b"data"
    pong = peer.recv(100)
    assert (pong[0], pong[1]) == (0x8A, 0x80 | 10)
    assert bytes(b ^ pong[2:6][i % 4] for i, b in enumerate(pong[6:])) == b"keep alive"


def test_an_idle_stream_is_kept_alive(ends: tuple[WebSocket, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    stream, peer = ends
    stream.idle()
    now = websocket.time.monotonic()
    monkeypatch.setattr(websocket.time, "monotonic", lambda: now + websocket.PING_SECONDS + 1)
    stream.idle()
    stream.idle()
    assert peer.recv(100)[0] == 0x89
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(100)


def test_a_dead_peer_is_noticed(ends: tuple[WebSocket, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    stream, _ = ends
    now = websocket.time.monotonic()
    monkeypatch.setattr(websocket.time, "monotonic", lambda: now + websocket.SILENCE_SECONDS + 1)
    stream.idle()
    assert stream.closed is not None
    assert stream.closed.error().message == (
        "websocket: close 1006 (abnormal closure): the server has not answered for 60 seconds"
    )


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(8, (1000).to_bytes(2, "big")), 1000),
        (frame(8, (4001).to_bytes(2, "big") + b"somebody else"), 4001),
        (frame(8, b""), 1005),
        (b"\x82\x85abcde12345", 1002),  # servers must not mask
        (b"\xf2\x01x", 1002),  # nobody agreed on extensions
        (b"\x82\x7f" + (1 << 40).to_bytes(8, "big"), 1002),
    ],
)
def test_how_a_stream_closes(ends: tuple[WebSocket, socket.socket], data: bytes, code: int) -> None:
    stream, peer = ends
    peer.sendall(frame(2, b"last words") + data)
    assert stream.receive() == b"last words"
    assert stream.closed is not None
    assert stream.closed.code == code


def test_connection_that_drops_in_the_middle_of_a_frame(ends: tuple[WebSocket, socket.socket]) -> None:
    stream, peer = ends
    peer.sendall(frame(2, b"whole") + frame(2, b"half of it")[:-3])
    peer.close()
    assert stream.receive() == b"whole"
    assert stream.closed == (1006, "unexpected EOF")


@given(st.lists(st.tuples(st.binary(max_size=400), st.booleans()), max_size=8), st.integers(1, 50))
def test_any_fragments_in_any_pieces_are_the_same_bytes(messages: list[tuple[bytes, bool]], size: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stream = stream_on(ours)
        wire = b"".join(frame(2 if final else 0, data, final=final) for data, final in messages)
        got = b""
        for start in range(0, len(wire), size):
            theirs.sendall(wire[start : start + size])
            got += stream.receive()
        assert got == b"".join(data for data, _ in messages)
        assert stream.closed is None
