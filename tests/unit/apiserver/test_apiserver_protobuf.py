"""Protobuf bodies: hand-written messages, and that no bytes at all break the decoder."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from virt_kube.api import ApiError
from virt_local.apiserver.bodies import decode_object
from virt_local.apiserver.protobuf import KINDS, MAGIC, decode


def field(number: int, value: bytes | int | str) -> bytes:
    """One encoded field; sizes and numbers here are below 128."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    data = value.encode() if isinstance(value, str) else value
    return bytes([number << 3 | 2, len(data)]) + data


def envelope(version: str, kind: str, message: bytes) -> bytes:
    return MAGIC + field(1, field(1, version) + field(2, kind)) + field(2, message)


META = field(1, field(1, "x") + field(2, "") + field(8, b""))


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        (
            "ConfigMap",
            field(2, field(1, "k") + field(2, "v")) + field(2, field(1, "empty")),
            {"data": {"k": "v", "empty": ""}},
        ),
        ("ConfigMap", field(4, 0), {"immutable": False}),
        (
            "Secret",
            field(2, field(1, "k") + field(2, b"\xff")) + field(3, "Opaque"),
            {"data": {"k": "/w=="}, "type": "Opaque"},
        ),
        ("ServiceAccount", field(4, 0), {"automountServiceAccountToken": False}),
        ("Service", field(2, field(13, 0) + field(4, "NodePort")), {"spec": {"type": "NodePort"}}),
        (
            "Service",
            field(2, field(1, field(3, 80) + field(4, field(1, 1) + field(2, 0) + field(3, "http")))),
            {"spec": {"ports": [{"port": 80, "targetPort": "http"}]}},
        ),
        ("Namespace", field(2, b"") + field(3, b""), {}),
        (
            "Lease",
            field(2, field(3, field(1, 60) + field(2, 0))),
            {"spec": {"acquireTime": "1970-01-01T00:01:00.000000Z"}},
        ),
    ],
)
def test_messages(kind: str, message: bytes, expected: dict[str, object]) -> None:
    found = decode(envelope("v1", kind, META + message), kind)
    assert found == {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, **expected}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"no envelope", 400),
        (MAGIC + b"\xff", 400),
        (envelope("v1", "ConfigMap", b"\x0a\x7f"), 400),
        (envelope("v1", "ConfigMap", field(1, 5)), 400),
        (envelope("v1", "Pod", META), 415),
        (envelope("events.k8s.io/v1", "Event", META), 415),
    ],
)
def test_refusals(body: bytes, code: int) -> None:
    with pytest.raises(ApiError) as refused:
        decode_object(body, "application/vnd.kubernetes.protobuf", "ConfigMap")
    assert refused.value.code == code


@given(kind=st.sampled_from(sorted(KINDS)), message=st.binary(max_size=100))
@example(kind="Event", message=field(6, field(1, 127)))
@example(kind="Event", message=field(6, b"\x08" + b"\xff" * 8 + b"\x7f"))
def test_no_bytes_break_it(kind: str, message: bytes) -> None:
    with contextlib.suppress(ApiError):
        decode(envelope("v1", kind, message), kind)


@given(st.binary(max_size=60))
def test_no_envelope_breaks_it(body: bytes) -> None:
    with contextlib.suppress(ApiError):
        decode(MAGIC + body, "ConfigMap")
