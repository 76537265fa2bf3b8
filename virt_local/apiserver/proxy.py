"""Requests for subresources.kubevirt.io: streamed to virt_api's socket, websockets included.

Bytes pass as they are in both directions and at the pace of the slower side; who asked is told in X-Remote-User and
X-Remote-Group, and whatever the client said in such headers is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import WSMsgType, web
from multidict import CIMultiDict
from yarl import URL

from virt_kube.admission import UserInfo
from virt_kube.subresources import right_of
from virt_local.apiserver.discovery import (
    CONFIG_GROUP,
    IMPORTERS,
    SUBRESOURCE_GROUP,
    SUBRESOURCE_VERSIONS,
    UPLOAD_GROUP,
)
from virt_local.apiserver.rbac import Attributes
from virt_local.apiserver.routing import split
from virt_local.apiserver.status import no_such_page, unavailable

CONFIGS = (CONFIG_GROUP, IMPORTERS[CONFIG_GROUP][0])
CONNECT_TIMEOUT = 5.0  # seconds
MAX_MESSAGE = 4 * 1024 * 1024  # bytes of one websocket message
_PIECE = 64 * 1024
_HANDSHAKE = ("Connection", "Upgrade", "Sec-WebSocket-Version", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol")
# Headers of one connection only (RFC 9110 7.6.1), and those aiohttp sets itself.
_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
     "upgrade", "host", "authorization", "content-length")
)  # fmt: skip
_CLIMBING = frozenset({".", ".."})
_WEBSOCKET_HEADERS = "sec-websocket-"


class SubresourceBackend:
    """`socket` is where virt_api listens; it may come and go. `imports`: whether the importer's are served too."""

    imports = False

    def __init__(self, socket: Path, name: str = "the subresource API", program: str = "virt-api") -> None:
        self._socket, self._name, self._program = socket, name, program
        self._client: aiohttp.ClientSession | None = None

    @property
    def _start(self) -> str:
        return "`virtctl local up`" + (f" or `{self._program}`" if self._program else "")

    def owns(self, parts: list[str]) -> bool:
        """Discovery of the group is answered by the API server itself."""
        return parts[:2] == ["apis", SUBRESOURCE_GROUP] and len(parts) > 3 and parts[2] in SUBRESOURCE_VERSIONS

    async def serve(self, request: web.BaseRequest, user: UserInfo) -> web.StreamResponse:
        """Raises 503 when virt_api does not listen."""
        raw_path = request.rel_url.raw_path
        if "%2f" in raw_path.lower() or not _CLIMBING.isdisjoint(split(raw_path)):
            raise no_such_page()  # it could be read as another path there than the one that was permitted here
        headers = _forwarded(request, user)
        try:
            if request.headers.get("Upgrade", "").lower() == "websocket":
                return await self._websocket(request, headers)
            return await self._plain(request, headers)
        except (aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError, ConnectionRefusedError) as error:
            raise unavailable(f"{self._name} does not answer on {self._socket}: start it with {self._start}") from error

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _session(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(path=str(self._socket), limit=0),
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT),
                auto_decompress=False,
            )
        return self._client

    async def _plain(self, request: web.BaseRequest, headers: CIMultiDict[str]) -> web.StreamResponse:
        body: AsyncIterator[bytes] | None = request.content.iter_any() if request.can_read_body else None
        url = _target(request)
        async with self._session().request(
            request.method, url, headers=headers, data=body, allow_redirects=False
        ) as answer:
            kept = CIMultiDict((name, value) for name, value in answer.headers.items() if name.lower() not in _HOP)
            response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=kept)
            if answer.content_length is not None:
                response.content_length = answer.content_length
            await response.prepare(request)
            async for piece in answer.content.iter_chunked(_PIECE):
                await response.write(piece)
            await response.write_eof()
            return response

    async def _websocket(self, request: web.BaseRequest, headers: CIMultiDict[str]) -> web.StreamResponse:
        offered = [
            name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if name.strip()
        ]
        for name in [name for name in headers if name.lower().startswith(_WEBSOCKET_HEADERS)]:
            headers.popall(name, None)
        url = _target(request)
        try:
            upstream = await self._session().ws_connect(
                url, protocols=offered, headers=headers, max_msg_size=MAX_MESSAGE, autoping=False, compress=0
            )
        except aiohttp.WSServerHandshakeError:
            # virt_api said no before the upgrade. aiohttp drops its words; ask once more in a way that keeps them.
            headers.update({name: request.headers[name] for name in _HANDSHAKE if name in request.headers})
            return await self._plain(request, headers)
        async with upstream:
            chosen = [upstream.protocol] if upstream.protocol else []
            downstream = web.WebSocketResponse(
                protocols=chosen, max_msg_size=MAX_MESSAGE, autoping=False, compress=False, autoclose=False
            )
            await downstream.prepare(request)
            await _relay(downstream, upstream)
            return downstream


class AggregatedApis(SubresourceBackend):
    """virt_api's group, and what CDI's API server answers elsewhere: upload tokens, and the one CDIConfig."""

    imports = True

    def __init__(self, socket: Path, importer: Path) -> None:
        super().__init__(socket)
        self._importer = SubresourceBackend(importer, "the importer", "")

    def owns(self, parts: list[str]) -> bool:
        return super().owns(parts) or _is_importers(parts)

    async def serve(self, request: web.BaseRequest, user: UserInfo) -> web.StreamResponse:
        if _is_importers(request.path.strip("/").split("/")):
            return await self._importer.serve(request, user)
        return await super().serve(request, user)

    async def close(self) -> None:
        await super().close()
        await self._importer.close()


def _is_importers(parts: list[str]) -> bool:
    return len(parts) > 3 and (parts[1] == UPLOAD_GROUP or (parts[1], parts[3]) == CONFIGS)


async def _relay(downstream: web.WebSocketResponse, upstream: aiohttp.ClientWebSocketResponse) -> None:
    """Both directions until one side closes; its close code reaches the other."""
    tasks = [
        asyncio.create_task(_pump(downstream, upstream)),
        asyncio.create_task(_pump(upstream, downstream)),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(source: Any, target: Any) -> None:
    while True:
        message = await source.receive()
        match message.type:
            case WSMsgType.BINARY:
                await target.send_bytes(message.data)
            case WSMsgType.TEXT:
                await target.send_str(message.data)
            case WSMsgType.PING:
                await target.ping(message.data)
            case WSMsgType.PONG:
                await target.pong(message.data)
            case WSMsgType.CLOSE:
                await target.close(code=message.data or 1000, message=(message.extra or "").encode())
                return
            case _:
                await target.close(code=1011, message=b"the other side went away")
                return


def _target(request: web.BaseRequest) -> URL:
    """Path and query exactly as they came: what is escaped stays so."""
    return URL(f"http://virt-api{request.rel_url.raw_path_qs}", encoded=True)


def subresource_attributes(method: str, parts: list[str]) -> Attributes:
    right = right_of(method, parts)
    return Attributes(right.verb, right.group, right.resource, right.subresource, right.namespace, right.name)


def _forwarded(request: web.BaseRequest, user: UserInfo) -> CIMultiDict[str]:
    headers = CIMultiDict(
        (name, value)
        for name, value in request.headers.items()
        if name.lower() not in _HOP and not name.lower().startswith("x-remote-")
    )
    headers["X-Remote-User"] = user.name
    for group in user.groups:
        headers.add("X-Remote-Group", group)
    if user.uid:
        headers["X-Remote-Uid"] = user.uid
    return headers
