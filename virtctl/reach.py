"""Waiting for an instance that is about to run: `console` and `vnc` may be typed right after `start`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from virtctl.errors import ApiRefusal, WaitFailed
from virtctl.http import INSTANCES, VIRTUAL_MACHINES
from virtctl.progress import Progress, State
from virtctl.waiting import explain, get, printable_status, state

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from virtctl.http import Client, Json

    T = TypeVar("T")

RETRY_SECONDS = 1.0
NOT_RUNNING = "VMI is not running"
COMING = frozenset(
    {"Starting", "Provisioning", "WaitingForVolumeBinding", "WaitingForReceiver", "Running", "Migrating"}
)


def when_running(client: Client, name: str, attempt: Callable[[], T], limit: float) -> T:
    """What `attempt` returns, tried again each second while the instance is on its way; `limit` in seconds, 0 is once.

    An instance that is not coming (its machine is stopped, there is none, it has no such device) fails at once.
    """
    deadline = time.monotonic() + limit
    with Progress() as progress:
        while True:
            try:
                return attempt()
            except ApiRefusal as error:
                found = _on_its_way(client, name, error)
                if limit and time.monotonic() >= deadline:
                    raise WaitFailed(
                        f"Timeout trying to connect to the virtual machine instance {name}: it is {found}",
                        hint="--timeout waits longer; `virtctl list` shows the state.",
                    ) from error
                if not limit:
                    raise
            progress.show(f"{name} to run", found)
            time.sleep(RETRY_SECONDS)


def _on_its_way(client: Client, name: str, error: ApiRefusal) -> State:
    """What the instance is doing; raises when waiting for it is pointless."""
    if error.code == 400 and NOT_RUNNING in error.message:
        vmi = get(client, INSTANCES, name)
        if _final(vmi):
            raise error
        return state(vmi)
    if error.code != 404:
        raise error
    vm = get(client, VIRTUAL_MACHINES, name)
    if vm is None:
        raise error
    if not (printable_status(vm) in COMING or (vm.get("status") or {}).get("stateChangeRequests")):
        raise ApiRefusal(
            f"VM {name} is not running: it is {explain(vm)}",
            error.code,
            error.status,
            hint=f"Start it: virtctl start {name}",
        ) from error
    return state(vm)


def _final(vmi: Json | None) -> bool:
    return ((vmi or {}).get("status") or {}).get("phase") in ("Succeeded", "Failed")
