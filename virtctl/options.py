"""Flags that several commands share, as typer reads them."""

from __future__ import annotations

from typing import Annotated

import typer

from virt_types.durations import seconds
from virtctl import lifecycle
from virtctl.errors import UsageError
from virtctl.http import Client, Json

Machines = Annotated[list[str], typer.Argument(metavar="[vm] NAME...", show_default=False, help="Virtual machines.")]
Instance = Annotated[str, typer.Argument(metavar="VMI", show_default=False, help="The virtual machine instance.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Have the request checked by the server, change nothing.")]
Wait = Annotated[bool, typer.Option("--wait", help="Return when it has happened; exit code 1 when it has not in time.")]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="DURATION", help="How long --wait waits, such as 90s or 5m.")
]
Force = Annotated[bool, typer.Option("--force", help="Do not wait for the guest; needs --grace-period.")]
GracePeriod = Annotated[
    int,
    typer.Option("--grace-period", metavar="SECONDS", show_default=False, help="Seconds the guest gets to shut down."),
]
DEFAULT_TIMEOUT = f"{lifecycle.DEFAULT_WAIT_SECONDS:.0f}s"
NO_GRACE_PERIOD = -1


def client_of(ctx: typer.Context) -> Client:
    """The API client the global flags describe, closed when the command is over."""
    client = Client(ctx.obj)
    ctx.call_on_close(client.close)
    return client


def wait_limit(wait: bool, timeout: str) -> float | None:
    """Seconds to wait, None for not at all."""
    return seconds(timeout) if wait else None


def ending(force: bool, grace_period: int, field: str, dry_run: bool) -> Json:
    """The body of a stop or restart; the API calls the grace period `field`.

    --force and --grace-period belong together, as KubeVirt's virtctl has it.
    """
    if force != (grace_period != NO_GRACE_PERIOD):
        raise UsageError("Must both use --force=true and set --grace-period.")
    body: Json = {field: grace_period} if force else {}
    if dry_run:
        body["dryRun"] = ["All"]
    return body
