"""The state of one walk over an object, paths, and the wording of violations."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from virt_types.errors import Cause

Schema = dict[str, Any]
# A path is built only when something is wrong: (parent, key) links, None at the root.
Path = tuple[Any, Any] | None


class Walk:
    """State of one walk."""

    __slots__ = ("broken_rules", "causes", "defaults", "prune", "unknown")

    def __init__(self, *, defaults: bool, prune: bool) -> None:
        self.defaults = defaults
        self.prune = prune
        self.causes: list[Cause] = []
        self.broken_rules: list[Cause] = []  # told only when the value has the right shape
        self.unknown: list[Path] = []


# Checks a value and returns it, or what it is to be replaced with (4.0 is the integer 4).
Node = Callable[[Any, Path, Walk], Any]
# Checks a value that already has the right type.
Check = Callable[[Any, Path, Walk], None]


def dotted(path: Path) -> str:
    """`spec.disks[0].name`, as API servers write it."""
    parts: list[str] = []
    while path is not None:
        path, key = path
        parts.append(f"[{key}]" if isinstance(key, int) else f".{key}")
    return "".join(reversed(parts)).removeprefix(".")


def type_name(value: Any) -> str:
    """The JSON type of a value in an API server's words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    names = {int: "integer", str: "string", dict: "object", list: "array"}
    return names.get(type(value), "string")


def shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def invalid(walk: Walk, path: Path, value: Any, complaint: str) -> None:
    field = dotted(path)
    walk.causes.append(Cause("FieldValueInvalid", f"Invalid value: {shown(value)}: {field} in body {complaint}", field))


def wrong_type(walk: Walk, path: Path, name: str, wanted: str) -> None:
    field = dotted(path)
    text = f'Invalid value: "{name}": {field} in body must be of type {wanted}: "{name}"'
    walk.causes.append(Cause("FieldValueTypeInvalid", text, field))


def unfielded(walk: Walk, complaint: str) -> None:
    walk.causes.append(Cause("FieldValueInvalid", f'Invalid value: "": {complaint}', "<nil>"))
