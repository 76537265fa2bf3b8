"""The guest's root file system: an initramfs, written as a cpio archive so that no root rights are needed."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import NamedTuple

_ROOTFS = Path(__file__).parent / "rootfs"
_DIRECTORY, _FILE, _CHARACTER_DEVICE = 0o040000, 0o100000, 0o020000


class Archive:
    """A cpio archive in the `newc` format (Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._entries = 0
        self._known: set[str] = set()

    def _add(self, path: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        name = path.encode() + b"\0"
        self._entries += 1
        # inode, mode, uid, gid, links, mtime, size, device of the file (2), device it is (2), name length, checksum
        fields = (self._entries, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name), 0)
        self._data += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        self._pad()
        self._data += content
        self._pad()

    def _pad(self) -> None:
        self._data += bytes(-len(self._data) % 4)

    def directory(self, path: str, mode: int = 0o755) -> None:
        """`path` and the directories above it, each once."""
        above = path.rpartition("/")[0]
        if above:
            self.directory(above)
        if path not in self._known:
            self._known.add(path)
            self._add(path, _DIRECTORY | mode)

    def file(self, path: str, content: bytes, mode: int = 0o644) -> None:
        self.directory(path.rpartition("/")[0] or ".")
        self._add(path, _FILE | mode, content)

    def character_device(self, path: str, major: int, minor: int) -> None:
        self.directory(path.rpartition("/")[0])
        self._add(path, _CHARACTER_DEVICE | 0o600, device=(major, minor))

    def finish(self) -> bytes:
        self._add("TRAILER!!!", 0)
        return bytes(self._data)


class Account(NamedTuple):
    """Who logs in until user data says else; the password is shown on the login screen."""

    user: str
    password: str
    password_hash: str


def build(busybox: bytes, modules: dict[str, bytes], order: list[str], account: Account) -> bytes:
    """The compressed initramfs. Not xz: its dictionary alone needs more memory than a 64 MB guest has at that point."""
    archive = Archive()
    archive.character_device("dev/console", 5, 1)
    for path in ("proc", "sys", "run", "mnt", "boot", "root", f"home/{account.user}"):
        archive.directory(path)
    archive.directory("tmp", 0o1777)
    archive.file("bin/busybox", busybox, 0o755)
    for source in sorted(_ROOTFS.rglob("*")):
        if source.is_file():
            content = source.read_bytes().replace(b"@USER@", account.user.encode())
            content = content.replace(b"@PASSWORD@", account.password.encode())
            archive.file(str(source.relative_to(_ROOTFS)), content, 0o755 if content[:2] == b"#!" else 0o644)
    for path, text, mode in _accounts(account):
        archive.file(path, text.encode(), mode)
    for name in order:
        archive.file(f"modules/{name}.ko", modules[name])
    archive.file("modules/order", "".join(f"{name}.ko\n" for name in order).encode())
    return gzip.compress(archive.finish(), compresslevel=9, mtime=0)


def _accounts(account: Account) -> list[tuple[str, str, int]]:
    user, password_hash = account.user, account.password_hash
    return [
        ("etc/passwd", f"root:x:0:0:root:/root:/bin/sh\n{user}:x:1000:1000::/home/{user}:/bin/sh\n", 0o644),
        ("etc/group", f"root:x:0:\ntty:x:5:\n{user}:x:1000:\n", 0o644),
        ("etc/shadow", f"root:{password_hash}:1:0:99999:7:::\n{user}:{password_hash}:1:0:99999:7:::\n", 0o600),
        ("etc/securetty", "ttyS0\ntty1\n", 0o644),
        ("etc/default-user", f"{user}\n", 0o644),
    ]
