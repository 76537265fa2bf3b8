"""A one-machine cluster of its own directories for the benchmarks, with the demo's guest as its container disk."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import measure

BIN = Path(sys.executable).parent
IMAGE = "docker.io/benchmarks/tiny:latest"


class Cluster(NamedTuple):
    """A running cluster: its directories and the environment that points the commands at it."""

    state: Path
    run: Path
    env: dict[str, str]

    def virtctl(self, *words: str) -> None:
        measure.run([str(BIN / "virtctl"), *words], env=self.env)

    def pid(self) -> int:
        """The one process of `local up`."""
        register: dict[str, Any] = json.loads((self.run / "local.json").read_text())
        return int(register["processes"][0]["pid"])

    def status_of(self, name: str) -> str:
        listing = subprocess.run(
            [str(BIN / "virtctl"), "list", "vm", name, "-o", "json"],
            env=self.env,
            capture_output=True,
            text=True,
            check=True,
        )
        found = json.loads(listing.stdout)
        machine = found["items"][0] if "items" in found else found
        return str(machine.get("status", {}).get("printableStatus", ""))

    def wait_for(self, name: str, status: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while self.status_of(name) != status:
            if time.monotonic() > deadline:
                raise SystemExit(f"{name} is not {status} after {seconds:.0f} s but {self.status_of(name)}")
            time.sleep(0.2)


def machine_manifest(name: str) -> dict[str, Any]:
    """A small stopped VM: one container disk, one interface."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name},
        "spec": {
            "runStrategy": "Halted",
            "template": {
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "domain": {
                        "memory": {"guest": "64Mi"},
                        "devices": {
                            "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
                            "interfaces": [{"name": "default", "masquerade": {}}],
                        },
                    },
                    "networks": [{"name": "default", "pod": {}}],
                    "volumes": [{"name": "root", "containerDisk": {"image": IMAGE}}],
                }
            },
        },
    }


@contextmanager
def cluster(layout: Path) -> Iterator[Cluster]:
    """`virtctl local up` in a directory of its own; guests and files are gone afterwards."""
    root = Path(tempfile.mkdtemp(prefix="vb-", dir="/var/tmp"))
    root.chmod(0o711)
    state, run = root / "s", root / "r"
    env = {**measure.environment(), "KUBECONFIG": str(state / "kubeconfig")}
    directories = ["--state-dir", str(state), "--run-dir", str(run)]
    up = ["local", "up", *directories, "--registry-mirror", f"docker.io=oci:{layout}"]
    try:
        measure.run([str(BIN / "virtctl"), *up], env=env)
        yield Cluster(state, run, env)
    finally:
        subprocess.run(
            [str(BIN / "virtctl"), "local", "down", "--guests", "stop", *directories],
            env=env,
            check=False,
            capture_output=True,
        )
        shutil.rmtree(root, ignore_errors=True)
