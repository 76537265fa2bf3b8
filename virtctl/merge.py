"""The patch `apply` sends: kubectl's three-way merge, as a JSON merge patch (RFC 7386). Pure."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def three_way(last: Json, wanted: Json, current: Json) -> Json:
    """What turns `current` into `wanted`, and removes what `last` set and `wanted` no longer has.

    Fields that others set (status, defaults, annotations of controllers) are left alone. Empty: nothing to do.
    """
    patch: Json = {}
    for name, value in wanted.items():
        if isinstance(value, dict) and isinstance(current.get(name), dict):
            before = last.get(name)
            inner = three_way(before if isinstance(before, dict) else {}, value, current[name])
            if inner:
                patch[name] = inner
        elif name not in current or current[name] != value:
            patch[name] = value
    for name in last:
        if name not in wanted and name in current:
            patch[name] = None
    return patch


def merged(target: Any, patch: Any) -> Any:
    """`patch` applied to `target` by RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
