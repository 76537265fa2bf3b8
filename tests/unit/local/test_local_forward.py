"""UDP: one client has one backend from its first datagram on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from functools import partial

import pytest

from virt_local.forward import MAX_WAITING, Backend, UdpForward


class Echo(asyncio.DatagramProtocol):
    """A backend that answers with its name, and keeps what it got."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.transport: asyncio.DatagramTransport
        self.got: list[bytes] = []

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.got.append(data)
        self.transport.sendto(self.name.encode() + b":" + data, addr)


def same(echo: Echo) -> Echo:
    return echo


class Served:
    """A forward of one port to some echoes."""

    async def start(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        self.echoes = [Echo(f"b{number}") for number in range(count)]
        backends = []
        for echo in self.echoes:
            echo.transport, _ = await loop.create_datagram_endpoint(partial(same, echo), local_addr=("127.0.0.1", 0))
            backends.append(Backend(echo.name, "127.0.0.1", echo.transport.get_extra_info("sockname")[1]))
        self.forward = UdpForward(backends)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        await self.forward.open("127.0.0.1", self.port)

    def stop(self) -> None:
        self.forward.stop()
        for echo in self.echoes:
            echo.transport.close()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    served = Served()
    await served.start(2)
    yield served
    served.stop()
    await asyncio.sleep(0.01)


async def test_datagrams_sent_at_once_reach_one_backend_in_order(served: Served) -> None:
    sent = [str(number).encode() for number in range(MAX_WAITING)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", served.port))
        client.setblocking(False)
        for data in sent:
            client.send(data)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(5):
            answers = [await loop.sock_recv(client, 100) for _ in sent]
    assert answers == [b"b0:" + data for data in sent]
    assert [len(echo.got) for echo in served.echoes] == [len(sent), 0]
    assert served.forward.busy


async def test_an_end_while_a_session_is_made_leaves_nothing(served: Served) -> None:
    served.forward.datagram_received(b"x", ("127.0.0.1", 9))
    busy = [served.forward.busy]
    served.forward.stop()
    await asyncio.sleep(0.01)
    busy.append(served.forward.busy)
    assert busy == [True, False]
    assert [echo.got for echo in served.echoes] == [[], []]
