"""`virt-handler`: the node agent as a program of its own, `virt-handler render` and `virt-handler explain-domain`.

Ends on SIGTERM and SIGINT; the guests run on, and the next agent takes them over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from virt_types.errors import VirtError

app = typer.Typer(add_completion=False, no_args_is_help=False, pretty_exceptions_enable=False)

Mirrors = Annotated[
    list[str],
    typer.Option(
        "--registry-mirror", help="PREFIX=LOCATION, e.g. docker.io=http://127.0.0.1:5000 or docker.io=oci:/images."
    ),
]


@app.callback(invoke_without_command=True)
def run(  # noqa: PLR0917  typer calls it by keyword
    context: typer.Context,
    kubeconfig: Annotated[str, typer.Option(help="Path of the kubeconfig to use.")] = "",
    context_name: Annotated[str, typer.Option("--context", help="Context of the kubeconfig.")] = "",
    node_name: Annotated[str, typer.Option(help="This node's name; the host's by default.")] = "",
    state_dir: Annotated[Path | None, typer.Option(help="Where disks, images and records are kept.")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Where sockets are made.")] = None,
    libvirt_uri: Annotated[str, typer.Option(help="qemu:///system or qemu:///session.")] = "",
    registry_mirror: Mirrors = [],  # noqa: B006  typer copies it
    insecure_registry: Annotated[list[str], typer.Option(help="HOST:PORT that may be spoken to without TLS.")] = [],  # noqa: B006
    accelerator: Annotated[str, typer.Option(help="auto, kvm or qemu.")] = "auto",
    network: Annotated[str, typer.Option(help="libvirt network that guests join.")] = "virtctl",
    register_node: Annotated[bool, typer.Option(help="Create the Node object when it is missing.")] = True,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
    debug: Annotated[bool, typer.Option(help="Show tracebacks.")] = False,
) -> None:
    """Run the node agent."""
    if context.invoked_subcommand is not None:
        return
    os.umask(0o022)  # QEMU's user has to pass through our directories; what is nobody's business has modes of its own
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    given: dict[str, Any] = {
        "node_name": node_name,
        "state_dir": state_dir,
        "run_dir": run_dir,
        "libvirt_uri": libvirt_uri,
        "network": network,
    }
    chosen = {key: value for key, value in given.items() if value}
    chosen |= {
        "registry_mirrors": _mirrors(registry_mirror),
        "insecure_registries": frozenset(insecure_registry),
        "accelerator": _accelerator(accelerator),
        "register_node": register_node,
    }
    try:
        asyncio.run(_serve(kubeconfig or None, context_name or None, chosen))
    except VirtError as error:
        if debug:
            raise
        typer.echo(f"virt-handler: {error.message}" + (f"\n{error.hint}" if error.hint else ""), err=True)
        raise typer.Exit(error.exit_code) from None


async def _serve(kubeconfig: str | None, context: str | None, chosen: dict[str, Any]) -> None:
    from virt_handler.app import run as run_agent
    from virt_handler.options import Options
    from virt_kube.http import HttpClient

    client = HttpClient.from_kubeconfig(kubeconfig, context)
    try:
        work = asyncio.ensure_future(run_agent(client, options=Options(**chosen)))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, work.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await work
    finally:
        await client.close()


def _mirrors(values: list[str]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for prefix, separator, location in pairs:
        if not (prefix and separator and location):
            raise typer.BadParameter("write PREFIX=LOCATION", param_hint="--registry-mirror")
    return {prefix: location for prefix, _, location in pairs}


def _accelerator(value: str) -> str:
    if value not in {"auto", "kvm", "qemu"}:
        raise typer.BadParameter(f"{value!r} is none of auto, kvm, qemu", param_hint="--accelerator")
    return value


def main() -> None:
    from virt_handler.explain import explain_command
    from virt_handler.render import render_command

    app.command("render")(render_command)
    app.command("explain-domain")(explain_command)
    app()


if __name__ == "__main__":
    main()
