"""Requests made to exhaust or to confuse the API server, as bytes on the wire: each is refused, and it serves on."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from virt_local.apiserver import server

if TYPE_CHECKING:
    from support.api_server import Api

    from virt_local.pki import Pki

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


class Wire:
    """One TLS connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.sent = 0

    async def send(self, data: bytes) -> bool:
        """Whether the server still takes it."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except OSError:
            return False
        self.sent += len(data)
        return True

    async def answer(self) -> int:
        """The status code; 0 when the server just hung up."""
        try:
            async with asyncio.timeout(20):
                line = await self.reader.readline()
        except OSError:
            return 0
        return int(line.split()[1]) if line else 0


@pytest.fixture
async def wire(api: Api, certificates: Pki) -> AsyncIterator[Wire]:
    address = urlsplit(api.base)
    tls = ssl.create_default_context(cafile=str(certificates.ca))
    reader, writer = await asyncio.open_connection(address.hostname, address.port, ssl=tls)
    yield Wire(reader, writer)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    after = config_map("after")
    assert (await api("POST", CONFIGMAPS, after)).code == 201, "the server must serve on"


def head(method: str, path: str, *fields: str) -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: x", "Authorization: Bearer admin-token", *fields, "", "")
    return "\r\n".join(lines).encode()


FLOODS = [
    ("many fields", head("GET", CONFIGMAPS, *(f"X-{number}: y" for number in range(20_000)))),
    ("one long field", head("GET", CONFIGMAPS, f"X-Long: {'y' * (1 << 20)}")),
    ("one long name", head("GET", CONFIGMAPS, f"{'X' * (1 << 20)}: y")),
    ("a long path", head("GET", f"/{'a' * (1 << 20)}")),
    ("a long query", head("GET", f"{CONFIGMAPS}?labelSelector={'a' * (1 << 20)}")),
    ("a folded field", head("GET", CONFIGMAPS, "X-A: b", *([" c" * 500] * 2000))),
]


@pytest.mark.parametrize("flood", [row[1] for row in FLOODS], ids=[row[0] for row in FLOODS])
async def test_a_flood_of_headers_is_refused(wire: Wire, flood: bytes) -> None:
    await wire.send(flood)
    assert await wire.answer() in {0, 400, 414, 431}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE", 1.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
async def test_who_never_finishes_asking_is_hung_up_on(wire: Wire, begun: bytes) -> None:
    await wire.send(begun)
    drip = asyncio.create_task(dripping(wire))
    async with asyncio.timeout(15):
        assert await wire.answer() == 0
    drip.cancel()


async def dripping(wire: Wire) -> None:
    """One more header every now and then, and never the last."""
    while await wire.send(b"X-A: b\r\n" if wire.sent else b""):  # noqa: ASYNC110  it sends
        await asyncio.sleep(0.2)


async def test_two_lengths_are_refused(wire: Wire) -> None:
    """Or whoever stands before the server may see another request than the server does."""
    await wire.send(head("POST", CONFIGMAPS, "Content-Length: 2", "Content-Length: 20") + b"{}")
    assert await wire.answer() == 400


async def test_a_length_beside_chunks_is_refused(wire: Wire) -> None:
    await wire.send(head("POST", CONFIGMAPS, "Content-Length: 2", "Transfer-Encoding: chunked") + b"0\r\n\r\n")
    assert await wire.answer() == 400


async def test_twenty_megabytes_announced_are_refused_unread(wire: Wire) -> None:
    await wire.send(head("POST", CONFIGMAPS, "Content-Type: application/json", f"Content-Length: {20 << 20}"))
    assert await wire.answer() == 413


async def test_twenty_megabytes_in_pieces_are_refused_before_they_are_all_read(wire: Wire) -> None:
    await wire.send(head("POST", CONFIGMAPS, "Content-Type: application/json", "Transfer-Encoding: chunked"))
    piece = b"10000\r\n" + b" " * (1 << 16) + b"\r\n"
    answer = asyncio.create_task(wire.answer())
    while wire.sent < 20 << 20 and not answer.done() and await wire.send(piece):  # noqa: ASYNC110  it sends
        await asyncio.sleep(0)
    assert await answer in {0, 413}
    assert wire.sent < 20 << 20


DEEP = 200_000
BODIES = [
    ("deep lists", "[" * DEEP + "]" * DEEP),
    ("deep objects", '{"a":' * DEEP + "1" + "}" * DEEP),
    ("deep and cut off", '{"a":' * DEEP),
    ("a list", "[]"),
    ("a number without end", '{"metadata": {"name": "x"}, "data": {"k": ' + "9" * 100_000 + "}}"),
    ("half a surrogate", '{"metadata": {"name": "x"}, "data": {"k": "\\ud800"}}'),
]


@pytest.mark.parametrize("body", [row[1] for row in BODIES], ids=[row[0] for row in BODIES])
async def test_a_body_that_is_no_object_is_a_plain_refusal(api: Api, body: str) -> None:
    refused = await api("POST", CONFIGMAPS, body)
    assert refused.code in {400, 422}
    assert refused.body["kind"] == "Status"


PATHS = [
    "/api/v1/namespaces/default/configmaps/%2e%2e",
    "/api/v1/namespaces/default/configmaps/..%2fsecrets",
    "/api/v1/namespaces/%2e%2e/configmaps/x",
    "/api/v1/namespaces/default/configmaps/a%00b",
    "//api/v1/namespaces/default/configmaps/x",
    "/api/v1/namespaces/default/configmaps/%ff",
    "/api/v1/namespaces/default%2fconfigmaps/x",
]


@pytest.mark.parametrize("path", PATHS)
async def test_a_path_that_climbs_finds_nothing(wire: Wire, path: str) -> None:
    await wire.send(head("GET", path))
    assert await wire.answer() in {400, 404}


PATCHES = {
    "json-patch+json": r'[{"op": "add", "path": "/data", "value": {"k": "\ud800"}}]',
    "merge-patch+json": r'{"data": {"k": "\ud800"}}',
    "apply-patch+yaml": r'{"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "\ud800"}}',
}


@pytest.mark.parametrize("kind", PATCHES)
async def test_a_patch_with_half_a_surrogate_is_a_plain_refusal(api: Api, kind: str) -> None:
    await api("POST", CONFIGMAPS, config_map("x"))
    path = f"{CONFIGMAPS}/x?fieldManager=me"
    refused = await api("PATCH", path, PATCHES[kind], content=f"application/{kind}")
    assert (refused.code, refused.body["kind"]) == (400, "Status")
