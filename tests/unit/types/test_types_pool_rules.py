"""A pool's own rules: each field that can be wrong is refused by its name."""

from __future__ import annotations

from typing import Any

import pytest

from virt_types.codec import from_builtins
from virt_types.pool.v1beta1 import VirtualMachinePool
from virt_types.validation import validate_pool

GUEST = {"metadata": {"labels": {"app": "p"}}, "spec": {"domain": {"devices": {}, "memory": {"guest": "64Mi"}}}}


def causes(**spec: Any) -> list[tuple[str, str]]:
    template = {"metadata": {"labels": {"app": "p"}}, "spec": {"runStrategy": "Always", "template": GUEST}}
    body = {"selector": {"matchLabels": {"app": "p"}}, "virtualMachineTemplate": template, **spec}
    pool = from_builtins({"metadata": {"name": "p"}, "spec": body}, VirtualMachinePool)
    return [(cause.field, cause.message) for cause in validate_pool(pool)]


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"maxUnavailable": 1},
        {"maxUnavailable": "100%"},
        {"autohealing": {}},
        {"autohealing": {"minFailingToStartDuration": "1h30m", "startUpFailureThreshold": 1}},
        {"scaleInStrategy": {"proactive": {"statePreservation": "Offline"}}},
    ],
)
def test_what_makes_sense_is_taken(spec: dict[str, Any]) -> None:
    assert causes(**spec) == []


@pytest.mark.parametrize(
    ("spec", "field", "said"),
    [
        ({"selector": {"matchLabels": {"app": "q"}}}, "spec.selector", "selector does not match labels."),
        ({"maxUnavailable": "30"}, "spec.maxUnavailable", "maxUnavailable percentage must end with %"),
        (
            {"maxUnavailable": "0%"},
            "spec.maxUnavailable",
            "maxUnavailable percentage value 0 must be between 1 and 100",
        ),
        (
            {"maxUnavailable": "x%"},
            "spec.maxUnavailable",
            'maxUnavailable percentage value "x" is invalid: not a whole number',
        ),
        (
            {"selector": {"matchLabels": {"a b": "c"}}},
            "spec.selector",
            "key: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', "
            "and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', "
            "regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ),
        (
            {"selector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b" * 64]}]}},
            "spec.selector",
            f'values[0][a]: Invalid value: "{"b" * 64}": must be no more than 63 characters',
        ),
        (
            {"selector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}},
            "spec.selector",
            'values: Invalid value: ["b"]: values set must be empty for exists and does not exist',
        ),
        ({"maxUnavailable": 0}, "spec.maxUnavailable", "maxUnavailable must be greater than 0"),
        (
            {"updateStrategy": {"unmanaged": {}, "proactive": {}}},
            "spec.updateStrategy",
            "only one strategy can be configured at a time: but found unmanaged, proactive strategies",
        ),
        (
            {"autohealing": {"minFailingToStartDuration": "soon"}},
            "spec.autohealing.minFailingToStartDuration",
            "'soon' is not a duration: write 90s, 5m or 1h30m",
        ),
        (
            {"autohealing": {"startUpFailureThreshold": 0}},
            "spec.autohealing.startUpFailureThreshold",
            "Invalid value: 0: must be greater than 0",
        ),
    ],
)
def test_what_does_not_is_refused_by_field(spec: dict[str, Any], field: str, said: str) -> None:
    assert causes(**spec) == [(field, said)]
