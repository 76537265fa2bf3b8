"""Server-side apply: merge what a manager says into the object, take back what it no longer says, tell conflicts.

`Writer.apply` calls it between decoding and the ordinary way of an update. Rules: sigs.k8s.io/structured-merge-diff.
"""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from virt_kube.api import ApiError, Json
from virt_local.apiserver import metadata
from virt_local.apiserver.call import Call
from virt_local.apiserver.fieldsets import (
    FieldSet,
    child_schema,
    children,
    compare,
    dotted,
    element_key,
    fields_of,
    granular,
    prefixes,
    without,
)
from virt_local.apiserver.incoming import nameless, require_shape
from virt_local.apiserver.ownership import (
    APPLY,
    IDENTITY,
    Manager,
    Owned,
    before_first_apply,
    countable,
    read,
    settle,
    write,
)
from virt_local.apiserver.status import bad_request, server_error

KUBECTL = "kubectl"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def require_patch(call: Call, patch: Any) -> Json:
    """The body of an apply: an object of the path's kind, without managedFields. Raises 400."""
    group, _, version = (
        ("", "", "") if not isinstance(patch, dict) else str(patch.get("apiVersion") or "").rpartition("/")
    )
    kind = patch.get("kind") or "" if isinstance(patch, dict) else ""
    if not isinstance(patch, dict) or patch.get("apiVersion") != call.api_version or kind != call.resource.kind:
        raise bad_request(f"invalid object type: {group}/{version}, Kind={kind}")
    if patch.get("metadata") is None:
        patch["metadata"] = {}
    meta = patch["metadata"]
    if isinstance(meta, dict) and isinstance(meta.get("managedFields"), list):
        raise bad_request("metadata.managedFields must be nil")
    return patch


def require_name(call: Call, patch: Json) -> None:
    """The object of the path, whole. Raises 400."""
    meta = require_shape(call, patch)
    name = meta.get("name")
    if not name:
        raise nameless(call)
    if name != call.name:
        raise metadata.wrong_name(name, call.name)
    if meta.get("namespace") not in (None, "", call.namespace):
        raise metadata.wrong_namespace()


def require_unique(call: Call, applied: Json, schema: Json) -> None:
    """No two elements of a list may have one key: 500, as a real server says it."""

    def visit(value: Any, schema: Json, path: tuple[str, ...]) -> None:
        if not granular(value, schema):
            return
        seen: set[str] = set()
        for element, child, below in children(value, schema):
            if element in seen:
                why = f"{dotted(path)}: duplicate entries for key {dotted((element,))}"
                raise untyped(call, why, applied["metadata"])
            seen.add(element)
            visit(child, below, (*path, element))

    visit(applied, schema, ())


def untyped(call: Call, why: str, meta: Any) -> ApiError:
    """`meta` is what the patch says of itself."""
    group, _, version = call.api_version.rpartition("/")
    said = meta if isinstance(meta, dict) else {}
    namespace, name = (found if isinstance(found := said.get(key), str) else "" for key in ("namespace", "name"))
    return server_error(
        f"failed to create typed patch object ({namespace}/{name}; {group}/{version}, Kind={call.resource.kind}): {why}"
    )


def fields(call: Call, applied: Json, schema: Json) -> FieldSet:
    """What the manager owns by this apply."""
    return countable(call, fields_of(applied, schema))


def applied_to(call: Call, live: Json, applied: Json, schema: Json, *, force: bool) -> Json:
    """The object after the apply, with its managedFields; `live` is not changed. Raises 409."""
    managers = read(live["metadata"]) or before_first_apply(call, live, schema)
    ours = Manager(call.manager, APPLY, call.api_version, call.subresource)
    mine = managers.get(ours)
    wanted = fields(call, applied, schema)
    new: Json = _merge(copy.deepcopy(live), applied, schema)
    if mine is not None:
        others = frozenset[tuple[str, ...]]().union(*(owned.fields for key, owned in managers.items() if key != ours))
        # What was said before and is not said now goes, with the containers only it needed, unless others hold it.
        gone = prefixes(mine.fields - wanted) - prefixes(wanted) - prefixes(others) - IDENTITY
        new = without(new, schema, gone)
    changes = compare(live, new, schema)
    settle(call, managers, ours, changes, force=force, free=lambda: _applied_before(call, live, schema))
    time = mine.time if mine is not None else ""
    if any(changes) or (mine is not None and mine.fields != wanted):
        time = metadata.now()
    if wanted:
        managers[ours] = Owned(wanted, time)
    else:
        managers.pop(ours, None)
    write(new["metadata"], managers)
    new["metadata"].setdefault("managedFields", [])  # said to be none, not left to what it was
    if call.manager == KUBECTL:
        _keep_last_applied(new, applied)
    return new


def _applied_before(call: Call, live: Json, schema: Json) -> FieldSet:
    """What kubectl's own note says and the object still has: kubectl goes on with it from its client-side applies."""
    noted = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED) if call.manager == KUBECTL else None
    try:
        before = msgspec.json.decode(noted) if noted else None
    except msgspec.DecodeError:
        return frozenset()
    if not isinstance(before, dict) or before.get("apiVersion") != call.api_version:
        return frozenset()
    changes = compare(before, live, schema)
    return fields_of(before, schema) - changes.added - changes.modified - changes.removed


def _keep_last_applied(obj: Json, applied: Json) -> None:
    """kubectl's own note of a client-side apply follows its server-side ones, so that both can be mixed; in place."""
    annotations = obj["metadata"].get("annotations") or {}
    if LAST_APPLIED not in annotations:
        return
    meta = dict(applied["metadata"])
    if "annotations" in meta:
        meta["annotations"] = {key: value for key, value in meta["annotations"].items() if key != LAST_APPLIED}
    noted = msgspec.json.encode({**applied, "metadata": meta}, order="sorted")
    annotations[LAST_APPLIED] = noted.decode() + "\n"


def _merge(live: Any, applied: Any, schema: Json) -> Any:
    if applied is None and granular(live, schema):
        return live  # said to be there, and nothing of it
    kind = granular(applied, schema)
    if not kind or kind != granular(live, schema):
        return copy.deepcopy(applied)
    if isinstance(applied, dict):
        for name, value in applied.items():
            live[name] = _merge(live.get(name), value, child_schema(schema, name))
        return live
    return _merge_list(live, applied, schema)


def _merge_list(live: list[Any], applied: list[Any], schema: Json) -> list[Any]:
    """Elements in the order applied; those only the object has stay before what they stood before."""
    items = schema.get("items") or {}
    said = {element_key(item, schema): item for item in applied}
    there = {element_key(item, schema): item for item in live}
    waiting = list(there)
    merged: list[Any] = []
    for key, item in said.items():
        while waiting and waiting[0] not in said:
            merged.append(there[waiting.pop(0)])
        if key in there:
            waiting.remove(key)
        merged.append(_merge(there.get(key), item, items))
    return merged + [there[key] for key in waiting]
