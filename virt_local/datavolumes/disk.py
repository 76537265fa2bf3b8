"""From a file of unknown making to the disk of a claim: identified, checked, converted in confinement, published.

Called by `fill` with what a source left among the scratch files of a `Place`.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from virt_kube.threads import in_thread, opened
from virt_local.datavolumes import formats, sandbox, unpack
from virt_local.datavolumes.errors import ContentRefused
from virt_local.datavolumes.place import Place
from virt_local.datavolumes.plan import Plan

UNPACKED, TREE, DISK = "unpacked", "tree", "disk"
# Beyond the disk it holds, a file has headers, tables and what compression could not shrink.
ROOM = 64 << 20
INSPECT_CPU = 10  # seconds
CONVERT_CPU, CONVERT_CPU_BYTES = 120, 4 << 20  # seconds, and another one for so many bytes
LEAKS = 3  # what `qemu-img check` ends with when nothing but room is lost
Report = Callable[[float], None]


def largest_file(plan: Plan) -> int:
    """Bytes an image file may have, whatever its format."""
    return plan.available if plan.archive else plan.available * 5 // 4 + ROOM


def check_head(head: bytes, size: int, plan: Plan, what: str) -> None:
    """All that the first bytes of what is coming tell (`size` -1: unknown); raises ContentRefused, TooLarge."""
    if plan.archive or formats.compression_of(head):
        return
    if formats.check_head(head, plan.available, what) == formats.RAW and size >= 0:
        formats.check_raw(size, what)
        formats.check_size(size, plan.available)


async def install(place: Place, name: str, plan: Plan, what: str, report: Report) -> None:
    """Make the scratch file `name` the claim's content; raises FillError."""
    head = await asyncio.to_thread(_head, place.scratch(name))
    compression = formats.compression_of(head)
    if plan.archive:
        await _untar(place, name, compression, plan, what)
        return
    if compression:
        await _decompress(place, name, compression, plan, what)
        name = UNPACKED
    await install_image(place, place.scratch(name), plan, what, report)


async def install_image(place: Place, path: Path, plan: Plan, what: str, report: Report) -> None:
    """The same for an image file that is not packed. One outside the scratch directory is only read."""
    head = await asyncio.to_thread(_head, path)
    kind = formats.check_head(head, plan.available, what)
    own = path.parent == place.scratch("")
    if kind == formats.RAW and own:
        size = await asyncio.to_thread(lambda: path.stat().st_size)
        formats.check_raw(size, what)
        formats.check_size(size, plan.available)
        await asyncio.to_thread(path.rename, place.scratch(DISK))
    else:
        await _convert(place, path, kind, plan, what, report)
    await in_thread(partial(place.publish, DISK, plan.size, preallocate=plan.preallocate))


async def blank(place: Place, plan: Plan) -> None:
    """An empty disk."""
    await _make(place, plan.size)
    await in_thread(partial(place.publish, DISK, plan.size, preallocate=plan.preallocate))


async def _convert(  # noqa: PLR0917  private, called once
    place: Place, path: Path, kind: str, plan: Plan, what: str, report: Report
) -> None:
    described = await sandbox.run(
        ("qemu-img", "info", "--output=json", "-f", kind, str(path)),
        sandbox.Limits(INSPECT_CPU),
        place.user,
        what=f"can't inspect {what}",
    )
    size = formats.check_info(described, kind, str(path), what)
    formats.check_size(size, plan.available)
    cpu = CONVERT_CPU + size // CONVERT_CPU_BYTES
    if kind == "qcow2":  # what lies beyond the end of a cut file would be converted to zeroes without a word
        await sandbox.run(
            ("qemu-img", "check", "-q", "-f", kind, str(path)),
            sandbox.Limits(cpu),
            place.user,
            what=f"{what} is damaged or incomplete",
            silence=sandbox.SILENCE_SECONDS,
            good=(0, LEAKS),
        )
    await _make(place, size)
    target = str(place.scratch(DISK))
    await sandbox.run(
        ("qemu-img", "convert", "-p", "-n", "--target-is-zero", "-f", kind, "-O", "raw", str(path), target),
        sandbox.Limits(cpu, size),
        place.user,
        what=f"can't convert {what}",
        progress=report,
        silence=sandbox.SILENCE_SECONDS,
    )


async def _make(place: Place, size: int) -> None:
    async with opened(partial(place.create, DISK, size=size)):
        pass


async def _decompress(place: Place, name: str, compression: str, plan: Plan, what: str) -> None:
    """Into UNPACKED; what the first bytes tell is checked before the rest is unpacked."""
    async with opened(place.create, UNPACKED) as fd:
        with unpack.opened(place.scratch(name), compression, place.user) as stream:
            copier = unpack.Copier(stream, fd, largest_file(plan), place, what)
            looked = False
            while await in_thread(copier.step):
                if not looked:
                    if formats.compression_of(copier.head):
                        raise ContentRefused(f"{what} is compressed twice")
                    formats.check_head(copier.head, plan.available, what)
                    looked = True


async def _untar(place: Place, name: str, compression: str, plan: Plan, what: str) -> None:
    tree = place.scratch(TREE)
    with ExitStack() as stack:
        await asyncio.to_thread(_fresh_directory, tree)
        stream = stack.enter_context(unpack.opened(place.scratch(name), compression, place.user))
        untar = await in_thread(unpack.Untar, stream, tree, plan.available, place, what)
        stack.callback(untar.close)
        while await in_thread(untar.step):
            pass
    await in_thread(place.publish_tree, TREE)


def _fresh_directory(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o755)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(formats.HEAD)
