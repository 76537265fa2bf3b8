"""KubeVirt's own virtctl, a Go program on client-go, against the one-machine cluster.

KUBEVIRT_VIRTCTL names the program. It is in no package registry, so the test is skipped where nobody built one.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request

import pytest

from tests.e2e.e2e_cluster import Cluster, eventually

PROGRAM = os.environ.get("KUBEVIRT_VIRTCTL", "")
pytestmark = [
    pytest.mark.guest,
    pytest.mark.libvirt,
    pytest.mark.skipif(not PROGRAM, reason="KUBEVIRT_VIRTCTL does not name KubeVirt's virtctl"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_machine_is_run_with_kubevirts_own_virtctl(cluster: Cluster, vm: str) -> None:
    def run(*arguments: str) -> str:
        return cluster.run(PROGRAM, *arguments).stdout

    cluster.kubectl("create", "-f", "-", stdin=cluster.machine(vm, runStrategy="Halted"))
    assert "Server Version" in run("version")
    assert run("start", vm) == f"VM {vm} was scheduled to start\n"
    cluster.wait_printable(vm, "Running")
    assert run("pause", "vm", vm) == f"VMI {vm} was scheduled to pause\n"
    cluster.wait_printable(vm, "Paused")
    assert run("unpause", "vm", vm) == f"VMI {vm} was scheduled to unpause\n"
    cluster.wait_printable(vm, "Running")
    assert run("expose", "vm", vm, "--name", vm, "--port", "80") == f"Service {vm} successfully created for vm {vm}\n"

    eventually(lambda: page_through_a_tunnel(cluster, vm), within=90, what="the guest's page through a tunnel", every=2)
    assert run("stop", vm) == f"VM {vm} was scheduled to stop\n"
    cluster.wait_printable(vm, "Stopped", within=90)


def page_through_a_tunnel(cluster: Cluster, vm: str) -> bool:
    """A tunnel of its own for each attempt: it ends with the first connection a guest that still boots refuses."""
    port = free_port()
    tunnel = subprocess.Popen([PROGRAM, "port-forward", f"vm/{vm}", f"{port}:80"], env=cluster.environment)
    try:
        time.sleep(1)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return bool(answer.read())
    except OSError:
        return False
    finally:
        tunnel.kill()
        tunnel.wait()
