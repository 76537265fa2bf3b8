"""Where the node agent keeps things: the directories of docs/architecture.md, and how they are made.

Directories that QEMU must pass through are 0711: it can reach what it is told of, and list nothing.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from virt_handler.errors import StateError
from virt_handler.model import GuestFiles
from virt_kube.directories import make_passable
from virt_kube.unix_sockets import MAX_PATH


class Layout(NamedTuple):
    """The agent's paths below the state and the run directory."""

    state: Path
    run: Path

    @property
    def records(self) -> Path:
        return self.state / "node" / "records"

    @property
    def guests(self) -> Path:
        return self.state / "node" / "vmis"

    @property
    def kept(self) -> Path:
        """What machines keep between their instances, see `kept`."""
        return self.state / "node" / "kept"

    @property
    def shares(self) -> Path:
        return self.state / "node" / "shares"

    @property
    def images(self) -> Path:
        return self.state / "images"

    @property
    def volumes(self) -> Path:
        return self.state / "volumes"

    @property
    def accelerator(self) -> Path:
        return self.state / "node" / "accelerator.json"

    @property
    def socket(self) -> Path:
        return self.run / "virt-handler.sock"

    def guest_state(self, uid: str) -> Path:
        """Disks and logs of one VMI."""
        return self.guests / checked_uid(uid)

    def guest_run(self, uid: str) -> Path:
        """Sockets of one VMI."""
        return self.run / "vmis" / checked_uid(uid)

    def guest_shares(self, uid: str) -> Path:
        """Directories made for one VMI's guest to share; nobody but root gets there."""
        return self.shares / checked_uid(uid)

    def files(self, uid: str) -> GuestFiles:
        run, state = self.guest_run(uid), self.guest_state(uid)
        return GuestFiles(
            serial_socket=str(run / "serial0"),
            serial_log=str(state / "serial0.log"),
            vnc_socket=str(run / "vnc"),
            nvram=str(state / "nvram.fd"),
        )

    def prepare(self) -> None:
        """Make the agent's own directories; raises StateError."""
        longest = self.guest_run("0" * 36) / "serial0"
        if len(os.fsencode(longest)) > MAX_PATH:
            raise StateError(
                f"run directory {str(self.run)!r} is too long for unix sockets ({longest} exceeds {MAX_PATH} bytes)",
                hint="choose a shorter one with --run-dir",
            )
        _make(self.records, private=True)
        _make(self.shares, private=True)
        own = (self.guests, self.kept, self.images, self.volumes)
        for path in (self.state, self.state / "node", *own, self.run, self.run / "vmis"):
            _make(path)

    def make_guest(self, uid: str, owner: tuple[int, int] | None) -> None:
        """Make one guest's directories, for QEMU's user when it is another one (`owner`: uid, gid)."""
        for path in (self.guest_state(uid), self.guest_run(uid)):
            try:
                path.mkdir(mode=0o711, exist_ok=True)
                _hand_over(path, owner)
            except OSError as error:
                raise StateError(f"can't create {path}: {error.strerror}") from None

    def make_kept(self, uid: str, owner: tuple[int, int] | None) -> Path:
        """Make the directory of what a machine (by `uid`) keeps, for QEMU's user."""
        path = self.kept / checked_uid(uid)
        try:
            path.mkdir(mode=0o711, exist_ok=True)
            _hand_over(path, owner)
        except OSError as error:
            raise StateError(f"can't create {path}: {error.strerror}") from None
        return path

    def remove_guest(self, uid: str) -> None:
        """Remove what one guest left; nothing left is fine."""
        for path in (self.guest_state(uid), self.guest_run(uid), self.guest_shares(uid)):
            try:
                shutil.rmtree(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StateError(f"can't remove {path}: {error.strerror}") from None


def checked_uid(uid: str) -> str:
    """The uid, if it can be a file's name and nothing else; raises StateError."""
    if not uid or len(uid) > 64 or not all(char.isascii() and (char.isalnum() or char == "-") for char in uid):
        raise StateError(f"{uid!r} is no object uid")
    return uid


def _hand_over(path: Path, owner: tuple[int, int] | None) -> None:
    """Finish a directory of ours, also one whose making was cut short; QEMU's own is left as it is."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_uid == os.geteuid():
            os.fchmod(fd, 0o711)  # whatever the umask says
            if owner is not None:
                os.fchown(fd, *owner)
    finally:
        os.close(fd)


def _make(path: Path, *, private: bool = False) -> None:
    try:
        if private:
            make_passable(path.parent)
            path.mkdir(mode=0o700, exist_ok=True)
        else:
            make_passable(path)
    except OSError as error:
        raise StateError(f"can't create {path}: {error.strerror}", hint="choose another --state-dir") from None
