"""A cluster as a user starts it, and the two programs that talk to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from virt_types import legacy

ROOT = Path(__file__).parents[2]
# Guests are domains of the machine's libvirt, called NAMESPACE_NAME: those of another cluster must not be met.
NAMESPACE = f"e2e-{os.getpid()}"
EXAMPLES = ROOT / "examples"
DOCUMENTED_URL = "http://example.com/path/to/your/image.qcow2"  # of the documents' DataSource
VIRTCTL = str(Path(sys.executable).parent / "virtctl")
_T = TypeVar("_T")


def eventually(check: Callable[[], _T | None], *, within: float, what: str, every: float = 0.25) -> _T:
    """The first truthy result of `check`; fails with the last one when time is up."""
    deadline = time.monotonic() + within
    while True:
        result = check()
        if result:
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {within:.0f} s; last seen {result!r}")
        time.sleep(every)


class Cluster:
    """A running one-machine cluster and the two programs that talk to it."""

    def __init__(self, work: Path, image_url: str) -> None:
        self.work = work
        self.image_url = image_url  # of the demo guest's disk, on loopback
        self.places = ("--state-dir", str(work / "state"), "--run-dir", str(work / "run"))
        self.kubeconfig = work / "kubeconfig"
        self.environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "COLUMNS": "200"}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def run(
        self, *command: str, ok: bool = True, stdin: str | None = None, timeout: float = 180
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            env=self.environment,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if ok and done.returncode:
            pytest.fail(f"{' '.join(command)} -> {done.returncode}\n{done.stdout}{done.stderr}\n{self.log_tail()}")
        return done

    def virtctl(
        self, *arguments: str, ok: bool = True, stdin: str | None = None, timeout: float = 180
    ) -> subprocess.CompletedProcess[str]:
        return self.run(VIRTCTL, *arguments, ok=ok, stdin=stdin, timeout=timeout)

    def kubectl(
        self, *arguments: str, ok: bool = True, stdin: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        return self.run("kubectl", *arguments, ok=ok, stdin=stdin, timeout=timeout)

    def up(self) -> None:
        mirror = f"docker.io=oci:{self.work / 'images'}"
        web = f"{DOCUMENTED_URL}={self.image_url}"
        self.virtctl("local", "up", *self.places, "--registry-mirror", mirror, "--http-mirror", web)
        if not self.kubeconfig.exists():
            shutil.copyfile(self.work / "state" / "kubeconfig", self.kubeconfig)
            self.kubectl("create", "namespace", NAMESPACE)
            self.kubectl("config", "set-context", "--current", f"--namespace={NAMESPACE}")

    def down(self) -> None:
        self.virtctl("local", "down", "--guests", "stop", *self.places, ok=False)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """The object, or None when there is none."""
        done = self.kubectl("get", kind, name, "-o", "json", "--ignore-not-found")
        found: dict[str, Any] | None = json.loads(done.stdout) if done.stdout else None
        return found

    def phase(self, name: str) -> str:
        vmi = self.get("vmi", name)
        return vmi["status"].get("phase", "") if vmi else ""

    def printable(self, name: str) -> str:
        vm = self.get("vm", name)
        return vm["status"].get("printableStatus", "") if vm else ""

    def wait_printable(self, name: str, status: str, within: float = 60) -> None:
        eventually(lambda: self.printable(name) == status, within=within, what=f"VM {name} {status}")

    def wait_phase(self, name: str, phase: str, within: float = 60) -> None:
        eventually(lambda: self.phase(name) == phase, within=within, what=f"VMI {name} {phase}")

    def reasons(self, name: str) -> set[str]:
        """Reasons of all events about objects called `name`."""
        found = self.kubectl("get", "events", "-o", "json", f"--field-selector=involvedObject.name={name}")
        return {item["reason"] for item in json.loads(found.stdout)["items"]}

    def machine(self, name: str, **spec: Any) -> str:
        """The documents' vm-cirros under another name, with `spec` changed; as JSON of today's API."""
        vm, _ = legacy.convert(yaml.safe_load((EXAMPLES / "vm-cirros.yaml").read_text()))
        vm["metadata"]["name"] = name
        # The document's 64M is just enough, which the demo proves; here many guests boot on a busy machine.
        vm["spec"]["template"]["spec"]["domain"]["resources"]["requests"]["memory"] = "96M"
        vm["spec"].update(spec)
        if "runStrategy" in spec:
            del vm["spec"]["running"]
        return json.dumps(vm)

    def log_tail(self, lines: int = 30) -> str:
        log = self.work / "state" / "log" / "local.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(no log)"
