"""Recorded requests and kubectl commands of a real cluster, replayed on ours: what differs is listed, with a reason.

`nox -s recorded` replays everything; a plain test run leaves out the slower half of the kubectl sessions.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.api_server import Served, find_kubectl
from support.recorded import (
    RECORDED,
    bare_server,
    differing_commands,
    differing_steps,
    replay_http,
    replay_kubectl,
)

LISTED: dict[str, Any] = tomllib.loads((Path(__file__).parent / "apiserver_differences.toml").read_text())
QUICK = ["create-generators", "errors", "label-annotate", "patch", "refusals", "replace"]
# They wait for what happens when, show an age, or what is sorted by the second: a busy machine makes a step too late.
TIMED = frozenset(
    {
        "apply-server",
        "crd-lifecycle",
        "crd-names",
        "get-watch",
        "namespace-deletion",
        "scale-subresource",
        "ssa-cr-lists",
        "watch-live",
    }
)

pytestmark = pytest.mark.skipif(
    not RECORDED.is_dir(), reason="the recordings lie beside the repository, in shared/data/apiserver"
)


def listed(kind: str, key: str) -> set[tuple[str, Any]]:
    """What is said to differ: (scenario, step) or (session, command)."""
    return {(entry["scenario"], each) for entry in LISTED.get(kind, ()) for each in entry[key]}


def sessions() -> list[str]:
    return sorted(path.stem for path in (RECORDED / "kubectl").glob("*.jsonl")) if os.environ.get("RECORDED") else QUICK


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with bare_server(tmp_path_factory.mktemp("rec")) as served:
        yield served


@pytest.mark.slow
def test_the_differences_in_http_are_those_listed(bare: Served) -> None:
    found, known = differing_steps(replay_http(bare)), listed("http", "steps")
    assert sorted(step for step in found - known if step[0] not in TIMED) == []
    assert sorted(step for step in known - found if step[0] not in TIMED) == [], "alike now: take them off the list"


@pytest.mark.slow
@pytest.mark.kubectl
@pytest.mark.skipif(find_kubectl() is None, reason="no kubectl of 1.32 or newer on PATH")
def test_the_differences_in_kubectl_are_those_listed(bare: Served, tmp_path: Path) -> None:
    found = differing_commands(replay_kubectl(bare, sessions(), tmp_path))
    known = {entry for entry in listed("kubectl", "commands") if entry[0] in sessions()}
    assert sorted(command for command in found - known if command[0] not in TIMED) == []
    assert sorted(known - found) == [], "alike now: take them off the list"


def test_every_difference_has_a_reason() -> None:
    assert all(len(entry["reason"]) > 30 for entries in LISTED.values() for entry in entries)
