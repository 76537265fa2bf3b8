"""The patch `apply` sends for Kubernetes' own kinds: kubectl's three-way strategic merge. Pure.

Lists with a merge key (ports of a service, containers of a pod) are patched element by element, so that elements which
others have added stay. Everything else is as in `virtctl.merge`.
"""

from __future__ import annotations

from typing import Any

from virt_types.merge_keys import MERGE_SETS, merge_key
from virtctl.merge import Json, kept

BUILTIN_GROUPS = frozenset(
    {
        "",
        "apps",
        "autoscaling",
        "batch",
        "policy",
        "admissionregistration.k8s.io",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "rbac.authorization.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    }
)


def three_way(last: Json, wanted: Json, current: Json, path: str = "") -> Json:
    """What turns `current` into `wanted`, and removes what `last` set and `wanted` no longer has; empty: nothing to do.

    `path` is where the three stand in their object, dotted, `*` for a list element.
    """
    patch: Json = {}
    for name, value in wanted.items():
        if name in current:
            where = f"{path}.{name}" if path else name
            patch.update(_field(name, last.get(name), value, current[name], where))
        else:
            patch[name] = value
    patch.update({name: None for name in last if name not in wanted and name in current})
    return patch


def _field(name: str, last: Any, wanted: Any, current: Any, path: str) -> Json:
    """The patch's entries for one field that is there."""
    if isinstance(wanted, dict) and isinstance(current, dict):
        inner = three_way(last if isinstance(last, dict) else {}, wanted, current, path)
        return {name: inner} if inner else {}
    if isinstance(wanted, list) and isinstance(current, list):
        before = last if isinstance(last, list) else []
        if path in MERGE_SETS:
            return _set(name, before, wanted, current)
        if key := merge_key(path):
            return _elements(name, before, wanted, current, path=path, key=key)
    return {} if kept(last, wanted, current) else {name: wanted}


def _set(name: str, last: list[Any], wanted: list[Any], current: list[Any]) -> Json:
    added = [item for item in wanted if item not in current]
    removed = [item for item in last if item not in wanted and item in current]
    return {**({name: added} if added else {}), **({f"$deleteFromPrimitiveList/{name}": removed} if removed else {})}


def _elements(name: str, last: list[Any], wanted: list[Any], current: list[Any], *, path: str, key: str) -> Json:
    past, aims, present = (_by_key(items, key) for items in (last, wanted, current))
    if aims is None or present is None:
        # Two ports of one number (TCP and UDP): nothing tells them apart, so the list is replaced.
        return {} if kept(last, wanted, current) else {name: [*wanted, {"$patch": "replace"}]}
    past = past or {}
    items: list[Json] = []
    for identity, item in aims.items():
        if identity not in present:
            items.append(item)
        elif inner := three_way(past.get(identity, {}), item, present[identity], f"{path}.*"):
            items.append({key: identity, **inner})
    items += [{key: identity, "$patch": "delete"} for identity in past if identity in present and identity not in aims]
    order = [identity for identity in present if identity in aims]
    if not items and order == list(aims):
        return {}
    return {name: items, f"$setElementOrder/{name}": [{key: identity} for identity in aims]}


def _by_key(items: list[Any], key: str) -> dict[Any, Json] | None:
    """The elements by their merge key; None when it does not tell them apart."""
    if not all(isinstance(item, dict) and isinstance(item.get(key), str | int) for item in items):
        return None
    found = {item[key]: item for item in items}
    return found if len(found) == len(items) else None
