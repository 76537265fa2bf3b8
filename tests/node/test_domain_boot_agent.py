"""What this node can't do for a guest is told by the agent: by a refusal before libvirt sees it, or by a condition."""

from __future__ import annotations

from typing import Any

import pytest
from node_cluster import manifest

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]


def domain_with(name: str, **changes: Any) -> dict[str, Any]:
    domain = manifest(name)["spec"]["domain"]
    return {"domain": {**domain, **changes}}


async def test_a_guest_that_goes_without_something_says_so_while_it_runs(cluster: Any) -> None:
    await cluster.create("poorer", spec=domain_with("poorer", cpu={"cores": 1, "model": "host-passthrough"}))
    vmi = await cluster.until_phase("poorer", "Running")
    (reduced,) = [it for it in vmi["status"]["conditions"] if it["type"] == "ConfigurationReduced"]
    assert (reduced["status"], reduced["reason"]) == ("True", "UnsupportedByNode")
    assert reduced["message"].startswith("spec.domain.cpu.model: ")

    async def told() -> bool:
        return ("ConfigurationReduced", reduced["message"]) in await cluster.events()

    await cluster.until(told)
    assert cluster.handler.status_writes() == 1
    await cluster.delete("poorer")
    await cluster.until_gone("poorer")


async def test_what_libvirt_would_refuse_is_refused_before_by_its_field(cluster: Any, connection: Any) -> None:
    lun = [{"name": "boot", "lun": {"bus": "scsi"}}]
    await cluster.create("refused", spec=domain_with("refused", devices={"disks": lun, "interfaces": []}))
    vmi = await cluster.until_phase("refused", "Failed")
    assert vmi["status"]["reason"] == "UnsupportedConfiguration"
    (ready,) = [it for it in vmi["status"]["conditions"] if it["type"] == "Ready"]
    assert "spec.domain.devices.disks[0].lun: volume 'boot' is a file" in ready["message"]
    assert "default_refused" not in [domain.name() for domain in connection.listAllDomains()]

    async def told() -> str:
        return next((message for reason, message in await cluster.events() if reason == "Stopped"), "")

    assert (await cluster.until(told)).startswith("The VirtualMachineInstance was not started. (spec.")
    await cluster.delete("refused")
    await cluster.until_gone("refused")
