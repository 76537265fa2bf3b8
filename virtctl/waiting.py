"""--wait: watch an object until it is what the command asked for, and say what it is meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from virtctl.errors import ApiRefusal, Unreachable, WaitFailed
from virtctl.http import INSTANCES, VIRTUAL_MACHINES
from virtctl.progress import Progress, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from virtctl.http import Client, Json

WATCH_SECONDS = 300
# Conditions that say why, the most telling first, and what Ready says of every instance that does not run yet.
_EXPLAINING = ("Synchronized", "PodScheduled", "Ready")
_EXPECTED = frozenset({"GuestNotRunning", "PodNotExists", "VMINotExists", "VMIConditionMissing"})


class Goal(NamedTuple):
    """One object to watch. `reached` gets the object (None when there is none yet); `wanted` is for people."""

    title: str
    name: str
    plural: str
    wanted: str
    reached: Callable[[Json | None], bool]
    may_be_absent: bool = False


def goal(client: Client, verb: str, name: str) -> Goal:
    """What `verb` on this machine should lead to; asked before the request is sent."""
    if verb == "restart":
        before = uid_of(get(client, INSTANCES, name))
        return Goal(
            f"VMI {name}", name, INSTANCES, "running anew", lambda vmi: _running_anew(vmi, before), may_be_absent=True
        )
    status = "Running" if verb == "start" else "Stopped"
    return Goal(f"VM {name}", name, VIRTUAL_MACHINES, status, lambda vm: printable_status(vm) == status)


def until(client: Client, goals: list[Goal], timeout: float) -> Iterator[Goal]:
    """Each goal when it is reached, in order. Raises WaitFailed after `timeout` seconds in all."""
    deadline = time.monotonic() + timeout
    with Progress() as progress:
        for target in goals:
            _wait(client, target, deadline, timeout, progress)
            progress.clear()
            yield target


def _wait(client: Client, target: Goal, deadline: float, timeout: float, progress: Progress) -> None:
    current: Json | None = None

    def tick() -> None:
        if time.monotonic() >= deadline:
            raise WaitFailed(
                f"timed out after {timeout:g}s waiting for {target.title} to be {target.wanted}: "
                f"it is {explain(current)}",
                hint="It goes on by itself; `virtctl list -w` shows what becomes of it.",
            )
        progress.show(f"{target.title} to be {target.wanted}", state(current))

    while True:
        try:
            for current in _states(client, target, tick):
                if target.reached(current):
                    return
                if current is None and not target.may_be_absent:
                    raise WaitFailed(f"{target.title} was deleted while waiting for it to be {target.wanted}")
                tick()
        except Unreachable:
            # A server that restarts; the deadline still holds.
            tick()
            time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))


def _states(client: Client, target: Goal, on_idle: Callable[[], None]) -> Iterator[Json | None]:
    """The object as it is, then after each change, None while there is none; ends when the server ends its watch."""
    current = get(client, target.plural, target.name)
    yield current
    query = {
        "fieldSelector": f"metadata.name={target.name}",
        "watch": "true",
        "timeoutSeconds": str(WATCH_SECONDS),
        "resourceVersion": version_of(current) or "0",
    }
    for event in client.watch(client.objects(target.plural, query=query), on_idle=on_idle):
        if event.get("type") == "ERROR":
            return
        yield None if event.get("type") == "DELETED" else event.get("object")


def get(client: Client, plural: str, name: str) -> Json | None:
    """An object of the current namespace, or None when there is none."""
    try:
        return client.json("GET", client.objects(plural, name))
    except ApiRefusal as error:
        if error.code != 404:
            raise
        return None


def explain(obj: Json | None) -> str:
    """The state of an object within a sentence: `Starting (ErrImagePull: no such image)`."""
    return str(state(obj))


def state(obj: Json | None) -> State:
    """What a person would ask for: the status, or the phase, and the condition that explains it."""
    if obj is None:
        return State("not there")
    status = obj.get("status") or {}
    word = str(printable_status(obj) or status.get("phase") or "without a status yet")
    # A stopped machine is not ready, and nobody wonders why.
    trouble = "" if word == "Stopped" else _unready(status.get("conditions") or [])
    trouble = _failure(status.get("conditions") or []) or trouble
    return State(word, trouble.removeprefix(f"{word}: "))


def _failure(conditions: list[Json]) -> str:
    return next((_said(c) for c in conditions if c.get("type") == "Failure" and c.get("status") == "True"), "")


def _unready(conditions: list[Json]) -> str:
    unready = {c.get("type"): c for c in conditions if c.get("status") == "False" and c.get("reason") not in _EXPECTED}
    return next((_said(unready[kind]) for kind in _EXPLAINING if kind in unready), "")


def _said(condition: Json) -> str:
    return ": ".join(str(condition[field]) for field in ("reason", "message") if condition.get(field))


def printable_status(vm: Json | None) -> str:
    return str(((vm or {}).get("status") or {}).get("printableStatus") or "")


def uid_of(obj: Json | None) -> str:
    return str(((obj or {}).get("metadata") or {}).get("uid") or "")


def version_of(obj: Json | None) -> str:
    return str(((obj or {}).get("metadata") or {}).get("resourceVersion") or "")


def _running_anew(vmi: Json | None, before: str) -> bool:
    return vmi is not None and uid_of(vmi) != before and (vmi.get("status") or {}).get("phase") == "Running"
