"""The node agent with real libvirt and QEMU: a guest's life, and that nothing of it hangs on the agent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]


async def test_a_scheduled_vmi_runs_with_one_status_write(cluster: Any, connection: Any) -> None:
    await cluster.create("first")
    vmi = await cluster.until_phase("first", "Running")
    domain = connection.lookupByName("default_first")
    assert domain.isActive()
    assert cluster.handler.status_writes() == 1
    status = vmi["status"]
    assert status["interfaces"][0]["ipAddress"].startswith("192.168.")
    assert status["volumeStatus"] == [{"name": "boot", "target": "vda"}]
    assert {"type": "Ready", "status": "True"}.items() <= status["conditions"][0].items()
    assert [entry["phase"] for entry in status["phaseTransitionTimestamps"]] == ["Scheduled", "Running"]
    await cluster.delete("first")
    await cluster.until_gone("first")
    assert not [domain for domain in connection.listAllDomains() if domain.name() == "default_first"]
    assert list(cluster.options.layout.records.glob("*.json")) == []
    assert list(cluster.options.layout.guests.iterdir()) == []
    await asyncio.sleep(0.2)
    reasons = [reason for reason, _ in await cluster.events()]
    assert {"Pulling", "Pulled", "Created", "Started", "Deleted", "Stopped"} <= set(reasons)
