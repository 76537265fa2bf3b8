"""What each loop's `decide` gives, and what it means that carrying it out failed. `rounds` goes on from there."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from virt_types.errors import VirtError

E = TypeVar("E")


class Decision(NamedTuple, Generic[E]):
    """Effects to carry out now, in order, and when to look again though nothing happened (seconds).

    `pending`: something besides the status has to change.
    """

    effects: tuple[E, ...] = ()
    again_after: float | None = None
    pending: bool = False


class Failure(NamedTuple):
    """Why the last sync failed: a CamelCase reason of spec 2.8 and a sentence."""

    reason: str
    message: str


class EffectFailed(VirtError):
    """An effect the user should hear about did not work; `permanent`: it won't until the object changes.

    `again_after`: seconds until the next try, None for the queue's back-off.
    """

    def __init__(self, failure: Failure, *, permanent: bool = False, again_after: float | None = None) -> None:
        super().__init__(failure.message, reason=failure.reason)
        self.failure = failure
        self.permanent = permanent
        self.again_after = again_after
