"""A socket is its owner's from the first moment, whatever the umask, and no other thread's files change with it."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from virt_kube.unix_sockets import listen_privately


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_may_connect(umask: int) -> None:
    before = os.umask(umask)
    try:
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            path = Path(folder, "s")
            for _ in range(2):  # the second one takes the place of what the first left
                listen_privately(path).close()
                assert stat.filemode(path.stat().st_mode) == "srw-------"
            assert os.umask(umask) == umask
    finally:
        os.umask(before)


def test_a_directory_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        listen_privately(Path("/nowhere/s"))
