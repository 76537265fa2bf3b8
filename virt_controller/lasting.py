"""Which refusals of an API only a change of the refused object can mend. Asked by every loop that creates machines."""

from __future__ import annotations

from virt_kube.api import ApiError, BadRequest, Invalid

# What a server says of others than the object: an instancetype that is not there yet or does not meet the preference,
# presets that contradict each other.
MISSING = "FieldValueNotFound"
UNFIT, REFERENCES = "FieldValueInvalid", frozenset(("spec.instancetype", "spec.preference", "metadata.labels"))


def is_lasting(error: ApiError) -> bool:
    """False when it may go away by itself, or by what somebody does to another object."""
    if not isinstance(error, BadRequest | Invalid):
        return False
    causes = (error.status.get("details") or {}).get("causes") or ()
    told = {(cause.get("reason"), cause.get("field")) for cause in causes}
    return not any(reason == MISSING or (reason == UNFIT and field in REFERENCES) for reason, field in told)
