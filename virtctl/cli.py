"""The typer application: one module per command, imported when the command is used.

`run` puts the words a user typed into the shape typer parses (see `virtctl.cobra`), so that flags may stand anywhere
and errors read as kubectl's do. Command groups of other packages come from the entry point group `virtctl.commands`.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from virtctl import cobra, flags, release
from virtctl.catalogue import COMMANDS, SECTIONS, plugins, summaries
from virtctl.errors import InputError, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_TYPER: dict[str, Any] = {"add_completion": False, "rich_markup_mode": None, "pretty_exceptions_enable": False}
_METAVARS = {"integer": "N", "text": "TEXT", "str": "TEXT", "int": "N", "float": "N", "path": "PATH"}
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Command(TyperCommand):
    """Help that ends with examples and where the global flags are."""

    examples = ""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """KIND NAME, not {KIND} {NAME}."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        program = ctx.find_root().info_name
        if self.examples:
            formatter.write("\nExamples:\n")
            for line in self.examples.strip().splitlines():
                formatter.write(f"  {line}\n".replace("virtctl", program) if line else "\n")
        formatter.write(f'\nUse "{program} options" for the global flags, which every command takes.\n')


class Root(TyperGroup):
    """All commands; each is imported only when it is asked for."""

    # Commands below one that takes words itself; asking for plugins to find them would cost every command 20 ms.
    nested = frozenset(name for name in COMMANDS if " " in name)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  click's signature
        return [*COMMANDS, *plugins()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  click's signature
        return command(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  click's signature
        texts = {name: text for name, text in summaries().items() if " " not in name}
        listed = [name for names in SECTIONS.values() for name in names]
        width = max(map(len, texts))
        for title, names in {**SECTIONS, "Plugins": tuple(name for name in texts if name not in listed)}.items():
            rows = [(name.ljust(width), texts[name]) for name in names if name in texts]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        program = ctx.find_root().info_name
        formatter.write(f'\nUse "{program} COMMAND --help" for one command,\n')
        formatter.write(f'    "{program} options" for the global flags, which every command takes.\n')


app = typer.Typer(cls=Root, context_settings=_CONTEXT, **_TYPER)


@app.callback()
def _root() -> None:
    """virtctl controls virtual machines: KubeVirt's, or those of this machine (`virtctl local up`)."""


def command(name: str) -> Any:
    """The command or group of this name, None when there is none."""
    if name in COMMANDS:
        module = importlib.import_module(f"virtctl.commands.{name.replace(' ', '_')}")
        single = typer.Typer(context_settings=_CONTEXT, **_TYPER)
        single.command(name, cls=Command)(module.command)
        built: Any = typer.main.get_command(single)
        built.examples = module.EXAMPLES
        _name_values(built)
        return built
    entry = plugins().get(name)
    return _load_plugin(entry) if entry else None


def _name_values(command: Any) -> None:
    """What stands for a value in the help, the same words in every command and its subcommands."""
    for option in cobra.options(command):
        option.metavar = option.metavar or (None if option.is_flag else _METAVARS.get(option.type.name))
    for below in getattr(command, "commands", {}).values():
        _name_values(below)


def _load_plugin(entry: EntryPoint) -> Any:
    try:
        group = entry.load()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f'the command group "{entry.name}" ({entry.value}) can not be loaded: {error}',
            hint="Install its package again, or remove it.",
        ) from error
    # The same plain help as our own commands, and completion is ours too.
    group.rich_markup_mode = None
    built: Any = typer.main.get_command(group)
    built.name = entry.name
    _name_values(built)
    built.params = [p for p in built.params if p.name not in ("install_completion", "show_completion")]
    return built


def run(arguments: list[str]) -> None:
    """Carry out one command line. Raises VirtError."""
    program = release.program_name(sys.argv[0])
    root: Any = typer.main.get_command(app)
    if arguments[:1] in (["__complete"], ["__completeNoDesc"]):
        from virtctl import complete

        complete.answer(root, arguments[1:], descriptions=arguments[0] == "__complete")
        return
    found = cobra.find(root, arguments, program)
    if found.names[:1] in (["help"], ["options"]):
        _explain(root, found, program)
        return
    line = cobra.canonical(found)
    if line.help or (found.command is root or hasattr(found.command, "list_commands")):
        _invoke(root, [*found.names, "--help"], program, None)
        return
    _invoke(root, [*found.names, *line.arguments], program, flags.settings(line.values))


def _explain(root: Any, found: cobra.Found, program: str) -> None:
    if found.names == ["options"]:
        print("The following flags can be passed to any command:\n")
        for flag in flags.GLOBAL_FLAGS:
            kind = "" if flag.kind == "bool" else f" {flag.kind}"
            short = f"-{flag.short}, " if flag.short else "    "
            print(f"  {short}--{flag.name}{kind}\n        {flag.help}")
        return
    target = cobra.find(root, found.rest, program)
    if target.names in (["help"], ["options"]):
        target = target._replace(names=[])
    _invoke(root, [*target.names, "--help"], program, None)


def _invoke(root: Any, arguments: list[str], program: str, settings: flags.Settings | None) -> None:
    try:
        root.main(args=arguments, prog_name=program, standalone_mode=False, obj=settings)
    except typer.BadParameter as error:
        raise UsageError(_bad_parameter(error)) from error
    except typer.Abort as error:
        raise KeyboardInterrupt from error


def _bad_parameter(error: typer.BadParameter) -> str:
    parameter: Any = error.param
    names = getattr(parameter, "opts", [])
    flag = next((n for n in names if n.startswith("--")), None)
    if flag:
        return f'invalid argument for "{flag}" flag: {error.message}'
    return error.format_message()
