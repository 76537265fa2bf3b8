"""portforward/PORT[/PROTOCOL]: a TCP or UDP connection to the guest's first address, carried in a websocket.

The guest is dialled from here, before the upgrade; the node agent is not involved.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Protocol

from aiohttp import web

from virt_api import refusals
from virt_api.guest import check_portforward
from virt_api.objects import KUBE, Target, read_vmi, read_vmi_of_vm
from virt_api.relay import End, accept, check_upgrade, drain, relay
from virt_types.v1 import VirtualMachineInstance

log = logging.getLogger("virt_api.portforward")

DIAL_TIMEOUT = 10.0
CHUNK = 64 << 10
MAX_QUEUED_DATAGRAMS = 256


class Connection(Protocol):
    """A dialled guest port."""

    async def read(self) -> bytes:
        """What came, b"" at the end."""
        ...

    async def write(self, data: bytes) -> None: ...


async def vm(request: web.Request) -> web.StreamResponse:
    kube, target = request.app[KUBE], Target.of(request)
    return await _forward(request, await read_vmi_of_vm(kube, target))


async def vmi(request: web.Request) -> web.StreamResponse:
    return await _forward(request, await read_vmi(request.app[KUBE], Target.of(request)))


async def _forward(request: web.Request, guest: VirtualMachineInstance) -> web.StreamResponse:
    port, protocol = _port(request.match_info["port"]), request.match_info.get("protocol", "tcp").lower()
    refused = check_portforward(guest)
    if refused:
        raise refused
    check_upgrade(request)
    dial = {"tcp": _dial_tcp, "udp": _dial_udp}.get(protocol)
    if dial is None:
        raise refusals.bad_request(f'unsupported protocol "{protocol}": must be tcp or udp')
    async with dial(guest.status.interfaces[0].ip_address or "", port) as connection:
        client = await accept(request)
        log.info(
            "port forwarded namespace=%s name=%s port=%d/%s",
            guest.metadata.namespace,
            guest.metadata.name,
            port,
            protocol,
        )
        await relay(client, lambda: drain(client, connection.write), lambda: _downwards(connection, client))
    return client


async def _downwards(connection: Connection, client: web.WebSocketResponse) -> End:
    while data := await connection.read():
        await client.send_bytes(data)
    return End()


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:6]) < 65536:
        raise refusals.bad_request(f'invalid port "{text}": must be a number from 1 to 65535')
    return int(text)


class _Stream:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        return await self._reader.read(CHUNK)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()


@contextlib.asynccontextmanager
async def _dial_tcp(address: str, port: int) -> AsyncIterator[Connection]:
    try:
        async with asyncio.timeout(DIAL_TIMEOUT):
            reader, writer = await asyncio.open_connection(address, port)
    except OSError as err:
        raise refusals.internal(f"dialing VM: dial tcp {address}:{port}: {_why(err)}") from None
    try:
        yield _Stream(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class _Datagrams(asyncio.DatagramProtocol):
    """Each message is one datagram; when the client is slow the newest are lost, as UDP loses them."""

    def __init__(self) -> None:
        self._received: asyncio.Queue[bytes] = asyncio.Queue(MAX_QUEUED_DATAGRAMS)
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a datagram endpoint has no other kind

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002  asyncio's signature
        with contextlib.suppress(asyncio.QueueFull):
            self._received.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        log.debug("datagram refused error=%s", exc)

    async def read(self) -> bytes:
        while True:
            # An empty datagram says nothing a stream could carry, and b"" would mean the end.
            if data := await self._received.get():
                return data

    async def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.sendto(data)


@contextlib.asynccontextmanager
async def _dial_udp(address: str, port: int) -> AsyncIterator[Connection]:
    loop = asyncio.get_running_loop()
    try:
        transport, protocol = await loop.create_datagram_endpoint(_Datagrams, remote_addr=(address, port))
    except OSError as err:
        raise refusals.internal(f"dialing VM: dial udp {address}:{port}: {_why(err)}") from None
    try:
        yield protocol
    finally:
        transport.close()


def _why(err: OSError) -> str:
    if isinstance(err, TimeoutError):
        return "i/o timeout"
    return (err.strerror or str(err)).lower()
