"""JSON patch (RFC 6902) and merge patch (RFC 7386); Kubernetes' own merge is in `strategic.py`.

Pure functions on decoded JSON; the caller hands in an object it owns. Quirks of a real server are kept: `replace` of a
missing map key adds it, `copy` of one gives null, and what stands before a pointer's first slash is not looked at.
"""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from virt_kube.api import Json
from virt_local.apiserver.status import bad_request, failure, unprocessable

_encode = msgspec.json.Encoder().encode
_GO_MAP = "Go value of type map[string]interface {}"
_GO_KINDS: dict[type, str] = {bool: "bool", int: "number", float: "number", str: "string", list: "array"}
MAX_OPERATIONS = 10_000
MAX_COPIED = 3 * 1024 * 1024  # bytes that all copies of one patch may add


class _FailedError(Exception):
    """An operation does not apply."""


def json_patch(obj: Any, operations: Any) -> Any:
    """The patched object. 422 when an operation fails, 400 when the patch is none, 413 when it would do too much."""
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    if len(operations) > MAX_OPERATIONS:
        raise failure(
            413,
            "RequestEntityTooLarge",
            "Request entity too large: The allowed maximum operations in a JSON patch is "
            f"{MAX_OPERATIONS}, got {len(operations)}",
        )
    for operation in operations:
        _require_operation(operation)
    try:
        copied = 0
        for operation in operations:
            if isinstance(operation, dict) and operation.get("op") == "copy":
                copied += len(_encode(_source(obj, operation)))
                if copied > MAX_COPIED:
                    raise failure(
                        413,
                        "RequestEntityTooLarge",
                        f"Unable to complete the copy, the accumulated size increase of copy is {copied}, "
                        f"exceeding the limit {MAX_COPIED}",
                    )
            obj = _apply(obj, operation)
    except _FailedError:
        raise unprocessable() from None
    return obj


_OPERATION = {"op": str, "path": str, "from": str}


def _require_operation(operation: Any) -> None:
    """400 for what Go can't read as an operation."""
    if operation is not None and not isinstance(operation, dict):
        name = _GO_KINDS[type(operation)]
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {name} into Go value of type handlers.jsonPatchOp"
        )
    for key, wanted in _OPERATION.items():
        value = (operation or {}).get(key)
        if value is not None and not isinstance(value, wanted):
            name = _GO_KINDS.get(type(value), "object")
            raise bad_request(
                f"error decoding patch: json: cannot unmarshal {name} into Go struct field jsonPatchOp.{key} "
                "of type string"
            )


def unknown_parts(operations: Any) -> list[str]:
    """What operations have besides an op, a path, a source and a value."""
    if not isinstance(operations, list):
        return []
    return [
        f'json patch unknown field "[{index}].{key}"'
        for index, operation in enumerate(operations)
        if isinstance(operation, dict)
        for key in operation
        if key not in (*_OPERATION, "value")
    ]


def _apply(obj: Any, operation: Any) -> Any:
    if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
        raise _FailedError
    path = _pointer(operation["path"])
    match operation.get("op"):
        case "add" if path:
            return _set(obj, path, copy.deepcopy(operation.get("value")), insert=True)
        case "replace" if "value" in operation:
            return _set(obj, path, copy.deepcopy(operation["value"]), insert=False)
        case "remove":
            return _remove(obj, path)
        case "test":
            if not same_json(_get(obj, path, missing=None), operation.get("value")):
                raise _FailedError
            return obj
        case "copy" if path:
            return _set(obj, path, copy.deepcopy(_source(obj, operation)), insert=True)
        case "move" if path:
            value = _source(obj, operation)
            return _set(_remove(obj, _pointer(operation["from"])), path, value, insert=True)
    raise _FailedError


def _source(obj: Any, operation: Json) -> Any:
    path = operation.get("from")
    if not isinstance(path, str) or not path:
        raise _FailedError
    return _get(obj, _pointer(path), missing=None)


def _pointer(text: str) -> list[str]:
    if not text:
        return []
    if "/" not in text:
        raise _FailedError
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


_RAISE: Any = object()


def _get(obj: Any, path: list[str], *, missing: Any = _RAISE) -> Any:
    for number, step in enumerate(path):
        try:
            obj = obj[_index(step, len(obj) - 1)] if isinstance(obj, list) else obj[step]
        except (KeyError, TypeError):
            if missing is not _RAISE and isinstance(obj, dict) and number == len(path) - 1:
                return missing
            raise _FailedError from None
    return obj


def _index(step: str, last: int) -> int:
    if not step.removeprefix("-").isdecimal():
        raise _FailedError
    index = int(step)
    if index < 0:
        index += last + 1
    if not 0 <= index <= last:
        raise _FailedError
    return index


def _set(obj: Any, path: list[str], value: Any, *, insert: bool) -> Any:
    if not path:
        return value
    parent, step = _get(obj, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[step] = value
    elif isinstance(parent, list) and insert:
        parent.insert(len(parent) if step == "-" else _index(step, len(parent)), value)
    elif isinstance(parent, list):
        parent[_index(step, len(parent) - 1)] = value
    else:
        raise _FailedError
    return obj


def _remove(obj: Any, path: list[str]) -> Any:
    if not path:
        raise _FailedError
    parent, step = _get(obj, path[:-1]), path[-1]
    if isinstance(parent, dict) and step in parent:
        del parent[step]
    elif isinstance(parent, list):
        del parent[_index(step, len(parent) - 1)]
    else:
        raise _FailedError
    return obj


def same_json(left: Any, right: Any) -> bool:
    """JSON equality: unlike Python's, true is not 1."""
    # Both ends of the usual case at C's speed: what Python holds to be different is, and the same text is the same.
    return left == right and (_encode(left) == _encode(right) or _same(left, right))


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)


def not_a_map(patch: Any) -> str:
    """What Go says of a patch that is no object."""
    return f"json: cannot unmarshal {_GO_KINDS.get(type(patch), 'null')} into {_GO_MAP}"


def merge_patch(obj: Any, patch: Any) -> Any:
    """RFC 7386: null removes, maps merge, everything else replaces."""
    if not isinstance(patch, dict):
        return _without_nulls(patch)
    target = obj if isinstance(obj, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = merge_patch(target.get(key), value)
    return target


def _without_nulls(value: Any) -> Any:
    """A copy of what a merge patch sets: fields that are null are left out also below a list, as on a real server."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value
