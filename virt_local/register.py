"""RUN/local.json: which supervisor processes run, with which components, in which state.

A process is known by pid and start time, so an entry left by `kill -9` or another boot never counts. Every change is
made under a lock file and by renaming, so two `up` never fight and a reader never sees half a file.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

import msgspec

from virt_kube.durable import write_durably
from virt_local.errors import RunDirError

START_TIME_FIELD = 19  # of /proc/PID/stat, counted after the command's closing parenthesis


class ComponentState(msgspec.Struct):
    """`state` is starting, running or failed; `error` is the last failure's text."""

    state: str = "starting"
    restarts: int = 0
    error: str = ""


class Process(msgspec.Struct):
    """One supervisor. `server` is the API's URL when it serves one; `start_time` is in clock ticks since boot."""

    pid: int
    start_time: int
    started: str = ""
    server: str = ""
    ready: bool = False
    components: dict[str, ComponentState] = msgspec.field(default_factory=dict)

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.start_time


class _File(msgspec.Struct):
    processes: list[Process] = msgspec.field(default_factory=list)


def start_time(pid: int) -> int | None:
    """Clock ticks between boot and the start of a process; None when there is none (or only its zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[START_TIME_FIELD])


class Register:
    """The file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def processes(self) -> list[Process]:
        """The supervisors that live."""
        return [process for process in self._read() if process.alive]

    def find(self, pid: int) -> Process | None:
        return next((process for process in self.processes() if process.pid == pid), None)

    def running(self) -> dict[str, Process]:
        """Component name -> the process that runs it."""
        return {name: process for process in self.processes() for name in process.components}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone while deciding what to start; waits for others."""
        with contextlib.ExitStack() as stack:
            try:
                self._path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
                file = stack.enter_context(self._path.with_suffix(".lock").open("a"))
            except OSError as err:
                raise RunDirError(
                    f"can't use the run directory {self._path.parent}: {err.strerror}",
                    hint="choose one you may write with --run-dir, or run as root",
                ) from None
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def put(self, process: Process) -> None:
        """Add or replace one process; call it under `locked`."""
        others = [each for each in self.processes() if each.pid != process.pid]
        self._write([*others, process])

    def remove(self, pid: int) -> None:
        with self.locked():
            self._write([each for each in self.processes() if each.pid != pid])

    def _read(self) -> list[Process]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_File).processes
        except FileNotFoundError:
            return []
        except msgspec.DecodeError:
            return []  # not ours to trust; the next write replaces it
        except OSError as err:
            raise RunDirError(
                f"can't read {self._path}: {err.strerror}", hint="run as the user who started it"
            ) from None

    def _write(self, processes: list[Process]) -> None:
        write_durably(self._path, msgspec.json.format(msgspec.json.encode(_File(processes)), indent=1))
