"""docs/commands.md and the commands say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from virtctl import catalogue, cli, cobra, flags

TEXT = (Path(__file__).parents[3] / "docs/commands.md").read_text()
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def documented(section: str) -> dict[str, str]:
    """Flag names and their descriptions in a section's table."""
    rows = re.findall(r"^\| (?:`-\w`, )?`--([\w-]+)`[^|]*\| ([^|]*) \|$", section, re.MULTILINE)
    return dict(rows)


@pytest.mark.parametrize("name", sorted(catalogue.COMMANDS))
def test_every_flag_is_documented_and_no_other(name: str) -> None:
    command = cli.command(name)
    assert documented(SECTIONS[name]) == {flag.name: flag.help for flag in cobra.command_flags(command)}
    assert command.examples.strip() in SECTIONS[name]


def test_global_flags() -> None:
    assert documented(SECTIONS["Global flags"]) == {flag.name: flag.help for flag in flags.GLOBAL_FLAGS}


def test_no_command_is_documented_that_is_not_there() -> None:
    assert SECTIONS.keys() - catalogue.COMMANDS.keys() == {"Which cluster", "Global flags"}


@pytest.mark.parametrize("name", sorted(catalogue.COMMANDS))
def test_examples_parse(name: str) -> None:
    lines = [line for line in cli.command(name).examples.splitlines() if "virtctl" in line and not line.startswith("#")]
    assert lines
    for line in lines:
        words = re.split(r"\s*[|>]\s*|\)", line.partition("virtctl ")[2])[0].split()
        found = cobra.find(typer.main.get_command(cli.app), words, "virtctl")
        cobra.canonical(found)
        assert found.names[0].startswith(name.partition(" ")[0])
