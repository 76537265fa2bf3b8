"""What others have to pass through is open, whatever the umask, and whatever an earlier start has made."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from virt_handler.layout import Layout
from virt_handler.volumes import prepare
from virt_kube.directories import make_passable
from virt_local import launch, storage
from virt_local.settings import Places, Settings


@pytest.fixture(autouse=True)
def strict() -> Iterator[None]:
    """The umask of a hardened root."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize(("before", "after"), [(None, 0o711), (0o700, 0o711), (0o710, 0o711), (0o755, 0o755)])
def test_a_directory_is_opened_but_never_closed(tmp_path: Path, before: int | None, after: int) -> None:
    path = tmp_path / "a"
    if before is not None:
        path.mkdir()
        path.chmod(before)
    make_passable(path)
    assert mode(path) == after


def state_and_run(base: Path) -> list[Path]:
    launch._prepare(Settings(places=Places(base / "s", base / "r"), components=()))
    return [base / "s", base / "r"]


def layout(base: Path) -> list[Path]:
    made = Layout(base / "s", base / "r")
    made.prepare()
    assert mode(made.records) == 0o700
    return [
        made.run,
        made.state,
        made.guests.parent,
        made.guests,
        made.kept,
        made.images,
        made.volumes,
        made.run / "vmis",
    ]


def volume(base: Path) -> list[Path]:
    storage._provision(base / "volumes" / "ns" / "claim", "uid", 1 << 20)
    return [base / "volumes" / "ns", base / "volumes" / "ns" / "claim"]


def claim(base: Path) -> list[Path]:
    make_passable(base / "volumes")
    prepare._claim_file(base / "volumes", ["ns", "claim"], 1 << 20, None, "f")
    return [base / "volumes" / "ns", base / "volumes" / "ns" / "claim"]


@pytest.mark.parametrize("make", [state_and_run, layout, volume, claim])
def test_every_maker_opens_what_it_makes_and_what_was_left_closed(make: Callable[[Path], list[Path]]) -> None:
    with tempfile.TemporaryDirectory(prefix="vd", dir="/tmp") as base:  # socket paths are short
        made = make(Path(base))
        assert [(path, mode(path)) for path in made] == [(path, 0o711) for path in made]
        for path in reversed(made):
            path.chmod(0o700)
        make(Path(base))
        assert [(path, mode(path)) for path in made] == [(path, 0o711) for path in made]
