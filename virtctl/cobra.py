"""What kubectl's users expect of a command line and typer does not do: flags anywhere, `--bool=false`, cobra's errors.

`find` walks to the command, `canonical` puts its flags in front of its words; typer gets nothing it could refuse except
a value of the wrong type. The flags come from the typer commands themselves.
"""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

from virtctl import flags
from virtctl.errors import UsageError


class Found(NamedTuple):
    """The command (or group) `names` lead to; `rest` is every other word and flag, in the order typed."""

    command: Any
    names: list[str]
    rest: list[str]
    program: str


class Line(NamedTuple):
    """A command's part of the line, as typer wants it, and the values of the global flags."""

    arguments: list[str]
    values: dict[str, str | list[str]]
    help: bool


def find(root: Any, arguments: list[str], program: str) -> Found:
    """The command a line is for. Raises UsageError for an unknown one, with cobra's text and its suggestions."""
    names: list[str] = []
    current, rest = root, list(arguments)
    while hasattr(current, "list_commands"):
        position = _first_word(rest)
        if position is None:
            break
        word = rest[position]
        if current is root and word in ("help", "options"):
            return Found(root, [word], rest[:position] + rest[position + 1 :], program)
        child = current.get_command(None, word)
        if child is None or " " in word:
            raise UsageError(_unknown(current, word, " ".join([program, *names])))
        del rest[position]
        names.append(word)
        current = child
    return _deeper(root, Found(current, names, rest, program))


def _deeper(root: Any, found: Found) -> Found:
    """A command may have one below it (`vnc screenshot`) and yet take words itself."""
    position = _first_word(found.rest)
    if len(found.names) != 1 or position is None:
        return found
    name = f"{found.names[0]} {found.rest[position]}"
    if name not in root.nested:
        return found
    rest = found.rest[:position] + found.rest[position + 1 :]
    return Found(root.get_command(None, name), [name], rest, found.program)


def _first_word(arguments: list[str]) -> int | None:
    """The position of the first word that is neither a flag nor the value of a global flag."""
    takes_value = {f"--{f.name}" for f in flags.GLOBAL_FLAGS if f.kind != "bool"}
    takes_value |= {f"-{f.short}" for f in flags.GLOBAL_FLAGS if f.kind != "bool" and f.short}
    skip = False
    for position, word in enumerate(arguments):
        if skip:
            skip = False
        elif word == "--":
            return None
        elif word.startswith("-") and len(word) > 1:
            skip = word in takes_value
        else:
            return position
    return None


def _unknown(group: Any, word: str, path: str) -> str:
    known = [name for name in group.list_commands(None) if " " not in name]
    near = difflib.get_close_matches(word.lower(), known, n=3, cutoff=0.6)
    near += [name for name in known if name.startswith(word.lower()) and name not in near and word]
    text = f'unknown command "{word}" for "{path}"'
    return text + ("\n\nDid you mean this?\n" + "\n".join(f"\t{name}" for name in near) if near else "")


def command_flags(command: Any) -> tuple[flags.Flag, ...]:
    """The flags of a typer command, for the parser of `virtctl.flags`."""
    found = []
    for option in options(command):
        short = next((name[1:] for name in option.opts if len(name) == 2 and name[0] == "-"), "")
        help_text = " ".join((option.help or "").split())
        long_names = [name[2:] for name in (*option.opts, *option.secondary_opts) if name.startswith("--")]
        for position, name in enumerate(long_names):
            found.append(flags.Flag(name, _kind(option), "" if position else short, help_text))
    return tuple(found)


def options(command: Any) -> list[Any]:
    """The options of a typer command, without its arguments."""
    return [p for p in command.params if p.param_type_name == "option"]


def _kind(option: Any) -> flags.Kind:
    if option.is_flag:
        return "bool"
    if option.multiple:
        return "strings"
    if option.metavar == "DURATION":
        return "duration"
    return "int" if option.type.name in ("int", "integer") else "string"


def all_flags(command: Any) -> tuple[flags.Flag, ...]:
    """A command's flags, then the global ones it does not shadow."""
    own = command_flags(command)
    names, shorts = {f.name for f in own}, {f.short for f in own}
    others = (f for f in flags.GLOBAL_FLAGS if f.name not in names)
    return (*own, *(f._replace(short="") if f.short in shorts else f for f in others))


def canonical(found: Found) -> Line:
    """Flags first, then `--`, then the words. Raises UsageError as cobra would, in its order: flags, then words."""
    parsed = flags.parse(found.rest, all_flags(found.command))
    if parsed.enabled("help"):
        return Line([], parsed.values, help=True)
    own = {flag.name for flag in command_flags(found.command)}
    given = {name: value for name, value in parsed.values.items() if name in own}
    if not hasattr(found.command, "list_commands"):
        _check_words(found, parsed.words)
        _check_required(found, given)
    arguments = [word for option in options(found.command) for word in _spell(option, given)]
    globals_given = {name: value for name, value in parsed.values.items() if name not in own}
    return Line([*arguments, "--", *parsed.words], globals_given, help=False)


def _spell(option: Any, given: dict[str, str | list[str]]) -> list[str]:
    for name in (n for n in option.opts if n.startswith("--") and n[2:] in given):
        value = given[name[2:]]
        if isinstance(value, list):
            return [f"{name}={item}" for item in value]
        if not option.is_flag:
            return [f"{name}={value}"]
        return [name] if value == "true" else list(option.secondary_opts[:1])
    negative = next((n for n in option.secondary_opts if given.get(n[2:]) == "true"), None)
    return [negative] if negative else []


def _check_words(found: Found, words: list[str]) -> None:
    arguments = [p for p in found.command.params if p.param_type_name == "argument"]
    least = sum(1 for p in arguments if p.required)
    most = None if any(p.nargs == -1 for p in arguments) else len(arguments)
    count = len(words)
    if count >= least and (most is None or count <= most):
        return
    usage = _usage(found)
    if most is None:
        raise UsageError(f"requires at least {least} arg(s), only received {count}", hint=usage)
    if most == 0:
        path = " ".join([found.program, *found.names])
        takes_files = any("--filename" in option.opts for option in options(found.command))
        hint = f"A file comes after -f: {path} -f {words[0]}" if takes_files else usage
        raise UsageError(f'unknown command "{words[0]}" for "{path}"', hint=hint)
    wanted = str(most) if least == most else f"at most {most}" if not least else f"between {least} and {most}"
    raise UsageError(f"accepts {wanted} arg(s), received {count}", hint=usage)


def _usage(found: Found) -> str:
    path = " ".join([found.program, *found.names])
    words = [p.metavar for p in found.command.params if p.param_type_name == "argument" and p.metavar]
    return f'Usage: {" ".join([path, *words])}; "{path} --help" has its flags and examples.'


def _check_required(found: Found, given: dict[str, str | list[str]]) -> None:
    required = (p for p in options(found.command) if p.required)
    long_names = {next(n for n in p.opts if n.startswith("--"))[2:] for p in required}
    missing = sorted(long_names - given.keys())
    if missing:
        names = ", ".join(f'"{name}"' for name in missing)
        raise UsageError(f"required flag(s) {names} not set", hint=_usage(found))
