"""Consoles, screens and verbs of a running guest, through the node agent's socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from node_cluster import manifest

from virt_handler import processes

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

BANNER = b"boot sector guest ready"


class Client:
    """A client of the node agent's socket, for one VMI."""

    def __init__(self, session: aiohttp.ClientSession, name: str) -> None:
        self.session = session
        self._base = f"http://node/v1/namespaces/default/virtualmachineinstances/{name}"

    def stream(self, verb: str) -> Any:
        return self.session.ws_connect(f"{self._base}/{verb}", protocols=("plain.kubevirt.io",))

    async def put(self, verb: str) -> int:
        async with self.session.put(f"{self._base}/{verb}") as reply:
            return reply.status

    async def get(self, verb: str) -> tuple[int, bytes]:
        async with self.session.get(f"{self._base}/{verb}") as reply:
            return reply.status, await reply.read()


@pytest.fixture
async def guest(cluster: Any) -> AsyncIterator[Client]:
    await cluster.create("guest")
    await cluster.until_phase("guest", "Running")
    connector = aiohttp.UnixConnector(path=str(cluster.options.layout.socket))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield Client(session, "guest")
    await cluster.delete("guest")
    await cluster.until_gone("guest")


async def read_until(ws: Any, wanted: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(20):
        while wanted not in seen:
            message = await ws.receive()
            assert message.type is aiohttp.WSMsgType.BINARY, message
            seen += message.data
    return seen


async def test_the_console_shows_what_was_said_before_and_carries_input(guest: Client) -> None:
    async with guest.stream("console") as ws:
        await read_until(ws, BANNER)
        await ws.send_bytes(b"ping\x1d")
        await read_until(ws, b"ping\x1d")
    async with guest.stream("console") as ws:  # the banner is history now: only the replay has it
        assert BANNER in await read_until(ws, b"ping")


async def test_no_replay_is_possible(guest: Client) -> None:
    async with guest.stream("console") as ws:
        await read_until(ws, BANNER)
    async with guest.stream("console?replay=0") as ws:
        await ws.send_bytes(b"fresh")
        assert BANNER not in await read_until(ws, b"fresh")


async def test_a_second_console_takes_over_and_the_first_is_told(guest: Client) -> None:
    async with guest.stream("console") as first:
        await read_until(first, BANNER)
        async with guest.stream("console") as second:
            async with asyncio.timeout(10):
                message = await first.receive()
                while message.type is aiohttp.WSMsgType.BINARY:
                    message = await first.receive()
            assert message.type is aiohttp.WSMsgType.CLOSE
            assert (message.data, message.extra) == (4000, "the console was taken over by another client")
            await second.send_bytes(b"mine")
            await read_until(second, b"mine")


async def test_the_screen_speaks_rfb_and_may_be_kept(guest: Client) -> None:
    async with guest.stream("vnc") as ws:
        assert (await read_until(ws, b"RFB 003."))[:4] == b"RFB "
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await guest.stream("vnc?preserveSession=true")
        assert refused.value.status == 503
        async with guest.stream("vnc") as newer:
            await read_until(newer, b"RFB 003.")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(10):
                    assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE


async def test_a_screenshot_is_a_png(guest: Client) -> None:
    status, body = await guest.get("vnc/screenshot")
    assert status == 200
    assert body.startswith(b"\x89PNG\r\n\x1a\n")


async def test_pausing_shows_in_the_status(cluster: Any, guest: Client) -> None:
    async def paused() -> str:
        conditions = (await cluster.get("guest"))["status"]["conditions"]
        return next((item["reason"] for item in conditions if item["type"] == "Paused"), "")

    assert await guest.put("pause") == 202
    assert await cluster.until(paused) == "PausedByUser"
    assert await guest.put("unpause") == 202

    async def running() -> bool:
        return not await paused()

    await cluster.until(running)
    assert await guest.put("unpause") == 409


async def test_a_reset_keeps_the_guest_running(cluster: Any, guest: Client) -> None:
    async with guest.stream("console") as ws:
        await read_until(ws, BANNER)
        assert await guest.put("reset") == 202
        await read_until(ws, BANNER)
    assert (await cluster.get("guest"))["status"]["phase"] == "Running"


async def test_a_vmi_that_does_not_run_here_has_no_console(guest: Client) -> None:
    other = Client(guest.session, "nobody")
    assert (await other.get("console"))[0] == 404
    assert await other.put("pause") == 404


async def test_consoles_that_come_and_go_leave_nothing_open(guest: Client) -> None:
    async with guest.stream("console") as ws:
        await read_until(ws, BANNER)
    before = open_files()
    for number in range(30):
        async with guest.stream("console?replay=0") as ws:
            if number % 3 == 0:
                await ws.send_bytes(b"x")
        async with guest.stream("vnc") as ws:
            await read_until(ws, b"RFB 003.")
    async with asyncio.timeout(10):
        while open_files() > before + 3:  # noqa: ASYNC110  what was closed is gone in a moment
            await asyncio.sleep(0.05)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  a count


async def test_what_a_guest_is_told_in_secret_is_told_to_nobody_else(
    cluster: Any, connection: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Cloud-init's data: not in logs, events, status, QEMU's arguments or the domain; on disk for QEMU's user only."""
    caplog.set_level(logging.DEBUG)
    secret = "correct-horse-battery"
    volumes = [
        {"name": "boot", "containerDisk": {"image": "kubevirt/boot-sector:v1"}},
        {"name": "seed", "cloudInitNoCloud": {"userData": f"#cloud-config\npassword: {secret}\n"}},
    ]
    made = await cluster.create("discreet", spec={"volumes": volumes})
    vmi = await cluster.until_phase("discreet", "Running")
    domain = connection.lookupByName("default_discreet")
    arguments = command_line(domain.UUIDString())
    assert "qemu-system" in arguments
    told = [caplog.text, arguments, domain.XMLDesc(), json.dumps(vmi["status"]), str(await cluster.events())]
    assert [text for text in told if secret in text] == []
    state = cluster.options.layout.guest_state(made["metadata"]["uid"])
    seed = state / "seed.iso"
    assert secret.encode() in seed.read_bytes()
    assert seed.stat().st_mode & 0o077 == 0
    await cluster.delete("discreet")
    await cluster.until_gone("discreet")
    assert not state.exists()


def command_line(uuid: str) -> str:
    process = processes.find_qemu(uuid)
    assert process is not None
    return Path(f"/proc/{process.pid}/cmdline").read_text()


USB_HELLO = b"\x00\x00\x00\x00"  # the first packet of the usbredir protocol is of type 0


async def test_each_remote_usb_device_gets_a_port_of_its_own(cluster: Any) -> None:
    domain = manifest("usb")["spec"]["domain"]
    devices = {**domain["devices"], "clientPassthrough": {}}
    await cluster.create("usb", spec={"domain": {**domain, "devices": devices}})
    await cluster.until_phase("usb", "Running")
    connector = aiohttp.UnixConnector(path=str(cluster.options.layout.socket), limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, contextlib.AsyncExitStack() as open_streams:
        client = Client(session, "usb")
        for _ in range(4):
            stream = await open_streams.enter_async_context(client.stream("usbredir"))
            assert (await stream.receive_bytes(timeout=10)).startswith(USB_HELLO)
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.stream("usbredir")
        assert refused.value.status == 503
        await stream.close()
        again = await cluster.until(lambda: opened(client), 10)
        await again.close()
    await cluster.delete("usb")
    await cluster.until_gone("usb")


async def opened(client: Client) -> Any:
    """A stream, once the place that was left is free again."""
    with contextlib.suppress(aiohttp.WSServerHandshakeError):
        return await client.stream("usbredir")
    return None
