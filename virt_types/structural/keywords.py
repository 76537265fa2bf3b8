"""Checks of single schema keywords: lengths, patterns, ranges, formats, uniqueness, known rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from virt_types.errors import Cause
from virt_types.formats import FORMATS
from virt_types.structural.rules import Rule, rules_of
from virt_types.structural.walk import Check, Path, Schema, Walk, dotted, invalid, shown, wrong_type


def enum_check(schema: Schema) -> Check | None:
    if "enum" not in schema:
        return None
    allowed = schema["enum"]
    listed = ", ".join(shown(value) for value in allowed)

    def check(value: Any, path: Path, walk: Walk) -> None:
        if value is not None and value not in allowed:
            text = f"Unsupported value: {shown(value)}: supported values: {listed}"
            walk.causes.append(Cause("FieldValueNotSupported", text, dotted(path)))

    return check


def _string_checks(schema: Schema) -> Iterable[Check]:
    """Of length and pattern an API server reports only the first that fails."""
    ordered: list[Check] = []
    if "maxLength" in schema:
        ordered.append(_too(schema["maxLength"], len, "Long", "may not be more than {limit} bytes"))
    if "minLength" in schema:
        shortest = schema["minLength"]
        ordered.append(_limit(lambda value: len(value) >= shortest, f"should be at least {shortest} chars long"))
    if "pattern" in schema:
        search = _pattern(schema["pattern"])
        complaint = f"should match '{schema['pattern']}'"
        ordered.append(_limit(lambda value: not isinstance(value, str) or search(value) is not None, complaint))
    if ordered:
        yield ordered[0] if len(ordered) == 1 else _first_of(ordered)
    if schema.get("type") == "string" and schema.get("format") in FORMATS:
        yield _format(schema["format"])


def _first_of(checks: list[Check]) -> Check:
    def check(value: Any, path: Path, walk: Walk) -> None:
        before = len(walk.causes)
        for one in checks:
            one(value, path, walk)
            if len(walk.causes) > before:
                return

    return check


def _number_checks(schema: Schema) -> Iterable[Check]:
    if "multipleOf" in schema:
        factor = schema["multipleOf"]
        yield _limit(lambda value: value % factor == 0, f"should be a multiple of {factor}")
    if "maximum" in schema:
        highest = schema["maximum"]
        if schema.get("exclusiveMaximum"):
            yield _limit(lambda value: value < highest, f"should be less than {highest}")
        else:
            yield _limit(lambda value: value <= highest, f"should be less than or equal to {highest}")
    if "minimum" in schema:
        lowest = schema["minimum"]
        if schema.get("exclusiveMinimum"):
            yield _limit(lambda value: value > lowest, f"should be greater than {lowest}")
        else:
            yield _limit(lambda value: value >= lowest, f"should be greater than or equal to {lowest}")


def _size_checks(schema: Schema) -> Iterable[Check]:
    for suffix, what in (("Items", "items"), ("Properties", "properties")):
        if f"min{suffix}" in schema:
            yield _at_least(schema[f"min{suffix}"], what)
        if f"max{suffix}" in schema:
            yield _too(schema[f"max{suffix}"], len, "Many", "{size}: must have at most {limit} items")
    kind = schema.get("x-kubernetes-list-type")
    if kind == "map":
        yield _unique(_map_key(schema))
    elif kind == "set" or schema.get("uniqueItems"):
        yield _unique(lambda element: element)


def _rule_checks(schema: Schema) -> Iterable[Check]:
    for rule in rules_of(schema, changes=False):
        yield _rule(rule)


def _pattern(text: str) -> Callable[[str], object]:
    # In an API server's expressions `$` is the very end, also after a line feed.
    return re.compile(re.sub(r"(?<!\\)\$$", r"\\Z", text)).search


def _rule(rule: Rule) -> Check:
    def check(value: Any, path: Path, walk: Walk) -> None:
        if (cause := rule.cause({"self": value}, path)) is not None:
            walk.broken_rules.append(cause)

    return check


def _limit(holds: Callable[[Any], bool], complaint: str) -> Check:
    def check(value: Any, path: Path, walk: Walk) -> None:
        if not holds(value):
            invalid(walk, path, value, complaint)

    return check


def _at_least(limit: int, what: str) -> Check:
    def check(value: Any, path: Path, walk: Walk) -> None:
        if len(value) < limit:
            invalid(walk, path, len(value), f"should have at least {limit} {what}")

    return check


def _too(limit: int, measure: Callable[[Any], int], word: str, template: str) -> Check:
    def check(value: Any, path: Path, walk: Walk) -> None:
        size = measure(value)
        if size > limit:
            text = f"Too {word.lower()}: {template.format(size=size, limit=limit)}"
            walk.causes.append(Cause(f"FieldValueToo{word}", text, dotted(path)))

    return check


def _format(name: str) -> Check:
    valid = FORMATS[name]

    def check(value: Any, path: Path, walk: Walk) -> None:
        if not valid(value):
            wrong_type(walk, path, value, name)

    return check


def _map_key(schema: Schema) -> Callable[[Any], Any]:
    names = schema.get("x-kubernetes-list-map-keys", ())
    properties = schema.get("items", {}).get("properties", {})
    defaults = {name: properties.get(name, {}).get("default") for name in names}

    def key(element: Any) -> Any:
        if not isinstance(element, dict):
            return element
        values = {name: element.get(name, defaults[name]) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    return key


def _unique(key: Callable[[Any], Any]) -> Check:
    def check(value: Any, path: Path, walk: Walk) -> None:
        seen: set[str] = set()
        for index, element in enumerate(value):
            identity = shown(key(element))
            if identity in seen:
                walk.causes.append(Cause("FieldValueDuplicate", f"Duplicate value: {identity}", dotted((path, index))))
            seen.add(identity)

    return check


def keyword_checks(schema: Schema) -> tuple[Check, ...]:
    """The checks a schema asks of a value that has its type."""
    makers = (_string_checks, _number_checks, _size_checks, _rule_checks)
    return tuple(check for maker in makers for check in maker(schema))
