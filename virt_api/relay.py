"""Bytes between a websocket and whatever is behind it, until either side ends.

Payload is the binary messages' bytes; their boundaries mean nothing and text messages are ignored. We ping the client
so that idle sessions live through load balancers. Memory stays bounded: each direction reads on only after it wrote.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

from aiohttp import ClientWebSocketResponse, WSCloseCode, WSMsgType, web

from virt_api import refusals

log = logging.getLogger("virt_api.relay")

PROTOCOL = "plain.kubevirt.io"
MAX_MESSAGE = 4 << 20
PING_INTERVAL = 10.0
PING_PAYLOAD = b"keep alive"

WebSocket = web.WebSocketResponse | ClientWebSocketResponse


# Codes that mean: the peer did not say why.
NO_CODE = frozenset({None, 1005, 1006})
GONE = frozenset({WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR})


class End(NamedTuple):
    """Why a relay ended: the close code and text the other side gets."""

    code: int = WSCloseCode.OK
    message: bytes = b""


BROKEN = End(WSCloseCode.INTERNAL_ERROR, b"the other side dropped the connection")


def check_upgrade(request: web.Request) -> None:
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise refusals.bad_request("this is a stream: connect with a websocket (Upgrade: websocket), as virtctl does")


async def accept(request: web.Request) -> web.WebSocketResponse:
    """Answer the client's upgrade; compression would only delay what is already on this machine."""
    ws = web.WebSocketResponse(protocols=(PROTOCOL,), compress=False, max_msg_size=MAX_MESSAGE, autoping=True)
    await ws.prepare(request)
    return ws


async def drain(ws: WebSocket, sink: Callable[[bytes], Awaitable[None]]) -> End:
    """Hand `sink` the bytes a peer sends until it closes; how it ended, in its words, or as a broken connection."""
    while True:
        message = await ws.receive()
        if message.type is WSMsgType.BINARY:
            await sink(message.data)
        elif message.type is WSMsgType.CLOSE:
            text = (message.extra or "").encode()
            return BROKEN if message.data in NO_CODE else End(int(message.data) or WSCloseCode.OK, text)
        elif message.type in GONE:
            return BROKEN


async def relay(
    client: web.WebSocketResponse,
    upwards: Callable[[], Coroutine[Any, Any, End]],
    downwards: Callable[[], Coroutine[Any, Any, End]],
) -> None:
    """Run both directions until one ends, then close the client with that end's code."""
    pings = asyncio.create_task(_ping(client))
    tasks = [asyncio.create_task(upwards()), asyncio.create_task(downwards())]
    end = End(WSCloseCode.INTERNAL_ERROR)
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        end = _first_end(done)
    finally:
        for task in (pings, *tasks):
            task.cancel()
        await asyncio.gather(pings, *tasks, return_exceptions=True)
        with contextlib.suppress(ConnectionError):
            await client.close(code=end.code, message=end.message)


def _first_end(done: set[asyncio.Task[End]]) -> End:
    for task in done:
        error = task.exception()
        if error is None:
            return task.result()
        if not isinstance(error, OSError | asyncio.CancelledError):
            log.error("relay failed", exc_info=error)
    return End(WSCloseCode.INTERNAL_ERROR, b"the connection broke")


async def _ping(client: web.WebSocketResponse) -> None:
    with contextlib.suppress(ConnectionError):
        while True:
            await asyncio.sleep(PING_INTERVAL)
            await client.ping(PING_PAYLOAD)
