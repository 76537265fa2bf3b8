"""The node agent with real libvirt and QEMU: a guest's life, and that nothing of it hangs on the agent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import libvirt
import pytest
from node_cluster import URI

from virt_handler.libvirt_host import LibvirtHost
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES
from virt_types import labels

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
    await cluster.until(lambda: forgotten(cluster))
    assert list(cluster.options.layout.guests.iterdir()) == []
    await asyncio.sleep(0.2)
    reasons = [reason for reason, _ in await cluster.events()]
    assert {"Pulling", "Pulled", "Created", "Started", "Deleted", "Stopped"} <= set(reasons)


def qemu_pid(name: str) -> int:
    """The process of a domain, by libvirt's own pid file."""
    return int(Path(f"/run/libvirt/qemu/{name}.pid").read_text())


async def test_a_restarted_agent_adopts_its_guests_and_writes_nothing(cluster: Any, connection: Any) -> None:
    await cluster.create("kept")
    await cluster.until_phase("kept", "Running")
    pid = qemu_pid("default_kept")
    await cluster.stop_agent()
    assert connection.lookupByName("default_kept").isActive()
    cluster.handler.writes.clear()
    cluster.start_agent()
    await cluster.until(lambda: console_text(cluster, "kept"))
    assert qemu_pid("default_kept") == pid
    assert cluster.handler.status_writes() == 0
    await cluster.delete("kept")
    await cluster.until_gone("kept")


async def test_a_guest_may_be_started_paused(cluster: Any, connection: Any) -> None:
    await cluster.create("still", spec={"startStrategy": "Paused"})
    vmi = await cluster.until_phase("still", "Running")
    reasons = {item["type"]: item.get("reason") for item in vmi["status"]["conditions"]}
    assert reasons["Paused"] == "PausedByUser"
    assert connection.lookupByName("default_still").state()[0] == libvirt.VIR_DOMAIN_PAUSED
    await cluster.delete("still")
    await cluster.until_gone("still")


