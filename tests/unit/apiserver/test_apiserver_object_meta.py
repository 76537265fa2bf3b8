"""Metadata of the wrong JSON types: told in Go's words, in any object, and nothing of it is stored."""

from __future__ import annotations

from typing import Any

import pytest

from virt_local.apiserver import object_meta
from virt_local.apiserver.scalars import Unreadable

OWNER = {"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u"}


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"name": 5}, "number into Go struct field ObjectMeta.{}name of type string"),
        ({"uid": True}, "bool into Go struct field ObjectMeta.{}uid of type types.UID"),
        ({"generation": 1.5}, "number 1.5 into Go struct field ObjectMeta.{}generation of type int64"),
        ({"generation": "1"}, "string into Go struct field ObjectMeta.{}generation of type int64"),
        ({"labels": ["a"]}, "array into Go struct field ObjectMeta.{}labels of type map[string]string"),
        ({"annotations": {"a": 1}}, "number into Go struct field ObjectMeta.{}annotations of type string"),
        ({"finalizers": "x"}, "string into Go struct field ObjectMeta.{}finalizers of type []string"),
        ({"finalizers": [1]}, "number into Go struct field ObjectMeta.{}finalizers of type string"),
        ({"creationTimestamp": 5}, "number into Go struct field ObjectMeta.{}creationTimestamp of type string"),
        (
            {"ownerReferences": {}},
            "object into Go struct field ObjectMeta.{}ownerReferences of type []v1.OwnerReference",
        ),
        (
            {"ownerReferences": ["a"]},
            "string into Go struct field ObjectMeta.{}ownerReferences of type v1.OwnerReference",
        ),
        (
            {"ownerReferences": [{**OWNER, "uid": 5}]},
            "number into Go struct field OwnerReference.{}ownerReferences.uid of type types.UID",
        ),
        (
            {"ownerReferences": [{**OWNER, "controller": 1}]},
            "number into Go struct field OwnerReference.{}ownerReferences.controller of type bool",
        ),
        (
            {"managedFields": [{"manager": 1}]},
            "number into Go struct field ManagedFieldsEntry.{}managedFields.manager of type string",
        ),
    ],
)
def test_a_wrong_type_is_told_by_its_field(meta: Any, expected: str) -> None:
    for struct, path, prefix in (("ConfigMap", "metadata", "metadata."), ("", "", "")):
        with pytest.raises(Unreadable) as refused:
            object_meta.read(meta, struct, path)
        assert refused.value.message == f"json: cannot unmarshal {expected.format(prefix)}"


def test_metadata_that_is_no_object() -> None:
    with pytest.raises(Unreadable, match=r"array into Go struct field ConfigMap.metadata of type v1.ObjectMeta"):
        object_meta.read([], "ConfigMap", "metadata")
    with pytest.raises(Unreadable, match=r"string into Go value of type v1.ObjectMeta"):
        object_meta.read("x", "", "")


def test_the_first_mistake_is_told_by_the_document_or_by_the_alphabet() -> None:
    meta = {"labels": {"a": 1}, "finalizers": "x"}
    with pytest.raises(Unreadable, match="labels"):
        object_meta.read(meta, "ConfigMap", "metadata")
    with pytest.raises(Unreadable, match="finalizers"):
        object_meta.read(meta, "", "")


def test_nulls_are_what_go_makes_of_them() -> None:
    meta: Any = {
        "uid": None,
        "labels": {"a": None},
        "finalizers": [None],
        "ownerReferences": [None, {"more": 1, **OWNER}],
    }
    object_meta.read(meta, "", "")
    assert meta == {"labels": {"a": ""}, "finalizers": [""], "ownerReferences": [{}, OWNER]}
