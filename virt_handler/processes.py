"""QEMU processes as the kernel knows them: the proof that does not depend on libvirt's memory.

Called by `agent` when libvirt says that a guest which ran is gone, and when a lost QEMU must end.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from pathlib import Path

from virt_handler.decide import Process

PROC = Path("/proc")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MAX_CMDLINE = 1 << 20


def boot_id() -> str:
    """This boot of the host."""
    return BOOT_ID.read_text().strip()


def find_qemu(uuid: str, proc: Path = PROC) -> Process | None:
    """The QEMU whose command line says `-uuid UUID`; None is the kernel's word that there is none."""
    for entry in proc.iterdir():
        if entry.name.isdigit() and _is_qemu_of(entry, uuid):
            started = start_time(int(entry.name), proc)
            if started is not None:
                return Process(int(entry.name), started)
    return None


def start_time(pid: int, proc: Path = PROC) -> int | None:
    """When a process started, in clock ticks since boot; None for one that is gone or a zombie."""
    try:
        # The command name may hold spaces and parentheses: what counts stands after the last one.
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def kill(process: Process) -> None:
    """End that very process, and no other that got its number."""
    with contextlib.suppress(ProcessLookupError):
        fd = os.pidfd_open(process.pid)
        try:
            if start_time(process.pid) == process.started:
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        finally:
            os.close(fd)


def _is_qemu_of(entry: Path, uuid: str) -> bool:
    try:
        with (entry / "cmdline").open("rb") as file:
            words = file.read(MAX_CMDLINE).split(b"\0")
    except OSError:
        return False
    if b"qemu" not in words[0].rpartition(b"/")[2]:
        return False
    wanted = uuid.encode()
    return any(flag == b"-uuid" and value == wanted for flag, value in itertools.pairwise(words))
