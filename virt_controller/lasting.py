"""Which refusals of an API only a change of the refused object can mend. Asked by every loop that creates machines."""

from __future__ import annotations

from virt_kube.api import ApiError, BadRequest, Invalid

# What a server says of others than the object: an instancetype that is not there yet or does not meet the preference,
# presets that contradict each other.
MISSING = "FieldValueNotFound"
UNFIT, REFERENCES = "FieldValueInvalid", frozenset(("spec.instancetype", "spec.preference", "metadata.labels"))

# Nobody tells when the others change, and a look costs little.
OTHERS_AGAIN = 20.0


def is_lasting(error: ApiError) -> bool:
    """False when it may go away by itself, or by what somebody does to another object."""
    return isinstance(error, BadRequest | Invalid) and not _is_about_others(error)


def look_again(error: ApiError) -> float | None:
    """Seconds until another try of what others keep from working; None for the queue's back-off."""
    return OTHERS_AGAIN if _is_about_others(error) else None


def _is_about_others(error: ApiError) -> bool:
    causes = (error.status.get("details") or {}).get("causes") or ()
    told = {(cause.get("reason"), cause.get("field")) for cause in causes}
    return any(reason == MISSING or (reason == UNFIT and field in REFERENCES) for reason, field in told)
