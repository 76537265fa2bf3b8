"""Files that are whole or as before, whenever the power fails or a process is killed.

Called by whoever keeps state in files of its own: records, certificates, kubeconfigs, registers.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

LEFTOVERS = ".*.unfinished"  # what a process that was killed in mid-write leaves; no reader looks at it


def write_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the file at once; what is read later, after a power cut too, is `data`. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{threading.get_native_id()}.unfinished")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:  # noqa: PTH123  a descriptor, no path
            os.fchmod(fd, mode)
            file.write(data)
            file.flush()
            os.fsync(fd)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
