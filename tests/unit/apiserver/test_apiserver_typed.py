"""Built-in objects in the form Go's types give them: zero values, quantities, times, bytes."""

from __future__ import annotations

from typing import Any

import pytest

from virt_local.apiserver.scalars import Unreadable
from virt_local.apiserver.typed import normal


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
        ("ServicePort", {"port": 80, "nodePort": 0}, {"port": 80, "targetPort": 0, "protocol": "TCP"}),
        ("ConfigMap", {"data": {"k": None}}, {"data": {"k": ""}}),
        ("ConfigMap", {"binaryData": {"b": [1, 2]}}, {"binaryData": {"b": "AQI="}}),
        ("Role", {"rules": []}, {"rules": None}),
        ("Role", {"rules": [None]}, {"rules": [{"verbs": None}]}),
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
        (
            "Service",
            {"spec": {"ports": [{"port": 1.0}]}},
            "number 1.0 into Go struct field ServicePort.spec.ports.port",
        ),
        ("Event", {"count": 1 << 31}, "number 2147483648 into Go struct field Event.count of type int32"),
        ("ConfigMap", {"data": {"k": 5}}, "cannot unmarshal number into Go struct field ConfigMap.data of type string"),
    ],
)
def test_what_go_can_not_read_is_told(kind: str, given: dict[str, Any], why: str) -> None:
    with pytest.raises(Unreadable, match=r".*") as refused:
        normal(kind, given)
    assert why in refused.value.message


def test_fields_the_type_does_not_have_are_dropped_and_told() -> None:
    obj = {"kind": "Service", "extra": 1, "metadata": {"odd": 1}, "spec": {"ports": [{"port": 1, "strange": {}}]}}
    assert normal("Service", obj) == ["metadata.odd", "extra", "spec.ports[0].strange"]
    assert obj["metadata"] == {}
    assert obj["spec"] == {"ports": [{"port": 1, "protocol": "TCP", "targetPort": 0}]}
