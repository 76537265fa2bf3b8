"""What a person at a terminal sees and a pipe does not: colours in `list`, a moving line while one waits."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import pexpect
import pytest
from cli_fake_api import FakeApi, Handler

from virtctl import color

ROOT = Path(__file__).parents[3]
VM = "/apis/kubevirt.io/v1/namespaces/default/virtualmachines"
START = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachines/vm1/start"
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

pytestmark = pytest.mark.usefixtures("kube")


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


def on_a_terminal(*arguments: str, columns: int = 80) -> tuple[int, str]:
    """Exit code, and everything the command wrote to its terminal, lines ended by a plain newline."""
    child = pexpect.spawn(
        sys.executable, ["-m", "virtctl", *arguments], encoding="utf-8", dimensions=(24, columns), timeout=30
    )
    output = str(child.read())
    child.close()
    return child.exitstatus, output.replace("\r\n", "\n")


def table(*rows: tuple[str, str, str]) -> dict[str, object]:
    return {
        "kind": "Table",
        "columnDefinitions": [{"name": name, "priority": 0} for name in ("Name", "Status", "Ready")],
        "rows": [{"cells": list(row), "object": {"metadata": {"name": row[0]}}} for row in rows],
    }


ROWS = (("a", "Running", "True"), ("b", "Stopped", "False"), ("long-name", "ErrImagePull", "False"))
PLAIN = (
    "NAME        STATUS         READY\n"
    "a           Running        True\n"
    "b           Stopped        False\n"
    "long-name   ErrImagePull   False\n"
)


def test_list_colours_statuses_and_nothing_else(api: FakeApi) -> None:
    api.on("GET", VM, (200, table(*ROWS)))
    code, output = on_a_terminal("list", "vm")
    assert (code, ESCAPES.sub("", output)) == (0, PLAIN)
    green, dim, red = "\x1b[32m", "\x1b[2m", "\x1b[31m"
    for text in (
        f"{green}Running",
        f"{green}True",
        f"{dim}Stopped",
        f"{dim}False",
        f"{red}ErrImagePull",
        f"{red}False",
    ):
        assert text in output
    assert "\x1b" not in output.splitlines()[0]


@pytest.mark.parametrize("variable", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_list_without_colours(api: FakeApi, monkeypatch: pytest.MonkeyPatch, variable: tuple[str, str]) -> None:
    monkeypatch.setenv(*variable)
    api.on("GET", VM, (200, table(*ROWS)))
    assert on_a_terminal("list", "vm") == (0, PLAIN)


def test_list_leaves_wrapping_to_the_terminal(api: FakeApi) -> None:
    api.on("GET", VM, (200, table(("n" * 60, "Running", "True"))))
    lines = ESCAPES.sub("", on_a_terminal("list", "vm", columns=40)[1]).splitlines()
    assert [line.split() for line in lines] == [["NAME", "STATUS", "READY"], ["n" * 60, "Running", "True"]]


def starting(handler: Handler) -> None:
    condition = {"type": "Synchronized", "status": "False", "reason": "ErrImagePull", "message": "no \x1b[2J image"}
    handler.send_response(200)
    handler.end_headers()
    for version, status in enumerate(
        ({"printableStatus": "Starting", "conditions": [condition]}, {"printableStatus": "Running"})
    ):
        event = {"type": "MODIFIED", "object": {"metadata": {"resourceVersion": str(version)}, "status": status}}
        handler.wfile.write(json.dumps(event).encode() + b"\n")
        handler.wfile.flush()
        time.sleep(0 if version else 1.8)
    handler.close_connection = True


@pytest.fixture
def machine(api: FakeApi) -> None:
    api.on("PUT", START, (202, None))
    api.on("GET", f"{VM}/vm1", (200, {"metadata": {}, "status": {"printableStatus": "Stopped"}}))
    api.on("GET", VM, starting)


@pytest.mark.usefixtures("machine")
def test_wait_draws_a_line_and_takes_it_away() -> None:
    code, output = on_a_terminal("start", "vm1", "--wait", columns=120)
    assert code == 0
    text = ESCAPES.sub("", output)
    assert "1s Waiting for VM vm1 to be Running: Starting · ErrImagePull: no \N{REPLACEMENT CHARACTER}[2J image" in text
    assert "\x1b[2J" not in output
    assert output.startswith("VM vm1 was scheduled to start\n")
    # The moving line is erased before the last one, and the cursor is there again.
    erased = output.rindex("\x1b[2K")
    assert output[erased:].endswith("VM vm1 is running\n")
    assert "Waiting" not in output[erased:]
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")


@pytest.mark.usefixtures("machine")
def test_wait_on_a_dumb_terminal_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    code, output = on_a_terminal("start", "vm1", "--wait")
    assert code == 0
    assert "\x1b" not in output
    assert [line.partition(":")[2].partition(" ·")[0].strip() for line in output.splitlines()[1:-1]] == [
        "Stopped",
        "Starting",
    ]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["Running", "True"], ["green", "green"]),
        (["Running", "False"], ["green", "yellow"]),
        (["Stopping", "False"], ["yellow", "yellow"]),
        (["CrashLoopBackOff", "False"], ["red", "red"]),
        (["Stopped", "False"], ["dim", "dim"]),
        (["Stopped", ""], ["dim", None]),
        (["WhateverComes", "False"], [None, "yellow"]),
    ],
)
def test_styles_of_a_row(cells: list[str], expected: list[str | None]) -> None:
    for header in ("STATUS", "PHASE"):
        assert color.cell_styles([header, "READY"], cells) == expected
    assert color.cell_styles(["NAME", "AGE"], cells) == [None, None]


def test_interrupted_wait_leaves_a_clean_terminal(api: FakeApi) -> None:
    api.on("PUT", START, (202, None))
    api.on("GET", f"{VM}/vm1", (200, {"metadata": {}, "status": {"printableStatus": "Starting"}}))
    api.on("GET", VM, lambda handler: time.sleep(20))
    child = pexpect.spawn(sys.executable, ["-m", "virtctl", "start", "vm1", "--wait"], encoding="utf-8", timeout=20)
    child.expect("Waiting for VM vm1 to be Running")
    child.sendintr()
    rest = str(child.read())
    child.close()
    assert child.exitstatus == 130
    assert "Traceback" not in rest
    last = rest[rest.rindex("\x1b[2K") :]
    assert "Waiting" not in last
