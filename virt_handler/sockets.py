"""Opening a guest's sockets without being led elsewhere.

QEMU owns the directory they lie in, and a guest may one day own QEMU: a link or another file in a socket's place must
not become a connection of ours to some service of the host. Used by `streams`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

from virt_handler.errors import ConsoleError

DEADLINE = 5.0


async def connect(path: str, what: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the unix socket at `path` itself; raises ConsoleError."""
    try:
        async with asyncio.timeout(DEADLINE):
            return await asyncio.open_unix_connection(sock=_open(Path(path), what))
    except TimeoutError:
        raise ConsoleError(f"the {what} did not answer within {DEADLINE:.0f} s") from None


def _open(path: Path, what: str) -> socket.socket:
    try:
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.open(path.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        finally:
            os.close(directory)
    except FileNotFoundError:
        raise ConsoleError(
            f"the guest has no {what}", hint="is it attached in the VMI's spec, and the guest running?"
        ) from None
    except OSError as error:
        raise ConsoleError(f"can't open the {what}: {error.strerror}") from None
    try:
        if not stat.S_ISSOCK(os.fstat(found).st_mode):
            raise ConsoleError(f"the {what} at {path} is not a socket", reason="NotASocket")
        # The descriptor is known to be a socket, no link: its /proc name can only lead to that very inode.
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(f"/proc/self/fd/{found}")
        except OSError as error:
            sock.close()
            raise ConsoleError(f"the {what} does not answer: {error.strerror}") from None
        return sock
    finally:
        os.close(found)
