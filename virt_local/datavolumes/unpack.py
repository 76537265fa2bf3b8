"""Compressed images and archives, block by block: memory, output and file names are bounded, truncation is noticed.

A `Unpacker` does one bounded step per call, so that an import can be cancelled between any two. Called by
`disk` and `download`.
"""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol, cast

from virt_handler.errors import ImageRefused
from virt_handler.images.layers import BoundedEntry
from virt_local.datavolumes import sandbox
from virt_local.datavolumes.errors import ContentRefused, FillError, TooLarge
from virt_local.datavolumes.place import Place

STEP = 1 << 20
HOLE = 1 << 16
ZEROES = bytes(HOLE)
XZ_MEMORY = 256 << 20
MAX_ENTRIES = 100_000
MAX_DEPTH = 32
SPACE_CHECKS = 64  # steps between two looks at the free space


class Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Xz:
    """lzma.LZMAFile has no limit of memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decoder: lzma.LZMADecompressor | None = None
        self._input = b""

    def read(self, size: int, /) -> bytes:
        while True:
            if self._decoder is None:
                self._input = self._input.lstrip(b"\0") or self._file.read(STEP).lstrip(b"\0")
                if not self._input:
                    return b""
                self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
            if self._decoder.needs_input and not self._input:
                self._input = self._file.read(STEP)
                if not self._input:
                    raise EOFError("the stream ends in the middle")
            made = self._decoder.decompress(self._input, size)
            self._input = b""
            if self._decoder.eof:
                self._input, self._decoder = self._decoder.unused_data, None
            if made:
                return made


class _Zstd:
    """zstd's own program, whose exit status says whether the stream was whole."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def read(self, size: int, /) -> bytes:
        made = self._process.stdout.read(size) if self._process.stdout is not None else b""
        if not made and self._process.wait() != 0:
            raise EOFError("zstd can't read it, or it ends in the middle")
        return made


@contextlib.contextmanager
def opened(path: Path, compression: str, user: int | None) -> Iterator[Stream]:
    """The bytes inside a scratch file; reading raises OSError, EOFError, zlib.error or lzma.LZMAError."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        match compression:
            case "gz":
                with gzip.GzipFile(fileobj=file) as stream:
                    yield stream
            case "xz":
                yield _Xz(file)
            case "zst":
                with _zstd(file, user) as made:
                    yield made
            case _:
                yield file


@contextlib.contextmanager
def _zstd(file: IO[bytes], user: int | None) -> Iterator[Stream]:
    program = ("zstd", "--decompress", "--stdout", "--quiet", "--memory=128MB")
    try:
        process = subprocess.Popen(
            sandbox.command(program, sandbox.Limits(cpu=24 * 3600), user),
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
    except OSError as error:
        raise FillError(f"can't run zstd: {error.strerror}", hint="apt install zstd") from None
    with process:
        try:
            yield _Zstd(process)
        finally:
            process.kill()


@contextlib.contextmanager
def damaged_is_refused(what: str) -> Iterator[None]:
    """Turns every way a stream can be broken into ContentRefused."""
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, tarfile.TarError) as error:
        raise ContentRefused(f"{what} is damaged: {error}") from None
    except ImageRefused as error:
        raise ContentRefused(f"{what}: {error.message}") from None


class Copier:
    """Copies a stream into a file, zeroes as holes, up to `limit` bytes."""

    def __init__(self, stream: Stream, fd: int, limit: int, place: Place, what: str) -> None:
        self._stream, self._fd, self._limit, self._place, self._what = stream, fd, limit, place, what
        self._steps = 0
        self.size = 0
        self.head = b""

    def step(self) -> bool:
        """Copy a bounded piece; False when there is no more. Raises TooLarge, ContentRefused, NoSpace."""
        with damaged_is_refused(self._what):
            block = self._stream.read(STEP)
        if not block:
            os.ftruncate(self._fd, self.size)
            return False
        if self.size + len(block) > self._limit:
            raise TooLarge(f"{self._what} is larger than {self._limit} bytes when unpacked. A larger PVC is required")
        if self._steps % SPACE_CHECKS == 0:
            self._place.require_space()
        self._steps += 1
        if len(self.head) < HOLE:
            self.head += block[: HOLE - len(self.head)]
        write_sparse(self._fd, block, self.size)
        self.size += len(block)
        return True


def write_sparse(fd: int, block: bytes, offset: int) -> None:
    """Write what is not zero; the file must be new or empty there."""
    view = memoryview(block)
    for start in range(0, len(block), HOLE):
        piece = view[start : start + HOLE]
        if piece == ZEROES[: len(piece)]:
            continue
        while piece:
            written = os.pwrite(fd, piece, offset + start)
            start, piece = start + written, piece[written:]  # noqa: PLW2901  the rest of this very piece


class Untar:
    """Takes an archive's files and directories out into `target`; nothing else, and nothing beyond it."""

    def __init__(self, stream: Stream, target: Path, limit: int, place: Place, what: str) -> None:
        self._target, self._place, self._what = target, place, what
        self._left = limit
        self._entries = 0
        with damaged_is_refused(what):
            self._archive = tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|", tarinfo=BoundedEntry)  # noqa: SIM115
        self._copier: Copier | None = None
        self._fd = -1

    def step(self) -> bool:
        """One entry, or a piece of one; False at the end. Raises ContentRefused, TooLarge, NoSpace."""
        if self._copier is not None:
            if not self._copier.step():
                self._left -= self._copier.size
                self.close()
            return True
        with damaged_is_refused(self._what):
            entry = self._archive.next()
        if entry is None:
            return False
        self._archive.members = []  # type: ignore[attr-defined]  # it would keep them all, and is not in the stubs
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise ContentRefused(f"{self._what} has more than {MAX_ENTRIES} entries")
        self._begin(entry)
        return True

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._copier = -1, None

    def _begin(self, entry: tarfile.TarInfo) -> None:
        parts = [part for part in entry.name.split("/") if part not in {"", "."}]
        if ".." in parts or "\0" in entry.name or len(parts) > MAX_DEPTH:
            raise ContentRefused(f"{self._what} has an entry that leads elsewhere: {entry.name[:100]!r}")
        if not parts or not (entry.isreg() or entry.isdir()):
            return  # links and devices are left out: a volume's files are data
        path = self._target.joinpath(*parts)
        if entry.isdir():
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
            return
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        source = self._archive.extractfile(entry)
        if source is None:
            return
        path.unlink(missing_ok=True)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        self._copier = Copier(source, self._fd, self._left, self._place, self._what)
