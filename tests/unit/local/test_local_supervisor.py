"""The supervisor's promises: what crashes is started again after a while, and the register says so."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from virt_local import supervisor
from virt_local.register import ComponentState, Register
from virt_local.settings import Places, Settings, decode, encode
from virt_local.supervisor import Supervisor


def settings(tmp_path: Path, *components: str) -> Settings:
    return Settings(places=Places(tmp_path / "state", tmp_path / "run"), components=components)


async def seen(register: Register, condition: Callable[[dict[str, ComponentState]], Any]) -> dict[str, ComponentState]:
    async with asyncio.timeout(5):
        while True:
            process = register.find(os.getpid())
            if process is not None and condition(process.components):
                return process.components
            await asyncio.sleep(0.01)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_BACKOFF", 0.05)


@pytest.mark.usefixtures("quick")
async def test_a_crash_is_shown_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashes = [RuntimeError("boom"), ExceptionGroup("tasks", [OSError("inner")]), None]
    others = []

    async def flaky(_context: Any, ready: Callable[[], None]) -> None:
        crash = crashes.pop(0)
        if crash:
            raise crash
        ready()
        await asyncio.Event().wait()

    async def steady(_context: Any, ready: Callable[[], None]) -> None:
        others.append("started")
        ready()
        await asyncio.Event().wait()

    monkeypatch.setattr(supervisor, "FACTORIES", {"proxy": flaky, "storage": steady})
    chosen = settings(tmp_path, "proxy", "storage")
    chosen.places.run.mkdir(parents=True)
    register = Register(chosen.places.register)
    task = asyncio.create_task(Supervisor(chosen).run())
    shown = await seen(register, lambda states: states["proxy"].state == "failed")
    assert shown["proxy"].error in {"RuntimeError: boom", "OSError: inner"}
    shown = await seen(register, lambda states: states["proxy"].state == "running")
    assert shown["proxy"].restarts == 2
    assert (shown["storage"].restarts, others) == (0, ["started"])
    process = register.find(os.getpid())
    assert process is not None
    assert process.ready
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert register.processes() == []


@pytest.mark.usefixtures("quick")
async def test_the_end_of_a_component_is_a_crash_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def quitter(_context: Any, ready: Callable[[], None]) -> None:
        ready()

    monkeypatch.setattr(supervisor, "FACTORIES", {"proxy": quitter})
    chosen = settings(tmp_path, "proxy")
    chosen.places.run.mkdir(parents=True)
    running = Supervisor(chosen)
    task = asyncio.create_task(running.run())
    shown = await seen(Register(chosen.places.register), lambda states: states["proxy"].restarts >= 2)
    assert shown["proxy"].error == "it ended by itself"
    running.stop()
    await task


def test_settings_survive_the_way_to_the_supervisors_process(tmp_path: Path) -> None:
    chosen = Settings(
        places=Places(tmp_path / "s", tmp_path / "r"),
        components=("api", "node"),
        port=6443,
        registry_mirrors={"docker.io": "http://127.0.0.1:5000"},
    )
    assert decode(encode(chosen)) == chosen


async def test_an_end_while_a_crash_is_written_down_is_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings(tmp_path, "proxy")
    chosen.places.run.mkdir(parents=True)
    writing, runs = threading.Event(), []
    put = Register.put

    def slowly(register: Register, process: Any) -> None:
        if process.components["proxy"].state == "failed":
            writing.set()
            time.sleep(0.3)
        put(register, process)

    async def crash(_context: Any, _ready: Callable[[], None]) -> None:
        runs.append("run")
        raise RuntimeError("boom")

    monkeypatch.setattr(Register, "put", slowly)
    monkeypatch.setattr(supervisor, "FACTORIES", {"proxy": crash})
    ours = Supervisor(chosen)
    task = asyncio.create_task(ours.run())
    await asyncio.to_thread(writing.wait, 5)
    ours.stop()
    async with asyncio.timeout(5):
        await task
    assert runs == ["run"]
    assert Register(chosen.places.register).find(os.getpid()) is None, "the write that was under way came first"


async def test_a_status_that_cant_be_written_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []

    async def steady(_context: Any, ready: Callable[[], None]) -> None:
        ready()
        await asyncio.Event().wait()

    def full(_self: Register, _process: Any) -> None:
        refused.append("put")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(supervisor, "FACTORIES", {"proxy": steady})
    chosen = settings(tmp_path, "proxy")
    chosen.places.run.mkdir(parents=True)
    monkeypatch.setattr(Register, "put", full)
    running = Supervisor(chosen)
    task = asyncio.create_task(running.run())
    async with asyncio.timeout(5):
        while len(refused) < 2:  # noqa: ASYNC110  polls what has no event
            await asyncio.sleep(0.01)
    assert running.process.components["proxy"].restarts == 0
    running.stop()
    await asyncio.wait_for(task, 5)
