"""The way to the node agent: HTTP and websockets over its unix socket.

One machine has one agent; a cluster needs one TLS connection per node instead, which goes here.
"""

from __future__ import annotations

import contextlib
import http
from collections.abc import AsyncIterator, Iterator, Mapping

import aiohttp
import msgspec
from aiohttp import web

from virt_api import refusals
from virt_api.objects import Target
from virt_api.relay import MAX_MESSAGE, PROTOCOL
from virt_kube.api import error_from_status

MAX_ERROR = 64 << 10
MAX_REPLY = 64 << 20
CONNECT_TIMEOUT = 10.0
CALL_TIMEOUT = 60.0


class NodeAgent:
    """Calls to `virt_handler`'s server; every failure is an ApiError."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None

    async def call(
        self, method: str, target: Target, verb: str, *, query: Mapping[str, str], body: bytes = b""
    ) -> web.Response:
        """One request; its reply is passed on whole, refusals as errors."""
        timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT, sock_connect=CONNECT_TIMEOUT)
        with _mapped_errors():
            async with self._open().request(
                method, _url(target, verb), params=query, data=body or None, timeout=timeout
            ) as reply:
                payload = await _bounded(reply.content)
                headers = {"Content-Type": reply.headers["Content-Type"]} if payload else {}
                return web.Response(status=reply.status, body=payload, headers=headers)

    @contextlib.asynccontextmanager
    async def stream(
        self, target: Target, verb: str, *, query: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """An open websocket to a guest's console or screen."""
        request = self._open().ws_connect(
            _url(target, verb), params=query, protocols=(PROTOCOL,), max_msg_size=MAX_MESSAGE, compress=0
        )
        with _mapped_errors():
            ws = await request
        try:
            yield ws
        finally:
            await ws.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.UnixConnector(path=self._socket, limit=0)
            self._session = aiohttp.ClientSession(connector=connector, raise_for_status=_raise_refusal)
        return self._session


def _url(target: Target, verb: str) -> str:
    return f"http://virt-handler/v1/namespaces/{target.namespace}/virtualmachineinstances/{target.name}/{verb}"


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    chunks, size = [], 0
    async for chunk in content.iter_any():
        size += len(chunk)
        if size > MAX_REPLY:
            raise refusals.internal(f"the node agent's answer is larger than {MAX_REPLY} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


async def _raise_refusal(reply: aiohttp.ClientResponse) -> None:
    """The agent's own Status or text as our error; aiohttp calls this for websocket handshakes too."""
    if reply.status < 400:
        return
    text = (await reply.content.read(MAX_ERROR)).decode(errors="replace").strip()
    try:
        status = msgspec.json.decode(text)
    except msgspec.DecodeError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        raise error_from_status(status, reply.status)
    reason = http.HTTPStatus(reply.status).phrase.replace(" ", "")
    raise error_from_status(refusals.status(reply.status, reason, text or f"the node agent answered {reply.status}"))


@contextlib.contextmanager
def _mapped_errors() -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as err:
        text = f"the node agent (virt-handler) can't be reached: {str(err) or type(err).__name__}"
        raise refusals.unavailable(text) from None
