"""`virtctl console`: the guest's serial line, on a terminal or in a pipe."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from virt_types.errors import VirtError
from virtctl import reach, websocket
from virtctl.errors import StreamBroken
from virtctl.http import INSTANCES
from virtctl.options import Instance, client_of
from virtctl.waiting import explain, get

if TYPE_CHECKING:
    from virtctl.http import Client
    from virtctl.websocket import WebSocket

EXAMPLES = """
# Connect to the console of myvm; Ctrl+] leaves it
virtctl console myvm

# Type a command and print the answer
echo uptime | virtctl console myvm
"""
ESCAPE = b"\x1d"  # Ctrl+] and Ctrl+5
CHUNK = 32 << 10
TICK_SECONDS = 0.25
SILENT_SECONDS = 5.0
# After the end of piped input: how long the guest may take to begin an answer, and to go on with one.
ANSWER_SECONDS = 10.0
QUIET_SECONDS = 2.0
GREETING = "Successfully connected to {name} console. Press Ctrl+] or Ctrl+5 to exit console."
CAUSES = {1001: "the server is going away", 1012: "the server restarts", 4000: "another client has opened it"}
SILENT_HINT = (
    "The console is silent. Press Enter for a prompt; if none comes, nothing in the guest uses its serial line\r\n"
    "(in a Linux guest: systemctl enable --now serial-getty@ttyS0, and console=ttyS0 on the kernel's command line).\r\n"
)


def command(
    ctx: typer.Context,
    name: Instance,
    *,
    timeout: Annotated[
        int,
        typer.Option("--timeout", metavar="MINUTES", help="Minutes to wait for a starting instance; 0 tries once."),
    ] = 5,
) -> None:
    """Connect to the serial console of a virtual machine instance."""
    client = client_of(ctx)
    target = client.subresource(INSTANCES, name, "console")
    try:
        stream = reach.when_running(client, name, lambda: websocket.connect(client, target), timeout * 60.0)
    except KeyboardInterrupt:
        print()
        return
    try:
        converse(stream, name, timeout * 60.0)
    finally:
        stream.close()
    if stream.closed and stream.closed.code != 1000:
        raise _disconnected(client, name, stream.closed)


def converse(stream: WebSocket, name: str, limit: float) -> None:
    """Carry bytes both ways until the guest's side ends, the escape is typed, or piped input has been answered."""
    source = sys.stdin.fileno()
    terminal = os.isatty(source)
    print(GREETING.format(name=name), file=sys.stderr, flush=True)
    with contextlib.ExitStack() as stack:
        if terminal:
            from virtctl.terminal import raw

            stack.enter_context(raw(source))
        Conversation(stream, source, terminal=terminal, limit=limit).run()
    if terminal:
        print(file=sys.stderr)  # the shell's prompt begins a line of its own


class Conversation:
    """One session between a file descriptor and the stream; output goes to stdout."""

    def __init__(self, stream: WebSocket, source: int, *, terminal: bool, limit: float) -> None:
        self._stream = stream
        self._source = source
        self._terminal = terminal
        self._limit = limit
        self._reading = True
        self._touched = False  # anything seen or typed yet
        self._started = self._last_output = time.monotonic()
        self._input_ended = 0.0
        self._answered = False

    def run(self) -> None:
        # What came together with the handshake's answer wakes no select.
        self._output(self._stream.receive())
        while self._stream.closed is None and not self._finished():
            sources: list[WebSocket | int] = [self._stream, *([self._source] if self._reading else [])]
            ready = select.select(sources, [], [], TICK_SECONDS)[0]
            if self._stream in ready:
                self._output(self._stream.receive())
            if self._source in ready and not self._input():
                return
            self._stream.idle()
            self._hint()

    def _output(self, data: bytes) -> None:
        if not data:
            return
        self._touched = self._answered = True
        self._last_output = time.monotonic()
        view = memoryview(data)
        while view:
            view = view[os.write(sys.stdout.fileno(), view) :]

    def _input(self) -> bool:
        """Pass on what was typed; False when it was the escape."""
        data = os.read(self._source, CHUNK)
        if not data:
            self._reading = False
            self._answered = False
            self._input_ended = time.monotonic()
            return not self._terminal
        self._touched = True
        before, escape, _ = data.partition(ESCAPE)
        self._stream.send(before)
        return not escape

    def _finished(self) -> bool:
        """Piped input has ended and the guest has answered, or had the time to."""
        if self._reading:
            return False
        now = time.monotonic()
        if self._limit and now - self._input_ended > self._limit:
            return True
        patience = QUIET_SECONDS if self._answered else ANSWER_SECONDS
        return now - max(self._last_output, self._input_ended) > patience

    def _hint(self) -> None:
        if self._terminal and not self._touched and time.monotonic() - self._started > SILENT_SECONDS:
            self._touched = True
            sys.stderr.write(SILENT_HINT)
            sys.stderr.flush()


def _disconnected(client: Client, name: str, closed: websocket.Closed) -> StreamBroken:
    """The cause as far as anybody knows it: the server's word, else what has become of the instance."""
    error = closed.error()
    cause = (closed.reason if closed.code != 1006 else "") or CAUSES.get(closed.code, "")
    if not cause:
        try:
            vmi = get(client, INSTANCES, name)
        except VirtError:
            vmi, cause = None, "the server can not be reached"
        cause = cause or _fate(vmi)
    return StreamBroken(f"\nYou were disconnected from the console: {cause}.\n{error.message}", closed.code)


def _fate(vmi: object) -> str:
    if not isinstance(vmi, dict):
        return "the virtual machine instance is gone, it was powered off or deleted"
    phase = (vmi.get("status") or {}).get("phase")
    if phase in ("Succeeded", "Failed"):
        return f"the virtual machine was powered off (it is {explain(vmi)})"
    return "the connection broke while the virtual machine runs on; somebody else may have opened its console"
