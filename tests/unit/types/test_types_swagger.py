"""The Structs say what KubeVirt's OpenAPI document says: every definition, every field, every type."""

from __future__ import annotations

import importlib.util
import json
import sys
import types as python_types
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from virt_types import meta, v1
from virt_types.cdi import v1beta1
from virt_types.codec import from_builtins, to_builtins
from virt_types.instancetype import v1beta1 as instancetype
from virt_types.k8s import pods, scheduling
from virt_types.pool import v1beta1 as pool

ROOT = Path(__file__).resolve().parents[3]
KINDS = (
    "v1.VirtualMachine", "v1.VirtualMachineInstance", "v1.VirtualMachineInstanceReplicaSet",
    "v1.VirtualMachineInstancePreset", "v1.VirtualMachineInstanceMigration", "v1beta1.VirtualMachinePool",
    "v1beta1.VirtualMachineInstancetype", "v1beta1.VirtualMachineClusterInstancetype",
    "v1beta1.VirtualMachinePreference", "v1beta1.VirtualMachineClusterPreference",
)  # fmt: skip
SCALARS = {
    "k8s.io.apimachinery.pkg.api.resource.Quantity": "quantity",
    "k8s.io.apimachinery.pkg.apis.meta.v1.Time": "date-time",
    "k8s.io.apimachinery.pkg.apis.meta.v1.Duration": "string",
    "k8s.io.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
    "k8s.io.apimachinery.pkg.apis.meta.v1.FieldsV1": "object",
}
RENAMED = {"k8s.io.api.core.v1.PersistentVolumeClaimVolumeSource": "ClaimVolumeSource"}
# Field -> what we call its type where the document is vaguer than the API.
SHARPER = {"lastProbeTime": "date-time", "lastTransitionTime": "date-time", "creationTimestamp": "date-time"}


@pytest.fixture(scope="module")
def definitions(shared_data: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shared_data / "kubevirt-swagger.json").read_text())["definitions"]
    return found


def references(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return {name for item in schema for name in references(item)}
    if not isinstance(schema, dict):
        return set()
    own = {schema["$ref"].rsplit("/", 1)[-1]} if "$ref" in schema else set()
    return own | {name for value in schema.values() for name in references(value)}


def reachable(definitions: dict[str, Any]) -> set[str]:
    seen: set[str] = set()
    todo = set(KINDS)
    while todo:
        name = todo.pop()
        seen.add(name)
        todo |= references(definitions[name]) - seen
    return seen - SCALARS.keys()


def struct_of(definition: str) -> type[Any]:
    name = RENAMED.get(definition, definition.rsplit(".", 1)[-1])
    homes = {"v1": (v1,), "v1beta1": (v1beta1, pool, instancetype)}.get(
        definition.split(".", maxsplit=1)[0], (meta, pods, scheduling)
    )
    return next(getattr(home, name) for home in homes if hasattr(home, name))


def documented(schema: dict[str, Any], wire: str = "") -> str:
    if "$ref" in schema:
        target = schema["$ref"].rsplit("/", 1)[-1]
        return SCALARS.get(target) or struct_of(target).__name__
    kind = schema["type"]
    if kind == "array":
        return f"[{documented(schema['items'])}]"
    if kind == "object":
        return f"{{{documented(schema['additionalProperties'])}}}"
    if wire in SHARPER:
        return SHARPER[wire]
    if kind == ["string", "number"]:
        return "int-or-string"
    return schema["format"] if kind == "integer" else kind


def modelled(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return str(annotation.__metadata__[0].extra["format"])
    if origin in (python_types.UnionType, typing.Union):
        return modelled(next(argument for argument in arguments if argument is not python_types.NoneType))
    if origin is list:
        return f"[{modelled(arguments[0])}]"
    if origin is dict:
        return "object" if arguments[1] is Any else f"{{{modelled(arguments[1])}}}"
    return {str: "string", bool: "boolean"}.get(annotation) or annotation.__name__


def test_every_definition_field_by_field(definitions: dict[str, Any]) -> None:
    names = reachable(definitions)
    assert len(names) > 200
    for name in names:
        document = {wire: documented(schema, wire) for wire, schema in definitions[name].get("properties", {}).items()}
        struct = {field.encode_name: modelled(field.type) for field in msgspec.structs.fields(struct_of(name))}
        assert struct == document, name


def test_required_fields_are_always_encoded(definitions: dict[str, Any]) -> None:
    for name in reachable(definitions):
        struct = struct_of(name)
        for field in msgspec.structs.fields(struct):
            if field.encode_name in definitions[name].get("required", ()):
                assert not isinstance(field.default, python_types.NoneType), (name, field.name)


def sample(definitions: dict[str, Any], schema: dict[str, Any], wire: str, depth: int) -> Any:
    """A value with every field of every definition set."""
    if "$ref" in schema:
        target = schema["$ref"].rsplit("/", 1)[-1]
        fixed = {
            "quantity": "1Mi",
            "date-time": "2026-01-01T00:00:00Z",
            "object": {"f:x": {}},
            "string": "5m0s",
            "int-or-string": 1,
        }
        if target in SCALARS:
            return fixed[SCALARS[target]]
        properties = definitions[target].get("properties", {}) if depth else {}
        return {key: sample(definitions, sub, key, depth - 1) for key, sub in properties.items()}
    kind = schema["type"]
    if kind == "array":
        return [sample(definitions, schema["items"], "", depth)]
    if kind == "object":
        return {"key": sample(definitions, schema["additionalProperties"], "", depth)}
    return {"integer": 7, "boolean": True}.get(kind if isinstance(kind, str) else "", "text")


@pytest.mark.parametrize("kind", KINDS)
def test_every_property_name_round_trips(definitions: dict[str, Any], kind: str) -> None:
    obj = sample(definitions, {"$ref": f"#/definitions/{kind}"}, "", 20)
    text = json.dumps(obj)
    assert len(text) > 1_000
    assert to_builtins(from_builtins(json.loads(text), struct_of(kind))) == obj


def test_the_committed_modules_are_what_the_generator_writes(shared_data: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate_types", ROOT / "tools/generate_types.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    sys.modules["generate_types"] = generator
    spec.loader.exec_module(generator)
    swagger = json.loads((shared_data / "kubevirt-swagger.json").read_text())
    stale = [file for file, source in generator.generate(swagger).items() if (ROOT / file).read_text() != source]
    assert stale == [], "run tools/generate_types.py"
