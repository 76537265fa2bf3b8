"""Subresource requests pass through to virt_api's socket: bytes, websockets, identity; words when nobody listens."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from yarl import URL

from virt_local.apiserver.authn import Authenticator
from virt_local.apiserver.proxy import SubresourceBackend
from virt_local.apiserver.server import ApiServer
from virt_local.store import Store

if TYPE_CHECKING:
    from virt_local.pki import Pki

BASE = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachineinstances/vm1"
ADMIN = {"Authorization": "Bearer admin-token"}


class Front(NamedTuple):
    url: str
    client: aiohttp.ClientSession
    seen: list[web.Request]


async def _virt_api(socket: Path, seen: list[web.Request]) -> web.AppRunner:
    async def echo(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        if request.path.endswith("/console") and request.headers.get("Upgrade"):
            websocket = web.WebSocketResponse(protocols=["plain.kubevirt.io"])
            await websocket.prepare(request)
            async for message in websocket:
                if message.data == b"bye":
                    await websocket.close(code=4001, message=b"taken over")
                elif message.type == WSMsgType.BINARY:
                    await websocket.send_bytes(message.data)
            return websocket
        if request.path.endswith("/vnc"):
            return web.json_response({"kind": "Status", "code": 409, "message": "no graphics"}, status=409)
        return web.Response(status=202, body=await request.read(), headers={"X-Mine": "yes"})

    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/{path:.*}", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    return runner


@pytest.fixture
async def front(tmp_path: Path, certificates: Pki) -> AsyncIterator[Front]:
    (tmp_path / "t.csv").write_text('admin-token,admin,1,"system:masters,ops"\nalice-token,alice,2,devs\n')
    seen: list[web.Request] = []
    runner = await _virt_api(tmp_path / "api.sock", seen)
    store = await Store.open(tmp_path / "s.db")
    backend = SubresourceBackend(tmp_path / "api.sock")
    server = ApiServer(store, subresources=backend, authenticator=Authenticator(tmp_path / "t.csv"))
    port = await server.start("127.0.0.1", 0, certificates.server_context())
    trust = ssl.create_default_context(cafile=str(certificates.ca))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as client:
        yield Front(f"https://127.0.0.1:{port}", client, seen)
    await server.stop()
    await runner.cleanup()
    await store.close()


async def test_a_request_arrives_as_it_was_sent_with_the_true_identity(front: Front) -> None:
    lies = {"X-Remote-User": "root", "X-Remote-Group": "system:masters", "Content-Type": "application/octet-stream"}
    body = b'{"gracePeriod":0}'
    url = URL(front.url + BASE + "/pause?a=b%2Fc", encoded=True)
    async with front.client.put(url, data=body, headers=ADMIN | lies) as answer:
        assert (answer.status, await answer.read(), answer.headers["X-Mine"]) == (202, body, "yes")
    (request,) = front.seen
    assert request.rel_url.raw_path_qs == BASE + "/pause?a=b%2Fc"
    assert request.headers.getall("X-Remote-User") == ["admin"]
    assert request.headers.getall("X-Remote-Group") == ["system:masters", "ops", "system:authenticated"]
    assert "Authorization" not in request.headers, "the token is for the API server alone"


async def test_a_websocket_carries_bytes_subprotocol_and_close_code(front: Front) -> None:
    async with front.client.ws_connect(
        front.url + BASE + "/console", headers=ADMIN, protocols=["plain.kubevirt.io"]
    ) as socket:
        assert socket.protocol == "plain.kubevirt.io"
        for payload in (b"\x00\xff login: ", b"x" * 300_000):
            await socket.send_bytes(payload)
            assert await socket.receive_bytes() == payload
        await socket.send_bytes(b"bye")
        closing = await socket.receive()
        assert (closing.type, socket.close_code) == (WSMsgType.CLOSE, 4001)
        assert closing.extra == "taken over"


async def test_a_refusal_before_the_upgrade_keeps_its_words(front: Front) -> None:
    headers = ADMIN | {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    async with front.client.get(front.url + BASE + "/vnc", headers=headers) as answer:
        assert (answer.status, (await answer.json())["message"]) == (409, "no graphics")


async def test_a_client_that_goes_away_ends_the_console_behind(front: Front) -> None:
    socket = await front.client.ws_connect(front.url + BASE + "/console", headers=ADMIN)
    await socket.send_bytes(b"hello")
    assert await socket.receive_bytes() == b"hello"
    (request,) = front.seen
    assert request.transport is not None
    await socket.close()
    for _ in range(100):
        if request.transport is None or request.transport.is_closing():
            break
        await asyncio.sleep(0.02)
    assert request.transport is None or request.transport.is_closing()


async def test_who_may_not_is_told_so_and_nothing_passes(front: Front) -> None:
    async with front.client.put(front.url + BASE + "/pause", headers={"Authorization": "Bearer alice-token"}) as answer:
        body: Any = await answer.json()
    assert (answer.status, body["reason"]) == (403, "Forbidden")
    assert "virtualmachineinstances/pause" in body["message"]
    assert not front.seen


@pytest.mark.parametrize(
    "path",
    [
        "/apis/subresources.kubevirt.io/v1%2Fnamespaces%2Fmine%2Fvirtualmachines%2Fx%2Fstart/namespaces/yours/x/y/start",
        "/apis/subresources.kubevirt.io/v1/namespaces/mine%2Fvirtualmachines%2Fx/virtualmachines/y/start",
        "/apis/subresources.kubevirt.io/v1/namespaces/mine/virtualmachines/x%2fstart",
        "/apis/subresources.kubevirt.io/v1/namespaces/mine/../yours/virtualmachines/x/start",
        "/apis/subresources.kubevirt.io/v1/namespaces/mine/%2e%2e/yours/virtualmachines/x/start",
    ],
)
async def test_a_path_that_reads_otherwise_behind_the_wall_goes_no_further(front: Front, path: str) -> None:
    """What is permitted here is what is done there: an escaped slash would be two paths in one."""
    async with front.client.put(URL(front.url + path, encoded=True), headers=ADMIN) as answer:
        assert answer.status == 404
    assert not front.seen


async def test_without_virt_api_the_answer_says_what_to_start(tmp_path: Path, certificates: Pki) -> None:
    (tmp_path / "t.csv").write_text('admin-token,admin,1,"system:masters"\n')
    store = await Store.open(tmp_path / "s.db")
    server = ApiServer(
        store,
        subresources=SubresourceBackend(tmp_path / "none.sock"),
        authenticator=Authenticator(tmp_path / "t.csv"),
    )
    port = await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as client:
        base = f"http://127.0.0.1:{port}"
        async with client.put(base + BASE + "/pause", headers=ADMIN) as answer:
            body = await answer.json()
            assert (answer.status, body["reason"]) == (503, "ServiceUnavailable")
            assert "virt-api" in body["message"]
            assert answer.headers["Retry-After"] == "1"
        async with client.get(base + "/apis/subresources.kubevirt.io/v1", headers=ADMIN) as answer:
            names = {resource["name"] for resource in (await answer.json())["resources"]}
    assert {"virtualmachines/start", "virtualmachineinstances/console"} <= names
    await server.stop()
    await store.close()
