"""The three patches, held against their specifications; merge patch also by its defining property."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virt_kube.api import ApiError
from virt_local.apiserver.patches import json_patch, merge_patch, same_json, unknown_parts
from virt_local.apiserver.strategic import strategic_patch

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=3), below, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(st.text(max_size=3), JSON, max_size=4)


@pytest.mark.parametrize(
    ("obj", "operations", "expected"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": 1}, [{"op": "remove", "path": "/a"}], {}),
        ({"a/b": 1, "c~d": 2}, [{"op": "remove", "path": "/a~1b"}, {"op": "remove", "path": "/c~0d"}], {}),
        ({"a": 1}, [{"op": "replace", "path": "/new", "value": 2}], {"a": 1, "new": 2}),
        ({"a": {"b": 1}}, [{"op": "add", "path": "a/c", "value": 2}], {"a": {"b": 1}, "c": 2}),
        ({"a": 1}, [{"op": "add", "path": "/b"}], {"a": 1, "b": None}),
        ({"a": 1}, [{"op": "copy", "from": "/absent", "path": "/b"}], {"a": 1, "b": None}),
        ({"a": {"b": 1}}, [{"op": "move", "from": "/a/b", "path": "/c"}], {"a": {}, "c": 1}),
        ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}], {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}], {"a": 1}),
        ({"a": 1}, [{"op": "test", "path": "/absent", "value": None}], {"a": 1}),
    ],
)
def test_json_patch(obj: Any, operations: Any, expected: Any) -> None:
    assert json_patch(obj, operations) == expected


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "test", "path": "/a", "value": True},
        {"op": "remove", "path": "/b"},
        {"op": "remove", "path": ""},
        {"op": "add", "path": "/b/c", "value": 1},
        {"op": "add", "path": "/l/9", "value": 1},
        {"op": "add", "path": "/l/x", "value": 1},
        {"op": "replace", "path": "/l/2", "value": 1},
        {"op": "add", "path": "b", "value": 1},
        {"op": "add", "path": "", "value": {}},
        {"op": "move", "from": "/b", "path": "/c"},
        {"op": "frob", "path": "/a"},
        {"path": "/a"},
        None,
    ],
)
def test_a_json_patch_that_does_not_apply_is_unprocessable(operation: Any) -> None:
    with pytest.raises(ApiError) as refused:
        json_patch({"a": 1, "l": [1, 2]}, [operation])
    assert refused.value.code == 422


def test_what_an_operation_has_besides_is_told() -> None:
    assert unknown_parts([{"op": "test", "path": "/a", "extra": 1}]) == ['json patch unknown field "[0].extra"']


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ({}, 400),
        (["no operation"], 400),
        ([{"op": "add", "path": 5}], 400),
        ([{"op": "test", "path": ""}] * 10_001, 413),
    ],
)
def test_what_is_no_json_patch(patch: Any, code: int) -> None:
    with pytest.raises(ApiError) as refused:
        json_patch({}, patch)
    assert refused.value.code == code


def pruned(value: Any) -> Any:
    """What a merge patch sets: fields of objects in a list lose their nulls, too (RFC 7386 would keep those)."""
    if isinstance(value, dict):
        return {key: pruned(inner) for key, inner in value.items() if inner is not None}
    return [pruned(inner) for inner in value] if isinstance(value, list) else value


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_sets_what_it_names_and_leaves_the_rest(obj: dict[str, Any], patch: dict[str, Any]) -> None:
    before = copy.deepcopy(obj)
    merged = merge_patch(copy.deepcopy(obj), patch)
    for key in obj.keys() | patch.keys():
        if key not in patch:
            assert same_json(merged[key], before[key])
        elif patch[key] is None:
            assert key not in merged
        elif not isinstance(patch[key], dict):
            assert same_json(merged[key], pruned(patch[key]))
    assert same_json(merge_patch(copy.deepcopy(merged), patch), merged), "twice is once"


CONTAINERS = {"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}}


@pytest.mark.parametrize(
    ("obj", "patch", "expected"),
    [
        (
            CONTAINERS,
            {"spec": {"containers": [{"name": "b", "image": "2"}, {"name": "c"}]}},
            {"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c"}]}},
        ),
        (
            CONTAINERS,
            {"spec": {"containers": [{"name": "a", "$patch": "delete"}]}},
            {"spec": {"containers": [{"name": "b", "image": "1"}]}},
        ),
        (
            CONTAINERS,
            {"spec": {"containers": [{"$patch": "replace"}, {"name": "z"}]}},
            {"spec": {"containers": [{"name": "z"}]}},
        ),
        (
            CONTAINERS,
            {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}},
            {"spec": {"containers": [{"name": "b", "image": "1"}, {"name": "a", "image": "1"}]}},
        ),
        ({"data": {"a": "1", "b": "2"}}, {"data": {"$patch": "replace", "c": "3"}}, {"data": {"c": "3"}}),
        ({"data": {"a": "1", "b": "2"}}, {"data": {"$retainKeys": ["b"], "b": "3"}}, {"data": {"b": "3"}}),
        ({"data": {"a": "1"}}, {"data": {"a": None}}, {"data": {}}),
        (
            {"metadata": {"finalizers": ["a"]}},
            {"metadata": {"finalizers": ["b"]}},
            {"metadata": {"finalizers": ["b", "a"]}},
        ),
        (
            {"metadata": {"finalizers": ["a", "b"]}},
            {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}},
            {"metadata": {"finalizers": ["b"]}},
        ),
        ({"list": [1, 2]}, {"list": [3]}, {"list": [3]}),
    ],
)
def test_strategic_merge(obj: Any, patch: Any, expected: Any) -> None:
    assert strategic_patch(copy.deepcopy(obj), patch) == expected


def test_a_strategic_patch_without_its_merge_key_is_refused() -> None:
    with pytest.raises(ApiError, match="does not contain declared merge key: name"):
        strategic_patch({"spec": {"containers": []}}, {"spec": {"containers": [{"image": "x"}]}})


def test_json_is_not_python() -> None:
    assert not same_json({"a": 1}, {"a": True})
    assert not same_json([0], [False])
    assert same_json({"a": [1, {"b": None}]}, {"a": [1, {"b": None}]})


PORTS: Any = {"spec": {"ports": [{"port": 80, "name": "a"}]}}


@pytest.mark.parametrize(
    ("patch", "code", "why"),
    [
        ({"$retainKeys": ["type"], "selector": {}}, 400, "invalid patch format of retainKeys"),
        ({"$retainKeys": "x"}, 400, "invalid patch format of retainKeys"),
        ({"$patch": "merge", "type": "A"}, 500, "unknown patch type: merge in map: map[$patch:merge type:A]"),
        ({"$patch": 5}, 500, "unknown patch type: %!s(int64=5) in map: map[$patch:5]"),
        ({"$setElementOrder/ports": "x"}, 500, "expected a []interface {}, but received a string"),
        ({"$setElementOrder/ports": [{"name": "a"}]}, 500, "map[name:a] does not contain declared merge key: port"),
        (
            {"$setElementOrder/ports": [{"port": 1}], "ports": [{"port": 80}]},
            500,
            "doesn't match $setElementOrder list",
        ),
        ({"ports": ["x"]}, 500, "list element types are not identical: [[map[name:a port:80]] [x]]"),
        ({"ports": [{"name": "b"}]}, 500, "map: map[name:b] does not contain declared merge key: port"),
    ],
)
def test_a_broken_strategic_patch_is_told_as_a_real_server_tells_it(patch: Any, code: int, why: str) -> None:
    with pytest.raises(ApiError) as refused:
        strategic_patch(copy.deepcopy(PORTS), {"spec": patch})
    assert refused.value.code == code
    assert why in refused.value.message