async def test_a_guest_killed_behind_our_back_is_failed_with_its_reason(cluster: Any) -> None:
    await cluster.create("crash")
    await cluster.until_phase("crash", "Running")
    os.kill(qemu_pid("default_crash"), signal.SIGKILL)
    vmi = await cluster.until_phase("crash", "Failed")
    assert vmi["status"]["reason"] == "GuestCrashed"
    ready = next(item for item in vmi["status"]["conditions"] if item["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "GuestNotRunning")
    assert "killed" in ready["message"]
    assert labels.VMI_FINALIZER not in vmi["metadata"].get("finalizers", [])


async def test_a_guest_that_died_while_no_agent_ran_is_seen_when_one_comes_back(cluster: Any) -> None:
    await cluster.create("alone")
    await cluster.until_phase("alone", "Running")
    await cluster.stop_agent()
    os.kill(qemu_pid("default_alone"), signal.SIGKILL)
    cluster.start_agent()
    vmi = await cluster.until_phase("alone", "Failed")
    assert vmi["status"]["reason"] == "GuestCrashed"


async def test_the_grace_clock_survives_a_restart_of_the_agent(cluster: Any) -> None:
    await cluster.create("slow", spec={"terminationGracePeriodSeconds": 8})
    await cluster.until_phase("slow", "Running")
    began = time.monotonic()
    await cluster.delete("slow")
    await asyncio.sleep(3)
    await cluster.stop_agent()
    await asyncio.sleep(2)
    cluster.start_agent()
    await cluster.until_gone("slow")
    assert 7 < time.monotonic() - began < 13
    reasons = [reason for reason, _ in await cluster.events()]
    assert reasons.count("ShuttingDown") == 1


async def test_a_successor_of_the_same_name_waits_for_the_former_guest_to_end(cluster: Any, connection: Any) -> None:
    first = await cluster.create("twice")
    await cluster.until_phase("twice", "Running")
    await cluster.stop_agent()
    # Somebody forces the object away while no agent looks; the guest still runs.
    await cluster.delete("twice")
    no_finalizers = [{"op": "replace", "path": "/metadata/finalizers", "value": []}]
    await cluster.admin.patch(VIRTUAL_MACHINE_INSTANCES, "default", "twice", no_finalizers)
    second = await cluster.create("twice")
    assert connection.lookupByName("default_twice").isActive()
    cluster.start_agent()
    await cluster.until_phase("twice", "Running", 90)
    xml = connection.lookupByName("default_twice").XMLDesc()
    assert second["metadata"]["uid"] in xml
    assert first["metadata"]["uid"] not in xml
    assert len(list(cluster.options.layout.records.glob("*.json"))) == 1


async def test_a_domain_of_somebody_else_is_left_alone_and_named(cluster: Any, connection: Any) -> None:
    foreign = (
        "<domain type='qemu'><name>default_taken</name><memory unit='MiB'>32</memory>"
        "<os><type machine='q35'>hvm</type></os></domain>"
    )
    domain = connection.createXML(foreign)
    try:
        await cluster.create("taken")

        async def told() -> Any:
            conditions = (await cluster.get("taken"))["status"].get("conditions", [])
            return next((item for item in conditions if item["type"] == "Synchronized"), None)

        condition = await cluster.until(told)
        assert (condition["status"], condition["reason"]) == ("False", "DomainConflict")
        await cluster.delete("taken")
        await cluster.until_gone("taken")
        assert domain.isActive()
    finally:
        domain.destroy()


async def test_a_missing_image_is_told_and_the_vmi_can_be_deleted(cluster: Any) -> None:
    volumes = [{"name": "boot", "containerDisk": {"image": "kubevirt/nowhere:v1"}}]
    await cluster.create("noimage", spec={"volumes": volumes})

    async def told() -> Any:
        conditions = (await cluster.get("noimage"))["status"].get("conditions", [])
        return next((item for item in conditions if item["type"] == "Synchronized"), None)

    condition = await cluster.until(told)
    assert condition["reason"] == "ErrImagePull"
    assert "kubevirt/nowhere:v1" in condition["message"]
    assert (await cluster.get("noimage"))["status"]["phase"] == "Scheduled"
    await cluster.delete("noimage")
    await cluster.until_gone("noimage")


async def test_an_image_without_a_disk_fails_the_vmi_once_and_for_all(cluster: Any, home: Path) -> None:
    volumes = [{"name": "boot", "containerDisk": {"image": "kubevirt/boot-sector:v1", "path": "/other/disk.img"}}]
    await cluster.create("nodisk", spec={"volumes": volumes})
    vmi = await cluster.until_phase("nodisk", "Failed")
    ready = next(item for item in vmi["status"]["conditions"] if item["type"] == "Ready")
    assert vmi["status"]["reason"] == "ImageRefused"
    assert "/other/disk.img" in ready["message"]


async def test_a_guest_survives_the_loss_of_the_connection_to_libvirt(
    cluster: Any, connection: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cluster.stop_agent()
    relay = Relay(home / "lv.sock", Path("/run/libvirt/libvirt-sock"))
    await relay.start()
    cluster.options = replace(cluster.options, libvirt_uri=f"qemu+unix:///system?socket={home / 'lv.sock'}")
    cluster.start_agent()
    await cluster.create("cut")
    await cluster.until_phase("cut", "Running")
    pid = qemu_pid("default_cut")
    cluster.handler.writes.clear()
    await relay.stop()
    await asyncio.sleep(1.5)
    assert qemu_pid("default_cut") == pid
    assert (await cluster.get("cut"))["status"]["phase"] == "Running"
    await relay.start()
    await asyncio.sleep(2)
    assert cluster.handler.status_writes() == 0
    await cluster.delete("cut")
    await cluster.until_gone("cut")
    await cluster.stop_agent()
    await relay.stop()


async def forgotten(cluster: Any) -> bool:
    """The record is the last thing to go, just after the object."""
    return not list(cluster.options.layout.records.glob("*.json"))


class Relay:
    """libvirt's socket under another name, to be cut without hurting the daemon others use."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path, self.target = path, target
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.path.unlink(missing_ok=True)
        for writer in self._writers:
            writer.close()
        self._writers.clear()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_unix_connection(str(self.target))
        self._writers += [writer, ours]

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(1 << 16):
                    sink.write(data)
            sink.close()

        await asyncio.gather(pump(reader, ours), pump(theirs, writer))


async def console_text(cluster: Any, name: str) -> bytes:
    """What a console client is shown first; empty while there is none."""
    connector = aiohttp.UnixConnector(path=str(cluster.options.layout.socket))
    url = f"http://node/v1/namespaces/default/virtualmachineinstances/{name}/console"
    try:
        async with aiohttp.ClientSession(connector=connector) as session, session.ws_connect(url) as ws:
            async with asyncio.timeout(5):
                return bytes(await ws.receive_bytes())
    except (aiohttp.ClientError, TimeoutError, TypeError):
        return b""


def open_sockets() -> int:
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(str(link.readlink()).startswith("socket:") for link in links)


async def test_who_leaves_libvirt_hangs_up(connection: Any) -> None:
    """A connection that somebody still listens on stays open, and libvirtd waits for its answers in vain."""
    before = open_sockets()
    host = LibvirtHost(URI, lambda _: None)
    running = asyncio.create_task(host.run())
    await asyncio.wait_for(host.connected.wait(), 30)
    assert open_sockets() > before
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    for _ in range(200):
        if open_sockets() == before:
            return
        await asyncio.sleep(0.05)
    pytest.fail("the connection is still open")
