"""KVM or emulation: measured by booting a few bytes, because `/dev/kvm` existing proves nothing.

There are hosts where it opens and the boot then crawls or hangs. The answer is kept for this boot of the host and this
QEMU, said in an annotation of the node, and the user may override it. Called by `app` once at start.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import pwd
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from virt_handler.errors import AcceleratorError
from virt_handler.model import Accelerator
from virt_handler.options import AcceleratorChoice
from virt_kube.durable import write_durably

log = logging.getLogger("virt_handler.accelerator")

KVM = Path("/dev/kvm")
# As udev would have left it.
OPEN_KVM = f"chgrp kvm {KVM} && chmod 660 {KVM}"
DEADLINES: dict[Accelerator, float] = {"kvm": 3.0, "qemu": 20.0}
QEMU_NAMES: dict[Accelerator, str] = {"kvm": "kvm", "qemu": "tcg"}
# A boot sector: `mov al, 0x2a; out 0xf4, al; hlt; jmp $-1`. isa-debug-exit ends QEMU with (0x2a << 1) | 1.
BOOT_CODE = bytes.fromhex("b02ae6f4f4ebfd")
# Firmware reads no disk smaller than a cylinder.
DISK_SIZE = 1 << 20
BOOT_SECTOR = BOOT_CODE.ljust(510, b"\0") + b"\x55\xaa"
BOOTED = (0x2A << 1) | 1


class Verdict(msgspec.Struct, frozen=True):
    """Which accelerator, and why, in a sentence for people."""

    accelerator: Accelerator
    why: str


class _Cached(msgspec.Struct):
    boot_id: str
    qemu: str
    verdict: Verdict


class Trial(NamedTuple):
    """How long the boot took (seconds); None when it did not come through, and then `problem` says why."""

    seconds: float | None
    problem: str = ""


def emulator() -> str:
    return f"qemu-system-{platform.machine()}"


async def choose(choice: AcceleratorChoice, cache: Path, boot_id: str) -> Verdict:
    """The accelerator guests get; raises AcceleratorError when none works."""
    if choice != "auto":
        return Verdict(choice, "chosen with --accelerator")
    qemu = await _qemu_version()
    known = await asyncio.to_thread(_load, cache)
    if known is not None and (known.boot_id, known.qemu) == (boot_id, qemu):
        return known.verdict
    verdict = await _measure()
    await asyncio.to_thread(_save, cache, _Cached(boot_id, qemu, verdict))
    log.info("accelerator chosen accelerator=%s why=%s", verdict.accelerator, verdict.why)
    return verdict


async def _measure() -> Verdict:
    absent = kvm_absence()
    if absent:
        return Verdict("qemu", f"{absent}: guests are emulated, expect 10 to 50 times less speed")
    kvm = await try_boot("kvm")
    if kvm.seconds is None:
        return Verdict("qemu", f"KVM did not boot a test guest ({kvm.problem}): guests are emulated")
    emulated = await try_boot("qemu")
    if emulated.seconds is not None and emulated.seconds < kvm.seconds:
        times = f"{kvm.seconds:.2f} s against {emulated.seconds:.2f} s"
        return Verdict("qemu", f"KVM is slower than emulation here ({times} for a test boot): guests are emulated")
    return Verdict("kvm", f"KVM booted a test guest in {kvm.seconds:.2f} s")


def kvm_absence(device: Path = KVM) -> str:
    """Why KVM need not be tried; "" when it must be."""
    if not device.exists():
        return f"{device} does not exist"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"{device} may not be opened"
    return ""


def kvm_trap(owner: tuple[int, int] | None, device: Path = KVM) -> str:
    """Why every start would take a minute (`OPEN_KVM` is the way out); "" when it would not.

    libvirt probes QEMU anew at each step of a start while /dev/kvm is there but closed to QEMU's user (`owner`).
    """
    try:
        found = device.stat()
    except OSError:
        return ""
    if owner is None or owner[0] == 0:
        return ""
    groups = {owner[1]}
    with contextlib.suppress(KeyError):
        account = pwd.getpwuid(owner[0])
        groups |= set(os.getgrouplist(account.pw_name, account.pw_gid))
    mode = found.st_mode
    if mode & 0o006 == 0o006 or (mode & 0o060 == 0o060 and found.st_gid in groups):
        return ""
    return f"{device} is closed to QEMU's user {owner[0]}"


async def try_boot(accelerator: Accelerator) -> Trial:
    """Boot the sector once, killed hard at the deadline."""
    with tempfile.NamedTemporaryFile(prefix="virt-handler-boot-") as disk:
        disk.write(BOOT_SECTOR)
        disk.truncate(DISK_SIZE)
        disk.flush()
        arguments = (
            *("-nodefaults", "-no-user-config", "-display", "none", "-m", "16", "-no-reboot"),
            *("-machine", f"q35,accel={QEMU_NAMES[accelerator]}"),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=0x01"),
            *("-drive", f"file={disk.name},format=raw,if=ide,readonly=off,snapshot=on"),
        )
        return await _run(emulator(), *arguments, deadline=DEADLINES[accelerator])


async def _run(*command: str, deadline: float) -> Trial:
    began = time.monotonic()
    process = await _spawn(*command)
    try:
        async with asyncio.timeout(deadline):
            _, errors = await process.communicate()
    except TimeoutError:
        return Trial(None, f"no sign of life within {deadline:.0f} s")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode == BOOTED:
        return Trial(time.monotonic() - began)
    return Trial(None, errors.decode(errors="replace").strip()[-200:] or f"exit status {process.returncode}")


async def _qemu_version() -> str:
    process = await _spawn(emulator(), "--version")
    output, _ = await process.communicate()
    return output.decode(errors="replace").partition("\n")[0]


async def _spawn(*command: str) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise AcceleratorError(
            f"can't run {command[0]}: {error.strerror}", hint="install QEMU; `virtctl local doctor` says how"
        ) from None


def _load(path: Path) -> _Cached | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Cached)
    except (OSError, msgspec.MsgspecError):
        return None


def _save(path: Path, cached: _Cached) -> None:
    with contextlib.suppress(OSError):  # measured again next time
        write_durably(path, msgspec.json.encode(cached))
