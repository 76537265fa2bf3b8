"""console: raw terminal and escape on a real pty, pipes, waiting, and why a stream ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from cli_fake_api import FakeApi, Handler, status

from virtctl.commands import console as command

ROOT = Path(__file__).parents[3]
STREAM = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachineinstances/vm1/console"
VM = "/apis/kubevirt.io/v1/namespaces/default/virtualmachines/vm1"
VMI = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances/vm1"
PROGRAM = ["-c", "import sys; from virtctl.__main__ import main; sys.exit(main())", "console", "vm1"]
CONNECTED = "Successfully connected to vm1 console. Press Ctrl+] or Ctrl+5 to exit console."

pytestmark = pytest.mark.usefixtures("kube")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[pexpect.spawn]:
    monkeypatch.chdir(ROOT)
    child = pexpect.spawn(sys.executable, PROGRAM, timeout=20, echo=True)
    yield child
    child.close(force=True)


def piped(data: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, *PROGRAM, *arguments], input=data, capture_output=True, cwd=ROOT, timeout=60, check=False
    )


class Guest:
    """A serial line: greets, then remembers what is typed and answers each Enter."""

    def __init__(self, api: FakeApi) -> None:
        self.typed = b""
        self.opcodes: list[int] = []
        self.ended = threading.Event()
        api.on("GET", STREAM, self)

    def __call__(self, handler: Handler) -> None:
        assert handler.headers["Sec-WebSocket-Protocol"] == "plain.kubevirt.io"
        stream = handler.upgrade()
        stream.send(b"login: ")
        while True:
            opcode, payload = stream.receive()
            self.opcodes.append(opcode)
            if opcode == 8:
                break
            self.typed += payload if opcode == 2 else b""
            if b"\r" in payload or b"\n" in payload:
                stream.send(b"welcome\r\n")
        self.ended.set()


def test_keys_reach_the_guest_unchanged(api: FakeApi, terminal: pexpect.spawn) -> None:
    guest = Guest(api)
    terminal.expect_exact(CONNECTED)
    terminal.expect_exact("login: ")
    terminal.send("root\x03\x04\x1a\r")
    terminal.expect_exact("welcome")
    terminal.send("abc\x1dnot for the guest")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    assert guest.ended.wait(10)
    assert guest.typed == b"root\x03\x04\x1a\rabc"
    assert b"root" not in (terminal.before or b""), "the terminal echoed what the guest should echo"


@pytest.mark.parametrize(
    ("number", "code"), [(None, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)]
)
def test_terminal_is_given_back(api: FakeApi, number: signal.Signals | None, code: int) -> None:
    Guest(api)
    script = 'before=$(stty -g); "$@"; code=$?; [ "$before" = "$(stty -g)" ] && echo same=$code || echo changed=$code'
    shell = pexpect.spawn("sh", ["-c", script, "sh", sys.executable, *PROGRAM], timeout=20, cwd=ROOT)
    shell.expect_exact("login: ")
    if number is None:
        shell.send("\x1d")
    else:
        children = Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text().split()
        os.kill(int(children[0]), number)
    shell.expect(rf"same={code}")
    shell.close(force=True)


def test_pipe_prints_the_answer(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(api)
    done = piped(b"uptime\n")
    assert (done.returncode, done.stdout) == (0, b"login: welcome\r\n")
    assert CONNECTED in done.stderr.decode()
    assert guest.typed == b"uptime\n"


def test_guest_ends_the_stream(api: FakeApi) -> None:
    def serve(handler: Handler) -> None:
        stream = handler.upgrade()
        stream.send(b"part one, ", final=False)
        stream.send(b"part two", 0)
        stream.send(b"ignored", 1)
        stream.send(b"keep alive", 9)
        assert stream.receive() == (10, b"keep alive")
        stream.close(1000)

    api.on("GET", STREAM, serve)
    done = piped(b"")
    assert (done.returncode, done.stdout) == (0, b"part one, part two")


@pytest.mark.parametrize(
    ("close", "vmi", "expected"),
    [
        ((4001, "another client took over"), None, "disconnected from the console: another client took over."),
        ((4000, ""), None, "console: another client has opened it.\nwebsocket: close 4000 (taken over)\n"),
        ((1011, ""), {"status": {"phase": "Running"}}, "websocket: close 1011 (internal server error)"),
        (None, {"status": {"phase": "Succeeded"}}, "the virtual machine was powered off (it is Succeeded)"),
        (None, None, "the virtual machine instance is gone, it was powered off or deleted"),
        (None, {"status": {"phase": "Running"}}, "websocket: close 1006 (abnormal closure): unexpected EOF"),
    ],
)
def test_cause_of_a_broken_stream(api: FakeApi, close: tuple[int, str] | None, vmi: object, expected: str) -> None:
    def serve(handler: Handler) -> None:
        stream = handler.upgrade()
        if close:
            stream.close(*close)

    api.on("GET", STREAM, serve)
    if vmi:
        api.on("GET", VMI, (200, vmi))
    done = piped(b"")
    assert done.returncode == 1
    assert done.stdout == b""
    assert "You were disconnected from the console" in done.stderr.decode()
    assert expected in done.stderr.decode()


NOT_RUNNING = status(400, "BadRequest", "VMI is not running")


def test_waits_for_an_instance_that_starts(api: FakeApi) -> None:
    api.on("GET", STREAM, status(404, "NotFound", "no vmi"), NOT_RUNNING, lambda handler: handler.upgrade().close(1000))
    api.on("GET", VM, (200, {"status": {"printableStatus": "Starting"}}))
    api.on("GET", VMI, (200, {"status": {"phase": "Scheduled"}}))
    done = piped(b"")
    assert done.returncode == 0
    assert b"Waiting for vm1 to run: Starting\nWaiting for vm1 to run: Scheduled\n" in done.stderr


@pytest.mark.parametrize(
    ("answer", "vm", "arguments", "expected"),
    [
        (status(400, "BadRequest", "No serial consoles are present."), None, (), "No serial consoles are present.\n"),
        (status(404, "NotFound", 'virtualmachineinstances "vm1" not found'), None, (), '"vm1" not found'),
        (
            status(404, "NotFound", "x"),
            "Stopped",
            (),
            "VM vm1 is not running: it is Stopped\nStart it: virtctl start vm1",
        ),
        (status(409, "Conflict", "VMI is in failed status"), None, (), "VMI is in failed status\n"),
        (status(404, "NotFound", "no vmi yet"), "Starting", ("--timeout=0",), "no vmi yet"),
        ((502, b"bad gateway"), None, (), "Can't connect to websocket (502): websocket: bad handshake"),
    ],
)
def test_fails_at_once(api: FakeApi, answer: object, vm: str | None, arguments: tuple[str, ...], expected: str) -> None:
    api.on("GET", STREAM, answer)  # type: ignore[arg-type]
    if vm:
        api.on("GET", VM, (200, {"status": {"printableStatus": vm}}))
    started = time.monotonic()
    done = piped(b"", *arguments)
    assert (done.returncode, done.stdout) == (1, b"")
    assert expected in done.stderr.decode()
    assert time.monotonic() - started < 8


def test_silent_console_gets_a_hint(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    class Silent:
        closed = None

    monkeypatch.setattr(command, "SILENT_SECONDS", 0.0)
    session = command.Conversation(Silent(), 0, terminal=True, limit=0)  # type: ignore[arg-type]
    time.sleep(0.01)
    session._hint()
    session._hint()
    assert capfd.readouterr().err.count("The console is silent") == 1
