"""`kubectl virt`: the real kubectl finds `kubectl-virt` on $PATH and hands it everything after the name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_fake_api import FakeApi

PROGRAM = Path(sys.executable).with_name("kubectl-virt")
KUBECTL = shutil.which("kubectl")
START = "/apis/subresources.kubevirt.io/v1/namespaces/x/virtualmachines/vm1/start"

pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.usefixtures("kube"),
    pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed"),
    pytest.mark.skipif(not PROGRAM.exists(), reason="this package is not installed, so there is no kubectl-virt"),
]


def kubectl(*arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    directories = [path, str(PROGRAM.parent), os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(filter(None, directories))}
    return subprocess.run(
        [str(KUBECTL), *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("arguments", [["start", "vm1", "-n", "x"], ["-n", "x", "start", "vm", "vm1"]])
def test_command(api: FakeApi, arguments: list[str]) -> None:
    api.on("PUT", START, (202, None))
    done = kubectl("virt", *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, "VM vm1 was scheduled to start\n", "")
    assert api.requests == [("PUT", START)]


def test_help_and_errors_speak_of_kubectl_virt() -> None:
    assert kubectl("virt", "--help").stdout.startswith("Usage: kubectl virt [OPTIONS] COMMAND [ARGS]...\n")
    assert "\n  kubectl virt start myvm --wait" in kubectl("virt", "start", "--help").stdout
    done = kubectl("virt", "strat")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == 'unknown command "strat" for "kubectl virt"\n\nDid you mean this?\n\tstart\n\trestart\n'


def test_hints_name_a_command_that_works(api: FakeApi) -> None:
    assert "`kubectl virt list` shows what there is" in kubectl("virt", "start", "vm1").stderr


def test_completion_helper(api: FakeApi, tmp_path: Path) -> None:
    machines = {"items": [{"metadata": {"name": "web"}}, {"metadata": {"name": "db"}}]}
    api.on("GET", "/apis/kubevirt.io/v1/namespaces/default/virtualmachines", (200, machines))
    helper = tmp_path / "kubectl_complete-virt"
    helper.write_text(kubectl("virt", "completion", "kubectl").stdout)
    helper.chmod(0o755)
    answer = kubectl("__complete", "virt", "start", "w", path=str(tmp_path)).stdout
    assert answer.splitlines() == ["web", ":4"]
