"""HttpClient against a real socket: what is sent, what comes back, and that every failure is an ApiError."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from virt_kube import http
from virt_kube.api import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    ServerFault,
    TooManyRequests,
    Unauthorized,
    Unreachable,
)
from virt_kube.http import HttpClient
from virt_kube.kubeconfig import ClientConfig, KubeconfigError
from virt_kube.resources import NODES, VIRTUAL_MACHINES

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler, **config: str) -> AsyncIterator[HttpClient]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    client = HttpClient(ClientConfig(server=f"http://127.0.0.1:{port}", **config))  # type: ignore[arg-type]
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


def answering(status: int, body: bytes | str, content_type: str = "application/json") -> Handler:
    async def handler(request: web.Request) -> web.Response:
        data = body.encode() if isinstance(body, str) else body
        return web.Response(status=status, body=data, content_type=content_type)

    return handler


async def test_requests_as_kubernetes_wants_them() -> None:
    seen: list[tuple[str, str, str, object]] = []

    async def handler(request: web.Request) -> web.Response:
        text = await request.text()
        seen.append((request.method, request.path_qs, request.headers.get("Content-Type", ""), json.loads(text or "0")))
        return web.json_response({"kind": "VirtualMachine"})

    async with served(handler) as client:
        await client.get(VIRTUAL_MACHINES, "ns", "vm")
        await client.create(VIRTUAL_MACHINES, "ns", {"a": 1})
        await client.update(VIRTUAL_MACHINES, "ns", "vm", b'{"b": 2}', subresource="status")
        await client.patch(VIRTUAL_MACHINES, "ns", "vm", [{"op": "remove", "path": "/x"}])
        await client.patch(NODES, "", "n", {"x": None}, kind="merge")
        await client.delete(NODES, "", "n", uid="u", propagation="Orphan", grace_period_seconds=0)
    prefix = "/apis/kubevirt.io/v1/namespaces/ns/virtualmachines"
    options = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Orphan",
        "preconditions": {"uid": "u"},
        "gracePeriodSeconds": 0,
    }
    assert seen == [
        ("GET", f"{prefix}/vm", "", 0),
        ("POST", prefix, "application/json", {"a": 1}),
        ("PUT", f"{prefix}/vm/status", "application/json", {"b": 2}),
        ("PATCH", f"{prefix}/vm", "application/json-patch+json", [{"op": "remove", "path": "/x"}]),
        ("PATCH", "/api/v1/nodes/n", "application/merge-patch+json", {"x": None}),
        ("DELETE", "/api/v1/nodes/n", "application/json", options),
    ]


async def test_a_long_list_is_taken_in_pages() -> None:
    async def handler(request: web.Request) -> web.Response:
        start = int(request.query.get("continue", "0"))
        assert request.query["limit"] == "500"
        assert request.query["labelSelector"] == "a=b"
        more = {"continue": str(start + 1)} if start < 2 else {}
        return web.json_response({"metadata": {"resourceVersion": "7", **more}, "items": [{"n": start}]})

    async with served(handler) as client:
        page = await client.list(VIRTUAL_MACHINES, label_selector="a=b")
    assert [json.loads(item) for item in page.items] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert page.resource_version == "7"


async def test_a_list_that_expires_between_pages_is_taken_whole() -> None:
    async def handler(request: web.Request) -> web.Response:
        if "continue" in request.query:
            return web.json_response({"kind": "Status", "code": 410, "reason": "Expired"}, status=410)
        more = {"continue": "x"} if "limit" in request.query else {}
        items = [{"n": 1}] if more else [{"n": 1}, {"n": 2}]
        return web.json_response({"metadata": {"resourceVersion": "8", **more}, "items": items})

    async with served(handler) as client:
        assert len((await client.list(VIRTUAL_MACHINES)).items) == 2


def status_of(code: int, reason: str) -> str:
    return json.dumps({"kind": "Status", "code": code, "reason": reason, "message": f"because {reason}"})


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (400, "BadRequest", BadRequest),
        (401, "Unauthorized", Unauthorized),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (409, "AlreadyExists", AlreadyExists),
        (410, "Expired", Gone),
        (422, "Invalid", Invalid),
        (429, "TooManyRequests", TooManyRequests),
        (500, "InternalError", ServerFault),
        (503, "ServiceUnavailable", ServerFault),
    ],
)
async def test_refusals(code: int, reason: str, error: type[ApiError]) -> None:
    async with served(answering(code, status_of(code, reason))) as client:
        with pytest.raises(error) as caught:
            await client.get(VIRTUAL_MACHINES, "ns", "vm")
    assert type(caught.value) is error
    assert (caught.value.reason, caught.value.message) == (reason, f"because {reason}")
    assert caught.value.status["code"] == code


@pytest.mark.parametrize(("code", "error"), [(404, NotFound), (502, ServerFault), (302, ServerFault)])
async def test_answers_of_something_else_than_kubernetes(code: int, error: type[ApiError]) -> None:
    async with served(answering(code, "<h1>proxy</h1>", "text/html")) as client:
        with pytest.raises(error, match=f"HTTP {code}: <h1>proxy"):
            await client.get(VIRTUAL_MACHINES, "ns", "vm")


@pytest.mark.parametrize("body", ["", "[]", "<html>", '{"items": 3}', '{"items": [}'])
async def test_a_list_that_is_none(body: str) -> None:
    async with served(answering(200, body)) as client:
        with pytest.raises(ServerFault):
            await client.list(VIRTUAL_MACHINES)


async def test_a_server_that_is_not_there() -> None:
    client = HttpClient(ClientConfig(server="http://127.0.0.1:1"))
    try:
        with pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:1 can't be reached"):
            await client.get(VIRTUAL_MACHINES, "ns", "vm")
        with pytest.raises(Unreachable):
            async for _ in client.watch(VIRTUAL_MACHINES, resource_version="1"):
                pass
    finally:
        await client.close()


async def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_TIMEOUT", 0.2)

    async def handler(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async with served(handler) as client:
        with pytest.raises(Unreachable, match="no answer in time"):
            await client.get(VIRTUAL_MACHINES, "ns", "vm")


async def test_a_reply_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_REPLY", 100_000)
    async with served(answering(200, b" " * 200_000)) as client:
        with pytest.raises(ServerFault, match="larger than"):
            await client.get(VIRTUAL_MACHINES, "ns", "vm")


def watching(*chunks: bytes, cut: bool = False) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.query["watch"] == "true"
        assert request.query["allowWatchBookmarks"] == "true"
        assert int(request.query["timeoutSeconds"]) >= 300
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if cut:
            assert request.transport is not None
            request.transport.abort()
        return response

    return handler


async def events(client: HttpClient) -> list[tuple[str, object]]:
    stream = client.watch(VIRTUAL_MACHINES, resource_version="5")
    return [(event.type, json.loads(event.object)) async for event in stream]


def line(type_: str, obj: object) -> bytes:
    return json.dumps({"type": type_, "object": obj}).encode() + b"\n"


async def test_a_watch_with_events_of_any_size_in_any_pieces() -> None:
    big = {"blob": "x" * 3_000_000}
    whole = line("ADDED", {"a": 1}) + line("MODIFIED", big) + b"\n" + line("BOOKMARK", {"b": 2})
    pieces = [whole[start : start + 700_001] for start in range(0, len(whole), 700_001)]
    async with served(watching(*pieces)) as client:
        assert await events(client) == [("ADDED", {"a": 1}), ("MODIFIED", big), ("BOOKMARK", {"b": 2})]


@pytest.mark.parametrize(
    ("chunks", "error"),
    [
        ([line("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})], Gone),
        ([line("ERROR", {"kind": "Status", "code": 500})], ServerFault),
        ([line("ERROR", "what?")], ServerFault),
        ([line("SHOUTED", {})], ServerFault),
        ([b"no json\n"], ServerFault),
        ([b'{"type": "ADDED"}\n'], ServerFault),
    ],
)
async def test_what_a_watch_may_end_with(chunks: list[bytes], error: type[ApiError]) -> None:
    async with served(watching(*chunks)) as client:
        with pytest.raises(error):
            await events(client)


async def test_a_watch_that_is_cut() -> None:
    async with served(watching(line("ADDED", {"a": 1}), cut=True)) as client:
        with pytest.raises(Unreachable):
            await events(client)


async def test_a_watch_line_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_WATCH_LINE", 100_000)
    async with served(watching(b"x" * 300_000)) as client:
        with pytest.raises(ServerFault, match="watch event is larger"):
            await events(client)


async def test_a_watch_that_is_too_old() -> None:
    async with served(answering(410, status_of(410, "Expired"))) as client:
        with pytest.raises(Gone):
            await events(client)


async def echo(request: web.Request) -> web.Response:
    seen = {"login": request.headers.get("Authorization"), "asked": str(request.raw_path)}
    return web.json_response(seen)


async def test_no_password_of_netrc_goes_to_a_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with served(echo) as client:
        assert json.loads(await client.get(NODES, "", "n"))["login"] is None


async def test_the_environments_proxy_is_asked_but_not_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with served(echo) as direct:
        monkeypatch.setenv("HTTP_PROXY", direct._config.server)
        proxied = HttpClient(ClientConfig(server="http://api.test:8080"))
        local = HttpClient(direct._config)
        try:
            for client, asked in ((proxied, "http://api.test:8080/api/v1/nodes/n"), (local, "/api/v1/nodes/n")):
                assert json.loads(await client.get(NODES, "", "n"))["asked"] == asked
        finally:
            await proxied.close()
            await local.close()


async def test_a_proxy_that_cant_be_spoken_to_is_said_before_anything_is_asked() -> None:
    with pytest.raises(KubeconfigError, match="is not an address"):
        HttpClient(ClientConfig(server="https://api.test:https"))
    with pytest.raises(KubeconfigError, match=r"socks5://10\.0\.0\.1 is neither"):
        HttpClient(ClientConfig(server="https://api.test", proxy_url="socks5://user:secret@10.0.0.1:1080"))


def test_a_token_file_that_holds_no_token_is_named(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(KubeconfigError, match=f"tokenFile {path} holds no token"):
        ClientConfig(server="https://api.test", token_file=str(path)).headers()
