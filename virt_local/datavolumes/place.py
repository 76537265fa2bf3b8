"""The directory of a claim while it is filled: scratch files beside the disk, and the step that makes it a disk.

Everything unfinished lies in `.filling`, so that it goes with the claim, and a start after a crash finds what there is.
The disk appears by one rename, after it was written, grown and flushed: a `disk.img` is always whole. Called by `fill`.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from virt_local.claims import IMAGE, OWNER
from virt_local.datavolumes.errors import ContentRefused, FillError, NoSpace, SourceNotReady
from virt_types.cdi.claims import SHARED

SCRATCH = ".filling"
# What imports leave of the file system to everybody else.
MIN_FREE = 256 << 20
RESERVED = frozenset({OWNER, SCRATCH})


class Place:
    """The claim's directory, which must have been made for the claim `uid`. `user` is the sandbox's, or None."""

    def __init__(self, directory: Path, uid: str, user: int | None) -> None:
        self.directory, self.user = directory, user
        self._uid = uid

    @property
    def image(self) -> Path:
        return self.directory / IMAGE

    @property
    def is_filled(self) -> bool:
        return self.image.is_file() and not self.image.is_symlink()

    def open(self) -> None:
        """Make the scratch directory; raises FillError when the claim's directory is not there or another claim's."""
        try:
            owner = (self.directory / OWNER).read_text()
        except OSError as error:
            raise SourceNotReady(f"the claim's directory {self.directory} can't be used: {error.strerror}") from None
        if owner != self._uid:
            raise SourceNotReady(f"the claim's directory {self.directory} is another claim's")
        scratch = self.directory / SCRATCH
        scratch.mkdir(mode=0o700, exist_ok=True)
        for path in (scratch, *scratch.iterdir()):
            self.hand_over(path)

    def hand_over(self, path: Path) -> None:
        """Let the sandbox's user have a scratch file."""
        if self.user is not None:
            os.chown(path, self.user, self.user, follow_symlinks=False)

    def scratch(self, name: str) -> Path:
        return self.directory / SCRATCH / name

    def create(self, name: str, *, size: int = 0, keep: bool = False) -> int:
        """A descriptor of a scratch file: a new one of `size` bytes, or with `keep` what is there."""
        path = self.scratch(name)
        if not keep:
            path.unlink(missing_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if not keep:
            os.ftruncate(fd, size)
        self.hand_over(path)
        return fd

    def require_space(self, more: int = 0) -> None:
        """Raises NoSpace when `more` bytes would leave too little."""
        free = shutil.disk_usage(self.directory).free
        if free - more < MIN_FREE:
            raise NoSpace(
                f"no space left in {self.directory}: {free >> 20} MiB are free, {(more + MIN_FREE) >> 20} MiB needed",
                hint="free space in the state directory",
            )

    def publish(self, name: str, size: int, *, preallocate: bool) -> None:
        """Make a raw scratch file the claim's disk, at least `size` bytes long. In one step, and for good."""
        fd = os.open(self.scratch(name), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                raise ContentRefused(f"{name} is not the file that was written")
            if self.user is not None:
                os.fchown(fd, 0, 0)
            os.fchmod(fd, 0o600)
            if found.st_size < size:
                os.ftruncate(fd, size)
            if preallocate:
                self.require_space(max(0, size - found.st_blocks * 512))
                os.posix_fallocate(fd, 0, max(size, found.st_size))
            os.fsync(fd)
            # By descriptor: should the claim have gone meanwhile, so has the way back to its name.
            if (self.directory / OWNER).read_text() != self._uid:
                raise FillError(f"the claim's directory {self.directory} was given to another claim")
            os.rename(f"{SCRATCH}/{name}", IMAGE, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)
        finally:
            os.close(directory)
            os.close(fd)

    def publish_tree(self, name: str) -> None:
        """Move what an archive held into the volume: files where guests share them, the disk image last."""
        tree = self.scratch(name)
        entries = sorted(tree.iterdir(), key=lambda path: path.name == IMAGE)
        if any(entry.name in RESERVED for entry in entries):
            raise ContentRefused(f"the archive has an entry that is reserved here: {', '.join(sorted(RESERVED))}")
        shared = self.directory.joinpath(*SHARED)
        shared.parent.mkdir(mode=0o700, exist_ok=True)  # nobody but root gets at what a guest makes there
        shared.mkdir(mode=0o755, exist_ok=True)
        for entry in entries:
            target = (self.directory if entry.name == IMAGE else shared) / entry.name
            if target.is_dir():
                shutil.rmtree(target)
            entry.rename(target)

    def clear(self) -> None:
        """Remove every unfinished file."""
        shutil.rmtree(self.directory / SCRATCH, ignore_errors=True)
