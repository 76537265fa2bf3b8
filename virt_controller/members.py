"""What replica sets and pools have in common: who belongs to them, in which order they go, how their status is written.

Both keep a number of others; `virt_controller.replicas` keeps VMIs, `virt_controller.pool` VMs.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from virt_kube.api import Json, JsonPatch
from virt_kube.clock import parse_time, rfc3339
from virt_kube.informer import Object
from virt_kube.patch import guard
from virt_types.codec import to_builtins
from virt_types.meta import LabelSelector, ObjectMeta, OwnerReference
from virt_types.selectors import EVERYTHING, Selector, from_struct

BURST = 250  # of one object, created or deleted in one pass
PAUSED = "ReplicaPaused"
FAILING = "ReplicaFailure"
COALESCE_SECONDS = 0.05  # changes of members seen within it are one reconcile: many at once cost no more than one


class Condition(Protocol):
    """A condition of a replica set or pool."""

    type: str
    status: str
    reason: str | None
    message: str | None
    last_transition_time: str | None


C = TypeVar("C", bound=Condition)
M = TypeVar("M", bound=Object)


def selector_of(selected: LabelSelector) -> Selector | None:
    """The selector; None for one without requirements, which would select everything there is. Raises SelectorError."""
    selector = from_struct(selected)
    return None if selector == EVERYTHING else selector


def selects(selector: Selector | None, labels: dict[str, str]) -> bool:
    return selector is not None and selector.matches(labels)


def owner_reference(owner: Object) -> OwnerReference:
    """What a member of `owner` carries: it goes with it, and nobody else controls it."""
    return OwnerReference(
        api_version=owner.api_version or "",
        kind=owner.kind or "",
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )


def adoption(member: ObjectMeta, owner: Object) -> JsonPatch:
    """Make an ownerless object a member; fails if anything of it changed meanwhile."""
    owners = [to_builtins(each) for each in (*member.owner_references, owner_reference(owner))]
    return [*guard(member), {"op": "add", "path": "/metadata/ownerReferences", "value": owners}]


def disowning(member: ObjectMeta, owner_uid: str) -> JsonPatch:
    """Take our reference off; everybody else's stay."""
    rest = [to_builtins(each) for each in member.owner_references if each.uid != owner_uid]
    return [*guard(member), {"op": "replace", "path": "/metadata/ownerReferences", "value": rest}]


async def in_growing_batches(calls: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """All of them, twice as many at a time as before: what is refused is refused a few times, not each time.

    Raises the first error of a batch when the batch is over; what comes after it is not begun.
    """
    rest, size = [*calls], 1
    while rest:
        batch, rest, size = rest[:size], rest[size:], size * 2
        await all_of(call() for call in batch)


async def all_of(work: Iterable[Awaitable[None]]) -> None:
    """All at once, each to its end; then the first error, if there was one."""
    for answer in await asyncio.gather(*work, return_exceptions=True):
        if answer is not None:
            raise answer


def condition_of(conditions: Iterable[C], type_: str) -> C | None:
    return next((each for each in conditions if each.type == type_), None)


def with_condition(
    conditions: Sequence[C], kind: Callable[..., C], type_: str, said: tuple[str, str] | None, now: float
) -> list[C]:
    """The conditions with `type_` True for this reason and message, or, when nothing is said, without it."""
    rest = [each for each in conditions if each.type != type_]
    if said is None:
        return rest
    old = condition_of(conditions, type_)
    since = old.last_transition_time if old is not None and old.status == "True" else rfc3339(now)
    reason, message = said
    new = kind(type=type_, status="True", reason=reason, message=message, last_transition_time=since)
    return [*rest, new]


def created_at(obj: Object) -> float:
    """Unix seconds; 0 for one that does not say."""
    return parse_time(obj.metadata.creation_timestamp) or 0.0


def newest_first(obj: Object) -> tuple[float, str]:
    """A sort key."""
    return (-created_at(obj), obj.metadata.name)


def lot(seed: str, uid: str) -> int:
    """An order by chance that is the same each time it is asked: a repeated pass must not choose somebody else."""
    return zlib.crc32(f"{seed}/{uid}".encode())


def counts(total: int, ready: int, selector: Selector | None) -> Json:
    """The fields every status of this sort has, by their attribute names."""
    return {"replicas": total, "ready_replicas": ready, "label_selector": str(selector) if selector else None}
