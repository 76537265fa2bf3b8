"""Fixtures for the command line: a fake API, a kubeconfig that points to it, and the program run in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import cli_certificates
import pytest
from cli_certificates import Certificates
from cli_fake_api import FakeApi
from cli_program import Result, Run

from virtctl import __main__ as program


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of the machine the tests run on is ever read."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("virt_kube.kubeconfig.local_path", lambda: str(tmp_path / "state/kubeconfig"))


@pytest.fixture
def api() -> Iterator[FakeApi]:
    server = FakeApi()
    yield server
    server.stop()


@pytest.fixture
def virtctl(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `virtctl ARGS...` in this process."""

    def run(*arguments: str, prog: str = "virtctl") -> Result:
        monkeypatch.setattr(sys, "argv", [prog, *arguments])
        capfd.readouterr()
        code = program.run(sys.argv[1:])
        return Result(code, *capfd.readouterr())

    return run


@pytest.fixture
def kube(api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubeconfig for `api`, named by $KUBECONFIG; its namespace is `default`."""
    path = api.write_kubeconfig(tmp_path / "config.json")
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


@pytest.fixture(scope="session")
def certificates() -> Certificates:
    return cli_certificates.make()
