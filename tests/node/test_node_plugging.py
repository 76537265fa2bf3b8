"""Disks and processors plugged into a guest that runs, pulled out again, over restarts of the agent."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import pytest
from node_cluster import manifest

from virt_handler.domains import read_domain
from virt_handler.rootports import missing_ports
from virt_kube.resources import PERSISTENT_VOLUME_CLAIMS, VIRTUAL_MACHINE_INSTANCES

pytestmark = [pytest.mark.libvirt, pytest.mark.guest]

VOLUME = {"name": "data", "persistentVolumeClaim": {"claimName": "data", "hotpluggable": True}}
DISK = {"name": "data", "disk": {"bus": "scsi"}, "serial": "S-1"}
DRIVE = {"name": "cd", "cdrom": {"bus": "sata"}}


async def claim(cluster: Any, name: str) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Mi"}}}
    await cluster.admin.create(
        PERSISTENT_VOLUME_CLAIMS, "default", {"metadata": {"name": name, "namespace": "default"}, "spec": spec}
    )


async def patch(cluster: Any, name: str, *operations: dict[str, Any]) -> None:
    await cluster.handler.client.patch(VIRTUAL_MACHINE_INSTANCES, "default", name, list(operations))


def add(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": f"/spec/{path}", "value": value}


def remove(path: str) -> dict[str, Any]:
    return {"op": "remove", "path": f"/spec/{path}"}


def disks(connection: Any, name: str) -> dict[str, str]:
    """Source by alias, as the running domain has it."""
    domain = connection.lookupByName(f"default_{name}")
    state, reason = domain.state()
    return {disk.alias: disk.source for disk in read_domain(domain.XMLDesc(), state, reason).disks}


async def volume(cluster: Any, name: str, entry: str) -> dict[str, Any] | None:
    found = (await cluster.get(name))["status"].get("volumeStatus", [])
    return next((each for each in found if each["name"] == entry), None)


async def until_phase(cluster: Any, name: str, entry: str, phase: str) -> dict[str, Any]:
    async def reached() -> dict[str, Any] | None:
        found = await volume(cluster, name, entry)
        return found if found is not None and found.get("phase") == phase else None

    return dict(await cluster.until(reached, 30))


async def test_a_disk_comes_and_goes_while_the_guest_runs(cluster: Any, connection: Any) -> None:
    await cluster.create("plug")
    await cluster.until_phase("plug", "Running")
    await patch(cluster, "plug", add("volumes/-", VOLUME), add("domain/devices/disks/-", DISK))
    waiting = await until_phase(cluster, "plug", "data", "Pending")
    assert (waiting["reason"], "data" in disks(connection, "plug")) in {
        ("VolumeAttaching", False),
        ("FailedPvcNotFound", False),
    }
    await claim(cluster, "data")
    ready = await until_phase(cluster, "plug", "data", "Ready")
    assert (ready["target"], ready["message"]) == ("sda", "Successfully attach hotplugged volume data to VM")
    assert disks(connection, "plug")["data"].endswith("default/data/disk.img")
    running = ET.fromstring(connection.lookupByName("default_plug").XMLDesc())  # noqa: S314  libvirt's own
    assert running.findtext("devices/disk/[serial='S-1']/serial") == "S-1"
    assert missing_ports(running) == 0, "the guest began with free root ports"

    await cluster.stop_agent()
    await patch(cluster, "plug", remove("volumes/1"), remove("domain/devices/disks/1"))
    cluster.start_agent()

    async def gone() -> bool:
        return await volume(cluster, "plug", "data") is None and "data" not in disks(connection, "plug")

    await cluster.until(gone, 30)
    reasons = [reason for reason, _ in await cluster.events()]
    assert {"VolumeReady", "HotplugFailed"} <= set(reasons)
    await cluster.delete("plug")
    await cluster.until_gone("plug")


async def test_a_drive_is_loaded_and_emptied(cluster: Any, connection: Any) -> None:
    await claim(cluster, "disc")
    devices = manifest("drive")["spec"]["domain"]["devices"]
    domain = {**manifest("drive")["spec"]["domain"], "devices": {**devices, "disks": [*devices["disks"], DRIVE]}}
    await cluster.create("drive", spec={"domain": domain})
    await cluster.until_phase("drive", "Running")
    assert not disks(connection, "drive")["cd"]
    disc = {"name": "cd", "persistentVolumeClaim": {"claimName": "disc", "hotpluggable": True}}
    await patch(cluster, "drive", add("volumes/-", disc))
    await until_phase(cluster, "drive", "cd", "Ready")
    assert disks(connection, "drive")["cd"].endswith("default/disc/disk.img")
    await patch(cluster, "drive", remove("volumes/1"))

    async def empty() -> bool:
        return not disks(connection, "drive")["cd"]

    await cluster.until(empty, 30)
    await cluster.delete("drive")
    await cluster.until_gone("drive")


async def test_processors_are_added_and_memory_is_refused_in_words(cluster: Any, connection: Any) -> None:
    base = manifest("grow")["spec"]["domain"]
    cpu = {"cores": 1, "sockets": 1, "threads": 1, "maxSockets": 3, "model": "qemu64"}
    status = {"currentCPUTopology": {"cores": 1, "sockets": 1, "threads": 1}, "memory": {"guestAtBoot": "32Mi"}}
    await cluster.create("grow", spec={"domain": {**base, "cpu": cpu}}, status=status)
    await cluster.until_phase("grow", "Running")
    await patch(cluster, "grow", add("domain/cpu/sockets", 3), add("domain/memory/guest", "64Mi"))

    async def grown() -> dict[str, Any] | None:
        found = (await cluster.get("grow"))["status"]
        return found if found["currentCPUTopology"]["sockets"] == 3 else None

    found = await cluster.until(grown, 30)
    assert connection.lookupByName("default_grow").vcpusFlags() == 3
    (memory,) = [each for each in found["conditions"] if each["type"] == "HotMemoryChange"]
    assert (memory["status"], memory["reason"]) == ("False", "NotSupported")
    assert "without room for other memory than it has; restart the VM to give it 64Mi" in memory["message"]
    await cluster.delete("grow")
    await cluster.until_gone("grow")


async def test_a_guest_that_nobody_reaches_is_not_ready_and_then_ended(cluster: Any, connection: Any) -> None:
    ask = {"tcpSocket": {"port": 22}, "periodSeconds": 1, "failureThreshold": 2}
    await cluster.create("deaf", spec={"readinessProbe": ask, "livenessProbe": ask | {"failureThreshold": 3}})
    vmi = await cluster.until_phase("deaf", "Running")
    (ready,) = [each for each in vmi["status"]["conditions"] if each["type"] == "Ready"]
    assert (ready["status"], ready["reason"]) == ("False", "ReadinessProbeFailed")
    ended = await cluster.until_phase("deaf", "Failed", 30)
    assert ended["status"]["reason"] == "LivenessProbeFailed"
    assert {"Unhealthy", "Killing"} <= {reason for reason, _ in await cluster.events()}
    assert "default_deaf" not in [domain.name() for domain in connection.listAllDomains()]
    await cluster.delete("deaf")
    await cluster.until_gone("deaf")
