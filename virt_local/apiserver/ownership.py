"""Who owns which field: `metadata.managedFields`, kept by every write, asked by server-side apply.

Objects the components of this program create carry none until somebody applies to them: then all that was there belongs
to `before-first-apply`, as in Kubernetes. So the hot path of the controllers pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from virt_kube.api import ApiError, Json
from virt_local.apiserver.call import Call
from virt_local.apiserver.fieldsets import Changes, FieldSet, compare, decode, dotted, encode
from virt_local.apiserver.metadata import now
from virt_local.apiserver.status import conflict

APPLY, UPDATE = "Apply", "Update"
BEFORE = "before-first-apply"
ANCIENT = "ancient-changes"
MOST_UPDATERS = 10  # entries of updates; the oldest of more become one
_META_IDENTITY = (
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "generation",
    "managedFields",
    "resourceVersion",
)
IDENTITY = frozenset(
    [("f:apiVersion",), ("f:kind",), ("f:metadata",), *(("f:metadata", f"f:{name}") for name in _META_IDENTITY)]
)


class Manager(NamedTuple):
    name: str
    operation: str
    api_version: str
    subresource: str = ""


@dataclass
class Owned:
    fields: FieldSet
    time: str = ""


Managers = dict[Manager, Owned]


def read(meta: Json) -> Managers:
    """What an object's metadata says; an entry nobody can read owns nothing."""
    found: Managers = {}
    for entry in meta.get("managedFields") or []:
        try:
            fields = decode(entry.get("fieldsV1") or {})
            manager = Manager(
                entry["manager"], entry["operation"], entry.get("apiVersion", ""), entry.get("subresource", "")
            )
        except (AttributeError, KeyError, ValueError, msgspec.DecodeError):
            continue
        found[manager] = Owned(fields, entry.get("time") or "")
    return found


def write(meta: Json, managers: Managers) -> None:
    entries = [_entry(manager, owned) for manager, owned in sorted(managers.items(), key=_rank)]
    if entries:
        meta["managedFields"] = entries
    else:
        meta.pop("managedFields", None)


def _rank(pair: tuple[Manager, Owned]) -> tuple[Any, ...]:
    manager, owned = pair
    return manager.operation, owned.time, manager.name, manager.api_version, manager.subresource


def _entry(manager: Manager, owned: Owned) -> Json:
    entry: Json = {"manager": manager.name, "operation": manager.operation, "apiVersion": manager.api_version}
    if owned.time:
        entry["time"] = owned.time
    entry |= {"fieldsType": "FieldsV1", "fieldsV1": encode(owned.fields)}
    if manager.subresource:
        entry["subresource"] = manager.subresource
    return entry


def countable(call: Call, fields: FieldSet) -> FieldSet:
    """Less what nobody owns: identity, and what this way of writing does not write."""
    unwritten = _unwritten(call)
    return frozenset(path for path in fields if path not in IDENTITY and path[0] not in unwritten)


def _unwritten(call: Call) -> tuple[str, ...]:
    if not call.version.status:
        return ()
    if call.subresource != "status":
        return () if call.subresource else ("f:status",)
    return ("f:spec",) if call.resource.status_has_metadata else ("f:spec", "f:metadata")


def created(call: Call, obj: Json, schema_of: Callable[[Call], Json]) -> None:
    """A new object belongs to who made it."""
    if call.applied is not None:
        if call.applied:
            write(obj["metadata"], {Manager(call.manager, APPLY, call.api_version): Owned(call.applied, now())})
        return
    if not call.tracked:
        return
    fields = _all_fields(call, obj, schema_of(call))
    if call.resource.kind == "Namespace":
        fields = frozenset(path for path in fields if path[0] == "f:metadata")  # the rest is the server's
    if fields:
        write(obj["metadata"], {_updater(call): Owned(fields, now())})


def _all_fields(call: Call, obj: Json, schema: Json) -> FieldSet:
    # Typed kinds always have these; they are not news.
    base: Json = {"metadata": {}, **({"spec": {}, "status": {}} if call.resource.builtin else {})}
    changes = compare({key: value for key, value in base.items() if key in obj}, obj, schema)
    return countable(call, changes.added | changes.modified)


