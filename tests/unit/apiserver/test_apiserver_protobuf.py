"""Protobuf: hand-written messages, every kind there and back, and that no bytes at all break the decoder."""

from __future__ import annotations

import base64
import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from virt_kube.api import ApiError
from virt_local.apiserver import typed
from virt_local.apiserver.bodies import decode_object
from virt_local.apiserver.builtin_schemas import Field, types
from virt_local.apiserver.protobuf import MAGIC, READABLE, decode, encode, writable


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
        (envelope("batch/v1", "CronJob", META), 415),
        (envelope("apiextensions.k8s.io/v1", "CustomResourceDefinition", META), 415),
    ],
)
def test_refusals(body: bytes, code: int) -> None:
    with pytest.raises(ApiError) as refused:
        decode_object(body, "application/vnd.kubernetes.protobuf", "ConfigMap")
    assert refused.value.code == code


@given(kind=st.sampled_from(sorted(READABLE)), message=st.binary(max_size=100))
@example(kind="Event", message=field(6, field(1, 127)))
@example(kind="Event", message=field(6, b"\x08" + b"\xff" * 8 + b"\x7f"))
def test_no_bytes_break_it(kind: str, message: bytes) -> None:
    with contextlib.suppress(ApiError):
        decode(envelope("v1", kind, message), kind)


@given(st.binary(max_size=60))
def test_no_envelope_breaks_it(body: bytes) -> None:
    with contextlib.suppress(ApiError):
        decode(MAGIC + body, "ConfigMap")


SCALARS: dict[str, Any] = {
    "string": "some text",
    "integer": -7,
    "int64": 1 << 40,
    "number": 2.5,
    "boolean": True,
    "time": "2024-02-03T04:05:06Z",
    "microtime": "2024-02-03T04:05:06.000007Z",
    "bytes": base64.b64encode(b"\x00\xff").decode(),
    "quantity": "1536Mi",
    "intstr": "http",
    "any": {"of": ["any", 1, None]},
}
STORED = sorted(kind for kind in READABLE if kind in types())


def filled(name: str) -> dict[str, Any]:
    """An object of a type with every numbered field of it, and of all below it, set."""
    return {field: value(about) for field, about in types()[name].fields.items() if about.number}


def value(field: Field) -> Any:
    if field.type.startswith("[]"):
        return [value(field._replace(type=field.type[2:]))] * 2
    if field.type.startswith("map:"):
        return {"k": value(field._replace(type=field.type[4:]))}
    return SCALARS[field.type] if field.type in SCALARS else filled(field.type)


@pytest.mark.parametrize("kind", [*STORED, "events.Event"])
def test_every_field_of_every_kind_comes_back(kind: str) -> None:
    version, word = ("events.k8s.io/v1", "Event") if kind == "events.Event" else ("v1", kind)
    meta = {"name": "x", "labels": {"a": "b"}, "ownerReferences": [{"kind": "K", "controller": False}]}
    obj = {"apiVersion": version, "kind": word, "metadata": meta, **filled(kind)}
    assert decode(encode(msgspec.json.encode(obj)), word) == obj


@pytest.mark.parametrize("kind", STORED)
def test_zero_values_come_back_as_go_keeps_them(kind: str) -> None:
    obj: dict[str, Any] = {"metadata": {"name": "x"}}
    typed.normal(kind, obj)
    found = decode(encode(msgspec.json.encode({"apiVersion": "v1", "kind": kind, **obj})), kind)
    typed.normal(kind, found)
    assert found == {"apiVersion": "v1", "kind": kind, **obj}


def test_a_list_is_written_item_by_item() -> None:
    items = [{"metadata": {"name": name}, "data": {"k": name}} for name in "ab"]
    body = {"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": items}
    found = encode(msgspec.json.encode(body))
    assert found.count(b"\x0a\x01k") == 2
    assert b"ConfigMapList" in found
    assert writable("ConfigMapList")
    assert not writable("VirtualMachine")
