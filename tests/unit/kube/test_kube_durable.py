"""A file is replaced whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from pytest_mock import MockerFixture

from virt_kube.durable import write_durably


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_has_its_content_and_its_mode_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")
    before = os.umask(0o077)
    try:
        write_durably(path, b"new", mode)
    finally:
        os.umask(before)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", mode)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path, mocker: MockerFixture, step: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    mocker.patch(step, side_effect=OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space"):
        write_durably(path, b"new")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"old")]


def test_the_data_is_on_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, mocker: MockerFixture
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(fd: int) -> None:
        steps.append("directory" if Path(f"/proc/self/fd/{fd}").readlink() == tmp_path else "file")
        fsync(fd)

    def replaced(self: Path, target: Path) -> Path:
        steps.append("name")
        return replace(self, target)

    mocker.patch("os.fsync", synced)
    mocker.patch("pathlib.Path.replace", replaced)
    write_durably(tmp_path / "file", b"new")
    assert steps == ["file", "name", "directory"]


def test_two_writers_at_once_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "file"
    texts = [bytes([65 + number]) * (1 << 18) for number in range(4)]
    threads = [threading.Thread(target=write_durably, args=(path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in texts
    assert list(tmp_path.iterdir()) == [path]
