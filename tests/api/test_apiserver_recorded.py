"""Recorded requests to a real kube-apiserver, answered by ours: all differences are listed, and all listed differ."""

from __future__ import annotations

import re
import ssl
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path

import pytest
from support.api_server import Served, serve

HERE = Path(__file__).parent
RECORDED = HERE.parents[2] / "shared" / "data" / "apiserver"
LISTED = tomllib.loads((HERE / "apiserver_differences.toml").read_text())
TOKENS = 'admin-token,admin,1,"system:masters"\nalice-token,alice,2,devs\n'
# They wait for what happens when; on a busy machine a step of theirs may come too late.
TIMED = frozenset({"crd-lifecycle", "crd-names", "namespace-deletion", "watch-live"})


def listed() -> set[tuple[str, int]]:
    deliberate = {(name, step) for name, entry in LISTED["deliberate"].items() for step in entry["steps"]}
    return deliberate | {(name, step) for name, steps in LISTED["open"].items() for step in steps}


def install(served: Served, definition: Path) -> None:
    trust = ssl.create_default_context(cafile=str(served.folder / "pki" / "ca.crt"))
    url = served.url + "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    headers = {"Authorization": "Bearer admin-token", "Content-Type": "application/yaml"}
    request = urllib.request.Request(url, definition.read_bytes(), headers)  # noqa: S310  our own https URL
    try:
        urllib.request.urlopen(request, context=trust, timeout=20).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        assert error.code == 409, "it is served already"  # noqa: PT017  the code is what matters


def differing(output: str) -> set[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    scenario, step = "", 0
    for line in output.splitlines():
        if match := re.match(r"(?:ok|DIFF)\s+(\S+):", line):
            scenario = match[1]
        elif match := re.match(r"  step (\d+) ", line):
            step = int(match[1])
        elif line.startswith("      DIFF"):
            found.add((scenario, step))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recordings lie beside the repository, in shared/data/apiserver")
def test_the_differences_are_those_listed(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    tokens = tmp_path / "tokens.csv"
    tokens.write_text(TOKENS)
    with serve(folder, "--no-admission", "--token-auth-file", str(tokens)) as served:
        for definition in sorted((RECORDED / "crds").glob("*.yaml")):
            install(served, definition)
        command = [sys.executable, "replay.py", served.url, "--token", "admin-token", "--user-token", "alice-token"]
        command += ["--cacert", str(folder / "pki" / "ca.crt"), "--max-poll", "5"]
        scenarios = [str(path) for path in sorted((RECORDED / "http").glob("*.jsonl"))]
        ran = subprocess.run([*command, *scenarios], cwd=RECORDED, capture_output=True, text=True, check=False)
    found = differing(ran.stdout)
    assert re.search(r"\d+ of \d+ steps agree", ran.stdout), ran.stderr
    (tmp_path / "replayed.txt").write_text(ran.stdout)
    assert sorted(step for step in found - listed() if step[0] not in TIMED) == []
    assert sorted(step for step in listed() - found if step[0] not in TIMED) == [], "alike now: take them off the list"


def test_every_deliberate_difference_has_a_reason() -> None:
    assert all(entry["steps"] and entry["reason"] for entry in LISTED["deliberate"].values())
