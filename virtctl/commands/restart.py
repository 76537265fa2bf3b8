"""`virtctl restart` with any flag; without one the fast path of `virtctl.__main__` has already done it."""

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
# Restart myvm and return when the new guest is running
virtctl restart myvm --wait

# Do not wait for the old guest to shut down
virtctl restart myvm --force --grace-period=0
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
    """Restart virtual machines."""
    body = ending(force, grace_period, "gracePeriodSeconds", dry_run)
    machines = lifecycle.machine_names(names, "restart")
    limit = wait_limit(wait, timeout)
    request = lifecycle.Request(lifecycle.VERBS["restart"], machines, body, forced=force, dry_run=dry_run, wait=limit)
    lifecycle.run(client_of(ctx), request)
