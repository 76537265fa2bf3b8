"""The patch `apply` sends: kubectl's three-way merge, as a JSON merge patch (RFC 7386). Pure.

For custom resources, ours too; Kubernetes' own kinds have `virtctl.strategic`.
"""

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
        elif name not in current or not kept(last.get(name), value, current[name]):
            patch[name] = value
    for name in last:
        if name not in wanted and name in current:
            patch[name] = None
    return patch


def kept(last: Any, wanted: Any, current: Any) -> bool:
    """A value that need not be sent: it is there, or unchanged since last time and only added to by the server."""
    return bool(current == wanted or (last == wanted and isinstance(wanted, list) and covers(wanted, current)))


def covers(wanted: Any, current: Any) -> bool:
    """Whether `current` is `wanted` plus fields in its maps."""
    if isinstance(wanted, dict) and isinstance(current, dict):
        return all(name in current and covers(value, current[name]) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(current, list):
        return len(wanted) == len(current) and all(map(covers, wanted, current))
    return bool(wanted == current)


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
