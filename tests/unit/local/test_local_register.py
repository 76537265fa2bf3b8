"""RUN/local.json: only processes that live count, whatever kill -9 or a broken disk left in the file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from virt_local.errors import RunDirError
from virt_local.register import ComponentState, Process, Register, start_time


def own(**components: str) -> Process:
    pid = os.getpid()
    states = {name: ComponentState(state) for name, state in components.items()}
    return Process(pid=pid, start_time=start_time(pid) or 0, components=states)


def test_what_was_put_is_found_until_it_is_removed(tmp_path: Path) -> None:
    register = Register(tmp_path / "run" / "local.json")
    assert register.processes() == []
    with register.locked():
        register.put(own(api="running", node="starting"))
    assert register.running().keys() == {"api", "node"}
    assert (tmp_path / "run" / "local.json").stat().st_mode & 0o777 == 0o600
    register.remove(os.getpid())
    assert register.processes() == []


def test_a_process_that_died_does_not_count(tmp_path: Path) -> None:
    register = Register(tmp_path / "local.json")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = Process(pid=child.pid, start_time=start_time(child.pid) or 0, components={"api": ComponentState()})
    with register.locked():
        register.put(process)
    assert register.find(child.pid) is not None
    child.kill()
    child.communicate()
    assert register.find(child.pid) is None


def test_another_process_with_the_same_pid_does_not_count(tmp_path: Path) -> None:
    register = Register(tmp_path / "local.json")
    impostor = own(api="running")
    impostor.start_time -= 1
    with register.locked():
        register.put(impostor)
    assert register.processes() == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"processes":[{"pid":"x"}]}', b"\x00\xff"])
def test_a_damaged_file_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "local.json"
    path.write_bytes(content)
    register = Register(path)
    assert register.processes() == []
    with register.locked():
        register.put(own(api="running"))
    assert register.running().keys() == {"api"}


def test_a_run_directory_that_can_not_be_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunDirError, match="can't use the run directory") as caught,
        Register(tmp_path / "file" / "local.json").locked(),
    ):
        pass
    assert "--run-dir" in caught.value.hint
