"""Clients that take more than their part: each is refused or hung up on, and everybody else is served."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from support.api_server import Api

from virt_local.apiserver.authn import Authenticator
from virt_local.apiserver.limits import Limits
from virt_local.apiserver.server import ApiServer
from virt_local.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from virt_local.pki import Pki

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
TOKENS = 'admin-token,admin,1,"system:masters"\nother-token,other,2,"system:masters"\n'
SMALL = Limits(
    connections=60,
    strangers=8,
    user_connections=20,
    requests=4,
    streams=12,
    user_streams=6,
    unread=8 << 20,
    bodies=4 << 20,
    body_seconds=1.0,
    stall_seconds=0.6,
    handshake_seconds=1.0,
)
WITHIN = 15.0  # seconds
ADMIN = "admin-token"


@pytest.fixture
async def small(tmp_path: Path, certificates: Pki) -> AsyncIterator[Api]:
    """A server with small limits."""
    tokens = tmp_path / "tokens.csv"
    tokens.write_text(TOKENS)
    store = await Store.open(tmp_path / "store.db")
    server = ApiServer(store, authenticator=Authenticator(tokens), limits=SMALL)
    await server.bootstrap([])
    port = await server.start("127.0.0.1", 0, certificates.server_context())
    trust = ssl.create_default_context(cafile=str(certificates.ca))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust, limit=0)) as client:
        yield Api(f"https://127.0.0.1:{port}", client, server, store)
    await server.stop()
    await store.close()


class Raw:
    """A connection spoken to byte by byte; `receive` bytes of buffer, so that not reading is felt at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, api: Api, trust: Path, receive: int) -> Raw:
        address = urlsplit(api.base)
        plain = socket.socket()
        if receive:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, (address.hostname, address.port))
        tls = ssl.create_default_context(cafile=str(trust))
        reader, writer = await asyncio.open_connection(
            sock=plain, ssl=tls, server_hostname="127.0.0.1", limit=receive or 1 << 16
        )
        return cls(reader, writer)

    async def ask(self, method: str, path: str, *fields: str, token: str = ADMIN, body: bytes = b"") -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: x", *fields]
        if token:
            lines.append(f"Authorization: Bearer {token}")
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def code(self) -> int:
        """Of the next answer; 0 when the server hung up."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(WITHIN):
                line = await self.reader.readline()
                return int(line.split()[1]) if line else 0
        return 0

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        code, headers = await self.code(), {}
        while (line := await self.reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return code, headers, json.loads(await self.reader.readexactly(int(headers["content-length"])))

    async def hung_up(self) -> bool:
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(WITHIN):
                while await self.reader.read(1 << 16):
                    pass
        return True

    def close(self) -> None:
        self.writer.close()


class Dial:
    """Opens connections to one server, and closes them all in the end."""

    def __init__(self, api: Api, trust: Path) -> None:
        self._api, self._trust = api, trust
        self.raws: list[Raw] = []

    async def __call__(self, *, receive: int = 0) -> Raw:
        self.raws.append(await Raw.open(self._api, self._trust, receive))
        return self.raws[-1]

    async def close(self) -> None:
        for raw in self.raws:
            raw.close()
        for raw in self.raws:
            with contextlib.suppress(OSError, TimeoutError):
                await raw.writer.wait_closed()


@pytest.fixture
async def dial(small: Api, certificates: Pki) -> AsyncIterator[Dial]:
    found = Dial(small, certificates.ca)
    yield found
    await found.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN):
        while not true():  # noqa: ASYNC110  a condition of the server, which nobody announces
            await asyncio.sleep(0.02)


def gate(api: Api) -> Any:
    return api.server._gate


async def served(api: Api) -> None:
    assert (await api("GET", CONFIGMAPS, Authorization="Bearer other-token")).code == 200


async def test_a_header_too_long_is_a_status(small: Api, dial: Dial, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    raw = await dial()
    await raw.ask("GET", CONFIGMAPS, f"X-Long: {'y' * 20_000}")
    code, _, body = await raw.answer()
    assert (code, body["kind"], body["code"]) == (431, "Status", 431)
    assert not [record for record in caplog.records if record.exc_info], "one line, no traceback"
    await served(small)


async def test_a_body_too_slow_is_told_so(small: Api, dial: Dial) -> None:
    raw = await dial()
    await raw.ask("POST", CONFIGMAPS, "Content-Type: application/json", "Content-Length: 100", body=b"{")
    code, _, body = await raw.answer()
    assert (code, body["reason"]) == (408, "Timeout")
    await served(small)


async def test_a_body_too_large_is_a_status(small: Api, dial: Dial) -> None:
    raw = await dial()
    await raw.ask("POST", CONFIGMAPS, "Content-Type: application/json", f"Content-Length: {20 << 20}")
    code, _, body = await raw.answer()
    assert (code, body["reason"]) == (413, "RequestEntityTooLarge")


async def test_a_packed_body_is_not_unpacked(small: Api) -> None:
    bomb = gzip.compress(b" " * (64 << 20))
    headers = {"Authorization": "Bearer admin-token", "Content-Type": "application/json", "Content-Encoding": "gzip"}
    async with small.client.post(small.base + CONFIGMAPS, data=bomb, headers=headers) as refused:
        assert refused.status == 415


async def test_bodies_of_all_together_are_bounded(small: Api, dial: Dial) -> None:
    """Each may be 3 MiB; together they may not be more than the limit."""
    first = [await dial() for _ in range(2)]
    head = ("Content-Type: application/json", f"Content-Length: {3 << 20}")
    for raw in first:
        await raw.ask("POST", CONFIGMAPS, *head, body=b" " * ((2 << 20) - 4096))
    await until(lambda: gate(small)._bodies > 3 << 20)
    third = await dial()
    await third.ask("POST", CONFIGMAPS, *head, body=b" " * (2 << 20))
    code, headers, body = await third.answer()
    assert (code, headers["retry-after"], body["reason"]) == (429, "1", "TooManyRequests")
    for raw in (*first, third):
        raw.close()
    await until(lambda: gate(small)._bodies == 0)
    await served(small)


async def test_requests_at_a_time_are_bounded(small: Api, dial: Dial) -> None:
    slow = [await dial() for _ in range(SMALL.requests)]
    for raw in slow:
        await raw.ask("POST", CONFIGMAPS, "Content-Type: application/json", "Content-Length: 9", body=b"{")
    await until(lambda: gate(small)._requests == SMALL.requests)
    refused = await small("GET", CONFIGMAPS)
    assert (refused.code, refused.reason, refused.headers["Retry-After"]) == (429, "TooManyRequests", "1")
    assert refused.body["details"] == {"retryAfterSeconds": 1}
    assert {await raw.code() for raw in slow} == {408}
    await served(small)


async def test_watches_of_one_user_are_bounded_and_others_have_theirs(small: Api, dial: Dial) -> None:
    path = f"{CONFIGMAPS}?watch=1"
    raws = [await dial() for _ in range(SMALL.user_streams + 1)]
    codes = []
    for raw in raws:
        await raw.ask("GET", path)
        codes.append(await raw.code())
    assert codes == [200] * SMALL.user_streams + [429]
    other = await dial()
    await other.ask("GET", path, token="other-token")
    assert await other.code() == 200
    raws[0].close()
    await until(lambda: gate(small)._streams == SMALL.user_streams)
    again = await dial()
    await again.ask("GET", path)
    assert await again.code() == 200, "what was given back can be had again"


async def test_connections_of_one_user_are_bounded(small: Api, dial: Dial) -> None:
    codes = []
    for _ in range(SMALL.user_connections + 1):
        raw = await dial()
        await raw.ask("GET", "/version")
        codes.append(await raw.code())
    assert codes == [200] * SMALL.user_connections + [429]
    await served(small)


async def test_strangers_push_each_other_out_and_nobody_else(small: Api, dial: Dial) -> None:
    known = await dial()
    await known.ask("GET", "/version")
    assert await known.code() == 200
    silent = [await dial() for _ in range(SMALL.strangers * 3)]
    assert all([await raw.hung_up() for raw in silent[: -SMALL.strangers]])
    await served(small)
    await known.ask("GET", "/healthz")
    assert b"200" in await known.reader.readuntil(b"200 OK")


async def test_who_never_shakes_hands_is_hung_up_on(small: Api) -> None:
    address = urlsplit(small.base)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(WITHIN):
            assert await reader.read(1) == b""
    writer.close()


async def fill(api: Api, size: int, count: int) -> None:
    for number in range(count):
        body = {"metadata": {"name": f"big{number}"}, "data": {"k": "x" * size}}
        assert (await api("POST", CONFIGMAPS, body)).code == 201


async def test_a_watcher_that_does_not_read_holds_up_nobody_and_is_cut(small: Api, dial: Dial) -> None:
    raw = await dial(receive=4096)
    await raw.ask("GET", f"{CONFIGMAPS}?watch=1")
    await until(lambda: gate(small)._streams == 1)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await fill(small, 200_000, 30)
    assert loop.time() - began < WITHIN / 2, "writers do not wait for it"
    assert sum(connection.unread() for connection in gate(small)._stalled) < 4 << 20
    await until(lambda: gate(small)._streams == 0)
    await served(small)


async def test_lists_nobody_reads_are_bounded_and_dropped(small: Api, dial: Dial) -> None:
    await fill(small, 900_000, 3)
    raws = [await dial(receive=4096) for _ in range(8)]
    for raw in raws:
        await raw.ask("GET", CONFIGMAPS)
        await asyncio.sleep(0.05)
    assert sum(connection.unread() for connection in gate(small)._stalled) < SMALL.unread + (4 << 20)
    assert len(gate(small)._stalled) < len(raws), "the later ones are refused"
    await until(lambda: not gate(small)._stalled)
    await served(small)


async def test_a_slow_reader_that_does_read_is_left_alone(small: Api, dial: Dial) -> None:
    await fill(small, 900_000, 2)
    raw = await dial(receive=4096)
    await raw.ask("GET", CONFIGMAPS)
    taken = 0
    async with asyncio.timeout(60):
        while taken < 1_800_000:
            piece = await raw.reader.read(40_000)
            assert piece, f"cut after {taken} bytes"
            taken += len(piece)
            await asyncio.sleep(0.02)


async def test_requests_one_after_the_other_unread_do_not_pile_up(small: Api, dial: Dial) -> None:
    raw = await dial(receive=4096)
    request = b"GET /openapi/v2 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin-token\r\n\r\n"
    sent = 0
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(WITHIN):
            while gate(small)._connections or not sent:
                raw.writer.write(request * 20)
                await raw.writer.drain()
                sent += 20 * len(request)
                assert sum(connection.unread() for connection in gate(small)._stalled) < 4 << 20
    assert gate(small)._connections == 0
    await served(small)


BOMBS = [
    ("a wide copy", [{"op": "copy", "from": "/data", "path": f"/x{n}"} for n in range(5_000)], 413),
    ("copies of copies", [{"op": "copy", "from": "/data", "path": f"/data/x{n}"} for n in range(40)], 413),
    ("operations", [{"op": "add", "path": "/data/k", "value": "y"}] * 10_001, 413),
    (
        "to and fro",
        [{"op": "move", "from": f"/{a}", "path": f"/{b}"} for a, b in (("data", "x"), ("x", "data"))] * 5_000,
        200,
    ),
    ("into itself", [{"op": "move", "from": "/data", "path": "/data/x"}], 422),
]


@pytest.mark.parametrize(("patch", "code"), [row[1:] for row in BOMBS], ids=[row[0] for row in BOMBS])
async def test_a_patch_that_grows_is_refused_at_once(api: Api, patch: list[Any], code: int) -> None:
    await fill(api, 500_000, 1)
    async with asyncio.timeout(5):
        answer = await api("PATCH", f"{CONFIGMAPS}/big0", patch, content="application/json-patch+json")
    assert answer.code == code


async def test_an_object_does_not_grow_for_ever_by_small_patches(api: Api) -> None:
    path = "/apis/apps/v1/namespaces/default/controllerrevisions"
    assert (
        await api("POST", path, {"metadata": {"name": "c"}, "revision": 1, "data": {"a": "x" * 3_000_000}})
    ).code == 201
    grown = await api.merge(f"{path}/c", {"metadata": {"annotations": {f"k{n}": "y" * 60_000 for n in range(4)}}})
    assert (grown.code, grown.reason) == (413, "RequestEntityTooLarge")
