"""What the node needs of the machine, and starting libvirt where nobody has.

`virtctl local up` calls `ensure_libvirt`; `virt_local.doctor` reports the rest.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from virt_local.errors import HostError

SOCKETS = (Path("/run/libvirt/libvirt-sock"), Path("/run/libvirt/virtqemud-sock"))
DAEMONS = ("virtlogd", "libvirtd")
QEMU_ACCOUNTS = ("libvirt-qemu", "qemu")
START_TIMEOUT = 15.0


def libvirt_answers() -> bool:
    """Whether a system libvirt daemon takes connections (it may be started by systemd on the first one)."""
    return any(_connects(path) for path in SOCKETS)


def ensure_libvirt(say: Callable[[str], None]) -> None:
    """Start libvirt's daemons when none answers; `say` hears about it. Raises HostError."""
    if os.geteuid() != 0 or libvirt_answers():
        return  # a session daemon is started by libvirt itself
    if Path("/run/systemd/system").is_dir() and _run("systemctl", "start", "libvirtd"):
        say("Started libvirt with systemctl, as no libvirt daemon answered.")
    else:
        missing = [name for name in DAEMONS if find_program(name) is None]
        if missing:
            raise HostError(
                f"no libvirt daemon answers, and {missing[0]} is not installed",
                hint="Run `virtctl local doctor`: it names the command that installs what is missing.",
            )
        for name in DAEMONS:
            _start(name)
        say("Started virtlogd and libvirtd, as no libvirt daemon answered.")
    _await_libvirt()


class Trap(NamedTuple):
    """Something that makes guests slow, and the command that mends it."""

    problem: str
    fix: str


def kvm_trap() -> Trap | None:
    """Whether every start of a guest would take a minute because of how /dev/kvm is closed.

    QEMU's user is known by its usual name: to ask libvirt would be the first of those minutes.
    """
    from virt_handler import accelerator

    if os.geteuid() != 0:
        return None  # a session's QEMU has the rights of libvirt itself, and libvirt is not confused
    for name in QEMU_ACCOUNTS:
        with contextlib.suppress(KeyError):
            account = pwd.getpwnam(name)
            problem = accelerator.kvm_trap((account.pw_uid, account.pw_gid))
            return Trap(problem, accelerator.OPEN_KVM) if problem else None
    return None


def _await_libvirt() -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not libvirt_answers():
        if time.monotonic() > deadline:
            raise HostError(
                f"libvirtd was started, but did not answer on {SOCKETS[0]} within {START_TIMEOUT:.0f} seconds",
                hint="Start `libvirtd` in a terminal to see why.",
            )
        time.sleep(0.1)


def _start(name: str) -> None:
    if subprocess.run(["pgrep", "-x", name], capture_output=True, check=False).returncode == 0:
        return
    path = find_program(name) or name
    try:
        # Its output would otherwise keep a terminal or pipe of ours open.
        subprocess.run(
            [path, "-d"],
            check=True,
            timeout=START_TIMEOUT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
    except (OSError, subprocess.SubprocessError) as err:
        raise HostError(f"`{path} -d` failed: {err}", hint="Run it in a terminal to see why.") from None


def find_program(name: str) -> str | None:
    """Its path, also where only root looks."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _run(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
