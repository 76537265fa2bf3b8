"""Structural schemas at work: prune, default and check an object, all in one walk.

Walkers are compiled when a kind is first written and kept until its definition changes.
"""

from __future__ import annotations

from virt_kube.api import ApiError, Json
from virt_local.apiserver import conformity, represent, typed
from virt_local.apiserver.builtins import type_name
from virt_local.apiserver.call import Call
from virt_local.apiserver.fieldsets import META_SCHEMA
from virt_local.apiserver.incoming import unreadable_patch
from virt_local.apiserver.registry import ResourceType, Version
from virt_local.apiserver.scalars import Unreadable
from virt_local.apiserver.status import bad_request, server_error
from virt_local.store import Record
from virt_types.errors import Cause
from virt_types.structural import BLOCKING, Walker, compile_schema


class Schemas:
    def __init__(self) -> None:
        self._walkers: dict[tuple[str, str, str], Walker | None] = {}
        self._slim: dict[tuple[str, str, str], Json] = {}

    def forget(self, crd: str) -> None:
        """The definition changed or is gone."""
        for kept in (self._walkers, self._slim):
            for key in [key for key in kept if key[0] == crd]:
                del kept[key]

    def apply(self, call: Call, obj: Json, duplicates: list[str], *, patched: bool = False) -> list[Cause]:
        """Prune and default in place; returns what is wrong.

        A built-in kind with a value of a wrong type can't be read at all: 400, or 422 when a patch made it so.
        Unknown and duplicate fields become warnings, or a 400 with all of them when validation is Strict.
        """
        unknown: list[str] = []
        found: list[Cause] = []
        if call.resource.builtin:  # Go's types know no more than types; the kind's own rules come later
            unknown = _typed(call, obj, patched=patched)
        elif (walker := self._walker(call.resource, call.version)) is not None:
            result = walker(obj, defaults=True, prune=True)
            found, unknown = list(result.causes), list(result.unknown)
        problems = [f'duplicate field "{path}"' for path in (*duplicates, *call.duplicates)]
        problems += [f'unknown field "{path}"' for path in unknown]
        if problems and call.field_validation == "Strict":
            why = "strict decoding error: " + ", ".join(problems)
            raise unreadable_patch(call, obj, why) if patched else _unhandled(call, why)
        if call.field_validation == "Warn":
            call.warnings.extend(problems)
        return found

    def recheck(self, resource: ResourceType, version: Version, obj: Json) -> list[Cause]:
        """After admission changed the object: same walk, nothing said about what is pruned."""
        if resource.builtin:
            typed.normal(type_name(resource), obj)
            return []
        walker = self._walker(resource, version)
        return [] if walker is None else list(walker(obj, defaults=True, prune=True).causes)

    def change_causes(self, resource: ResourceType, new: Json, old: Json) -> list[Cause]:
        """What a definition's rules about changes find wrong."""
        walker = None if resource.builtin else self._walker(resource, resource.storage)
        return [] if walker is None else walker.changes(new, old)

    def leaves_unchecked(self, resource: ResourceType, causes: list[Cause]) -> bool:
        """Whether a definition's rules are not evaluated because of what is wrong already."""
        if not any(cause.reason in BLOCKING for cause in causes) or resource.builtin:
            return False
        walker = self._walker(resource, resource.storage)
        return walker is not None and walker.has_rules

    def current(self, resource: ResourceType, record: Record) -> Record:
        """A stored object as the schema has it now; most were written under it, and cost a comparison."""
        if record.rev > resource.since:
            return record
        obj = represent.decode(record.value)
        self.recheck(resource, resource.storage, obj)
        return record._replace(value=represent.encode(obj, resource))

    def untyped(self, call: Call, obj: Json) -> str:
        """Why an object can't be told into typed fields: the first unknown field or value of a wrong type."""
        return conformity.problem(obj, self.fields(call))

    def fields(self, call: Call) -> Json:
        """The schema as far as field ownership asks: names, types, list keys, what is atomic. Kept: writes need it."""
        key = (call.resource.crd, call.resource.qualified, call.version.name)
        if key not in self._slim:
            found = _slim(call.version.schema() or {})
            identity = {"apiVersion": _TEXT, "kind": _TEXT, "metadata": META_SCHEMA}
            self._slim[key] = {**found, "properties": {**found.get("properties", {}), **identity}}
        return self._slim[key]

    def _walker(self, resource: ResourceType, version: Version) -> Walker | None:
        key = (resource.crd, resource.qualified, version.name)
        if key not in self._walkers:
            schema = version.schema()
            self._walkers[key] = compile_schema(schema) if schema else None
        return self._walkers[key]


_LEAF: Json = {}
_TEXT: Json = {"type": "string"}
_OWNERSHIP = (
    "type", "default", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource",
)  # fmt: skip


def _slim(schema: Json) -> Json:
    found = {key: schema[key] for key in _OWNERSHIP if key in schema}
    if "properties" in schema:
        found["properties"] = {name: _slim(child) for name, child in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found[key] = _slim(schema[key])
    return found or _LEAF


def _typed(call: Call, obj: Json, *, patched: bool) -> list[str]:
    try:
        return typed.normal(type_name(call.resource), obj)
    except Unreadable as error:
        raise _unreadable(call, obj, error.message, patched=patched) from None


def _unreadable(call: Call, obj: Json, why: str, *, patched: bool) -> ApiError:
    kind, version = call.resource.kind, call.version.name
    if call.applied is not None:
        kind_of = f"{call.resource.group}/{version}, Kind={kind}"
        return server_error(
            f"failed to convert new object ({obj['metadata'].get('namespace', '')}/{call.name}; {kind_of}) to proper "
            f"version: unable to convert unstructured object to {kind_of}: error decoding from json: {why}"
        )
    if patched:
        return unreadable_patch(call, obj, why)
    return _unhandled(call, why)


def _unhandled(call: Call, why: str) -> ApiError:
    kind = call.resource.kind
    return bad_request(f'{kind} in version "{call.version.name}" cannot be handled as a {kind}: {why}')
