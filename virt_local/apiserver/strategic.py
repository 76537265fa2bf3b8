"""Strategic merge patch: lists with a merge key merge by element, and directives (`$patch`, `$retainKeys`,
`$deleteFromPrimitiveList`, `$setElementOrder`) say what else is to be done.

Pure, like `patches.py`, and called beside it. The rules are those of k8s.io/apimachinery/pkg/util/strategicpatch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from virt_kube.api import Json
from virt_local.apiserver.patches import not_a_map
from virt_local.apiserver.status import bad_request, server_error
from virt_types.merge_keys import MERGE_SETS, merge_key


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
            shown = directive if isinstance(directive, str) else f"%!s({_go_type(directive)}={go_value(directive)})"
            raise server_error(f"unknown patch type: {shown} in map: {go_value(patch)}")


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
        text = (
            f"The order in patch list:\n{go_value(given)}\n doesn't match $setElementOrder list:\n{go_value(order)}\n"
        )
        raise server_error(text)


def _identity(item: Any, by: str) -> Any:
    """What tells an element of a list apart. 500 for one that has no such field."""
    if not by:
        return item
    if not isinstance(item, dict) or by not in item:
        raise server_error(f"map: {go_value(item)} does not contain declared merge key: {by}")
    return item[by]


def _merge_field(target: Json, key: str, value: Any, path: str) -> None:
    current = target.get(key)
    if value is None:
        target.pop(key, None)
    elif current is None and isinstance(value, dict | list):
        if not (isinstance(value, dict) and value.get("$patch") in ("replace", "delete")):
            target[key] = _undirected(value)  # else there is nothing to replace; a real server drops it too
    elif isinstance(value, dict):
        target[key] = _merge_map(current if isinstance(current, dict) else {}, value, path)
    elif isinstance(value, list) and isinstance(current, list) and (by := merge_key(path)):
        target[key] = _merge_list(current, value, by, path)
    elif isinstance(value, list) and isinstance(current, list) and path in MERGE_SETS:
        if current and not all(isinstance(item, str) for item in value):
            raise server_error(f"list element types are not identical: {go_value([current, value])}")
        target[key] = list(dict.fromkeys([*value, *current]))
    else:
        target[key] = copy.deepcopy(value)


def _undirected(value: Any) -> Any:
    """A copy of what a patch sets where nothing was: directives have nothing to say there, and nulls are left out."""
    if isinstance(value, dict):
        return {
            key: _undirected(inner)
            for key, inner in value.items()
            if inner is not None and key not in ("$patch", "$retainKeys") and not key.startswith(_LIST_DIRECTIVES)
        }
    if isinstance(value, list):
        directed = ("delete", "replace")
        return [_undirected(one) for one in value if not (isinstance(one, dict) and one.get("$patch") in directed)]
    return value


def _merge_list(target: list[Any], patch: list[Any], by: str, path: str) -> list[Any]:
    if not all(isinstance(item, dict) for item in patch):
        raise server_error(f"list element types are not identical: {go_value([target, patch])}")
    if any(item.get("$patch") == "replace" for item in patch):
        return [copy.deepcopy(item) for item in patch if item.get("$patch") != "replace"]
    before = [old.get(by) for old in target]
    for item in patch:
        key = _identity(item, by)
        if item.get("$patch") not in (None, "delete"):
            raise server_error(f"unknown patch type: {item['$patch']} in map: {go_value(item)}")
        found = next((i for i, old in enumerate(target) if old.get(by) == key), None)
        if item.get("$patch") == "delete":
            target = [old for old in target if old.get(by) != key]
        elif found is None:
            target.append(_merge_map({}, item, path + ".*"))
        else:
            target[found] = _merge_map(target[found], item, path + ".*")
    return _in_order(target, [item[by] for item in patch], before, lambda item: item.get(by))


def go_value(value: Any) -> str:
    """A decoded JSON value as Go prints it."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_value(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_value, value)) + "]"
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
