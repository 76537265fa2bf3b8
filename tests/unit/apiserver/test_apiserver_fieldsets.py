"""Field sets: what a value speaks for, what changed between two, and their form in managedFields."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virt_local.apiserver.apply import _merge
from virt_local.apiserver.fieldsets import compare, decode, dotted, encode, fields_of, prefixes, without

PORT = {"type": "object", "properties": {"port": {}, "protocol": {"default": "TCP"}, "name": {}}}
SCHEMA: dict[str, Any] = {
    "properties": {
        "map": {"additionalProperties": {}},
        "atomic": {"x-kubernetes-map-type": "atomic"},
        "plain": {"items": {}},
        "set": {"items": {}, "x-kubernetes-list-type": "set"},
        "ports": {
            "items": PORT,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port", "protocol"],
        },
    }
}


@pytest.mark.parametrize(
    ("value", "fields"),
    [
        ({"map": {"a": 1}}, {"f:map": {"f:a": {}}}),
        ({"map": {}}, {"f:map": {}}),
        ({"atomic": {"a": 1}}, {"f:atomic": {}}),
        ({"plain": [1, 2]}, {"f:plain": {}}),
        ({"set": ["b"]}, {"f:set": {'v:"b"': {}}}),
        (
            {"ports": [{"port": 80, "name": "x"}]},
            {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:name": {}, "f:port": {}}}},
        ),
        ({"free": {"a": {"b": 1}}}, {"f:free": {".": {}, "f:a": {".": {}, "f:b": {}}}}),
    ],
)
def test_what_a_value_speaks_for(value: Any, fields: Any) -> None:
    assert encode(fields_of(value, SCHEMA)) == fields
    assert decode(fields) == fields_of(value, SCHEMA)


def test_what_changed() -> None:
    old = {"map": {"a": 1, "b": 2}, "ports": [{"port": 80, "name": "x"}], "plain": [1]}
    new = {"map": {"a": 1, "c": 3}, "ports": [{"port": 80, "name": "y"}], "plain": [1, 2]}
    found = compare(old, new, SCHEMA)
    assert {dotted(path) for path in found.added} == {".map.c"}
    assert {dotted(path) for path in found.removed} == {".map.b"}
    assert {dotted(path) for path in found.modified} == {'.ports[port=80,protocol="TCP"].name', ".plain"}


@pytest.mark.parametrize(
    ("live", "applied", "merged"),
    [
        (["a"], ["b"], ["a", "b"]),
        (["x", "y"], ["z", "x"], ["z", "x", "y"]),
        (["a", "b", "c"], ["c", "a"], ["c", "a", "b"]),
    ],
)
def test_the_order_of_a_merged_list(live: list[str], applied: list[str], merged: list[str]) -> None:
    found = _merge({"set": live}, {"set": applied}, SCHEMA)["set"]
    assert sorted(found) == sorted(merged)
    assert [item for item in found if item in applied] == applied


@pytest.mark.parametrize("tree", [[], {"bogus": {}}, {"f:a": 1}, {"k:{": {}}])
def test_fields_nobody_can_read_are_an_error(tree: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  msgspec's errors are ValueErrors with texts of their own
        decode(tree)


scalars = st.one_of(st.integers(0, 3), st.text("ab", max_size=2), st.booleans())
objects = st.fixed_dictionaries(
    {},
    optional={
        "map": st.dictionaries(st.sampled_from("abc"), scalars, max_size=3),
        "atomic": st.dictionaries(st.sampled_from("abc"), scalars, max_size=2),
        "plain": st.lists(scalars, max_size=3),
        # Nobody owns an empty list whose elements are owned one by one.
        "set": st.lists(st.sampled_from("abc"), unique=True, min_size=1, max_size=3),
        "ports": st.lists(
            st.fixed_dictionaries({"port": st.integers(1, 3)}, optional={"name": st.sampled_from("xy")}),
            unique_by=lambda port: port["port"],
            min_size=1,
            max_size=3,
        ),
        "free": st.recursive(scalars, lambda inner: st.dictionaries(st.sampled_from("ab"), inner, max_size=2)),
    },
)


@given(objects)
def test_fields_survive_their_own_form(obj: Any) -> None:
    assert decode(encode(fields_of(obj, SCHEMA))) == fields_of(obj, SCHEMA) - {()}


@given(objects, objects)
def test_what_changed_lies_in_the_right_object(old: Any, new: Any) -> None:
    assert not any(compare(old, copy.deepcopy(old), SCHEMA))
    changes = compare(old, new, SCHEMA)
    before, after = prefixes(fields_of(old, SCHEMA)), prefixes(fields_of(new, SCHEMA))
    assert changes.added <= after
    assert changes.removed <= before
    assert changes.modified <= before | after
    assert not changes.removed & after


@given(objects)
def test_what_was_applied_can_be_taken_back_whole(obj: Any) -> None:
    assert without(copy.deepcopy(obj), SCHEMA, prefixes(fields_of(obj, SCHEMA))) == {}


@given(objects, objects)
def test_a_merge_says_what_was_applied_and_applying_again_changes_nothing(live: Any, applied: Any) -> None:
    once = _merge(copy.deepcopy(live), applied, SCHEMA)
    assert fields_of(applied, SCHEMA) - {()} <= prefixes(fields_of(once, SCHEMA)) | fields_of(once, SCHEMA)
    assert _merge(copy.deepcopy(once), applied, SCHEMA) == once
