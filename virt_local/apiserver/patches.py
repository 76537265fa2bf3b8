"""The three patches that need no ownership: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge patch.

Pure functions on decoded JSON; the caller hands in an object it owns. Quirks of a real server are kept: `replace` of a
missing map key adds it, `copy` of one gives null, and what stands before a pointer's first slash is not looked at.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import msgspec

from virt_kube.api import Json
from virt_local.apiserver.status import bad_request, failure, server_error, unprocessable
from virt_types.merge_keys import MERGE_SETS, merge_key

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


def strategic_patch(obj: Json, patch: Any) -> Json:
    """Kubernetes' own merge: lists with a merge key merge by element; `$patch`, `$retainKeys`,
    `$deleteFromPrimitiveList` and `$setElementOrder` as in k8s.io/apimachinery/pkg/util/strategicpatch.

    Raises 400 or 500 for a broken patch.
    """
    if not isinstance(patch, dict):
        raise bad_request(not_a_map(patch))
    return _merge_map(obj, patch, "")


_LIST_DIRECTIVES = ("$setElementOrder/", "$deleteFromPrimitiveList/")


def _merge_map(target: Json, patch: Json, path: str) -> Json:
    if "$patch" in patch:
        return _directed(patch)
    if (retained := patch.get("$retainKeys")) is not None:
        if not isinstance(retained, list) or any(not key.startswith("$") and key not in retained for key in patch):
            raise bad_request("invalid patch format of retainKeys")
        for key in [key for key in target if key not in retained]:
            del target[key]
    for key in patch:
        if key.startswith("$setElementOrder/"):
            _require_order(key, patch, path)
    for key, value in patch.items():
        if key != "$retainKeys" and not key.startswith(_LIST_DIRECTIVES):
            _merge_field(target, key, value, f"{path}.{key}" if path else key)
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.partition("/")[2]
            target[field] = [item for item in target.get(field, []) if item not in value]
    for key, order in patch.items():
        if key.startswith("$setElementOrder/"):
            _order(target, key.partition("/")[2], order, path)
    return target


def _directed(patch: Json) -> Json:
    match patch["$patch"]:
        case "replace":
            return {key: copy.deepcopy(value) for key, value in patch.items() if key != "$patch"}
        case "delete":
            return {}
        case directive:
            shown = directive if isinstance(directive, str) else f"%!s({_go_type(directive)}={_go_map(directive)})"
            raise server_error(f"unknown patch type: {shown} in map: {_go_map(patch)}")


def _go_type(value: Any) -> str:
    names = {bool: "bool", int: "int64", float: "float64", list: "[]interface {}", dict: "map[string]interface {}"}
    return names.get(type(value), "string" if isinstance(value, str) else "<nil>")


def _require_order(key: str, patch: Json, path: str) -> None:
    """500 when a patch's own elements do not stand in the order it gives."""
    field, order = key.partition("/")[2], patch[key]
    if not isinstance(order, list):
        raise server_error(f"expected a []interface {{}}, but received a {_go_type(order)}")
    by = merge_key(f"{path}.{field}" if path else field)
    wanted = [_identity(item, by) for item in order]
    items = patch.get(field)
    given = [
        item for item in items or [] if not (isinstance(item, dict) and item.get("$patch") in ("delete", "replace"))
    ]
    places = [wanted.index(known) if (known := _identity(item, by)) in wanted else -1 for item in given]
    if -1 in places or places != sorted(places):
        text = f"The order in patch list:\n{_go_map(given)}\n doesn't match $setElementOrder list:\n{_go_map(order)}\n"
        raise server_error(text)


def _identity(item: Any, by: str) -> Any:
    """What tells an element of a list apart. 500 for one that has no such field."""
    if not by:
        return item
    if not isinstance(item, dict) or by not in item:
        raise server_error(f"map: {_go_map(item)} does not contain declared merge key: {by}")
    return item[by]


def _merge_field(target: Json, key: str, value: Any, path: str) -> None:
    current = target.get(key)
    if value is None:
        target.pop(key, None)
    elif isinstance(value, dict) and key not in target and value.get("$patch") in ("replace", "delete"):
        return  # there is nothing to replace; a real server drops it too
    elif isinstance(value, dict):
        target[key] = _merge_map(current if isinstance(current, dict) else {}, value, path)
    elif isinstance(value, list) and (by := merge_key(path)):
        target[key] = _merge_list(current if isinstance(current, list) else [], value, by, path)
    elif isinstance(value, list) and path in MERGE_SETS:
        if not all(isinstance(item, str) for item in value):
            raise server_error(f"list element types are not identical: {_go_map([current or [], value])}")
        target[key] = list(dict.fromkeys([*value, *(current or [])]))
    else:
        target[key] = copy.deepcopy(value)


def _merge_list(target: list[Any], patch: list[Any], by: str, path: str) -> list[Any]:
    if not all(isinstance(item, dict) for item in patch):
        raise server_error(f"list element types are not identical: {_go_map([target, patch])}")
    if any(item.get("$patch") == "replace" for item in patch):
        return [copy.deepcopy(item) for item in patch if item.get("$patch") != "replace"]
    before = [old.get(by) for old in target]
    for item in patch:
        key = _identity(item, by)
        if item.get("$patch") not in (None, "delete"):
            raise server_error(f"unknown patch type: {item['$patch']} in map: {_go_map(item)}")
        found = next((i for i, old in enumerate(target) if old.get(by) == key), None)
        if item.get("$patch") == "delete":
            target = [old for old in target if old.get(by) != key]
        elif found is None:
            target.append(_merge_map({}, item, path + ".*"))
        else:
            target[found] = _merge_map(target[found], item, path + ".*")
    return _in_order(target, [item[by] for item in patch], before, lambda item: item.get(by))


def _go_map(value: Any) -> str:
    """A decoded JSON value as Go prints it."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{_go_map(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(_go_map, value)) + "]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _in_order(items: list[Any], patch: list[Any], before: list[Any], identity: Callable[[Any], Any]) -> list[Any]:
    """Elements the patch names in its order, the others in theirs; among each other as they stood before.

    What was not there before comes ahead of what the patch does not name.
    """
    named = sorted((item for item in items if identity(item) in patch), key=lambda item: patch.index(identity(item)))
    others = [item for item in items if identity(item) not in patch]
    found: list[Any] = []
    while named and others:
        first = identity(named[0])
        ahead = first not in before or before.index(first) < before.index(identity(others[0]))
        found.append(named.pop(0) if ahead else others.pop(0))
    return found + named + others


def _order(target: Json, field: str, order: list[Any], path: str) -> None:
    items = target.get(field)
    if not isinstance(items, list):
        return
    by = merge_key(f"{path}.{field}" if path else field)

    def identity(item: Any) -> Any:
        return item.get(by) if by and isinstance(item, dict) else item

    before = [identity(item) for item in items]
    target[field] = _in_order(items, [identity(item) for item in order], before, identity)
