"""What `kubectl get pods` shows of a pod: one word for its state out of its phase and its containers' states.

`columns.py` has the cells; the rules are those of a real server's printers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from virt_kube.api import Json
from virt_local.apiserver.ages import age

_FINAL = ("Succeeded", "Failed")


class Shown(NamedTuple):
    """`restarted` is when a container last ended, empty if none did."""

    word: str
    ready: int
    containers: int
    restarts: int
    restarted: str


def ready(obj: Json) -> str:
    shown = _shown(obj)
    return f"{shown.ready}/{shown.containers}"


def state(obj: Json) -> str:
    status = obj.get("status") or {}
    if obj["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        if status.get("phase") not in _FINAL:
            return "Terminating"
    return _shown(obj).word


def restarts(obj: Json) -> str:
    shown = _shown(obj)
    ago = f" ({age(shown.restarted)} ago)" if shown.restarts and shown.restarted else ""
    return f"{shown.restarts}{ago}"


def gates(obj: Json) -> str:
    """How many of its readiness gates are open."""
    wanted = [gate.get("conditionType") for gate in (obj.get("spec") or {}).get("readinessGates") or []]
    status = {condition.get("type"): condition.get("status") for condition in reversed(_conditions(obj))}
    return f"{sum(status.get(kind) == 'True' for kind in wanted)}/{len(wanted)}" if wanted else "<none>"


def address(obj: Json) -> str:
    addresses = (obj.get("status") or {}).get("podIPs") or [{}]
    return addresses[0].get("ip") or "<none>"


def _conditions(obj: Json) -> list[Json]:
    return (obj.get("status") or {}).get("conditions") or []


def _holds(obj: Json, kind: str) -> bool:
    return any(found.get("type") == kind and found.get("status") == "True" for found in _conditions(obj))


def _shown(obj: Json) -> Shown:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    sidecars = {found["name"] for found in spec.get("initContainers") or [] if found.get("restartPolicy") == "Always"}
    word = status.get("reason") or status.get("phase") or ""
    if any(
        found.get("type") == "PodScheduled" and found.get("reason") == "SchedulingGated" for found in _conditions(obj)
    ):
        word = "SchedulingGated"
    first = status.get("initContainerStatuses") or []
    begun, up, counted = _beginning(first, sidecars, len(spec.get("initContainers") or []))
    word = begun or word
    if not begun or _holds(obj, "Initialized"):
        main = status.get("containerStatuses") or []
        counted = [found for found in counted if found.get("name") in sidecars] + main
        up += sum(_runs(found) for found in main)
        word = _word(main, word, ready=_holds(obj, "Ready"))
    total = len(spec.get("containers") or []) + len(sidecars)
    ends = [found["lastState"]["terminated"].get("finishedAt") or "" for found in counted if _ended_before(found)]
    return Shown(word, up, total, sum(found.get("restartCount") or 0 for found in counted), max(ends, default=""))


def _ended_before(container: Json) -> bool:
    return bool((container.get("lastState") or {}).get("terminated"))


def _runs(container: Json) -> bool:
    state = container.get("state") or {}
    stuck = (state.get("waiting") or {}).get("reason") or state.get("terminated") is not None
    return bool(container.get("ready") and state.get("running") is not None and not stuck)


def _beginning(statuses: list[Json], sidecars: set[str], total: int) -> tuple[str, int, list[Json]]:
    """The word while those that come first are at work, empty after; how many sidecars are ready; who had a turn."""
    up = 0
    for number, container in enumerate(statuses):
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), (state.get("waiting") or {}).get("reason")
        if ended is not None and not ended.get("exitCode"):
            continue
        if container.get("name") in sidecars and container.get("started"):
            up += bool(container.get("ready"))
            continue
        word = _end(ended) if ended is not None else waiting if waiting and waiting != "PodInitializing" else ""
        return f"Init:{word or f'{number}/{total}'}", up, statuses[: number + 1]
    return "", up, statuses


def _end(terminated: Json) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    return f"Signal:{terminated['signal']}" if terminated.get("signal") else f"ExitCode:{terminated.get('exitCode', 0)}"


def _states(statuses: list[Json]) -> Iterator[tuple[str, bool]]:
    """A word for each container that waits or has ended, last first, and whether it ended badly."""
    for container in reversed(statuses):
        state = container.get("state") or {}
        if waiting := (state.get("waiting") or {}).get("reason"):
            yield str(waiting), False
        elif (ended := state.get("terminated")) is not None:
            yield _end(ended), bool(ended.get("exitCode"))


def _word(statuses: list[Json], word: str, *, ready: bool) -> str:
    failure, running = "", any(_runs(container) for container in statuses)
    for found, bad in _states(statuses):
        word, failure = found, found if bad else failure
    if word != "Completed":
        return word
    if running and ready:
        return "Running"
    return failure or ("NotReady" if running else word)
