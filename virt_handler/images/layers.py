"""Layers to disk files: only what a container disk may hold is taken out, and nothing of it is trusted.

Regular files below `/disk` (or the one path asked for); no links, no devices, no names that leave the directory. Zeroes
become holes. Runs in a thread. Called by `store` with verified blobs.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import posixpath
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from virt_handler.errors import ImageError, ImagePullError, ImageRefused

DISK_DIRECTORY = "disk"
WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
BLOCK = 1 << 16
ZEROES = bytes(BLOCK)
MAX_ENTRIES = 100_000
MAX_HEADER = 1 << 20
MAX_DISK = 1 << 41  # of one file, holes included
# What an image may leave of the file system.
MIN_FREE = 256 << 20
EXTENDED = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}


class BoundedEntry(tarfile.TarInfo):
    """An entry whose extended headers are bounded: tarfile reads them into memory whole."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
        if self.type in EXTENDED and self.size > MAX_HEADER:
            raise ImageRefused(f"a layer has an entry header of {self.size} bytes")
        member: tarfile.TarInfo | None = super()._proc_member(archive)  # type: ignore[misc]  # not in the stubs
        return member


class Wanted(NamedTuple):
    """What to take: the files of a directory, or one file. Names are relative to the image's root."""

    directory: str = DISK_DIRECTORY
    file: str = ""

    def name_of(self, path: str) -> str:
        """The file's name in our directory; "" when it is not wanted."""
        if self.file:
            return posixpath.basename(path) if path == self.file else ""
        parent, _, name = path.rpartition("/")
        return name if parent == self.directory else ""


def wanted(path: str) -> Wanted:
    """What a containerDisk's `path` asks for; raises ImageRefused."""
    inner = path.removeprefix("/").removesuffix("/")
    if path in {"", f"/{DISK_DIRECTORY}", f"/{DISK_DIRECTORY}/"}:
        return Wanted()
    parts = inner.split("/")
    if not path.startswith("/") or ".." in parts or "" in parts or not path.isprintable() or len(path) > 4096:
        raise ImageRefused(
            f"containerDisk path {path[:200]!r} is not an absolute path without '..' and '//'",
            reason="InvalidPath",
            hint="leave it out when the image has one file in /disk",
        )
    return Wanted(file=inner)


def apply(blob: Path, compression: str, target: Path, want: Wanted) -> None:
    """Bring one layer's files and removals into `target`; raises ImageError."""
    try:
        with (
            _opened(blob, compression) as stream,
            tarfile.open(fileobj=stream, mode="r|", tarinfo=BoundedEntry) as archive,
        ):
            for count, entry in enumerate(archive):
                if count >= MAX_ENTRIES:
                    raise ImageRefused(f"a layer has more than {MAX_ENTRIES} entries")
                _apply_entry(archive, entry, target, want)
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise ImageRefused(f"a layer is not a readable {compression or 'plain'} tar archive: {error}") from None
    except OSError as error:
        raise ImagePullError(f"can't unpack a layer: {error.strerror}", hint="is the disk full?") from None


def _apply_entry(archive: tarfile.TarFile, entry: tarfile.TarInfo, target: Path, want: Wanted) -> None:
    path = posixpath.normpath(entry.name).lstrip("/").removeprefix("./")
    if path.startswith("../") or "\0" in path:
        return
    parent, _, name = path.rpartition("/")
    if name == OPAQUE:
        _remove_below(target, parent, want)
    elif name.startswith(WHITEOUT):
        _remove_below(target, posixpath.join(parent, name.removeprefix(WHITEOUT)), want)
    elif ours := want.name_of(path):
        with contextlib.suppress(FileNotFoundError):
            (target / ours).unlink()
        if entry.isreg():
            _write(archive, entry, target / ours)


def _remove_below(target: Path, path: str, want: Wanted) -> None:
    """Remove what an upper layer hides: the file itself, or all of ours when a directory above it goes."""
    for file in list(target.iterdir()):
        full = want.file or f"{want.directory}/{file.name}"
        if full == path or full.startswith(f"{path}/") or path == "":
            file.unlink()


def _write(archive: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> None:
    if entry.size > MAX_DISK:
        raise ImageRefused(f"disk {entry.name!r} is larger than {MAX_DISK} bytes")
    source = archive.extractfile(entry)
    if source is None:
        return
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o444)
    with open(fd, "wb") as file:  # noqa: PTH123  a descriptor, no path
        for number, block in enumerate(_blocks(source)):
            if number % 1024 == 0 and shutil.disk_usage(path.parent).free < MIN_FREE:
                raise ImagePullError(f"no space left for disk {entry.name!r}", hint="free space in the state directory")
            if block == ZEROES[: len(block)]:
                file.seek(len(block), os.SEEK_CUR)
            else:
                file.write(block)
        file.truncate(entry.size)
        file.flush()
        os.fsync(file.fileno())


def _blocks(source: IO[bytes]) -> Iterator[bytes]:
    while block := source.read(BLOCK):
        yield block


@contextlib.contextmanager
def _opened(blob: Path, compression: str) -> Iterator[IO[bytes]]:
    if compression == "zstd":
        with _unzstd(blob) as stream:
            yield stream
        return
    with blob.open("rb") as raw:
        if compression == "gzip":
            with gzip.GzipFile(fileobj=raw) as stream:
                yield stream  # type: ignore[misc]  # GzipFile reads as IO does
        else:
            yield raw


@contextlib.contextmanager
def _unzstd(blob: Path) -> Iterator[IO[bytes]]:
    """zstd's own program: Python has no zstd before 3.14. Its memory is bounded by the window it may use."""
    try:
        process = subprocess.Popen(
            ["zstd", "--decompress", "--stdout", "--memory=128MB", str(blob)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        raise ImageError(f"can't run zstd for a zstd layer: {error.strerror}", hint="apt install zstd") from None
    with process:
        try:
            if process.stdout is not None:
                yield process.stdout
        finally:
            process.kill()
