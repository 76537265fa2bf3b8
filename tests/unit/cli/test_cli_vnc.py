"""vnc: the forwarded port, the viewers and their arguments, and what goes wrong with them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_fake_api import FakeApi, Handler, status
from cli_program import Run

from virtctl import viewer

ROOT = Path(__file__).parents[3]
VMI = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances/vm1"
STREAM = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachineinstances/vm1/vnc?preserveSession=false"
PROGRAM = ["-c", "import sys; from virtctl.__main__ import main; sys.exit(main())", "vnc", "vm1"]

pytestmark = pytest.mark.usefixtures("kube")


def serve_display(handler: Handler) -> None:
    """A display that greets and then repeats what it hears."""
    stream = handler.upgrade()
    stream.send(b"RFB 003.008\n")
    while True:
        opcode, payload = stream.receive()
        if opcode == 8:
            return
        if opcode == 2:
            stream.send(payload)


@pytest.fixture
def proxy(api: FakeApi) -> Iterator[subprocess.Popen[str]]:
    api.on("GET", VMI, (200, {}))
    process = subprocess.Popen(
        [sys.executable, *PROGRAM, "--proxy-only"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    yield process
    process.terminate()
    process.communicate(timeout=10)


def talk(port: int, words: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as viewer_side, viewer_side.makefile("rb") as replies:
        greeting = replies.readline()
        viewer_side.sendall(words)
        return greeting + replies.read(len(words))


def test_proxy_prints_its_port_and_accepts_one_viewer_after_another(api: FakeApi, proxy: subprocess.Popen[str]) -> None:
    api.on("GET", STREAM, serve_display)
    assert proxy.stdout is not None
    line = proxy.stdout.readline()
    port = json.loads(line)["port"]
    assert line == f'{{"port":{port}}}\n'
    big = os.urandom(200_000)
    assert talk(port, b"hello") == b"RFB 003.008\nhello"
    assert talk(port, big) == b"RFB 003.008\n" + big
    api.on("GET", STREAM, status(409, "Conflict", "VMI is paused"), serve_display)
    with socket.create_connection(("127.0.0.1", port), 10) as refused:
        assert refused.recv(1) == b""
    assert talk(port, b"back") == b"RFB 003.008\nback"
    proxy.terminate()
    assert "can't access the display: VMI is paused\n" in proxy.communicate(timeout=10)[1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--proxy-only"], "can't access VMI vm1: "),
        (["--proxy-only", "--port=70000"], "can't listen on port 70000"),
        (["--proxy-only", "--address=no.such.host.invalid"], "can't resolve the address: no.such.host.invalid"),
        (["--vnc-type=paint"], "unsupported vnc-type: paint"),
        (["--vnc-type=real"], "unsupported vnc-type for linux: real"),
        (["--vnc-type=tiger"], "could not find vncviewer in $PATH"),
        (["--vnc-path=/no/such"], "specified VNC path does not exist: /no/such"),
        ([], "could not find remote-viewer or vncviewer binary in $PATH"),
    ],
)
def test_errors_before_any_stream(
    api: FakeApi, virtctl: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    result = virtctl("vnc", "vm1", *arguments)
    assert (result.code, result.out) == (1, "")
    assert expected in result.err
    assert not [seen for seen in api.seen if "/vnc" in seen.path], "a session was taken over for nothing"


VIEWER = """#!{python}
import socket, sys
host, port = sys.argv[1].removeprefix("vnc://").split(":")
with socket.create_connection((host, int(port))) as display:
    assert display.recv(12) == b"RFB 003.008\\n"
sys.exit({code})
"""


@pytest.mark.parametrize(("name", "code"), [("remote-viewer", 0), ("vncviewer", 3)])
def test_viewer_is_started_and_its_failure_is_ours(
    api: FakeApi, virtctl: Run, tmp_path: Path, name: str, code: int
) -> None:
    api.on("GET", STREAM, serve_display)
    api.on("GET", VMI, (200, {"status": {"conditions": [{"type": "Paused", "status": "True"}]}}))
    path = tmp_path / name
    path.write_text(VIEWER.format(python=sys.executable, code=code))
    path.chmod(0o755)
    result = virtctl("vnc", "vm1", f"--vnc-path={path}")
    assert result.code == (1 if code else 0)
    assert result.err.startswith("Warning: vm1 is paused. Console will be active after unpause.\n")
    assert ("ended with exit code 3" in result.err) == bool(code)


@pytest.mark.parametrize(
    ("kind", "verbose", "argv"),
    [
        ("remote-viewer", False, ["vnc://127.0.0.1:5901"]),
        ("remote-viewer", True, ["vnc://127.0.0.1:5901", "--debug"]),
        ("tiger", True, ["127.0.0.1:5901", "Log=*:stderr:100"]),
        ("chicken", False, ["127.0.0.1:5901"]),
        ("real", False, ["127.0.0.1:5901", "-WarnUnencrypted=0", "-Shared=0", "-ShareFiles=0"]),
    ],
)
def test_arguments_of_each_viewer(kind: str, verbose: bool, argv: list[str]) -> None:
    assert viewer.TYPES[kind].argv("/bin/v", 5901, verbose=verbose) == ["/bin/v", *argv]


def test_order_of_viewers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, chosen in (("vncviewer", viewer.TIGER), ("remote-viewer", viewer.REMOTE_VIEWER)):
        (tmp_path / name).touch(0o755)
        assert viewer.choose("", "") == (chosen, str(tmp_path / name))
