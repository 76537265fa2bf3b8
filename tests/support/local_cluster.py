"""A one-machine cluster in directories of its own, driven through the command line as a user does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WITHOUT_NODE = "api,subresources,controllers,proxy,storage"


class LocalCluster:
    """`root` must be short: unix sockets lie below it."""

    def __init__(self, root: Path, *, node_name: str = "") -> None:
        self.state, self.run = root / "s", root / "r"
        self.node_name = node_name

    def local(self, *arguments: str, check: bool = True, timeout: float = 150) -> subprocess.CompletedProcess[str]:
        """`virtctl local ARGUMENTS` for this cluster."""
        places = ["--state-dir", str(self.state)]
        if arguments[0] != "kubeconfig":
            places += ["--run-dir", str(self.run)]
        return self._call(["local", *arguments, *places], check, timeout)

    def virtctl(self, *arguments: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return self._call(list(arguments), check, timeout)

    def up(self, components: str = "", *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        chosen = ["--components", components] if components else []
        name = ["--node-name", self.node_name] if self.node_name else []
        return self.local("up", "--timeout", "60", *chosen, *name, *arguments, check=check)

    def down(self) -> None:
        """End whatever runs, however the test left it."""
        self.local("down", "--guests", "stop", check=False)

    def get(self, *arguments: str) -> Any:
        """`kubectl get ... -o json`, decoded."""
        command = ["kubectl", "get", *arguments, "-o", "json"]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, check=False, timeout=60)
        if done.returncode:
            raise LookupError(done.stderr)
        return json.loads(done.stdout)

    def apply(self, manifest: Any) -> None:
        done = subprocess.run(
            ["kubectl", "apply", "-f", "-"],
            input=json.dumps(manifest),
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr

    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.state / "kubeconfig")}

    def status(self) -> Any:
        return json.loads(self.local("status", "-o", "json").stdout)

    def pids(self) -> dict[str, int]:
        """Component -> the process that runs it."""
        return {name: process["pid"] for process in self.status()["processes"] for name in process["components"]}

    def kill(self, component: str) -> None:
        """`kill -9` of the process that runs it, and wait until it is gone."""
        pid = self.pids()[component]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{pid}").exists() or "Z" in _state(pid), 10)

    def log(self) -> str:
        return (self.state / "log" / "local.log").read_text()

    def _call(self, arguments: list[str], check: bool, timeout: float) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "virtctl", *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, f"virtctl {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done


def eventually(condition: Callable[[], Any], seconds: float = 30, every: float = 0.1) -> Any:
    """What `condition` gives as soon as it is true; the last failure otherwise."""
    deadline = time.monotonic() + seconds
    while True:
        failure: Exception | None = None
        try:
            if found := condition():
                return found
        except (LookupError, OSError) as error:
            failure = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {condition}") from failure
        time.sleep(every)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
