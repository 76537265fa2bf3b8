"""Validation rules in CEL: what they say of values, how they fail, and what a schema makes of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virt_types.structural import compile_schema
from virt_types.structural.cel import CelError, compile_rule

PORTS = {"ports": [{"name": "http", "port": 80}, {"name": "ssh", "port": 22}], "min": 3, "max": 5, "on": True}
TRUE = [
    "self.min <= self.max && self.on",
    "self.min < self.max ? self.on : false",
    "self.ports.all(p, p.port > 0 && p.port < 65536)",
    "self.ports.exists(p, p.name == 'ssh')",
    "self.ports.exists_one(p, p.port == 22)",
    "self.ports.filter(p, p.port > 50).size() == 1",
    "self.ports.map(p, p.name) == ['http', 'ssh']",
    "self.ports.map(p, p.port > 50, p.name) == ['http']",
    "!has(self.absent) || self.absent == 1",
    "self.absent == 1 || true",
    "!(self.absent == 1 && false)",
    "'min' in self && !('other' in self)",
    "self['min'] == 3 && self.ports[1].port == 22",
    "7 / 2 == 3 && -7 / 2 == -3 && 7 % 2 == 1 && 7.0 / 2.0 == 3.5",
    "self.min == 3.0 && 1 + 2 * 3 == 7 && (1 + 2) * 3 == 9",
    "'abc'.matches('^a.c$') && 'abc'.startsWith('a') && 'a,b'.split(',')[1] == 'b'",
    "duration('90m') == duration('1h30m') && quantity('1Gi').isGreaterThan(quantity('1023Mi'))",
    "string(self.min) + 'x' == '3x' && int('4') > self.min && size([1, 2]) == 2",
    "[1, 2, 3].isSorted() && [1, 2].sum() == 3 && [2, 1].max() == 2",
    "{'a': 1}.a == 1 && self.on != false && self.min != 'three'",
]
FALSE = ["self.on == 1", "self.min > self.max", "self.ports.all(p, p.port > 50)", "null == false", "[] == {}"]


@pytest.mark.parametrize("rule", TRUE)
def test_rules_that_hold(rule: str) -> None:
    assert compile_rule(rule)({"self": PORTS}) is True


@pytest.mark.parametrize("rule", FALSE)
def test_rules_that_do_not(rule: str) -> None:
    assert compile_rule(rule)({"self": PORTS}) is False


@pytest.mark.parametrize(
    ("rule", "message", "at"),
    [
        ("self ===", "token recognition error at: '='", 7),
        ("self.a +", "mismatched input '<EOF>'", 8),
        ("(self", "expecting ')'", 5),
        ("self self", "expecting <EOF>", 5),
        ("isURL(self)", "undeclared reference to 'isURL'", 0),
        ("has(self)", "invalid argument to has() macro", 0),
        ("(" * 200, "nested too deeply", 30),
        ("!" * 600, "more than 500 words", 500),
    ],
)
def test_what_can_not_be_compiled(rule: str, message: str, at: int) -> None:
    with pytest.raises(CelError) as refused:
        compile_rule(rule)
    assert message in str(refused.value)
    assert refused.value.at == at


@pytest.mark.parametrize(
    "rule",
    ["self.absent == 1", "self.min && true", "self.on > 1", "1 / 0 == 1", "self.ports[7] == 1", "has(self.min.x)"],
)
def test_what_can_not_be_evaluated(rule: str) -> None:
    with pytest.raises(CelError):
        compile_rule(rule)({"self": PORTS})


@given(st.text(alphabet="self.()[]{}!<>=&|+-*/%?:,'\"ab1 \\", max_size=40), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2), max_leaves=4,
))  # fmt: skip
def test_no_text_and_no_value_break_it(rule: str, value: Any) -> None:
    try:
        compile_rule(rule)({"self": value})
    except CelError:
        return


def schema(**about: Any) -> dict[str, Any]:
    numbers = {"min": {"type": "integer"}, "max": {"type": "integer"}, "name": {"type": "string"}}
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": numbers, **about}}}


RANGE = {"rule": "self.min <= self.max", "message": "min above max"}


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        (RANGE, {"min": 1, "max": 2}, []),
        (RANGE, {"min": 3, "max": 2}, [("FieldValueInvalid", "Invalid value: min above max", "spec")]),
        (
            {**RANGE, "messageExpression": "'at least ' + string(self.min)", "reason": "FieldValueForbidden"},
            {"min": 3, "max": 2},
            [("FieldValueForbidden", "Forbidden: at least 3", "spec")],
        ),
        (
            {**RANGE, "fieldPath": ".max"},
            {"min": 3, "max": 2},
            [("FieldValueInvalid", "Invalid value: min above max", "spec.max")],
        ),
        (
            {"rule": "self.min > 0"},
            {},
            [("FieldValueInvalid", "Invalid value: no such key: min evaluating rule: self.min > 0", "spec")],
        ),
    ],
)
def test_a_broken_rule_is_a_cause(rule: dict[str, Any], value: Any, expected: list[tuple[str, str, str]]) -> None:
    found = compile_schema(schema(**{"x-kubernetes-validations": [rule]}))({"spec": value})
    assert [tuple(cause) for cause in found.causes] == expected


def test_rules_wait_until_the_shape_is_right() -> None:
    found = compile_schema(schema(**{"x-kubernetes-validations": [RANGE]}))({"spec": {"min": "x", "max": 1}})
    assert [cause.field for cause in found.causes] == ["spec.min", "<nil>"]


def test_rules_about_changes_look_at_the_old_value() -> None:
    frozen = {"rule": "self.name == oldSelf.name", "message": "the name stays"}
    walker = compile_schema(schema(**{"x-kubernetes-validations": [frozen]}))
    assert walker({"spec": {"name": "a"}}).causes == []
    assert walker.changes({"spec": {"name": "a"}}, {"spec": {"name": "a"}}) == []
    (cause,) = walker.changes({"spec": {"name": "b"}}, {"spec": {"name": "a"}})
    assert (cause.message, cause.field) == ("Invalid value: the name stays", "spec")


def test_elements_of_a_map_like_list_are_compared_by_key() -> None:
    grows = {"rule": "self.size >= oldSelf.size", "message": "may only grow"}
    element = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
        "x-kubernetes-validations": [grows],
    }
    disks = {"type": "array", "items": element, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    walker = compile_schema({"type": "object", "properties": {"disks": disks}})
    old = {"disks": [{"name": "a", "size": 2}, {"name": "b", "size": 5}]}
    assert walker.changes({"disks": [{"name": "b", "size": 5}, {"name": "c", "size": 0}]}, old) == []
    (cause,) = walker.changes({"disks": [{"name": "b", "size": 1}]}, old)
    assert cause.field == "disks[0]"
