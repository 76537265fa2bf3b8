"""The validation rules (`x-kubernetes-validations`) of a schema: of a value by itself, and of a change to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from virt_types.errors import Cause
from virt_types.structural.cel import CelError, Evaluate, compile_rule, uses
from virt_types.structural.cel_syntax import parse
from virt_types.structural.walk import Path, Schema, dotted, shown

RULES = "x-kubernetes-validations"
_REASONS = {"FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired", "FieldValueDuplicate"}
_NO_VALUE = {"FieldValueForbidden", "FieldValueRequired"}
Compare = Callable[[Any, Any, Path], Iterator[Cause]]


class Rule(NamedTuple):
    holds: Evaluate
    text: str
    message: str
    expression: Evaluate | None  # of the message
    reason: str
    field: str

    def cause(self, scope: dict[str, Any], path: Path) -> Cause | None:
        """What is wrong with `self` in `scope`, None when nothing is."""
        try:
            if self.holds(scope) is True:
                return None
            message = self._message(scope)
        except CelError as error:
            message = f"{error} evaluating rule: {self.message or self.text}"
        value = scope["self"]
        prefix = "" if isinstance(value, (dict, list)) or self.reason in _NO_VALUE else f"{shown(value)}: "
        word = {"FieldValueForbidden": "Forbidden", "FieldValueRequired": "Required value"}.get(
            self.reason, "Invalid value"
        )
        return Cause(self.reason, f"{word}: {prefix}{message}", dotted(path) + self.field)

    def _message(self, scope: dict[str, Any]) -> str:
        if self.expression is not None:
            try:
                found = self.expression(scope)
            except CelError:
                found = ""
            if isinstance(found, str) and found.strip():
                return found.strip()
        return self.message or f"failed rule: {self.text}"


def rules_of(schema: Schema, *, changes: bool) -> tuple[Rule, ...]:
    """The rules at this very node: those of a change, which read oldSelf, or the others."""
    found = []
    for given in schema.get(RULES) or ():
        try:
            tree = parse(given["rule"])
            if uses(tree, "oldSelf") is not changes:
                continue
            expression = compile_rule(given["messageExpression"]) if given.get("messageExpression") else None
            holds = compile_rule(given["rule"])
        except CelError:
            continue  # no definition with such a rule is taken in; whoever stored it knew better
        reason = given.get("reason") if given.get("reason") in _REASONS else "FieldValueInvalid"
        found.append(
            Rule(holds, given["rule"], given.get("message", ""), expression, str(reason), given.get("fieldPath", ""))
        )
    return tuple(found)


def compile_changes(schema: Schema) -> Compare | None:
    """What checks a new value against the one before; None when no rule asks for that."""
    rules = rules_of(schema, changes=True)
    properties = {
        name: found for name, sub in (schema.get("properties") or {}).items() if (found := compile_changes(sub))
    }
    values, items = (_inner(schema.get(keyword)) for keyword in ("additionalProperties", "items"))
    keys = schema.get("x-kubernetes-list-map-keys") if items is not None else None
    if not (rules or properties or values or (items and keys)):
        return None

    def compare(new: Any, old: Any, path: Path) -> Iterator[Cause]:
        for rule in rules:
            if (cause := rule.cause({"self": new, "oldSelf": old}, path)) is not None:
                yield cause
        if isinstance(new, dict) and isinstance(old, dict):
            for name in new.keys() & old.keys():
                check = properties.get(name) or values
                if check is not None:
                    yield from check(new[name], old[name], (path, name))
        elif keys and items is not None and isinstance(new, list) and isinstance(old, list):
            before = {_identity(element, keys): element for element in old}
            for index, element in enumerate(new):
                if (identity := _identity(element, keys)) in before:
                    yield from items(element, before[identity], (path, index))

    return compare


def _inner(schema: Any) -> Compare | None:
    return compile_changes(schema) if isinstance(schema, dict) else None


def _identity(element: Any, keys: list[str]) -> str:
    return shown([element.get(key) for key in keys]) if isinstance(element, dict) else shown(element)
