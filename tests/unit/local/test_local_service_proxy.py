"""The service proxy over real sockets: refusals, half-close, restarts, datagrams; Endpoints in an in-memory API."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from support.fake_kube import FakeKube

from virt_kube.api import Json
from virt_kube.resources import EVENTS, VIRTUAL_MACHINE_INSTANCES
from virt_local.service_proxy import ENDPOINTS, SERVICES, ServiceProxy

ADDRESS = "127.96.200.7"


class World:
    def __init__(self) -> None:
        self.kube = FakeKube()

    async def service(self, port: int, target: int, protocol: str = "TCP") -> None:
        await self.kube.create(
            SERVICES,
            "default",
            {
                "metadata": {"name": "web", "namespace": "default"},
                "spec": {
                    "clusterIP": ADDRESS,
                    "selector": {"app": "web"},
                    "ports": [{"port": port, "targetPort": target, "protocol": protocol}],
                },
            },
        )

    async def guest(self, name: str = "a", address: str = "127.0.0.1", phase: str = "Running") -> None:
        meta = {"name": name, "namespace": "default", "labels": {"app": "web"}}
        status = {"phase": phase, "interfaces": [{"ipAddress": address}]}
        body = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": meta, "spec": {}}
        await self.kube.create(VIRTUAL_MACHINE_INSTANCES, "default", body | {"status": status})

    async def guest_phase(self, phase: str, name: str = "a") -> None:
        patch = {"status": {"phase": phase}}
        await self.kube.patch(VIRTUAL_MACHINE_INSTANCES, "default", name, patch, kind="merge")

    def addresses(self) -> list[str]:
        subsets = (self.endpoints() or {}).get("subsets") or []
        return [address["ip"] for subset in subsets for address in subset["addresses"]]

    def events(self) -> list[Json]:
        return self.kube.objects(EVENTS.plural)

    def endpoints(self) -> Json | None:
        return self.kube.find(ENDPOINTS, "default", "web")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    task = asyncio.create_task(ServiceProxy(world.kube).run())
    yield world
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  the world outside tells nobody when it is done
            await asyncio.sleep(0.01)


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect when the proxy has caught up."""
    async with asyncio.timeout(5):
        while True:
            try:
                return await asyncio.open_connection(ADDRESS, port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)


async def refused(port: int) -> None:
    async with asyncio.timeout(5):
        while True:
            try:
                _, writer = await asyncio.open_connection(ADDRESS, port)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def backend(serve: Any, address: str = "127.0.0.1") -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, address, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


async def answer_at_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A protocol that needs half-close: the answer follows the client's end."""
    data = await reader.read()
    writer.write(data[::-1])
    writer.close()


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")
    await reader.read()
    writer.close()


async def test_bytes_and_half_close_pass(world: World) -> None:
    port = free_port()
    async with backend(answer_at_end) as target:
        await world.service(port, target)
        await world.guest()
        reader, writer = await connect(port)
        data = bytes(range(256)) * 4096
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == data[::-1]
        writer.close()


async def test_without_a_guest_connections_are_refused_at_once(world: World) -> None:
    port = free_port()
    await world.service(port, 1)
    await until(world.endpoints)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(ADDRESS, port)


async def test_a_guest_that_ends_takes_its_connections_along(world: World) -> None:
    port = free_port()
    async with backend(hold) as target:
        await world.service(port, target)
        await world.guest()
        reader, writer = await connect(port)
        assert await reader.readexactly(5) == b"hello"
        await world.guest_phase("Succeeded")
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        await refused(port)
        writer.close()


async def test_a_guest_on_its_way_out_keeps_who_is_connected(world: World) -> None:
    port = free_port()
    async with backend(hold) as target:
        await world.service(port, target)
        await world.guest()
        reader, writer = await connect(port)
        await reader.readexactly(5)
        patch = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
        await world.kube.patch(VIRTUAL_MACHINE_INSTANCES, "default", "a", patch, kind="merge")
        await refused(port)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await reader.read(1)
        writer.close()


async def test_a_dead_backend_is_passed_over(world: World) -> None:
    port = free_port()
    async with backend(hold, "127.0.0.2") as target:
        await world.service(port, target)
        await world.guest("a", "127.0.0.1")
        await world.guest("b", "127.0.0.2")
        await until(lambda: len(world.addresses()) == 2)
        for _ in range(4):
            reader, writer = await connect(port)
            assert await reader.readexactly(5) == b"hello"
            writer.close()


async def test_endpoints_follow_and_go_with_the_service(world: World) -> None:
    await world.service(free_port(), 8080)
    await world.guest()
    await until(lambda: (world.endpoints() or {}).get("subsets"))
    found = world.endpoints()
    assert found is not None
    assert found["subsets"][0]["addresses"][0]["ip"] == "127.0.0.1"
    await world.guest_phase("Failed")
    await until(lambda: not (world.endpoints() or {}).get("subsets"))
    await world.kube.delete(SERVICES, "default", "web")
    await until(lambda: world.endpoints() is None)


async def test_datagrams_go_and_come_back(world: World) -> None:
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data.upper(), addr)

    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    port = free_port(socket.SOCK_DGRAM)
    await world.service(port, server.get_extra_info("sockname")[1], "UDP")
    await world.guest()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect((ADDRESS, port))
        async with asyncio.timeout(5):
            while True:
                try:
                    await loop.sock_sendall(client, b"hi")
                    assert await asyncio.wait_for(loop.sock_recv(client, 100), 0.3) == b"HI"
                    break
                except (ConnectionRefusedError, TimeoutError):
                    await asyncio.sleep(0.02)
    server.close()


async def test_a_service_is_told_once_of_a_guest_that_nothing_reaches(world: World) -> None:
    await world.service(free_port(), 80)
    meta = {"name": "a", "namespace": "default", "labels": {"app": "web"}}
    isolated = {"type": "NetworkReachable", "status": "False", "message": "it is connected in user mode"}
    body = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": meta, "spec": {}}
    status = {"phase": "Running", "interfaces": [{"mac": "52:54:00:00:00:01"}], "conditions": [isolated]}
    await world.kube.create(VIRTUAL_MACHINE_INSTANCES, "default", body | {"status": status})
    await until(world.events)
    await world.guest(name="b")
    await until(world.addresses)
    [event] = world.events()
    assert (event["reason"], event["involvedObject"]["name"]) == ("GuestUnreachable", "web")
    assert event["message"] == "no way to a: it is connected in user mode"
    assert event.get("count", 1) == 1
