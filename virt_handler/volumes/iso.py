"""Small ISO 9660 images (Joliet and Rock Ridge) of files held in memory: cloud-init seeds, config maps, secrets.

Made by xorriso or genisoimage, which every distribution has: a library in Python would cost more at import than this
subprocess costs per guest. The contents are secret: staging is 0600, renamed when complete, nothing in argv or logs.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from virt_handler.errors import VolumeError
from virt_handler.volumes.safe_paths import component

PROGRAMS = ("xorrisofs", "genisoimage", "mkisofs")
DEADLINE = 30.0
MAX_CONTENT = 16 << 20


async def write(path: Path, label: str, files: Mapping[str, bytes], owner: tuple[int, int] | None) -> None:
    """Write an ISO of `files` (names may have directories) to `path`, readable by `owner` only; raises VolumeError."""
    if sum(map(len, files.values())) > MAX_CONTENT:
        raise VolumeError(f"{path.name}: its files are larger than {MAX_CONTENT} bytes together")
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        raise VolumeError("no program that makes ISO images was found", hint="apt install xorriso")
    with tempfile.TemporaryDirectory(prefix=".seed-", dir=path.parent) as staging:
        await asyncio.to_thread(_stage, Path(staging) / "root", files)
        image = Path(staging) / "image.iso"
        await _run(program, label, image, Path(staging) / "root")
        await asyncio.to_thread(_publish, image, path, owner)


def _stage(root: Path, files: Mapping[str, bytes]) -> None:
    root.mkdir(mode=0o700)
    for name, content in files.items():
        target = root.joinpath(*(component(part, "file name") for part in name.split("/")))
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(fd, "wb") as file:  # noqa: PTH123  a descriptor, no path
            file.write(content)


async def _run(program: str, label: str, image: Path, root: Path) -> None:
    # -graft-points and leading dashes don't matter: the only operand is a directory of ours.
    process = await asyncio.create_subprocess_exec(
        *(program, "-quiet", "-volid", label, "-joliet", "-rational-rock", "-output", str(image), str(root)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DEADLINE):
            _, errors = await process.communicate()
    except TimeoutError:
        raise VolumeError(f"{Path(program).name} did not end within {DEADLINE:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        text = errors.decode(errors="replace").strip()[-300:]
        raise VolumeError(f"{Path(program).name} could not write an ISO image: {text}")


def _publish(image: Path, path: Path, owner: tuple[int, int] | None) -> None:
    fd = os.open(image, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fchmod(fd, 0o600)
        if owner is not None:
            os.fchown(fd, *owner)
    finally:
        os.close(fd)
    image.rename(path)
