"""The sessions behind `./run NAME`. They share ./run's .venv, so that starting one takes no time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.error_on_external_run = False
nox.options.sessions = ["lint", "types", "unit"]

PRODUCT = ("virtctl", "virt_types", "virt_kube", "virt_controller", "virt_handler", "virt_api", "virt_local")
VENV_PROGRAMS = Path(".venv/bin")
PINS = Path("requirements/python.txt")
PINS_HEAD = "# Every Python package at the version tested; written by `nox -s pins` from .venv. Ranges: pyproject.toml."
# Tests that boot guests mostly wait for them: the others run at the same time.
WITH_GUESTS, WITHOUT = ("tests/node", "tests/e2e"), ("tests/unit", "tests/api", "tests/fuzz")
# What a test starts must find its bytecode, as a user's command does.
ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": None}


def ensure_libvirt(session: nox.Session) -> None:
    """Have a libvirt daemon answer: on a machine without an init system nobody else starts it."""
    session.run("python", "-c", "from virt_local.host import ensure_libvirt; ensure_libvirt(print)")


@nox.session
def demo(session: nox.Session) -> None:
    """Start a one-machine cluster, boot a guest, show its console, clean up (-- --keep: leave it running)."""
    session.run("python", "-m", "examples.demo", *session.posargs, env=ENVIRONMENT)


@nox.session
def tests(session: nox.Session) -> None:
    """Every test, those with real libvirt, QEMU, kubectl and booted guests included."""
    if shutil.which("kubectl", path=f"{VENV_PROGRAMS}:{os.environ['PATH']}") is None:
        session.run("python", "requirements/kubectl.py", str(VENV_PROGRAMS))
    ensure_libvirt(session)
    if session.posargs:
        session.run("python", "-m", "pytest", *session.posargs, env=ENVIRONMENT)
        return
    # Each its own files: pytest closes the directory above them to other users whenever it starts.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryDirectory(prefix="virtctl-tests-") as folder:
        beside = subprocess.Popen(
            [sys.executable, "-m", "pytest", *WITHOUT],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
            | {"PYTEST_DEBUG_TEMPROOT": folder},
        )
        try:
            session.run("python", "-m", "pytest", *WITH_GUESTS, env=ENVIRONMENT)
        finally:
            code = beside.wait()
            output.seek(0)
            shutil.copyfileobj(output, sys.stdout)
    if code:
        session.error(f"pytest {' '.join(WITHOUT)} failed")


@nox.session
def unit(session: nox.Session) -> None:
    """The tests that need no hypervisor: seconds."""
    session.run("python", "-m", "pytest", "tests/unit", *session.posargs, env=ENVIRONMENT)


@nox.session
def recorded(session: nox.Session) -> None:
    """Replay everything a real kube-apiserver answered, over HTTP and with kubectl; the same tests on both servers."""
    environment = {**ENVIRONMENT, "RECORDED": "all"}
    tests = (
        "tests/api/test_apiserver_recorded.py",
        "tests/api/test_both_servers.py",
        "tests/api/test_facts_on_servers.py",
    )
    session.run("python", "-m", "pytest", "-rs", *tests, *session.posargs, env=environment)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Strange manifests and objects, a minute for each reader (-- SECONDS: as many)."""
    seconds = session.posargs[0] if session.posargs else "60"
    session.run("python", "-m", "pytest", "tests/fuzz", "-q", env={**ENVIRONMENT, "FUZZ_SECONDS": seconds})


@nox.session
def simulate(session: nox.Session) -> None:
    """Controllers before a lying API, dying at any request, in very many stories (-- STORIES: as many per test)."""
    stories = session.posargs[0] if session.posargs else "3000"
    env = {**ENVIRONMENT, "SIMULATED_STORIES": stories}
    session.run("python", "-m", "pytest", "tests/unit/controller", "-q", "-k", "simulation", "--timeout=0", env=env)


@nox.session
def powercut(session: nox.Session) -> None:
    """Kill the API server under load and look for what it acknowledged, 200 times (-- ROUNDS: as many)."""
    rounds = session.posargs[0] if session.posargs else "200"
    test = "tests/api/test_apiserver_durability.py"
    environment = {**ENVIRONMENT, "POWERCUT_ROUNDS": rounds}
    session.run("python", "-m", "pytest", test, "--timeout=0", "-q", env=environment)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting, and the import contracts between the rooms."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-cache")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict, the examples included."""
    session.run("mypy")
    session.run("mypy", "--strict", "-p", "examples.demo")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure against virsh and a bare interpreter, as ratios (docs/performance.md)."""
    ensure_libvirt(session)
    session.run("python", "-m", "benchmarks", *session.posargs, env=ENVIRONMENT)


@nox.session
def format(session: nox.Session) -> None:  # noqa: A001 - the word people type
    """Format the code and apply the safe fixes."""
    session.run("ruff", "check", "--fix", ".")
    session.run("ruff", "format", ".")


@nox.session
def pins(session: nox.Session) -> None:
    """Write requirements/python.txt from what .venv has now, after an upgrade by hand."""
    frozen = session.run("python", "-m", "pip", "freeze", "--exclude-editable", silent=True)
    PINS.write_text(f"{PINS_HEAD}\n{frozen}")
