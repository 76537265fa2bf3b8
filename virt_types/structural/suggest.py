"""What a user may have meant by a field the schema doesn't know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches

from virt_types.structural.walk import Schema

# A field that exists in more places than this tells nothing about where it belongs.
FEW = 2
# How alike two words are that differ by a letter.
SAME = 0.85
# How alike they are at least to be a guess: `ulr` is as near to `url`.
NEAR = 0.66


def suggestion(schema: Schema, field: str) -> str:
    """`did you mean "domain"?` or `it belongs to spec.template.spec`, "" when nothing is near.

    `field` is a path as WalkResult.unknown has it, such as `spec.domian`.
    """
    parent, _, name = field.rpartition(".")
    here = {known.lower(): known for known in _at(schema, parent).get("properties", {})}
    if not get_close_matches(name.lower(), here, n=1, cutoff=SAME):
        homes = [path for path in _homes(schema, name) if path != parent]
        if 0 < len(homes) <= FEW:
            return f"it belongs to {' or '.join(homes)}"
    near = get_close_matches(name.lower(), here, n=1, cutoff=NEAR)
    return f'did you mean "{here[near[0]]}"?' if near else ""


def _at(schema: Schema, path: str) -> Schema:
    for name, index in re.findall(r"([^.\[\]]+)|(\[\d+\])", path):
        properties = schema.get("properties", {})
        schema = schema.get("items", {}) if index else properties.get(name) or schema.get("additionalProperties") or {}
        if not isinstance(schema, dict):
            return {}
    return schema


def _homes(schema: Schema, name: str, path: str = "") -> Iterator[str]:
    """Where a field of this name exists, status left out: users don't write it."""
    for known, sub in schema.get("properties", {}).items():
        if known == name and path:
            yield path
        if not path and known == "status":
            continue
        inner = f"{path}.{known}" if path else known
        yield from _homes(sub.get("items", sub), name, f"{inner}[]" if "items" in sub else inner)
