"""Structural schemas as an API server applies them: prune, drop nulls, default and check, in one walk.

`compile_schema` turns a schema into nested closures once (a few ms for a VirtualMachine); a walk then costs tens of
microseconds. Called by the API server on every write and by `virtctl validate`. The texts are those of kube-apiserver,
because people search for them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from virt_types.errors import Cause
from virt_types.structural.nodes import compile_node
from virt_types.structural.rules import compile_changes
from virt_types.structural.walk import Schema, Walk, dotted

UNCHECKED_RULES = Cause(
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
    "<nil>",
)
# After these an API server does not evaluate the schema's rules any more, and says so.
BLOCKING = frozenset(
    (
        "FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany",
        "FieldValueTypeInvalid",
    )
)  # fmt: skip


class WalkResult(NamedTuple):
    """Every violation, and the paths of fields the schema doesn't know, both in document order."""

    causes: list[Cause]
    unknown: list[str]


class Walker:
    """A compiled schema. Calling it changes the object in place."""

    def __init__(self, schema: Schema) -> None:
        self._root = compile_node(schema, root=True)
        self.has_rules = _has_rules(schema)
        self._changes = compile_changes(schema) if self.has_rules else None

    def __call__(self, obj: Any, *, defaults: bool = True, prune: bool = True) -> WalkResult:
        walk = Walk(defaults=defaults, prune=prune)
        self._root(obj, None, walk)
        if self.has_rules and any(cause.reason in BLOCKING for cause in walk.causes):
            walk.causes.append(UNCHECKED_RULES)
        else:
            walk.causes += walk.broken_rules
        return WalkResult(walk.causes, [dotted(path) for path in walk.unknown])

    def changes(self, new: Any, old: Any) -> list[Cause]:
        """What the rules about changes (`self == oldSelf`) find wrong."""
        return [] if self._changes is None else list(self._changes(new, old, None))


def compile_schema(schema: Schema) -> Walker:
    """The walker of an `openAPIV3Schema`."""
    return Walker(schema)


def _has_rules(schema: Any) -> bool:
    if isinstance(schema, dict):
        return "x-kubernetes-validations" in schema or any(_has_rules(value) for value in schema.values())
    return isinstance(schema, list) and any(_has_rules(value) for value in schema)
