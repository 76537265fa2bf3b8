"""Disk images: what an untrusted file is, and overlays and empty disks made with qemu-img.

An image somebody else made is read by us first: a header that names another file (backing file, external data file) or
asks for something odd is refused before any QEMU program opens it. After that its format is always stated.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import struct
from pathlib import Path
from typing import NamedTuple

import msgspec

from virt_handler.errors import HandlerError, ImageRefused, VolumeError
from virt_handler.model import DiskFormat

QCOW2_MAGIC = b"QFI\xfb"
QCOW2_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQ")
DATA_FILE = 1 << 2
KNOWN_FEATURES = 0b11011  # dirty, corrupt, compression type, extended L2: nothing that leads to another file
MAX_VIRTUAL_SIZE = 1 << 46
MAX_BACKING = 1023  # bytes of a backing file's name, by the format
SECTOR = 512
MEBIBYTE = 1 << 20
# Formats that KubeVirt's container disks can't be, by the bytes they start with.
FOREIGN_MAGIC: dict[bytes, str] = {
    b"KDMV": "a VMDK image",
    b"# Disk DescriptorFile": "a VMDK descriptor",
    b"vhdxfile": "a VHDX image",
    b"conectix": "a VHD image",
    b"<<< ": "a VDI image",
    b"LUKS\xba\xbe": "a LUKS volume",
    b"QED\0": "a QED image",
    b"\x1f\x8b": "gzip compressed",
    b"\xfd7zXZ\0": "xz compressed",
    b"\x28\xb5\x2f\xfd": "zstd compressed",
    b"BZh": "bzip2 compressed",
    b"PK\x03\x04": "a zip archive",
}
# For an untrusted file: one gigabyte of memory, ten seconds of CPU, no output but the pipe.
LIMITS = ("prlimit", "--as=1073741824", "--cpu=10", "--fsize=0", "--nofile=64", "--")
DEADLINE = 60.0


class Inspected(NamedTuple):
    format: DiskFormat
    virtual_size: int


async def inspect(path: Path, what: str) -> Inspected:
    """The format of an image nobody vouches for; raises ImageRefused. `what` names it for people."""
    head = await asyncio.to_thread(_head, path)
    size = await asyncio.to_thread(lambda: path.stat().st_size)
    if not head.startswith(QCOW2_MAGIC):
        _check_raw(head, size, what)
        return Inspected("raw", size)
    virtual_size = check_qcow2(head, what)
    command = (*LIMITS, "qemu-img", "info", "--output=json", "-f", "qcow2", str(path))
    output = await _run(*command, failure=ImageRefused(f"can't inspect {what}"))
    _check_info(output, what)
    return Inspected("qcow2", virtual_size)


def check_qcow2(head: bytes, what: str) -> int:
    """The virtual size a qcow2 header states; raises ImageRefused for what we will not attach."""
    if len(head) < QCOW2_HEADER.size:
        raise ImageRefused(f"{what} is a truncated qcow2 image")
    fields = QCOW2_HEADER.unpack_from(head)
    _, version, backing, _, cluster_bits, size, encryption, l1_size = fields[:8]
    features = fields[13] if version >= 3 else 0
    problem = (
        "is a qcow2 image of an unknown version"
        if version not in {2, 3}
        else "has a backing file"
        if backing
        else "has an external data file"
        if features & DATA_FILE
        else "is encrypted"
        if encryption
        else "uses unknown qcow2 features"
        if features & ~KNOWN_FEATURES
        else "has impossible sizes in its header"
        if not 9 <= cluster_bits <= 21 or size > MAX_VIRTUAL_SIZE or l1_size > 32 << 20
        else ""
    )
    if problem:
        raise ImageRefused(f"{what} {problem}", hint="convert it: qemu-img convert -O qcow2 SOURCE disk.qcow2")
    return int(size)


def backing_file(fd: int) -> str:
    """What a qcow2 of our own making names as its backing file; "" for any other file. Raises OSError."""
    head = os.pread(fd, QCOW2_HEADER.size, 0)
    if len(head) < QCOW2_HEADER.size or not head.startswith(QCOW2_MAGIC):
        return ""
    _, _, offset, length = QCOW2_HEADER.unpack(head)[:4]
    return os.fsdecode(os.pread(fd, min(length, MAX_BACKING), offset)) if offset else ""


async def create_overlay(path: Path, backing: Path, backing_format: DiskFormat) -> None:
    """A qcow2 that keeps the guest's writes off `backing`; one that is there already stays."""
    await _create(path, ("-F", backing_format, "-b", str(backing)))


