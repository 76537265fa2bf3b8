"""Guests of libvirt's session daemon, which an unprivileged user has: they run, and are told to be out of reach."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import libvirt
import pytest
from node_cluster import BANNER, Cluster, opened, sweep

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

SESSION = "qemu:///session"


@pytest.fixture
async def session(home: Path) -> AsyncIterator[Cluster]:
    async with opened(home) as cluster:
        cluster.options = dataclasses.replace(cluster.options, libvirt_uri=SESSION)
        cluster.start_agent()
        yield cluster
    connection = libvirt.open(SESSION)
    sweep(connection, home / "state")
    connection.close()


async def test_a_guest_of_a_session_runs_and_says_that_nothing_reaches_it(session: Cluster) -> None:
    await session.create("alone")
    vmi = await session.until_phase("alone", "Running")
    conditions = {each["type"]: (each["status"], each.get("reason")) for each in vmi["status"]["conditions"]}
    assert conditions["NetworkReachable"] == ("False", "UserModeNetwork")
    assert "ipAddress" not in vmi["status"]["interfaces"][0]
    assert [reason for reason, _ in await session.events() if reason == "UserModeNetwork"]
    connector = aiohttp.UnixConnector(path=str(session.options.layout.socket))
    path = "http://agent/v1/namespaces/default/virtualmachineinstances/alone/console"
    async with aiohttp.ClientSession(connector=connector) as http, http.ws_connect(path) as console:
        said = b""
        while BANNER not in said:
            said += await console.receive_bytes(timeout=20)
    await session.delete("alone")
    await session.until_gone("alone")
    connection = libvirt.open(SESSION)
    assert not [each for each in connection.listAllDomains() if each.name() == "default_alone"]
    connection.close()
