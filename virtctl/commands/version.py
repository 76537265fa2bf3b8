"""`virtctl version`: ours, and the server's when one answers."""

from __future__ import annotations

import json
import platform
from typing import Annotated, Any

import typer

from virt_types.errors import VirtError
from virtctl import release
from virtctl.errors import CommandError, UsageError
from virtctl.http import path
from virtctl.options import client_of
from virtctl.output import yaml_text

EXAMPLES = """
# Client and server
virtctl version

# For programs, without asking a server
virtctl version --client -o json
"""
_FIELDS = (
    ("GitVersion", "gitVersion"),
    ("GitCommit", "gitCommit"),
    ("GitTreeState", "gitTreeState"),
    ("BuildDate", "buildDate"),
    ("GoVersion", "goVersion"),
    ("Compiler", "compiler"),
    ("Platform", "platform"),
)


def command(
    ctx: typer.Context,
    client_only: Annotated[
        bool, typer.Option("--client", "-c", help="Client version only, no server is asked.")
    ] = False,
    output: Annotated[str, typer.Option("--output", "-o", metavar="json|yaml", help="A machine-readable form.")] = "",
) -> None:
    """Print the client and server version."""
    if output not in ("", "json", "yaml"):
        raise UsageError(f"unsupported output format: {output} (must be 'json' or 'yaml')")
    versions: dict[str, Any] = {"clientVersion": client_version()}
    problem: VirtError | None = None
    if not client_only:
        try:
            client = client_of(ctx)
            versions["serverVersion"] = client.json("GET", path("apis/subresources.kubevirt.io/v1", "", "version"))
        except VirtError as error:
            problem = error
    _show(versions, output)
    if problem:
        raise CommandError(f"failed to get server version: {problem.message}", hint=problem.hint)


def client_version() -> dict[str, str]:
    """In KubeVirt's fields; ours is no Go program, so the interpreter takes the compiler's places."""
    return {
        "gitVersion": f"v{release.version()}",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }


def _show(versions: dict[str, Any], output: str) -> None:
    if output == "json":
        print(json.dumps(versions, indent=2))
    elif output == "yaml":
        print(yaml_text(versions), end="")
    else:
        for title, key in (("Client", "clientVersion"), ("Server", "serverVersion")):
            if key in versions:
                fields = ", ".join(f'{name}:"{versions[key].get(field, "")}"' for name, field in _FIELDS)
                print(f"{title} Version: version.Info{{{fields}}}")