async def create_empty(path: Path, size: int) -> None:
    """An empty qcow2 of `size` bytes, rounded down to 1 MiB; one that is there already stays."""
    if size < MEBIBYTE:
        raise VolumeError(f"capacity {size} of {path.name} is less than 1Mi")
    await _create(path, (), str(size // MEBIBYTE * MEBIBYTE))


async def _create(path: Path, options: tuple[str, ...], *size: str) -> None:
    if await asyncio.to_thread(path.exists):
        return
    temporary = path.with_name(f".{path.name}.new")
    command = ("qemu-img", "create", "-q", "-f", "qcow2", *options, str(temporary), *size)
    await _run(*command, failure=VolumeError(f"can't create {path.name}"))
    await asyncio.to_thread(temporary.rename, path)


def create_raw(name: str, size: int, dir_fd: int, owner: tuple[int, int] | None) -> None:
    """Make a sparse raw image, for `owner` (uid, gid). Raises OSError.

    It gets its name when all else is done: a disk that is there is whole, whenever we are killed.
    """
    temporary = f".{name[:200]}.{secrets.token_hex(4)}.new"
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o660, dir_fd=dir_fd)
    try:
        os.truncate(fd, size)
        if owner is not None:
            os.fchown(fd, *owner)
        os.fsync(fd)
        os.link(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=False)
    finally:
        os.close(fd)
        os.unlink(temporary, dir_fd=dir_fd)


def takes_direct_io(path: Path) -> bool | None:
    """Whether QEMU can go past the page cache; None when we may not even try."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return False if error.errno == errno.EINVAL else None
    return True


def block_sizes(path: Path) -> tuple[int, int, int]:
    """Logical and physical block size and discard granularity (bytes) that match the file system."""
    return (os.statvfs(path).f_bsize,) * 3


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)


def _check_raw(head: bytes, size: int, what: str) -> None:
    for magic, name in FOREIGN_MAGIC.items():
        if head.startswith(magic):
            raise ImageRefused(f"{what} is {name}; it must be raw or qcow2", hint="convert it with qemu-img convert")
    if size == 0 or size % SECTOR:
        raise ImageRefused(f"{what} is no disk image: {size} bytes are neither qcow2 nor whole sectors of {SECTOR}")


def _check_info(output: bytes, what: str) -> None:
    """qemu-img's own view must be ours."""
    try:
        info = msgspec.json.decode(output)
        extra = info.get("format-specific", {}).get("data", {})
        odd = info["format"] != "qcow2" or "backing-filename" in info or "data-file" in extra
    except (msgspec.DecodeError, AttributeError, KeyError):
        odd = True
    if odd:
        raise ImageRefused(f"{what} is not a plain qcow2 image")


async def _run(*command: str, failure: HandlerError) -> bytes:
    """The output; raises `failure` with the program's own words, VolumeError when it can't be run or hangs."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise VolumeError(f"can't run {command[0]}: {error.strerror}", hint="`virtctl local doctor` says how") from None
    try:
        async with asyncio.timeout(DEADLINE):
            output, errors = await process.communicate()
    except TimeoutError:
        raise VolumeError(f"{failure.message}: qemu-img did not end within {DEADLINE:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        text = errors.decode(errors="replace").strip()[-300:]
        raise type(failure)(f"{failure.message}: {text or 'qemu-img failed'}")
    return output
