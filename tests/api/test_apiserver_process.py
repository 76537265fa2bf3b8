"""The server as a process: starts again after kill -9, refuses a second one, ends when told, stays small."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from support.api_server import Served, serve

MOST_RESIDENT = 110  # MiB, of the 150 that all of `virtctl local up` may use


def request(served: Served, path: str, body: Any = None, method: str = "GET") -> Any:
    trust = ssl.create_default_context(cafile=str(served.folder / "pki" / "ca.crt"))
    trust.load_cert_chain(served.folder / "pki" / "admin.crt", served.folder / "pki" / "admin.key")
    data = json.dumps(body).encode() if body is not None else None
    asked = urllib.request.Request(served.url + path, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310  our own https URL
    with urllib.request.urlopen(asked, context=trust, timeout=20) as answer:  # noqa: S310
        return json.loads(answer.read())


def resident_mebibytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    raise AssertionError("no VmRSS")


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_after_kill_nine_everything_acknowledged_is_there_and_nothing_else_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    path = "/api/v1/namespaces/default/configmaps"
    with serve(folder, "--no-admission") as served:
        for number in range(20):
            made = request(served, path, {"metadata": {"name": f"c{number}"}}, "POST")
        os.kill(served.pid, signal.SIGKILL)
    with serve(folder, "--no-admission") as served:
        found = request(served, path)
        assert len(found["items"]) == 20
        assert found["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_a_second_server_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    with serve(folder, "--no-admission") as served:
        command = [sys.executable, "-m", "virt_local.apiserver", "--listen", "127.0.0.1:0", "--data-dir", str(folder)]
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1
        assert f"in use by process {served.pid}" in second.stderr
        assert "Traceback" not in second.stderr
        other = tmp_path / "other"
        port = served.url.rsplit(":", 1)[1]
        command[4:] = [f"127.0.0.1:{port}", "--data-dir", str(other), "--no-admission"]
        taken = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert taken.returncode == 1
        assert f"can't listen on 127.0.0.1:{port}" in taken.stderr
        assert "Traceback" not in taken.stderr


@pytest.mark.slow
def test_it_is_small_and_idle_when_nothing_happens(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    with serve(folder, "--no-admission") as served:
        for path in ("/openapi/v2", "/openapi/v3/apis/kubevirt.io/v1", "/apis", "/apis/kubevirt.io/v1/virtualmachines"):
            request(served, path)
        assert resident_mebibytes(served.pid) < MOST_RESIDENT
        before = cpu_ticks(served.pid)
        time.sleep(5)
        assert cpu_ticks(served.pid) - before <= 2, "ticks of 10 ms in five seconds"
        started = time.monotonic()
    assert time.monotonic() - started < 5, "SIGTERM"
