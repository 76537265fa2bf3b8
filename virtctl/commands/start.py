"""`virtctl start` with any flag; without one the fast path of `virtctl.__main__` has already done it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from virtctl import lifecycle
from virtctl.options import DEFAULT_TIMEOUT, DryRun, Machines, Timeout, Wait, client_of, wait_limit

if TYPE_CHECKING:
    from virtctl.http import Json

EXAMPLES = """
# Start the virtual machine myvm
virtctl start myvm

# Start it and return when it is running
virtctl start myvm --wait --timeout 2m

# Start it with its CPUs paused
virtctl start myvm --paused
"""


def command(
    ctx: typer.Context,
    *,
    names: Machines,
    paused: Annotated[bool, typer.Option("--paused", help="Leave the guest paused.")] = False,
    dry_run: DryRun = False,
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Start virtual machines."""
    body: Json = {}
    if paused:
        body["paused"] = True
    if dry_run:
        body["dryRun"] = ["All"]
    machines = lifecycle.machine_names(names, "start")
    limit = wait_limit(wait, timeout)
    request = lifecycle.Request(lifecycle.VERBS["start"], machines, body, dry_run=dry_run, wait=limit)
    lifecycle.run(client_of(ctx), request)
