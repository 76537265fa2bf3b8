"""Built-in objects in the form Go's types give them: zero values, quantities, times, bytes."""

from __future__ import annotations

from typing import Any

import pytest

from virt_local.apiserver.typed import Unreadable, normal


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("ConfigMap", {"data": {}, "immutable": False}, {"immutable": False}),
        ("ServiceAccount", {"secrets": [], "automountServiceAccountToken": None}, {}),
        ("Secret", {"type": "", "data": {"k": "dg=="}}, {"data": {"k": "dg=="}}),
        (
            "PersistentVolumeClaimSpec",
            {"volumeName": "", "storageClassName": "", "resources": {"requests": {"storage": "1.5Gi"}}},
            {"storageClassName": "", "resources": {"requests": {"storage": "1536Mi"}}},
        ),
        ("ServicePort", {"port": 80, "nodePort": 0}, {"port": 80, "targetPort": 0}),
        ("NodeCondition", {"type": "Ready"}, {"type": "Ready", "status": "", "lastHeartbeatTime": None,
                                              "lastTransitionTime": None}),
        ("Taint", {"timeAdded": "2024-01-01T02:00:00.9+02:00"}, {"key": "", "effect": "",
                                                                  "timeAdded": "2024-01-01T00:00:00Z"}),
        ("NamespaceStatus", {"conditions": []}, {}),
        ("CustomResourceDefinitionStatus", {}, {"acceptedNames": {"plural": "", "kind": ""}, "conditions": None,
                                                "storedVersions": None}),
    ],
)  # fmt: skip
def test_objects_are_brought_into_form(kind: str, given: dict[str, Any], expected: dict[str, Any]) -> None:
    normal(kind, given)
    assert given == expected
    normal(kind, given)
    assert given == expected, "it is in form already"


@pytest.mark.parametrize(
    ("kind", "given", "why"),
    [
        ("PersistentVolumeClaimSpec", {"resources": {"limits": {"storage": "lots"}}}, "quantities must match"),
        ("Secret", {"data": {"k": "a b"}}, "illegal base64 data at input byte 1"),
        ("LeaseSpec", {"renewTime": "2024-01-01T00:00:00Z"}, 'cannot parse "Z" as ".000000"'),
        ("NodeCondition", {"lastHeartbeatTime": "soon"}, 'parsing time "soon"'),
    ],
)
def test_what_go_can_not_read_is_told(kind: str, given: dict[str, Any], why: str) -> None:
    with pytest.raises(Unreadable, match=r".*") as refused:
        normal(kind, given)
    assert why in refused.value.message
