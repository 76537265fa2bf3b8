"""Bringing supervisors up and down from the command line: locks, the background process, waiting, telling.

`virt_local.cli` calls `up` and `down`; what is printed goes through `say`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from virt_kube.directories import make_passable
from virt_kube.unix_sockets import MAX_PATH
from virt_local import host
from virt_local.errors import AddressInUse, NotRunning, RunDirError, StartFailed, StopFailed
from virt_local.register import ComponentState, Process, Register, start_time
from virt_local.settings import COMPONENTS, Settings, encode

Say = Callable[[str], None]

PREFERRED_PORT = 6443
POLL = 0.1
STOP_TIMEOUT = 30.0
MAX_LOG = 8 << 20
LOG_TAIL = 12
HOPELESS = 3  # crashes of one component while starting, after which waiting on is useless
# Each thread of glibc's allocator keeps its own arena otherwise: tens of megabytes for nothing.
ENVIRONMENT = {"MALLOC_ARENA_MAX": "2"}


def up(settings: Settings, *, say: Say, foreground: bool, timeout: float) -> Process | None:
    """Start what of `settings.components` does not run yet, and wait until it is ready.

    None when all of it runs already. In the foreground it returns when the supervisor ends.
    """
    os.umask(0o022)  # QEMU's user has to pass through our directories; what is nobody's business has modes of its own
    _prepare(settings)
    register = Register(settings.places.register)
    with register.locked():
        running = register.running()
        missing = tuple(name for name in COMPONENTS if name in settings.components and name not in running)
        if not missing:
            return None
        settings = msgspec.structs.replace(settings, components=missing)
        if "api" in missing:
            settings = msgspec.structs.replace(settings, port=_choose_port(settings, say), any_port=not settings.port)
        if "node" in missing:
            host.ensure_libvirt(say)
            if trap := host.kvm_trap():
                say(f"Every start of a guest will take a minute, as {trap.problem}. This mends it: {trap.fix}")
        process = _this_process(settings) if foreground else _spawn(settings)
        register.put(process)
    if foreground:
        _run_here(settings)
        return None
    return _await_ready(register, process, settings, say, timeout)


def down(settings: Settings, *, say: Say) -> None:
    """End the supervisors that run any of `settings.components`, the one with the API last."""
    processes = [
        process
        for process in Register(settings.places.register).processes()
        if set(settings.components) & process.components.keys()
    ]
    if not processes:
        raise NotRunning(
            f"nothing to stop: no supervisor runs for {settings.places.run}",
            hint="Clusters with another --run-dir are stopped with the same option.",
        )
    for process in sorted(processes, key=lambda each: "api" in each.components):
        _stop(process, settings)
        say(f"Stopped {', '.join(process.components)} (pid {process.pid}).")


def _prepare(settings: Settings) -> None:
    places = settings.places
    for path in (places.state, places.run, places.log.parent):
        try:
            make_passable(path)
        except OSError as err:
            raise _unusable(path, err) from None
        if not os.access(path, os.W_OK | os.X_OK):
            raise _unusable(path, PermissionError(0, "permission denied"))
    longest = places.run / "vmis" / ("0" * 36) / "serial0"
    if len(os.fsencode(longest)) > MAX_PATH:
        raise RunDirError(
            f"the run directory {places.run} is too long for unix sockets: {longest} exceeds {MAX_PATH} bytes",
            hint="choose a shorter one with --run-dir",
        )


def _unusable(path: Path, err: OSError) -> RunDirError:
    return RunDirError(
        f"can't use the directory {path}: {err.strerror}",
        hint="run as root, or choose directories of yours with --state-dir and --run-dir",
    )


def _choose_port(settings: Settings, say: Say) -> int:
    """The port asked for, or that of last time, or a free one; raises AddressInUse."""
    if settings.port:
        try:
            return _try_port(settings.host, settings.port)
        except OSError as err:
            raise AddressInUse(
                f"can't listen on {settings.host}:{settings.port}: {(err.strerror or str(err)).lower()}",
                hint="stop what listens there, or choose another with --listen HOST:PORT",
            ) from None
    last = _last_port(settings.places.kubeconfig)
    for port in (last or PREFERRED_PORT, 0):
        try:
            chosen = _try_port(settings.host, port)
        except OSError:
            continue
        if last and chosen != last:
            say(f"Port {last} is taken by another program: the API listens on {chosen} now (the kubeconfig follows).")
        return chosen
    raise AddressInUse(f"no port is free on {settings.host}", hint="choose another address with --listen HOST:PORT")


def _try_port(address: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address, port))
        return int(probe.getsockname()[1])


def _last_port(kubeconfig: Path) -> int | None:
    from virt_kube.kubeconfig import KubeconfigError, load

    if not kubeconfig.exists():
        return None
    try:
        server = load(str(kubeconfig)).server
    except KubeconfigError:
        return None  # half written by an `up` that was killed; this one writes it anew
    port = server.rpartition(":")[2]
    return int(port) if port.isdigit() else None


def _spawn(settings: Settings) -> Process:
    """The supervisor as a process of its own session, its output in the log."""
    log = settings.places.log
    if log.exists() and log.stat().st_size > MAX_LOG:
        log.rename(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        log.chmod(0o600)
        child = subprocess.Popen(
            [sys.executable, "-m", "virt_local", encode(settings)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            env={**os.environ, **ENVIRONMENT},
        )
    return _process(child.pid, settings)


def _this_process(settings: Settings) -> Process:
    return _process(os.getpid(), settings)


def _process(pid: int, settings: Settings) -> Process:
    return Process(
        pid=pid,
        start_time=start_time(pid) or 0,
        components={name: ComponentState() for name in settings.components},
    )


def _run_here(settings: Settings) -> None:
    from virt_local.__main__ import serve

    serve(settings)


def _await_ready(register: Register, process: Process, settings: Settings, say: Say, timeout: float) -> Process:
    deadline, told = time.monotonic() + timeout, set[str]()
    while True:
        current = register.find(process.pid)
        if current is None:
            raise StartFailed(
                "the supervisor ended while starting" + _tail(settings.places.log), hint=_log_hint(settings)
            )
        _tell(current, told, say)
        if current.ready:
            return current
        hopeless = any(state.restarts >= HOPELESS for state in current.components.values())
        if hopeless or time.monotonic() > deadline:
            why = "a component crashes again and again" if hopeless else f"not ready after {timeout:.0f} seconds"
            waiting = ", ".join(_waiting(current))
            raise StartFailed(
                f"{why}: {waiting}. Pid {process.pid} goes on trying in the background", hint=_log_hint(settings)
            )
        time.sleep(POLL)


def _tell(process: Process, told: set[str], say: Say) -> None:
    for name, state in process.components.items():
        news = f"{name}: {state.state}" if state.state == "running" else f"{name}: {state.error}"
        if (state.state == "running" or state.error) and news not in told:
            told.add(news)
            say(f"  {news}")


def _waiting(process: Process) -> Sequence[str]:
    return [
        f"{name} ({state.error or state.state})"
        for name, state in process.components.items()
        if state.state != "running"
    ]


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").splitlines()[-LOG_TAIL:]
    except OSError:
        return ""
    return ". Its last words:\n" + "\n".join(f"  {line}" for line in lines)


def _log_hint(settings: Settings) -> str:
    return f"The whole story is in {settings.places.log}; `virtctl local doctor` checks what this machine needs."


def _stop(process: Process, settings: Settings) -> None:
    try:
        os.kill(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    except PermissionError:
        raise StopFailed(f"pid {process.pid} belongs to another user", hint="run as that user, or as root") from None
    deadline = time.monotonic() + STOP_TIMEOUT
    while process.alive:
        if time.monotonic() > deadline:
            raise StopFailed(
                f"pid {process.pid} did not end within {STOP_TIMEOUT:.0f} seconds",
                hint=f"see {settings.places.log}; `kill -9 {process.pid}` does no harm: guests keep running",
            )
        time.sleep(POLL)
