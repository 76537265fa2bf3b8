"""`virtctl __complete WORDS...`: what may follow, one candidate per line, for the scripts of `virtctl completion`.

The answer is cobra's: `candidate<TAB>description`, then `:4` (no file names) or `:0` (file names). It never fails and
never takes long: names of machines come from the server only if it answers at once.
"""

from __future__ import annotations

from typing import Any

from virt_types.errors import VirtError
from virt_types.kinds import SERVED, VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE, Kind, find_kind
from virtctl import catalogue, cobra, flags
from virtctl.http import Client
from virtctl.resources import of_kind

NO_FILES, FILES = ":4", ":0"
SERVER_SECONDS = 2.0
_FILE_FLAGS = frozenset(
    {"kubeconfig", "filename", "file", "certificate-authority", "client-certificate", "client-key", "vnc-path"}
)
_NAMES_OF = {
    "start": VIRTUAL_MACHINE,
    "stop": VIRTUAL_MACHINE,
    "restart": VIRTUAL_MACHINE,
    "console": VIRTUAL_MACHINE_INSTANCE,
    "vnc": VIRTUAL_MACHINE_INSTANCE,
    "vnc screenshot": VIRTUAL_MACHINE_INSTANCE,
}
_MACHINES = (VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE)
_KINDS_BEFORE_NAMES = {"expose": _MACHINES, "list": _MACHINES, "delete": SERVED}


def answer(root: Any, words: list[str], *, descriptions: bool) -> None:
    """Print the candidates for the last word of `words`, which may be empty."""
    *before, current = words or [""]
    candidates, directive = _candidates(root, before, current)
    for name in sorted(candidates):
        if name.startswith(current):
            print(f"{name}\t{candidates[name]}" if descriptions and candidates[name] else name)
    print(directive)


def _candidates(root: Any, before: list[str], current: str) -> tuple[dict[str, str], str]:
    try:
        found = cobra.find(root, before, "virtctl")
    except VirtError:
        return {}, NO_FILES
    known = cobra.all_flags(found.command)
    pending = _flag_waiting_for_value(before, known)
    if pending:
        return ({}, FILES) if pending.name in _FILE_FLAGS else (_values(pending, found), NO_FILES)
    if current.startswith("-"):
        return {f"--{flag.name}": flag.help for flag in known}, NO_FILES
    if hasattr(found.command, "list_commands") and found.names[:1] != ["options"]:
        return _commands(root, found), NO_FILES
    return _words(found, known)


def _flag_waiting_for_value(before: list[str], known: tuple[flags.Flag, ...]) -> flags.Flag | None:
    last = before[-1] if before else ""
    spelled = (flag for flag in known if flag.kind != "bool" and last in (f"--{flag.name}", f"-{flag.short}"))
    return next(spelled, None) if last not in ("", "-") else None


def _values(flag: flags.Flag, found: cobra.Found) -> dict[str, str]:
    if flag.name == "namespace":
        return _names(found.rest[:-1], "api/v1/namespaces")
    known = {"output": ("json", "yaml", "name", "wide"), "cascade": ("background", "foreground", "orphan")}
    return dict.fromkeys(known.get(flag.name, ()), "")


def _commands(root: Any, found: cobra.Found) -> dict[str, str]:
    if found.command is root:
        return {name: text for name, text in catalogue.summaries().items() if " " not in name}
    return {
        name: found.command.get_command(None, name).get_short_help_str(60) for name in found.command.list_commands(None)
    }


def _words(found: cobra.Found, known: tuple[flags.Flag, ...]) -> tuple[dict[str, str], str]:
    name = found.names[0]
    if name == "completion":
        return dict.fromkeys(("bash", "zsh", "fish"), ""), NO_FILES
    try:
        typed = flags.parse(found.rest, known).words
    except VirtError:
        return {}, NO_FILES
    if name in _KINDS_BEFORE_NAMES and not typed:
        return {kind.short_names[0]: kind.kind for kind in _KINDS_BEFORE_NAMES[name]}, NO_FILES
    kind = find_kind(typed[0]) if name in _KINDS_BEFORE_NAMES else _NAMES_OF.get(name)
    given = {key: value for key, value in _names(found.rest, kind).items() if key not in typed} if kind else {}
    if name == "vnc" and not typed:
        given["screenshot"] = catalogue.COMMANDS["vnc screenshot"]
    return given, NO_FILES


def _names(words: list[str], what: Kind | str) -> dict[str, str]:
    """Names of the server's objects, nothing when it does not answer."""
    globals_given = [flag._replace(short="" if flag.short == "h" else flag.short) for flag in flags.GLOBAL_FLAGS]
    try:
        values = flags.parse([word for word in words if word.startswith("-") or word], tuple(globals_given)).values
        settings = flags.settings(values)._replace(request_timeout=SERVER_SECONDS)
        client = Client(settings)
        target = f"/{what}" if isinstance(what, str) else of_kind(what).path(client.namespace)
        try:
            items = client.json("GET", target).get("items") or []
        finally:
            client.close()
        return {str(item["metadata"]["name"]): "" for item in items}
    except (VirtError, KeyError, TypeError):
        return {}
