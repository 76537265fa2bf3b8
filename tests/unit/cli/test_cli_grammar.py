"""The command line's grammar: flags anywhere, cobra's errors, help; and no argument vector ends in a traceback."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from cli_fake_api import FakeApi
from cli_program import Run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from virtctl import __main__ as program
from virtctl import catalogue, cli, cobra, flags

SUB = "/apis/subresources.kubevirt.io/v1/namespaces"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["strat", "vm1"], 'unknown command "strat" for "virtctl"\n\nDid you mean this?\n\tstart\n'),
        (["sta"], "Did you mean this?\n\tstart\n"),
        (["xyzzy"], 'unknown command "xyzzy" for "virtctl"\n'),
        (["start"], "requires at least 1 arg(s), only received 0\n"),
        (["console"], "accepts 1 arg(s), received 0\n"),
        (["console", "a", "b"], "accepts 1 arg(s), received 2\n"),
        (["expose", "vm"], "accepts 2 arg(s), received 1\n"),
        (["version", "extra"], 'unknown command "extra" for "virtctl version"\n'),
        (["start", "vm1", "--nope"], "unknown flag: --nope\n"),
        (["start", "vm1", "-x"], "unknown shorthand flag: 'x' in -x\n"),
        (["start", "vm1", "-n"], "flag needs an argument: 'n' in -n\n"),
        (["start", "vm1", "--namespace"], "flag needs an argument: --namespace\n"),
        (["start", "vm1", "--=x"], "bad flag syntax: --=x\n"),
        (
            ["start", "vm1", "--paused=maybe"],
            'invalid argument "maybe" for "--paused" flag: strconv.ParseBool: parsing "maybe": invalid syntax\n',
        ),
        (
            ["stop", "vm1", "--force", "--grace-period", "ten"],
            'invalid argument "ten" for "--grace-period" flag: strconv.ParseInt: parsing "ten": invalid syntax\n',
        ),
        (
            ["start", "vm1", "--wait", "--timeout=soon"],
            'invalid argument "soon" for "--timeout" flag: "soon" is not a duration',
        ),
        (["vnc", "screenshot", "vm1"], 'required flag(s) "file" not set\n'),
        (["apply"], 'required flag(s) "filename" not set\n'),
        (["help", "nope"], 'unknown command "nope" for "virtctl"\n'),
    ],
)
def test_usage_errors(virtctl: Run, arguments: list[str], error: str) -> None:
    result = virtctl(*arguments)
    assert (result.code, result.out) == (1, "")
    assert error in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["-n", "other", "start", "vm1"],
        ["start", "-n", "other", "vm1"],
        ["start", "vm1", "-nother"],
        ["start", "vm1", "-n=other"],
        ["start", "vm1", "--namespace=other"],
        ["start", "--namespace", "other", "--", "vm1"],
        ["start", "vm1", "--namespace=other", "--paused=false"],
        ["-v", "2", "--namespace", "other", "start", "--dry-run=false", "vm1"],
    ],
)
def test_flags_stand_anywhere(api: FakeApi, virtctl: Run, kube: object, arguments: list[str]) -> None:
    api.on("PUT", f"{SUB}/other/virtualmachines/vm1/start", (202, None))
    assert virtctl(*arguments) == (0, "VM vm1 was scheduled to start\n", "")


def test_everything_after_two_dashes_is_a_word(api: FakeApi, virtctl: Run, kube: object) -> None:
    virtctl("start", "--", "--paused")
    assert api.seen[0].path == f"{SUB}/default/virtualmachines/--paused/start"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"], ["-n", "x"]])
def test_help_lists_every_command(virtctl: Run, arguments: list[str]) -> None:
    result = virtctl(*arguments)
    assert (result.code, result.err) == (0, "")
    for name in catalogue.summaries():
        if " " not in name:
            assert f"\n  {name} " in result.out


@pytest.mark.parametrize("name", sorted(catalogue.COMMANDS))
def test_help_of_a_command_documents_every_flag(virtctl: Run, name: str) -> None:
    by_flag, by_word = virtctl(*name.split(), "--help"), virtctl("help", *name.split())
    assert by_flag == by_word
    assert by_flag.code == 0
    assert f"Usage: virtctl {name} " in by_flag.out
    command = cli.command(name)
    for flag in cobra.command_flags(command):
        assert f"--{flag.name}" in by_flag.out
        assert flag.help, f"--{flag.name} of {name} has no help"
    assert command.help.strip().splitlines()[0] == catalogue.COMMANDS[name]


def test_every_command_has_its_section_in_the_help() -> None:
    sorted_in = [name for names in catalogue.SECTIONS.values() for name in names]
    known = [name for name in catalogue.COMMANDS if " " not in name]
    assert sorted(sorted_in) == sorted([*known, *catalogue.GROUP_HELP, "help", "options"])


def test_help_fits_a_terminal_of_80_columns(virtctl: Run) -> None:
    assert max(map(len, virtctl().out.splitlines())) <= 80


def test_plugin_speaks_of_kubectl_virt(virtctl: Run) -> None:
    assert "Usage: kubectl virt start" in virtctl("start", "--help", prog="/usr/bin/kubectl-virt").out
    assert "virtctl start" not in virtctl("start", "--help", prog="kubectl-virt").out
    assert 'for "oc virt"' in virtctl("nope", prog="oc-virt").err


def test_options_lists_the_global_flags(virtctl: Run) -> None:
    out = virtctl("options").out
    for flag in flags.GLOBAL_FLAGS:
        assert f"--{flag.name}" in out


def test_fast_path_flags_are_those_of_the_command(virtctl: Run) -> None:
    """What the fast path understands, typer's commands understand in the same way."""
    for verb in ("start", "stop", "restart"):
        known = {f.name: (f.kind, f.short) for f in cobra.all_flags(cli.command(verb))}
        for flag in (*flags.GLOBAL_FLAGS, *program._WAIT_FLAGS):
            assert known[flag.name] == (flag.kind, flag.short)


