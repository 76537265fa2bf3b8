"""kill -9 at any moment, then `local up`: guests run on, status is right again, nothing is lost or started twice."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.e2e_cluster import Cluster, eventually
from tests.e2e.test_e2e_lifecycle import qemu_pids, uid

pytestmark = [pytest.mark.guest, pytest.mark.libvirt, pytest.mark.kubectl]


def kill(cluster: Cluster) -> None:
    """SIGKILL every process of the cluster, and wait until they are gone."""
    shown = json.loads(cluster.virtctl("local", "status", "-o", "json", *cluster.places).stdout)
    pids = [process["pid"] for process in shown["processes"]]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not any(_lives(pid) for pid in pids), within=10, what="the killed processes gone")


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_running_guest_survives_and_is_known_again(cluster: Cluster, vm: str) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=cluster.machine(vm, running=True))
    cluster.wait_printable(vm, "Running")
    before = qemu_pids(vm), uid(cluster, vm)
    kill(cluster)
    assert qemu_pids(vm) == before[0]
    cluster.up()
    cluster.wait_printable(vm, "Running", within=10)
    cluster.wait_phase(vm, "Running", within=10)
    # Long enough for a confused agent or controller to act.
    time.sleep(3)
    assert (qemu_pids(vm), uid(cluster, vm)) == before
    cluster.virtctl("stop", vm, "--wait", "--timeout", "60s")
    assert qemu_pids(vm) == []


def test_guest_that_ended_meanwhile_is_noticed(cluster: Cluster, vm: str) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=cluster.machine(vm, runStrategy="Manual"))
    cluster.virtctl("start", vm, "--wait", "--timeout", "60s")
    [pid] = qemu_pids(vm)
    kill(cluster)
    os.kill(pid, signal.SIGKILL)
    cluster.up()
    cluster.wait_printable(vm, "Stopped", within=20)
    assert qemu_pids(vm) == []


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.4, 0.8])
def test_killed_while_starting(cluster: Cluster, vm: str, delay: float) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=cluster.machine(vm))
    cluster.virtctl("start", vm)
    time.sleep(delay)
    kill(cluster)
    cluster.up()
    cluster.wait_printable(vm, "Running", within=60)
    assert len(qemu_pids(vm)) == 1


def test_acknowledged_objects_survive(cluster: Cluster, vm: str) -> None:
    names = [f"{vm}-{number}" for number in range(5)]
    for name in names:
        cluster.kubectl("create", "configmap", name)
    kill(cluster)
    cluster.up()
    kept = cluster.kubectl("get", "configmap", *names, "-o", "name").stdout.split()
    assert kept == [f"configmap/{name}" for name in names]
    cluster.kubectl("delete", "configmap", *names)


def test_down_leaves_guests_and_up_finds_them(cluster: Cluster, vm: str) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=cluster.machine(vm, running=True))
    cluster.wait_printable(vm, "Running")
    before = qemu_pids(vm), uid(cluster, vm)
    cluster.virtctl("local", "down", *cluster.places)
    assert qemu_pids(vm) == before[0]
    cluster.up()
    cluster.wait_printable(vm, "Running", within=10)
    assert (qemu_pids(vm), uid(cluster, vm)) == before