def updated(call: Call, new: Json, old: Json, schema_of: Callable[[Call], Json]) -> None:
    """Whoever changed a field owns it now, alone. An object nobody tracks stays so. In place."""
    given = new["metadata"].get("managedFields")
    if call.applied is not None:  # settled by the apply itself
        if not given:
            new["metadata"].pop("managedFields", None)
        return
    if given is not None and not any(given):
        new["metadata"].pop("managedFields")  # asked to begin anew
        return
    managers = read(new["metadata"])
    if not managers or ({**new, "metadata": {}} == {**old, "metadata": {}} and _same_meta(new, old)):
        return
    changes = compare(old, new, schema_of(call))
    changed = countable(call, changes.added | changes.modified)
    ours = _updater(call)
    mine = managers.pop(ours, Owned(frozenset()))
    _take(managers, changed | changes.removed)
    fields = (mine.fields | changed) - changes.removed
    if fields:
        managers[ours] = Owned(fields, now() if changed or fields != mine.fields else mine.time)
    _bound(managers)
    write(new["metadata"], managers)


def _same_meta(new: Json, old: Json) -> bool:
    ignored = ("managedFields", "resourceVersion", "generation")
    return {k: v for k, v in new["metadata"].items() if k not in ignored} == {
        k: v for k, v in old["metadata"].items() if k not in ignored
    }


def _take(managers: Managers, fields: FieldSet) -> None:
    for manager, owned in list(managers.items()):
        owned.fields -= fields
        if not owned.fields:
            del managers[manager]


def _bound(managers: Managers) -> None:
    """Merge the oldest updates of too many into one entry."""
    updaters = sorted((pair for pair in managers.items() if pair[0].operation == UPDATE), key=lambda pair: pair[1].time)
    for manager, owned in updaters[: max(0, len(updaters) - MOST_UPDATERS)]:
        del managers[manager]
        ancient = managers.setdefault(Manager(ANCIENT, UPDATE, manager.api_version), Owned(frozenset(), owned.time))
        ancient.fields |= owned.fields


def _updater(call: Call) -> Manager:
    subresource = call.subresource if call.subresource in ("status", "scale") else ""
    return Manager(call.manager, UPDATE, call.api_version, subresource)


def before_first_apply(call: Call, old: Json, schema: Json) -> Managers:
    """Everything there belongs to whoever wrote before anybody counted."""
    fields = _all_fields(call, old, schema)
    return {Manager(BEFORE, UPDATE, call.api_version): Owned(fields, now())}


def settle(
    call: Call,
    managers: Managers,
    ours: Manager,
    changes: Changes,
    *,
    force: bool,
    free: Callable[[], FieldSet] = frozenset,
) -> None:
    """After an apply: others lose what it changed, if it may. Raises 409 with every conflict.

    `free()`, asked for when there is a conflict, are fields that may be taken from anybody.
    """
    changed = countable(call, changes.added | changes.modified)
    others = {manager: owned for manager, owned in managers.items() if manager != ours}
    conflicts = [
        (manager, path)
        for manager, owned in sorted(others.items(), key=_rank)
        for path in sorted(owned.fields & changed)
    ]
    if conflicts and not force:
        allowed = free()
        conflicts = [(manager, path) for manager, path in conflicts if path not in allowed]
    if conflicts and not force:
        raise _conflict(call, conflicts)
    _take(others, changed | changes.removed)
    for manager in [manager for manager in managers if manager != ours and manager not in others]:
        del managers[manager]


def _conflict(call: Call, conflicts: list[tuple[Manager, tuple[str, ...]]]) -> ApiError:
    def who(manager: Manager) -> str:
        shown = f'conflict with "{manager.name}"'
        if manager.subresource:
            shown += f' with subresource "{manager.subresource}"'
        return shown + (f" using {manager.api_version}" if manager.operation == UPDATE else "")

    causes = [
        {"reason": "FieldManagerConflict", "message": who(manager), "field": dotted(path)}
        for manager, path in conflicts
    ]
    count = f"{len(causes)} conflict" + ("s" if len(causes) > 1 else "")
    if len(causes) == 1:
        text = f"{causes[0]['message']}: {causes[0]['field']}"
    else:
        by_manager: dict[str, list[str]] = {}
        for cause in causes:
            by_manager.setdefault(cause["message"], []).append(cause["field"])
        text = "\n".join(
            "\n- ".join([name.replace("conflict", "conflicts", 1) + ":", *fields])
            for name, fields in sorted(by_manager.items())
        )
    error = conflict(call.resource.group, call.resource.plural, call.name, "")
    error.message = f"Apply failed with {count}: {text}"
    error.status.update(message=error.message, details={"causes": causes})
    return error
