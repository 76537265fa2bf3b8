"""How the demo runs commands before the newcomer's eyes: each one shown as it would be typed, its output below it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_BOLD, _DIM, _GREEN, _RED, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[0m"
_ESCAPES = re.compile(rb"\x1b(\[[0-9;?]*[A-Za-z]|c|[()][A-Z0-9])")
_LEAVE_CONSOLE = b"\x1d"


class DemoError(Exception):
    """A step did not do what it should; the message says which and what was seen."""


class Shell:
    """Runs commands with one environment; colours only on a terminal."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = {**os.environ, **environment}
        self._colour = sys.stdout.isatty()
        self._started = time.monotonic()

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colour else text

    def step(self, text: str) -> None:
        """Announce what comes next, with the seconds gone by."""
        elapsed = f"[{time.monotonic() - self._started:3.0f} s]"
        print(f"\n{self._paint(_DIM, elapsed)} {self._paint(_BOLD, text)}", flush=True)

    def good(self, text: str) -> None:
        print(self._paint(_GREEN, text), flush=True)

    def bad(self, text: str) -> None:
        print(self._paint(_RED, text), file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        print(self._paint(_DIM, text), flush=True)

    def _show(self, command: Sequence[str]) -> None:
        words = [Path(command[0]).name, *command[1:]]
        print(self._paint(_GREEN, "$ ") + shlex.join(words), flush=True)

    def run(self, *command: str, expect: str = "", timeout: float = 180) -> str:
        """Show and run `command`, printing as it prints; DemoError when it fails or `expect` is not in its output."""
        self._show(command)
        seen: list[str] = []
        with subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        ) as process:
            deadline = time.monotonic() + timeout
            for line in self._lines(process, deadline):
                seen.append(line)
                print(f"  {line}", flush=True)
        output = "\n".join(seen)
        if process.returncode:
            raise DemoError(f"`{shlex.join(command)}` ended with exit code {process.returncode}")
        if expect not in output:
            raise DemoError(f"`{shlex.join(command)}` should have printed {expect!r}")
        return output

    def quiet(self, *command: str) -> bool:
        """Run without showing; whether it is there and succeeded."""
        try:
            return subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            return False

    def _lines(self, process: subprocess.Popen[bytes], deadline: float) -> Iterator[str]:
        for chunk in _output(process, deadline):
            yield from chunk.decode(errors="replace").splitlines()

    def console(self, virtctl: str, machine: str, *, until: str, timeout: float = 90) -> str:
        """Show the guest's console until `until` appears, then leave as a person would, with Ctrl+]."""
        command = (virtctl, "console", machine)
        self._show(command)
        transcript = b""
        with subprocess.Popen(
            command, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            try:
                for chunk in _output(process, time.monotonic() + timeout, lines=False):
                    transcript += chunk
                    if until.encode() in transcript:
                        break
            finally:
                _type(process, _LEAVE_CONSOLE)
        text = _ESCAPES.sub(b"", transcript).decode(errors="replace").replace("\r", "")
        for line in filter(str.strip, text.splitlines()):
            print(f"  {self._paint(_DIM, '|')} {line}", flush=True)
        if until not in text:
            raise DemoError(f"the guest's console did not show {until!r} within {timeout:.0f} seconds")
        return text


def _type(process: subprocess.Popen[bytes], keys: bytes) -> None:
    if process.stdin is not None and process.poll() is None:
        process.stdin.write(keys)
        process.stdin.flush()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()


def _output(process: subprocess.Popen[bytes], deadline: float, *, lines: bool = True) -> Iterator[bytes]:
    """What a command prints, as it comes (whole lines, or whatever there is); killed when the deadline passes."""
    if process.stdout is None:
        return
    descriptor, rest = process.stdout.fileno(), b""
    os.set_blocking(descriptor, False)
    while True:
        if time.monotonic() > deadline:
            process.kill()
            break
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            time.sleep(0.05)
            continue
        if not data:
            break
        if not lines:
            yield data
            continue
        whole, newline, rest = (rest + data).rpartition(b"\n")
        if newline:
            yield whole
    if rest:
        yield rest


def program(name: str) -> str:
    """The program beside this interpreter, else the one on PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise DemoError(f"{name} is not installed; run `./run demo`, which installs it")
    return found
