"""The program virt-controller: what it says when it can't start, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support.fake_kube import FakeKube

from virt_controller import __main__ as program
from virt_controller.__main__ import main
from virt_kube.leader import LostLease


def kubeconfig(folder: Path, server: str) -> Path:
    path = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "c", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }
    path.write_text(json.dumps(config))
    return path


class Empty(BaseHTTPRequestHandler):
    """An API without objects, whose watches stay silent; it tells `asked` what was wanted."""

    asked: threading.Event

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        if "watch=true" in self.path:
            self.end_headers()
            self.wfile.flush()
            self.asked.set()
            threading.Event().wait(30)
            return
        body = json.dumps({"metadata": {"resourceVersion": "1"}, "items": []}).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def empty_api() -> Iterator[tuple[str, threading.Event]]:
    asked = threading.Event()
    handler = type("Handler", (Empty,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_cleanly_when_told_to(tmp_path: Path, empty_api: tuple[str, threading.Event], number: int) -> None:
    url, asked = empty_api
    command = [sys.executable, "-m", "virt_controller", "--kubeconfig", str(kubeconfig(tmp_path, url)), "-v"]
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert asked.wait(30), "it never watched anything"
        assert process.stderr is not None
        begin = next((line for line in process.stderr if "caches synced vms=0" in line), "")
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0, told
    assert begin, told
    assert "Traceback" not in told


async def test_who_lost_the_lease_stands_in_line_again(monkeypatch: pytest.MonkeyPatch) -> None:
    led = []

    class Elector:
        def __init__(self, *_: object) -> None:
            pass

        async def lead(self, work: object) -> None:
            led.append(work)
            if len(led) < 3:
                raise LostLease("the API server was away")

    monkeypatch.setattr(program, "LeaderElector", Elector)
    await program._work(FakeKube(), program._parser().parse_args(["--leader-elect"]))  # type: ignore[arg-type]
    assert len(led) == 3


def test_a_bad_kubeconfig_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "nowhere"
    with pytest.raises(SystemExit) as ended:
        main(["--kubeconfig", str(path)])
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("virt-controller: ")
    assert str(path) in told
    assert "Traceback" not in told


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    for flag in ("--kubeconfig", "--context", "--namespace", "--workers", "--leader-elect", "--lease-namespace", "-v"):
        assert flag in told
