"""kill -9 between any two steps of a start or a stop: the next agent finishes the work, once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from doomed_agent import DEAD, STARTING, STOPPING
from node_cluster import Cluster, opened

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

SCRIPT = Path(__file__).with_name("doomed_agent.py")


async def die(home: Path, point: str) -> None:
    command = [sys.executable, str(SCRIPT), str(home), point]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=60, check=False)
    assert done.returncode == DEAD, done.stderr.decode()[-2000:]


def qemus(connection: Any) -> list[str]:
    return [domain.name() for domain in connection.listAllDomains() if domain.name() == "default_doomed"]


async def end(cluster: Cluster, connection: Any) -> None:
    """The VMI ends, and nothing is left of it."""
    await cluster.until_gone("doomed")

    async def nothing_left() -> bool:
        layout = cluster.options.layout
        return not [*layout.records.glob("*.json"), *layout.guests.iterdir(), *(layout.run / "vmis").iterdir()]

    await cluster.until(nothing_left, 10)
    assert qemus(connection) == []


@pytest.mark.parametrize("point", STARTING)
async def test_a_start_is_finished_once(point: str, home: Path, connection: Any) -> None:
    await die(home, point)
    async with opened(home) as cluster:
        cluster.start_agent()
        vmi = await cluster.until_phase("doomed", "Running")
        assert vmi["status"]["interfaces"][0]["ipAddress"]
        assert qemus(connection) == ["default_doomed"]
        await cluster.delete("doomed")
        await end(cluster, connection)


@pytest.mark.parametrize("point", STOPPING)
async def test_a_stop_is_finished(point: str, home: Path, connection: Any) -> None:
    async with opened(home) as cluster:
        cluster.start_agent()
        await cluster.create("doomed")
        await cluster.until_phase("doomed", "Running")
    await die(home, point)
    async with opened(home) as cluster:
        cluster.start_agent()
        await end(cluster, connection)
