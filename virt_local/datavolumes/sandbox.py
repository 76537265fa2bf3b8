"""Programs that read what strangers made: few rights, little memory, bounded time and output.

As root they run as a user that nobody else is, one per import at work, without capabilities; always below rlimits.
Called by `disk` (qemu-img) and `unpack` (zstd).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from virt_local.datavolumes.errors import ContentRefused, FillError, NoSpace

# No names, no files, and outside the ranges that systemd and containers take theirs from.
FIRST_UID = 1_994_000_000
MEMORY = 1 << 30
OPEN_FILES = 64
INSPECT_SECONDS = 60.0
# A converter that stands still is stuck; one that moves may take as long as it needs.
SILENCE_SECONDS = 600.0
WAITING = 4  # seconds on the clock for each second of processor time that a program may take
PROGRESS = re.compile(rb"\((\d+(?:\.\d+)?)/100%\)")
MAX_OUTPUT = 1 << 20


class Limits(NamedTuple):
    """`cpu` in seconds, `file_size` in bytes: the largest file the program may write."""

    cpu: int
    file_size: int = 0


@cache
def _is_mapped(uid: int) -> bool:
    try:
        rows = [line.split() for line in Path("/proc/self/uid_map").read_text().splitlines()]
    except OSError:
        return False
    return any(int(first) <= uid < int(first) + int(count) for first, _, count in rows)


def user_of(slot: int) -> int | None:
    """The uid of the import in `slot`; None when this process can't become another user."""
    uid = FIRST_UID + slot
    return uid if os.geteuid() == 0 and _is_mapped(uid) else None


def command(program: tuple[str, ...], limits: Limits, uid: int | None) -> list[str]:
    """`program` with its limits and its user."""
    limited = [
        "prlimit",
        f"--as={MEMORY}",
        f"--cpu={limits.cpu}",
        f"--fsize={limits.file_size}",
        f"--nofile={OPEN_FILES}",
        "--core=0",
        "--",
        *program,
    ]
    if uid is None:
        return limited
    rights = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]
    return ["setpriv", *rights, "--", *limited]


async def run(
    program: tuple[str, ...],
    limits: Limits,
    uid: int | None,
    *,
    what: str,
    progress: Callable[[float], None] | None = None,
    silence: float = INSPECT_SECONDS,
    good: tuple[int, ...] = (0,),
) -> bytes:
    """Its output; `progress` hears the percentage it prints. Raises FillError: what failed, in the program's words."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command(program, limits, uid),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        )
    except OSError as error:
        raise FillError(f"can't run {program[0]}: {error.strerror}", hint="`virtctl local doctor` says how") from None
    # Who tells no progress may be silent as long as its work can take: it waits for disks, too.
    wall = silence + WAITING * limits.cpu
    try:
        output, errors = await asyncio.gather(
            _read(process.stdout, silence if progress else wall, progress), _read(process.stderr, None, None)
        )
        async with asyncio.timeout(silence):
            await process.wait()
    except TimeoutError:
        raise ContentRefused(f"{what}: {program[0]} stood still for {silence if progress else wall:.0f} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode not in good:
        raise _failure(what, errors.decode(errors="replace").strip()[-300:], process.returncode or 0)
    return output


def _failure(what: str, text: str, code: int) -> FillError:
    if "No space left on device" in text:
        return NoSpace(f"{what}: no space left on device", hint="free space in the state directory")
    why = text or (f"ended by signal {-code}: it took more than it may" if code < 0 else "failed")
    return ContentRefused(f"{what}: {why}")


async def _read(
    stream: asyncio.StreamReader | None, silence: float | None, progress: Callable[[float], None] | None
) -> bytes:
    """All output up to a limit. Raises TimeoutError when nothing comes for `silence` seconds; None: whatever comes."""
    kept = bytearray()
    while stream is not None:
        async with asyncio.timeout(silence):
            block = await stream.read(1 << 16)
        if not block:
            break
        if progress is not None and (found := PROGRESS.findall(block)):
            progress(float(found[-1]))
        if len(kept) < MAX_OUTPUT:
            kept += block
    return bytes(kept)
