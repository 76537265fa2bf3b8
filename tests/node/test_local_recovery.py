"""`kill -9` of the supervisor or of one component at any moment: after `local up` every guest is as it should be."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest
from support.local_cluster import LocalCluster, eventually

from virt_local.register import start_time

pytestmark = [pytest.mark.libvirt, pytest.mark.kubectl]

ALL_BUT_API = ("subresources", "controllers", "node", "proxy", "storage")


class World:
    """A cluster with one VM in a namespace of its own (domains of all clusters share libvirt's names)."""

    def __init__(self, root: Path) -> None:
        self.cluster = LocalCluster(root, node_name="recovery-node")
        self.namespace = f"rec-{uuid.uuid4().hex[:8]}"
        self._connection = libvirt.open("qemu:///system" if os.geteuid() == 0 else "qemu:///session")

    def close(self) -> None:
        self.cluster.down()
        for domain in self.domains():
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_NVRAM)
        self._connection.close()

    def create(self, strategy: str) -> None:
        self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        self.cluster.apply(
            {
                "apiVersion": "kubevirt.io/v1",
                "kind": "VirtualMachine",
                "metadata": {"name": "vm1", "namespace": self.namespace},
                "spec": {
                    "runStrategy": strategy,
                    "template": {
                        "spec": {
                            "terminationGracePeriodSeconds": 0,
                            "domain": {
                                "memory": {"guest": "32Mi"},
                                "devices": {"disks": [{"name": "disk", "disk": {"bus": "virtio"}}]},
                            },
                            "volumes": [{"name": "disk", "emptyDisk": {"capacity": "16Mi"}}],
                        }
                    },
                },
            }
        )

    def domains(self) -> list[Any]:
        prefix = f"{self.namespace}_"
        return [each for each in self._connection.listAllDomains() if each.name().startswith(prefix)]

    def guest(self) -> tuple[int, int]:
        """The one QEMU of the one running domain: its pid and start time."""
        running = [each for each in self.domains() if each.isActive()]
        assert len(running) == 1, [each.name() for each in running]
        found = subprocess.run(
            ["pgrep", "-f", f"uuid {running[0].UUIDString()}"], capture_output=True, text=True, check=False
        )
        pids = [int(pid) for pid in found.stdout.split()]
        assert len(pids) == 1, pids
        return pids[0], start_time(pids[0]) or 0

    def vm_status(self) -> str:
        return str(self.cluster.get("vm", "vm1", "-n", self.namespace)["status"].get("printableStatus"))

    def vmi(self) -> Any:
        return self.cluster.get("vmi", "vm1", "-n", self.namespace)

    def await_status(self, wanted: str, seconds: float = 30) -> None:
        eventually(lambda: self.vm_status() == wanted, seconds)

    def verb(self, *arguments: str) -> None:
        self.cluster.virtctl(*arguments, "-n", self.namespace)


@pytest.fixture
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="vr") as root:
        Path(root).chmod(0o711)  # QEMU's user passes through
        world = World(Path(root))
        yield world
        world.close()


def test_a_running_guest_is_the_same_after_everything_was_killed(world: World) -> None:
    world.cluster.up()
    world.create("Always")
    world.await_status("Running")
    guest, uid = world.guest(), world.vmi()["metadata"]["uid"]
    for _ in range(2):
        world.cluster.kill("api")
        assert world.guest() == guest
        world.cluster.up()
        world.await_status("Running", 10)
        assert world.guest() == guest
        assert world.vmi()["metadata"]["uid"] == uid


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.1, 0.3, 0.8])
def test_a_start_survives_a_kill_at_any_moment(world: World, delay: float) -> None:
    world.cluster.up()
    world.create("Manual")
    world.verb("start", "vm1")
    time.sleep(delay)
    world.cluster.kill("api")
    world.cluster.up()
    world.await_status("Running")
    guest = world.guest()
    time.sleep(1)
    assert world.guest() == guest
    assert world.vmi()["status"]["phase"] == "Running"


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.2])
def test_a_stop_survives_a_kill_at_any_moment(world: World, delay: float) -> None:
    world.cluster.up()
    world.create("Always")
    world.await_status("Running")
    world.verb("stop", "vm1")
    time.sleep(delay)
    world.cluster.kill("api")
    world.cluster.up()
    world.await_status("Stopped")
    eventually(lambda: not [each for each in world.domains() if each.isActive()])
    assert world.cluster.get("vmi", "-n", world.namespace)["items"] == []


def test_single_components_are_killed_while_the_others_work(world: World) -> None:
    world.cluster.up("api")
    for name in ALL_BUT_API:
        world.cluster.up(name)
    world.create("Always")
    world.await_status("Running")
    guest = world.guest()
    for name in (*ALL_BUT_API, "api"):
        world.cluster.kill(name)
        assert world.guest() == guest
        world.cluster.up(name)
        world.await_status("Running", 20)
        assert world.guest() == guest
    world.verb("stop", "vm1")
    world.await_status("Stopped")


def test_a_guest_that_dies_unwatched_is_started_again_once(world: World) -> None:
    world.cluster.up()
    world.create("Always")
    world.await_status("Running")
    before, uid = world.guest(), world.vmi()["metadata"]["uid"]
    world.cluster.kill("api")
    os.kill(before[0], 9)
    eventually(lambda: start_time(before[0]) != before[1])
    world.cluster.up()
    eventually(lambda: world.vmi()["metadata"]["uid"] != uid, 60)
    world.await_status("Running", 60)
    assert world.guest() != before


def test_down_stops_guests_only_when_told(world: World) -> None:
    world.cluster.up()
    world.create("Always")
    world.await_status("Running")
    guest = world.guest()
    world.cluster.local("down")
    assert world.guest() == guest
    world.cluster.up()
    world.await_status("Running", 10)
    assert world.guest() == guest
    world.cluster.local("down", "--guests", "stop")
    assert not [each for each in world.domains() if each.isActive()]
