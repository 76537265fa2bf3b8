"""Definitions: which schemas are structural, what else is asked of them, and who gets a name two want."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from virt_local.apiserver.definitions import names, rules, structural
from virt_local.apiserver.definitions.structural import pattern_problem

AT = "spec.validation.openAPIV3Schema"
TEXT: dict[str, Any] = {"type": "string"}


def field(**about: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": about}}


def list_of(items: dict[str, Any], **about: Any) -> dict[str, Any]:
    return field(type="array", items=items, **about)


PAIR = {"type": "object", "properties": {"k": TEXT, "o": {"type": "object"}}}
MAP = {"x-kubernetes-list-type": "map"}
KEYED = {**MAP, "x-kubernetes-list-map-keys": ["k"]}


@pytest.mark.parametrize(
    ("schema", "fields"),
    [
        (field(**TEXT), []),
        (field(**{"x-kubernetes-preserve-unknown-fields": True}), []),
        (field(**{"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, TEXT]}), []),
        (list_of({**PAIR, "required": ["k"]}, **KEYED), []),
        ({"properties": {}}, ["type"]),
        ({"type": "array", "items": TEXT}, ["type"]),
        (field(properties={}), ["properties[a].type"]),
        (field(type="thing"), ["properties[a].type"]),
        (field(type="array"), ["properties[a].items"]),
        (list_of({}), ["properties[a].items.type"]),
        (list_of(PAIR, **MAP), ["properties[a].x-kubernetes-list-map-keys"]),
        (list_of(PAIR, **KEYED), ["properties[a].items.properties[k].default"]),
        (list_of(TEXT, **KEYED), ["properties[a].items.type"]),
        (
            list_of(PAIR, **{**KEYED, "x-kubernetes-list-map-keys": ["z"]}),
            ["properties[a].x-kubernetes-list-map-keys[0]"],
        ),
        (list_of(PAIR, **{**KEYED, "x-kubernetes-list-map-keys": ["o"]}), ["properties[a].items.properties[o].type"]),
        (field(type="string", pattern="["), ["properties[a].pattern"]),
        (field(type="integer", default="x"), ["properties[a].default"]),
        (field(type="object", default={"b": 1}, properties={"b": TEXT}), ["properties[a].default.b"]),
        (field(**TEXT, anyOf=[{"type": "string"}]), ["properties[a].anyOf[0].type"]),
        (
            field(type="object", properties={}, oneOf=[{"properties": {"z": {"minLength": 1}}}]),
            ["properties[a].properties[z]"],
        ),
        (field(**{"$ref": "#/x"}), ["properties[a].$ref"]),
        (field(type="array", items=TEXT, uniqueItems=True), ["properties[a].uniqueItems"]),
        (
            field(**TEXT, **{"x-kubernetes-validations": [{"rule": "self =="}]}),
            ["properties[a].x-kubernetes-validations[0].rule"],
        ),
        (
            field(type="object", properties={"b": TEXT}, **{"x-kubernetes-validations": [{"rule": "self.c == ''"}]}),
            ["properties[a].x-kubernetes-validations[0].rule"],
        ),
        (
            field(
                type="object", properties={"b": TEXT}, **{"x-kubernetes-validations": [{"rule": "self.b != oldSelf.b"}]}
            ),
            [],
        ),
    ],
)
def test_what_is_not_structural_is_named(schema: dict[str, Any], fields: list[str]) -> None:
    assert [cause.field for cause in structural.causes(schema, AT)] == [f"{AT}.{name}" for name in fields]


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("^[a-z]+$", ""),
        ("(", "missing closing ): `(`"),
        ("a)", "unexpected ): `)`"),
        ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
        (r"(a)\1", r"invalid escape sequence: `\1`"),
    ],
)
def test_patterns_are_those_go_can_compile(pattern: str, why: str) -> None:
    assert pattern_problem(pattern) == why


def definition(plural: str = "gears", kind: str = "Gear", **spec: Any) -> dict[str, Any]:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    about = {"group": "e.com", "scope": "Namespaced", "names": {"plural": plural, "kind": kind}, "versions": [version]}
    return {"metadata": {"name": f"{plural}.e.com"}, "spec": {**about, **spec}}


def prepared(**spec: Any) -> dict[str, Any]:
    found = definition(**spec)
    rules.prepare(found, None)
    return found


VERSION = definition()["spec"]["versions"][0]
SECOND = {**VERSION, "name": "v2", "storage": False}


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({}, []),
        ({"versions": [VERSION, SECOND]}, []),
        ({"scope": "Galaxy"}, ["spec.scope"]),
        ({"group": "nodots"}, ["metadata.name", "spec.group"]),
        ({"versions": [SECOND]}, ["spec.versions", "status.storedVersions"]),
        ({"versions": [VERSION, {**SECOND, "name": "v1"}]}, ["spec.versions"]),
        (
            {"conversion": {"strategy": "Webhook"}},
            ["spec.conversion.webhookClientConfig", "spec.conversion.conversionReviewVersions"],
        ),
        (
            {
                "versions": [
                    {
                        **VERSION,
                        "subresources": {"scale": {"specReplicasPath": ".a", "statusReplicasPath": ".status.r"}},
                    }
                ]
            },
            ["spec.subresources.scale.specReplicasPath"],
        ),
        (
            {
                "versions": [
                    VERSION,
                    {**SECOND, "additionalPrinterColumns": [{"name": "A", "type": "x", "jsonPath": ".a"}]},
                ]
            },
            ["spec.versions[1].additionalPrinterColumns[0].type"],
        ),
        (
            {"versions": [{**VERSION, "selectableFields": [{"jsonPath": ".spec.x"}]}]},
            ["spec.selectableFields[0].jsonPath"],
        ),
    ],
)
def test_what_is_wrong_with_a_definition_is_named(spec: dict[str, Any], fields: list[str]) -> None:
    assert [cause.field for cause in rules.causes(prepared(**spec), None)] == fields


def test_what_is_served_stays_what_it_is() -> None:
    old = prepared()
    names.accept(old, [])
    new = copy.deepcopy(old)
    new["spec"] |= {"scope": "Cluster", "group": "other.com"}
    assert {cause.field for cause in rules.causes(new, old)} == {"spec.group", "spec.scope"}
    new = copy.deepcopy(old)
    new["spec"]["versions"] = [{**VERSION, "name": "v2"}]
    rules.prepare(new, old)
    assert [cause.field for cause in rules.causes(new, old)] == ["status.storedVersions[0]"]


def test_the_second_who_wants_a_name_waits_for_it() -> None:
    first, second = prepared(), prepared(plural="wheels")
    names.accept(first, [])
    assert names.served(first)
    taken = first["status"]["acceptedNames"]
    names.accept(second, [taken])
    assert not names.served(second)
    assert names.condition(second, "NamesAccepted") == "False"
    assert second["status"]["acceptedNames"] == {"plural": "wheels", "kind": ""}
    names.accept(second, [])
    assert names.served(second)
    assert second["status"]["acceptedNames"]["kind"] == "Gear"
