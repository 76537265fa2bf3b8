"""The table of built-in types is whole, and as Kubernetes has them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from virt_local.apiserver.builtin_schemas import definitions, schema, types
from virt_local.apiserver.builtins import BUILTINS, type_name
from virt_types.structural import compile_schema

NAMES = sorted({type_name(resource) for resource in BUILTINS.values() if "create" in resource.verbs})
NONE_HERE = {type_name(resource) for resource in BUILTINS.values()} - set(NAMES)  # they have no fields
# The class of the Python client of Kubernetes, where it is not V1 and the type's name.
CLIENT_CLASSES = {"Event": "CoreV1Event", "events.Event": "EventsV1Event"}


def below(name: str, seen: set[str]) -> set[str]:
    if name not in seen:
        seen.add(name)
        for field in types()[name].fields.values():
            inner = re.sub(r"^(\[\]|map:)+", "", field.type)
            if inner in types():
                below(inner, seen)
    return seen


def test_every_type_is_reached_from_a_kind() -> None:
    reached: set[str] = set()
    for name in NAMES:
        below(name, reached)
    assert reached | NONE_HERE == types().keys()


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_compiles_and_says_what_it_is(name: str) -> None:
    found = schema(name)
    compile_schema(found)
    assert found["description"]
    assert definitions(name, "p.", "#/")["p." + name.rpartition(".")[2]]["properties"]


@pytest.mark.parametrize("name", NAMES)
def test_top_fields_are_those_of_the_kubernetes_client(name: str) -> None:
    client = pytest.importorskip("kubernetes.client", reason="the Python client of Kubernetes is not installed")
    model = getattr(client, CLIENT_CLASSES.get(name, "V1" + name))
    assert types()[name].fields.keys() == set(model.attribute_map.values()) - {"apiVersion", "kind", "metadata"}


@pytest.mark.parametrize("name", NAMES)
def test_merge_keys_are_fields_of_the_elements(name: str) -> None:
    def visit(node: dict[str, Any]) -> None:
        if keys := node.get("x-kubernetes-list-map-keys"):
            assert set(keys) <= node["items"]["properties"].keys()
        for child in [*node.get("properties", {}).values(), node.get("items"), node.get("additionalProperties")]:
            if isinstance(child, dict):
                visit(child)

    visit(schema(name))
