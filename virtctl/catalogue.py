"""What commands there are, in a line each, without importing any. Read by `cli`, `complete` and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS = "virtctl.commands"

COMMANDS = {
    "apply": "Create objects from manifests, or bring them up to date.",
    "completion": "Print a shell completion script.",
    "console": "Connect to the serial console of a virtual machine instance.",
    "convert": "Print manifests of early KubeVirt versions as today's.",
    "delete": "Delete objects by name or by manifest.",
    "expose": "Expose a virtual machine as a Kubernetes service.",
    "list": "List virtual machines and their instances.",
    "restart": "Restart virtual machines.",
    "start": "Start virtual machines.",
    "stop": "Stop virtual machines.",
    "validate": "Check manifests without a server: fields, types, defaults and rules.",
    "version": "Print the client and server version.",
    "vnc": "Open a VNC connection to a virtual machine instance.",
    "vnc screenshot": "Take a screenshot of a virtual machine instance's display.",
}
# What a plugin's group is about, so that `virtctl --help` need not import it.
GROUP_HELP = {"local": "Run the one-machine cluster: up, down, status, doctor."}

# The order of `virtctl --help`; groups that other packages bring come last.
SECTIONS = {
    "Machines": ("list", "start", "stop", "restart", "console", "vnc"),
    "Objects": ("apply", "validate", "convert", "delete", "expose"),
    "This machine": ("local",),
    "About": ("version", "completion", "options", "help"),
}


def plugins() -> dict[str, EntryPoint]:
    """Command groups other installed packages bring; ours win over a group of the same name."""
    from importlib.metadata import entry_points

    return {e.name: e for e in sorted(entry_points(group=ENTRY_POINTS)) if e.name not in COMMANDS}


def summaries() -> dict[str, str]:
    """One line about every command, without importing any."""
    groups = {name: GROUP_HELP.get(name, f"Commands of {entry.value}.") for name, entry in plugins().items()}
    return dict(
        sorted({**COMMANDS, **groups, "help": "Help about a command.", "options": "List the global flags."}.items())
    )