def test_fast_path_and_typer_give_the_same_error(virtctl: Run) -> None:
    quick = virtctl("start", "vm1", "--server=ftp://x")
    assert virtctl("start", "vm1", "--server=ftp://x", "--paused") == quick
    assert quick.code == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90", 90),
        ("1m30s", 90),
        ("1.5m", 90),
        ("500ms", 0.5),
        ("1h", 3600),
        ("0", 0),
        *[(wrong, None) for wrong in ("", "1x", "-1s", "1e3", "s")],
    ],
)
def test_durations(text: str, expected: float | None) -> None:
    assert flags.seconds(text) == expected


def test_traceback_only_with_debug(virtctl: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: list[str]) -> bool:
        raise RuntimeError("surprise")

    monkeypatch.setattr(program, "quick", broken)
    plain = virtctl("version")
    assert plain.code == 1
    assert plain.err.startswith("internal error: RuntimeError: surprise\n")
    assert "Traceback" not in plain.err
    assert "Traceback" in virtctl("version", "--debug").err


WORDS = st.one_of(
    st.sampled_from([name.partition(" ")[0] for name in catalogue.COMMANDS]),
    st.sampled_from(
        ["help", "options", "--", "-", "-n", "-o", "--wait", "--help", "-f", "/dev/null", "vm", "vmi", "a/b"]
    ),
    st.sampled_from([f"--{flag.name}" for flag in flags.GLOBAL_FLAGS if flag.name != "debug"]),
    st.text(max_size=6),
    st.from_regex(r"--?[a-z-]{1,10}(=.{0,4})?", fullmatch=True).filter(lambda word: "debug" not in word),
)
# Commands that would read stdin or wait for the network are given nothing to reach.
NO_SERVER = ["--server=http://127.0.0.1:1", "--request-timeout=1s"]


@given(st.lists(WORDS, max_size=6))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_argument_vector_ends_in_a_traceback(tmp_path_factory: pytest.TempPathFactory, arguments: list[str]) -> None:
    before, out, err = sys.argv, io.StringIO(), io.StringIO()
    sys.argv = ["virtctl"]
    stdin = sys.stdin
    try:
        with Path("/dev/null").open() as sys.stdin, redirect_stdout(out), redirect_stderr(err):
            code = program.run([*NO_SERVER, *arguments])
    finally:
        sys.argv, sys.stdin = before, stdin
    assert code in (0, 1)
    assert "Traceback" not in err.getvalue()
    assert "internal error" not in err.getvalue()
    if code:
        assert err.getvalue().strip(), "an error without a word"


@pytest.mark.parametrize(
    ("arguments", "usage"),
    [
        (["expose", "vm"], "virtctl expose KIND NAME"),
        (["console"], "virtctl console VMI"),
        (["apply"], "virtctl apply"),
        (["stop"], "virtctl stop [vm] NAME..."),
    ],
)
def test_what_is_missing_is_shown(virtctl: Run, arguments: list[str], usage: str) -> None:
    hint = virtctl(*arguments).err.splitlines()[-1]
    assert hint == f'Usage: {usage}; "virtctl {arguments[0]} --help" has its flags and examples.'


def test_help_of_the_local_cluster_is_whole_at_80_columns(virtctl: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its group comes from another package, and reads as our own commands do."""
    monkeypatch.setenv("COLUMNS", "80")
    group = virtctl("local", "--help").out
    listed = group.partition("Commands:\n")[2].splitlines()
    assert len(listed) >= 8
    assert [line for line in listed if "..." in line] == []
    for name in (line.split()[0] for line in listed):
        assert "<" not in virtctl("local", name, "--help").out
    assert "--state-dir PATH" in virtctl("local", "up", "--help").out
