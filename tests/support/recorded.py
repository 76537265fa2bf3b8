"""The recordings of a real kube-apiserver beside the repository, and their replayers, for the tests that use them."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.api_server import Served, find_kubectl, serve

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "data" / "apiserver"
ADMIN, ALICE = "admin-token", "alice-token"
TOKENS = f'{ADMIN},admin,1,"system:masters"\n{ALICE},alice,2,devs\n'
_DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@contextmanager
def bare_server(folder: Path) -> Iterator[Served]:
    """What `virtctl local apiserver --no-admission` runs, with the definitions the recordings ask for."""
    home = folder / "d"
    home.mkdir()
    tokens = folder / "tokens.csv"
    tokens.write_text(TOKENS)
    with serve(home, "--no-admission", "--no-crds", "--token-auth-file", str(tokens)) as served:
        for definition in sorted((RECORDED / "crds").glob("*.yaml")):
            _install(served, definition)
        yield served


def _install(served: Served, definition: Path) -> None:
    trust = ssl.create_default_context(cafile=str(served.folder / "pki" / "ca.crt"))
    headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/yaml"}
    request = urllib.request.Request(served.url + _DEFINITIONS, definition.read_bytes(), headers)  # noqa: S310  our own URL
    urllib.request.urlopen(request, context=trust, timeout=20).close()  # noqa: S310


def replay_http(served: Served) -> str:
    """What the replayer prints for all HTTP scenarios."""
    command = [sys.executable, "replay.py", served.url, "--token", ADMIN, "--user-token", ALICE]
    command += ["--cacert", str(served.folder / "pki" / "ca.crt"), "--max-poll", "5"]
    return _run([*command, *(str(path) for path in sorted((RECORDED / "http").glob("*.jsonl")))], {})


def replay_kubectl(served: Served, names: list[str], folder: Path) -> str:
    """What the replayer prints for these kubectl sessions."""
    program = find_kubectl()
    assert program is not None
    (folder / "bin").mkdir()
    (folder / "bin" / "kubectl").symlink_to(program)
    (folder / "kubeconfig").write_text(_kubeconfig(served))
    command = [sys.executable, "replay_kubectl.py", str(folder / "kubeconfig"), "--max-poll", "5"]
    sessions = [str(RECORDED / "kubectl" / f"{name}.jsonl") for name in names]
    return _run([*command, *sessions], {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}"})


def _kubeconfig(served: Served) -> str:
    """With a token, as the recorded one: a client certificate would win over the tokens some commands bring."""
    return f"""apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "{served.url}", certificate-authority: {served.folder}/pki/ca.crt}}}}]
users: [{{name: u, user: {{token: {ADMIN}}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""


def _run(command: list[str], more: dict[str, str]) -> str:
    ran = subprocess.run(command, cwd=RECORDED, capture_output=True, text=True, check=False, env={**os.environ, **more})
    assert re.search(r"\d+ of \d+ (steps|commands) agree", ran.stdout), ran.stderr
    return ran.stdout


def differing_steps(output: str) -> set[tuple[str, int]]:
    """(scenario, step) of the HTTP steps that differ."""
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


def differing_commands(output: str) -> set[tuple[str, str]]:
    """(session, command) of the kubectl commands that differ."""
    found: set[tuple[str, str]] = set()
    session, command = "", ""
    for line in output.splitlines():
        if match := re.match(r"(?:ok|DIFF)\s+(\S+):", line):
            session = match[1]
        elif line.startswith("  ") and not line.startswith("      "):
            command = line[2:]
        elif line.startswith("      ") and not line.startswith("      MSG"):
            found.add((session, command))
    return found
