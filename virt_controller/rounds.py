"""The rounds of a loop: look at an object, carry out what `decide` says, and look again, until only waiting is left.

Shared by the loops of VMs, replica sets and pools. A failure that the user should hear about is told once, stays in
the object's status until a sync works, and ends the rounds as soon as that status is written.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple, TypeVar

from virt_controller.decisions import Decision, EffectFailed, Failure
from virt_kube.api import Conflict, Invalid, NotFound
from virt_kube.events import EventRecorder
from virt_kube.informer import Key, Object
from virt_kube.runner import Fatal, Retry, Verdict

log = logging.getLogger("virt_controller.rounds")

K = TypeVar("K")


class Look(NamedTuple):
    """One look at `obj`. `records`: the first effect writes its status. `again`: what to wait for when all is done."""

    obj: Object
    decision: Decision[Any]
    records: bool
    carry_out: Callable[[Any], Awaitable[None]]
    again: Callable[[float | None], Verdict]


def uid_of(obj: Object) -> str:
    """For what a new object of the same name must not inherit."""
    return obj.metadata.uid


async def settle(
    key: Key,
    look: Callable[[], Awaitable[Look | Verdict]],
    failures: MutableMapping[K, Failure],
    known_as: Callable[[Object], K],
    recorder: EventRecorder,
    *,
    rounds: int,
) -> Verdict:
    """Each effect on a fresh look; a look that is a verdict ends it. `failures` are kept by what `known_as` says."""
    failed: EffectFailed | None = None
    for _ in range(rounds):
        seen = await look()
        if not isinstance(seen, Look):
            return seen
        name, decision = known_as(seen.obj), seen.decision
        if failed is None and not decision.pending and failures.pop(name, None) is not None:
            continue
        if failed is not None and not seen.records:
            return Fatal(*failed.failure) if failed.permanent else Retry(failed.again_after, *failed.failure)
        if not decision.effects:
            return seen.again(decision.again_after)
        try:
            for effect in decision.effects:
                await seen.carry_out(effect)
        except EffectFailed as error:
            failed = error
            if failures.get(name) != error.failure:
                recorder.event(seen.obj, "Warning", *error.failure)
            failures[name] = error.failure
            log.warning("sync failed kind=%s key=%s reason=%s error=%s", seen.obj.kind, key, *error.failure)
        except (Conflict, NotFound, Invalid) as error:
            return Retry(None, "StaleCache", error.message)
    return Retry(None, "Unsettled", f"{key} did not settle in {rounds} rounds")
