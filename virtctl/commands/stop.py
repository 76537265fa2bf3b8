"""`virtctl stop` with any flag; without one the fast path of `virtctl.__main__` has already done it."""

from __future__ import annotations

import typer

from virtctl import lifecycle
from virtctl.options import (
    DEFAULT_TIMEOUT,
    NO_GRACE_PERIOD,
    DryRun,
    Force,
    GracePeriod,
    Machines,
    Timeout,
    Wait,
    client_of,
    ending,
    wait_limit,
)

EXAMPLES = """
# Ask the guest of myvm to shut down
virtctl stop myvm

# Return when it is stopped
virtctl stop myvm --wait

# Pull the plug
virtctl stop myvm --force --grace-period=0
"""


def command(
    ctx: typer.Context,
    *,
    names: Machines,
    force: Force = False,
    grace_period: GracePeriod = NO_GRACE_PERIOD,
    dry_run: DryRun = False,
    wait: Wait = False,
    timeout: Timeout = DEFAULT_TIMEOUT,
) -> None:
    """Stop virtual machines."""
    body = ending(force, grace_period, "gracePeriod", dry_run)
    machines = lifecycle.machine_names(names, "stop")
    limit = wait_limit(wait, timeout)
    request = lifecycle.Request(lifecycle.VERBS["stop"], machines, body, forced=force, dry_run=dry_run, wait=limit)
    lifecycle.run(client_of(ctx), request)
