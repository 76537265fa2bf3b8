"""The lifecycle verbs import little and start quickly; what they can't do themselves they leave to typer."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_certificates import Certificates
from cli_fake_api import FakeApi

HEAVY = {
    "rich",
    "kubernetes",
    "jinja2",
    "pydantic",
    "aiohttp",
    "libvirt",
    "asyncio",
    "typer",
    "yaml",
    "msgspec",
    "email",
}
PROBE = "import sys; from virtctl.__main__ import run; code = run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def tls_api(certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """The API as `local up` serves it: TLS, client certificate, JSON kubeconfig."""
    server = FakeApi(certificates.server_context(tmp_path, ask_client=True))
    data = {
        "client-certificate-data": base64.b64encode(certificates.client).decode(),
        "client-key-data": base64.b64encode(certificates.client_key).decode(),
    }
    authority = {"certificate-authority-data": base64.b64encode(certificates.ca).decode()}
    path = server.write_kubeconfig(tmp_path / "config.json", user=data, **authority)
    monkeypatch.setenv("KUBECONFIG", str(path))
    yield server
    server.stop()


@pytest.mark.parametrize("arguments", [["start", "vm1"], ["stop", "vm", "vm1"], ["-n", "default", "restart", "vm1"]])
def test_lifecycle_verbs_import_nothing_heavy(tls_api: FakeApi, arguments: list[str]) -> None:
    verb = next(word for word in arguments if word in ("start", "stop", "restart"))
    url = f"/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachines/vm1/{verb}"
    tls_api.on("PUT", url, (202, None))
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, cwd=ROOT, env=os.environ, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"VM vm1 was scheduled to {verb}\n")
    assert tls_api.requests == [("PUT", url)]
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert loaded & HEAVY == set()


def test_waiting_in_a_pipe_imports_nothing_heavy(tls_api: FakeApi) -> None:
    machines = "namespaces/default/virtualmachines/vm1"
    tls_api.on("PUT", f"/apis/subresources.kubevirt.io/v1/{machines}/start", (202, None))
    tls_api.on("GET", f"/apis/kubevirt.io/v1/{machines}", (200, {"status": {"printableStatus": "Running"}}))
    done = subprocess.run(
        [sys.executable, "-c", PROBE, "start", "vm1", "--wait"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stdout) == (0, "VM vm1 was scheduled to start\nVM vm1 is running\n")
    assert {name.partition(".")[0] for name in done.stderr.split()} & HEAVY == set()
