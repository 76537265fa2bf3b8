"""The status of definitions: which names are accepted, and whether the resource is served.

On a real cluster controllers do this a moment later; here the pipeline asks for it right after each write of a
definition (`NameKeeper.settle`), so that whoever created one can use it at once.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from virt_kube.api import Json
from virt_local.apiserver import represent
from virt_local.apiserver.builtins import BUILTINS, CRD
from virt_local.apiserver.call import Call
from virt_local.apiserver.metadata import now
from virt_local.errors import WrongRevision
from virt_local.store import Key, Store

CLEANUP_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_NO_NAMES: Json = {"plural": "", "kind": ""}


class _Taken(NamedTuple):
    """Names other definitions of the group hold: those of resources (plural, singular, short) and those of kinds."""

    resources: frozenset[str]
    kinds: frozenset[str]


def begin(definition: Json) -> None:
    """Default the names and the status of a new definition, in place. Its names are nobody's yet."""
    spec = definition["spec"]
    default(spec)
    stored = [version["name"] for version in spec.get("versions") or () if version.get("storage")][:1]
    definition["status"] = {"conditions": None, "acceptedNames": dict(_NO_NAMES), "storedVersions": stored or None}


def default(spec: Json) -> None:
    names = spec["names"]
    if names.get("kind"):
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", names["kind"] + "List")
    spec.setdefault("conversion", {"strategy": "None"})
    if spec.get("preserveUnknownFields") is False:
        del spec["preserveUnknownFields"]


def keep_stored(definition: Json, old: Json) -> None:
    """An update adds the storage version to those in the store; the status is otherwise its own subresource's."""
    status = definition.setdefault("status", {})
    stored = status.get("storedVersions") or list((old.get("status") or {}).get("storedVersions") or [])
    current = [version["name"] for version in definition["spec"].get("versions") or () if version.get("storage")]
    status["storedVersions"] = [*stored, *(name for name in current[:1] if name not in stored)]


def condition(definition: Json, kind: str) -> str:
    """Its status, "" when it is not there."""
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return next((str(found["status"]) for found in conditions if found["type"] == kind), "")


def served(definition: Json) -> bool:
    return condition(definition, "Established") == "True"


def mark_terminating(definition: Json) -> None:
    text = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    _set(definition, "Terminating", "True", "InstanceDeletionPending", text)


def _set(definition: Json, kind: str, status: str, reason: str, message: str) -> None:
    conditions = definition["status"].get("conditions") or []
    definition["status"]["conditions"] = conditions
    new = {"type": kind, "status": status, "lastTransitionTime": now(), "reason": reason, "message": message}
    for index, old in enumerate(conditions):
        if old["type"] == kind:
            if old["status"] == status:
                new["lastTransitionTime"] = old["lastTransitionTime"]
            conditions[index] = new
            return
    conditions.append(new)


def accept(definition: Json, others: Iterable[Json]) -> None:
    """Accept what names are free, in place; `others` are the accepted names of the group's other definitions."""
    names, status = definition["spec"]["names"], definition["status"]
    taken = _taken(definition["spec"]["group"], others)
    accepted = dict(status.get("acceptedNames") or _NO_NAMES)
    conflict: tuple[str, str] | None = None
    for field, held in (
        ("plural", taken.resources),
        ("singular", taken.resources),
        ("shortNames", taken.resources),
        ("kind", taken.kinds),
        ("listKind", taken.kinds),
    ):
        wanted = names.get(field)
        clash = next((name for name in _listed(wanted) if name in held), None)
        if clash is None and wanted:
            accepted[field] = wanted
        elif clash is not None:
            conflict = (f"{field[0].upper()}{field[1:]}Conflict", f'"{clash}" is already in use')
    if "categories" in names:
        accepted["categories"] = names["categories"]
    status["acceptedNames"] = accepted
    if conflict is not None:
        _set(definition, "NamesAccepted", "False", *conflict)
        if condition(definition, "Established") != "True":
            _set(definition, "Established", "False", "NotAccepted", "not all names are accepted")
        return
    _set(definition, "NamesAccepted", "True", "NoConflicts", "no conflicts found")
    if condition(definition, "Established") != "True":
        _set(definition, "Established", "True", "InitialNamesAccepted", "the initial names have been accepted")


def _listed(wanted: str | list[str] | None) -> list[str]:
    return wanted if isinstance(wanted, list) else [wanted] if wanted else []


def _taken(group: str, others: Iterable[Json]) -> _Taken:
    resources: set[str] = set()
    kinds: set[str] = set()
    for resource in BUILTINS.values():
        if resource.group == group:
            resources |= {resource.plural, *resource.short_names}
            kinds.add(resource.kind)
    for names in others:
        resources |= {*_listed(names.get("plural")), *_listed(names.get("singular")), *_listed(names.get("shortNames"))}
        kinds |= {*_listed(names.get("kind")), *_listed(names.get("listKind"))}
    return _Taken(frozenset(resources), frozenset(kinds))


class _Status(msgspec.Struct, rename="camel"):
    accepted_names: dict[str, Any] = {}
    conditions: list[dict[str, Any]] | None = None


class _Light(msgspec.Struct):
    """A definition without its schemas: decoding those takes milliseconds."""

    status: _Status = msgspec.field(default_factory=_Status)


_light = msgspec.json.Decoder(_Light)


class NameKeeper:
    """Gives every stored definition the status its names have earned. The pipeline calls `settle`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def settle(self, call: Call) -> None:
        """After a write to the definition of `call`: see to it, and to those of its group that wait for names."""
        group = call.name.partition(".")[2]
        of_group = [key for key, _ in self._store.objects(CRD.stored_as) if key.name.partition(".")[2] == group]
        for key in sorted(of_group, key=lambda key: key.name != call.name):
            record = self._store.get(key)
            if record is None or (key.name != call.name and _accepted(record.value)):
                continue
            definition = represent.decode(record.value)
            accept(definition, [self._names(other) for other in of_group if other != key])
            if not represent.same(definition, record.value):
                with contextlib.suppress(WrongRevision):  # whoever was faster settles it
                    await self._store.put(key, record.rev, functools.partial(_encoded, definition))

    def _names(self, key: Key) -> Json:
        record = self._store.get(key)
        return _light.decode(record.value).status.accepted_names if record else {}


def _accepted(value: bytes) -> bool:
    conditions = _light.decode(value).status.conditions or ()
    return any(found["type"] == "NamesAccepted" and found["status"] == "True" for found in conditions)


def _encoded(definition: Json, rev: int) -> bytes:
    definition["metadata"]["resourceVersion"] = str(rev)
    return represent.encode(definition, CRD)
