"""Refusals that only the object itself can mend, and those that another object may."""

from __future__ import annotations

import pytest

from virt_controller.lasting import OTHERS_AGAIN, is_lasting, look_again
from virt_kube.api import ApiError, BadRequest, Conflict, Forbidden, Invalid, ServerFault


def refused(reason: str, field: str) -> Invalid:
    return Invalid("no", status={"details": {"causes": [{"reason": reason, "field": field, "message": "no"}]}})


@pytest.mark.parametrize(
    ("error", "lasting"),
    [
        (refused("FieldValueInvalid", "spec.domain.cpu"), True),
        (refused("FieldValueNotFound", "spec.instancetype"), False),
        (refused("FieldValueInvalid", "spec.preference"), False),
        (refused("FieldValueInvalid", "metadata.labels"), False),  # presets in conflict
        (refused("FieldValueNotSupported", "metadata.labels"), True),  # a reserved label
        (Invalid("no"), True),
        (BadRequest("no"), True),
        (Forbidden("quota"), False),
        (Conflict("stale"), False),
        (ServerFault("down"), False),
    ],
)
def test_is_lasting(error: ApiError, lasting: bool) -> None:
    assert is_lasting(error) == lasting


def test_others_are_looked_at_again() -> None:
    assert look_again(refused("FieldValueNotFound", "spec.instancetype")) == OTHERS_AGAIN
    assert look_again(refused("FieldValueInvalid", "spec.domain.cpu")) is None
    assert look_again(ServerFault("down")) is None
