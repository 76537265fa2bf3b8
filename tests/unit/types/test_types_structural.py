"""Laws of the walker, and keywords KubeVirt's schemas don't use."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virt_types.crds import custom_resource_definitions
from virt_types.structural import compile_schema

SCHEMAS = {
    definition["spec"]["names"]["kind"]: definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for definition in custom_resource_definitions()
}
WALKERS = {kind: compile_schema(schema) for kind, schema in SCHEMAS.items()}
SMALL = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "pattern": "^[a-z]+$"},
                "count": {"type": "integer", "format": "int32", "default": 3},
                "items": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name", "proto"],
                    "items": {
                        "type": "object",
                        "properties": {"name": {"type": "string"}, "proto": {"type": "string", "default": "TCP"}},
                    },
                },
                "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "map": {"type": "object", "additionalProperties": {"type": "string"}},
                "when": {"type": "string", "format": "date-time"},
                "maybe": {"type": "string", "nullable": True, "default": "x"},
                "nested": {"type": "object", "default": {}, "properties": {"deep": {"type": "integer", "default": 1}}},
            },
        }
    },
}
WALK_SMALL = compile_schema(SMALL)


def walk(spec: Any, **flags: bool) -> tuple[Any, list[tuple[str, str]], list[str]]:
    obj = {"spec": {"name": "a", **spec}}
    result = WALK_SMALL(obj, **flags)
    return obj["spec"], [(cause.field, cause.message) for cause in result.causes], result.unknown


def test_defaults_are_filled_in_and_apart() -> None:
    spec, causes, _ = walk({})
    assert spec == {"name": "a", "count": 3, "maybe": "x", "nested": {"deep": 1}}
    assert causes == []
    spec["nested"]["deep"] = 9
    assert walk({})[0]["nested"] == {"deep": 1}


def test_without_defaults_nothing_is_added() -> None:
    assert walk({}, defaults=False)[0] == {"name": "a"}


def test_null_means_absent_unless_nullable() -> None:
    spec, causes, _ = walk({"count": None, "maybe": None, "map": {"a": None}, "open": {"a": None}})
    assert spec == {"name": "a", "count": 3, "maybe": None, "map": {}, "open": {"a": None}, "nested": {"deep": 1}}
    assert causes == []


def test_unknown_fields_are_named_and_pruned_or_kept() -> None:
    spec = {"bogus": {"x": 1}, "items": [{"name": "n", "zz": 1}], "open": {"any": [1]}}
    pruned, _, unknown = walk(copy.deepcopy(spec))
    assert unknown == ["spec.items[0].zz", "spec.bogus"]
    assert "bogus" not in pruned
    assert pruned["open"] == {"any": [1]}
    kept, _, again = walk(copy.deepcopy(spec), prune=False)
    assert (kept["bogus"], again) == ({"x": 1}, unknown)


def test_unknown_metadata() -> None:
    obj = {"metadata": {"name": "x", "lables": {}}, "spec": {"name": "a"}}
    assert WALK_SMALL(obj).unknown == ["metadata.lables"]
    assert obj["metadata"] == {"name": "x"}


WRONG = "Invalid value: {0}: {1} in body must be of type {2}: {0}".format
TWICE = {"items": [{"name": "q"}, {"name": "q", "proto": "TCP"}]}
TOO_BIG = 'Invalid value: "": Checked value must be of type integer with format int32 in spec.count'
FEBRUARY = "2026-02-30T00:00:00Z"


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        (TWICE, "spec.items[1]", 'Duplicate value: {"name":"q","proto":"TCP"}'),
        ({"set": ["q", "q"]}, "spec.set[1]", 'Duplicate value: "q"'),
        ({"count": 2**31}, "<nil>", TOO_BIG),
        ({"count": True}, "spec.count", WRONG('"boolean"', "spec.count", "integer")),
        ({"name": "a\n"}, "spec.name", "Invalid value: \"a\\n\": spec.name in body should match '^[a-z]+$'"),
        ({"when": FEBRUARY}, "spec.when", WRONG(f'"{FEBRUARY}"', "spec.when", "date-time")),
    ],
)
def test_faults(spec: Any, field: str, message: str) -> None:
    assert walk(spec)[1] == [(field, message)]


def test_whole_floats_become_integers() -> None:
    spec, causes, _ = walk({"count": 4.0})
    assert (repr(spec["count"]), causes) == ("4", [])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


def places(schema: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    for name, sub in schema.get("properties", {}).items():
        if name != "metadata":
            found += places(sub, (*path, name))
    if "items" in schema:
        found += places(schema["items"], (*path, 0))
    return found


PLACES = places(SCHEMAS["VirtualMachineInstance"])


def put(obj: Any, path: tuple[Any, ...], value: Any) -> None:
    """Sets a value deep inside, making what is missing on the way."""
    for key, after in zip(path, (*path[1:], None), strict=True):
        new = value if after is None else [] if isinstance(after, int) else {}
        if isinstance(obj, list):
            obj[:] = obj[:1] or [new]
            obj[0] = new if after is None or not isinstance(obj[0], type(new)) else obj[0]
        elif after is None or not isinstance(obj.get(key), type(new)):
            obj[key] = new
        obj = obj[0] if isinstance(obj, list) else obj[key]


@given(st.lists(st.tuples(st.sampled_from(PLACES), JSON), max_size=6))
@settings(max_examples=200)
def test_a_second_walk_changes_nothing_and_says_the_same(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    obj: dict[str, Any] = {"spec": {"domain": {"devices": {}}}}
    for path, value in changes:
        put(obj, path, copy.deepcopy(value))
    walker = WALKERS["VirtualMachineInstance"]
    first = walker(obj)
    once = json.dumps(obj)
    second = walker(obj)
    assert json.dumps(obj) == once
    # What was unknown below a wrongly typed field is still there to be named.
    assert second.causes == first.causes
    assert set(second.unknown) <= set(first.unknown)


@given(JSON, st.booleans(), st.booleans())
def test_any_json_is_walked(value: Any, prune: bool, defaults: bool) -> None:
    for walker in (*WALKERS.values(), WALK_SMALL):
        walker(copy.deepcopy(value), prune=prune, defaults=defaults)


def test_a_large_object_is_walked_quickly() -> None:
    disks = [{"name": f"d{i}", "disk": {"bus": "virtio"}, "bogus": i} for i in range(256)]
    obj = {"spec": {"domain": {"devices": {"disks": disks}}}}
    started = time.perf_counter()
    result = WALKERS["VirtualMachineInstance"](obj)
    assert len(result.unknown) == 256
    assert time.perf_counter() - started < 1
