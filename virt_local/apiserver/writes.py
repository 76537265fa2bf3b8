"""create, update and patch: everything a body goes through between decoding and the store.

legacy spelling -> identity -> schema walk -> metadata and kind rules -> admission -> checks -> guarded store write.
A write that loses a race is done again on the newer object, unless its body named a resourceVersion.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from typing import Any

from virt_kube.admission import Admission, AdmissionRequest, Operation
from virt_kube.api import ApiError, Json, PatchKind
from virt_local.apiserver import apply, metadata, ownership, patches, represent, rules
from virt_local.apiserver.builtins import SERVICE
from virt_local.apiserver.call import Answer, Call
from virt_local.apiserver.grants import Guard
from virt_local.apiserver.incoming import (
    identified,
    require_revision,
    require_shape,
    require_url,
    respelled,
    unreadable_patch,
)
from virt_local.apiserver.plugins import require_resizable, require_room
from virt_local.apiserver.reads import parse_version
from virt_local.apiserver.scaled import scaled_causes
from virt_local.apiserver.schemas import Schemas
from virt_local.apiserver.services import ServiceAllocator
from virt_local.apiserver.status import (
    MODIFIED,
    already_exists,
    bad_request,
    conflict,
    failure,
    invalid,
    server_error,
    too_large,
)
from virt_local.apiserver.strategic import strategic_patch
from virt_local.errors import WriteFailed, WrongRevision
from virt_local.store import Key, Record, Store
from virt_types.errors import Cause
from virt_types.structural import UNCHECKED_RULES

MAX_OBJECT = 3 * 1024 * 1024  # bytes, however many small patches made it
RETRIES = 10  # races lost before a writer without a resourceVersion is told so

Change = Callable[[Json], Json]


class Writer:
    def __init__(
        self,
        store: Store,
        schemas: Schemas,
        services: ServiceAllocator,
        guard: Guard,
        admission: Admission | None = None,
    ) -> None:
        self._guard = guard
        self._store = store
        self._schemas = schemas
        self._services = services
        self._admission = admission

    async def create(self, call: Call, obj: Json, duplicates: Sequence[str] = ()) -> Answer:
        obj = identified(call, obj, patched=False)
        meta = require_shape(call, obj)
        if call.resource.namespaced and meta.get("namespace") not in (None, "", call.namespace):
            raise metadata.wrong_namespace()
        require_room(self._store, call, meta.get("name", ""))
        causes = self._schemas.apply(call, obj, list(duplicates))
        meta = obj["metadata"]
        metadata.begin(meta, call.namespace, generation=call.resource.counts_generation, dry_run=call.dry_run)
        call.name = meta.get("name", "")
        if call.resource.builtin:
            rules.prepare(call.resource, obj, None)
        if call.version.status and not call.resource.builtin:
            obj.pop("status", None)
            causes = self._schemas.recheck(call.resource, call.version, obj)
        self._require_valid(call, obj, None, causes)
        obj = await self._admit("CREATE", call, obj, None)
        ownership.created(call, obj, self._schemas.fields)  # what is allocated belongs to nobody
        with self._allocated(call, obj, None):
            if call.resource.builtin:
                call.warnings += rules.warnings(call.resource, obj)
            return await self._insert(call, obj)

    async def _insert(self, call: Call, obj: Json) -> Answer:
        existing = self._store.get(call.key)
        if existing is not None:
            deleting = represent.meta(existing.value).deletion_timestamp is not None
            raise already_exists(call.resource.group, call.resource.plural, call.name, deleting=deleting)
        if call.dry_run:
            return self._answer(call, 201, represent.encode(obj, call.resource))
        try:
            record = await self._put(call.key, 0, obj, call)
        except WrongRevision:
            raise already_exists(call.resource.group, call.resource.plural, call.name) from None
        return self._answer(call, 201, record.value)

    async def update(self, call: Call, obj: Json, duplicates: Sequence[str] = ()) -> Answer:
        """PUT. Kinds that allow it are created when absent."""
        if self._store.get(call.key) is None:
            if call.resource.creates_on_update and not call.subresource:
                self._guard.require_create(call)
                return await self.create(call, obj, duplicates)
            raise call.not_found()
        obj = identified(call, obj, patched=False)
        meta = require_shape(call, obj)
        require_url(call, meta)
        causes = self._schemas.apply(call, obj, list(duplicates))
        require_revision(call, obj["metadata"])
        uid = obj["metadata"].get("uid")

        def replacement(old: Json) -> Json:
            if uid and uid != old["metadata"]["uid"]:
                path = "/".join(part for part in call.key if part)
                text = (
                    f"StorageError: invalid object, Code: 4, Key: /{path.lstrip('/')}, ResourceVersion: 0, "
                    f"AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, "
                    f"UID in object meta: {old['metadata']['uid']}"
                )
                raise conflict(call.resource.group, call.resource.plural, call.name, text)
            return copy.deepcopy(obj)

        return await self.change(call, replacement, causes=causes)

    async def patch(self, call: Call, kind: PatchKind, patch: Any) -> Answer:
        strange = patches.unknown_parts(patch) if kind == "json" else []

        def patched(old: Json) -> Json:
            seen = represent.from_storage(old, call.resource)
            seen["apiVersion"] = call.api_version
            new = _apply_patch(kind, seen, patch)
            if not isinstance(new, dict):
                raise bad_request("a patch must leave an object")
            if kind == "strategic":  # merged into a typed object, which has a kind and a version already
                new |= {"apiVersion": call.api_version, "kind": call.resource.kind}
            new = identified(call, new, patched=True)
            meta = require_shape(call, new, patched=True)
            require_url(call, meta)
            if not call.resource.builtin:
                require_revision(call, meta)
            if strange and call.field_validation == "Strict":
                raise unreadable_patch(call, new, "strict decoding error: " + ", ".join(strange))
            return new

        if call.field_validation == "Warn":
            call.warnings += strange
        return await self.change(call, patched, walk=True)

    async def apply(self, call: Call, patch: Any, *, force: bool) -> Answer:
        """Server-side apply: 201 when it made the object. Raises 409 for fields others own, unless forced."""
        applied = respelled(call, apply.require_patch(call, patch))
        schema = self._schemas.fields(call)
        if why := self._schemas.untyped(call, applied):
            raise apply.untyped(call, why, applied["metadata"])
        apply.require_name(call, applied)
        apply.require_unique(call, applied, schema)
        call.applied = apply.fields(call, applied, schema)
        if self._store.get(call.key) is None:
            return await self._create_applied(call, applied)

        def merged(old: Json) -> Json:
            seen = represent.from_storage(old, call.resource)
            seen["apiVersion"] = call.api_version
            return apply.applied_to(call, seen, applied, schema, force=force)

        return await self.change(call, merged, walk=True)

    async def _create_applied(self, call: Call, applied: Json) -> Answer:
        if call.subresource:
            raise call.not_found()
        self._guard.require_create(call)
        if uid := applied["metadata"].get("uid"):
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise conflict(call.resource.group, call.resource.plural, call.name, why)
        obj = copy.deepcopy(applied)
        obj["metadata"].pop("resourceVersion", None)
        return await self.create(call, obj)

    async def change(self, call: Call, make: Change, *, causes: Sequence[Cause] = (), walk: bool = False) -> Answer:
        """Replace the object by `make(a copy of it)`, as often as races demand.

        With `walk`, what `make` returns goes through the schema; otherwise `causes` says what the schema found.
        """
        said = list(call.warnings)
        for _ in range(RETRIES):
            call.warnings[:] = said
            stored = self._store.get(call.key)
            if stored is None:
                raise call.not_found()
            record = self._schemas.current(call.resource, stored)
            old = represent.decode(record.value)
            new = make(represent.decode(record.value))
            found = self._schemas.apply(call, new, [], patched=True) if walk else list(causes)
            _merge_untouched(call, new, old)
            if not all(_is_written(call, cause) for cause in found):
                found = self._schemas.recheck(call.resource, call.version, new)
            given = new["metadata"].get("resourceVersion") or str(record.rev)
            if parse_version(given) is None:
                raise server_error(f'strconv.ParseUint: parsing "{given}": invalid syntax')
            if call.resource.builtin and given == "0":
                given = str(record.rev)
            if given != str(record.rev):
                raise conflict(call.resource.group, call.resource.plural, call.name, MODIFIED)
            try:
                return await self._replace(call, record, old, new, found)
            except WrongRevision:
                continue
        raise conflict(call.resource.group, call.resource.plural, call.name, MODIFIED)

    async def _replace(self, call: Call, record: Record, old: Json, new: Json, causes: list[Cause]) -> Answer:
        meta, old_meta = new["metadata"], old["metadata"]
        asked, deleted = meta.get("deletionTimestamp"), old_meta.get("deletionTimestamp")
        touched = bool(asked and deleted and asked != deleted)
        metadata.carry_over(meta, old_meta)
        meta["resourceVersion"] = str(record.rev)
        if call.resource.builtin:
            rules.prepare(call.resource, new, old, call.subresource)
        causes += metadata.update_causes(meta, old_meta)
        if not causes:
            causes = self._schemas.change_causes(call.resource, new, old)
        self._require_valid(call, new, old, causes)
        new = await self._admit("UPDATE", call, new, old)
        new["metadata"]["resourceVersion"] = str(record.rev)
        if call.resource.counts_generation and _counts(call, new, old):
            new["metadata"]["generation"] = old_meta.get("generation", 0) + 1
        metadata.drop_empty(new["metadata"])
        ownership.updated(call, new, old, self._schemas.fields)
        with self._allocated(call, new, old):
            if call.resource.builtin:
                call.warnings += rules.warnings(call.resource, new)
            unchanged = new == old and patches.same_json(new, old)
            if unchanged and not touched:
                return self._answer(call, 200, record.value)
            if call.dry_run:
                return self._answer(call, 200, represent.encode(new, call.resource))
            if finished(new):
                answer = represent.encode(new, call.resource)
                await self._put(call.key, record.rev, old, call, delete=True)  # watchers see its last stored state
                return self._answer(call, 200, answer)
            stored = await self._put(call.key, record.rev, new, call)
        return self._answer(call, 200, stored.value)

    async def _put(self, key: Key, expected: int, obj: Json, call: Call, *, delete: bool = False) -> Record:
        return await put_object(self._store, key, expected, obj, call, delete=delete)

    def _answer(self, call: Call, code: int, value: bytes) -> Answer:
        return Answer(code, represent.served(value, call.resource, call.version))

    def _require_valid(self, call: Call, obj: Json, old: Json | None, causes: list[Cause]) -> None:
        meta = obj["metadata"]
        found = [*metadata.causes(meta, call.resource, updating=old is not None), *causes]
        if not causes and self._schemas.leaves_unchecked(call.resource, found):
            found.append(UNCHECKED_RULES)
        if call.resource.builtin:
            found += rules.causes(call.resource, obj, old)
        elif call.version.scale is not None:
            found += scaled_causes(call.version.scale, obj)
        if found:
            group = "" if call.resource.builtin and call.resource.view_of else call.resource.group
            raise invalid(group, call.resource.kind, meta.get("name", ""), found)
        if not call.resource.builtin:
            call.warnings += [
                f'metadata.finalizers: "{name}": prefer a domain-qualified finalizer name '
                + ("including a path (/) " if "." in name else "")
                + "to avoid accidental conflicts with other finalizer writers"
                for name in metadata.unqualified_finalizers(meta)
                if name not in ((old or {}).get("metadata") or {}).get("finalizers", ())
            ]

    async def _admit(self, operation: Operation, call: Call, obj: Json, old: Json | None) -> Json:
        to_storage = represent.to_storage(obj, call.resource)
        self._guard.check(call, to_storage, old)
        if old is not None:
            require_resizable(self._store, call, to_storage, old)
        if self._admission is None:
            return to_storage
        before = copy.deepcopy(to_storage)
        result = await self._admission.admit(admission_request(operation, call, to_storage, old))
        call.warnings += result.warnings
        admitted = result.obj if result.obj is not None else to_storage
        if admitted != before and not call.resource.builtin:
            causes = self._schemas.recheck(call.resource, call.resource.storage, admitted)
            self._require_valid(call, admitted, old, causes)
        return admitted

    def _allocated(self, call: Call, obj: Json, old: Json | None) -> contextlib.AbstractContextManager[None]:
        if call.resource.stored_as == SERVICE.stored_as and not call.subresource:
            return self._services.allocate(obj, old, dry_run=call.dry_run)
        return contextlib.nullcontext()


async def put_object(store: Store, key: Key, expected: int, obj: Json, call: Call, *, delete: bool = False) -> Record:
    """Store the object with its new revision in it; a store that can't write is a 500 that says why."""
    metadata.drop_empty(obj["metadata"])

    def build(rev: int) -> bytes:
        obj["metadata"]["resourceVersion"] = str(rev)
        value = represent.encode(obj, call.resource)
        if len(value) > MAX_OBJECT and not delete:
            raise too_large(MAX_OBJECT)
        return value

    try:
        return await store.put(key, expected, build, delete=delete)
    except WriteFailed as error:
        raise failure(500, "InternalError", f"Internal error occurred: {error.message}", {}) from error


def admission_request(operation: Operation, call: Call, obj: Json | None, old: Json | None) -> AdmissionRequest:
    resource = call.resource.shown
    return AdmissionRequest(
        operation,
        resource.group,
        resource.storage.name,
        resource.plural,
        resource.kind,
        call.namespace,
        call.name,
        call.subresource,
        obj,
        old,
        call.user,
        call.dry_run,
    )


def finished(obj: Json) -> bool:
    """Deletion was asked for and nobody holds the object any longer."""
    meta = obj["metadata"]
    if not meta.get("deletionTimestamp") or meta.get("finalizers"):
        return False
    return obj.get("kind") != "Namespace" or not (obj.get("spec") or {}).get("finalizers")


def _apply_patch(kind: PatchKind, obj: Json, patch: Any) -> Any:
    match kind:
        case "json":
            return patches.json_patch(obj, patch)
        case "merge":
            if not isinstance(patch, dict):
                if patch is None:
                    raise bad_request("Invalid JSON Patch")
                raise bad_request(f"error decoding patch: {patches.not_a_map(patch)}")
            return patches.merge_patch(obj, patch)
        case _:
            return strategic_patch(obj, patch)


def _merge_untouched(call: Call, new: Json, old: Json) -> None:
    """A subresource changes its own part only, the object itself all but the status; in place."""
    if call.subresource in ("status", "finalize"):
        part = "status" if call.subresource == "status" else "spec"
        changed, meta = new.get(part), new["metadata"]
        new.clear()
        new.update(copy.deepcopy(old))
        new.pop(part, None)
        if changed is not None:
            new[part] = changed
        if call.resource.status_has_metadata:
            new["metadata"] = meta
        else:
            new["metadata"].update((key, meta[key]) for key in ("resourceVersion", "managedFields") if meta.get(key))
    elif call.version.status:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]


def _is_written(call: Call, cause: Cause) -> bool:
    """Whether it is about what this call writes: what is wrong elsewhere is not looked at."""
    if call.resource.builtin or not call.version.status:
        return True
    return cause.field.startswith("status") is (call.subresource == "status")


def _counts(call: Call, new: Json, old: Json) -> bool:
    """Whether a change raises the generation: everything but metadata, and but status where that is apart."""
    ignored = {"metadata", "apiVersion", "kind", *(("status",) if call.resource.storage.status else ())}
    left = {key: value for key, value in new.items() if key not in ignored}
    right = {key: value for key, value in old.items() if key not in ignored}
    return not patches.same_json(left, right)


__all__ = ["ApiError", "Writer", "admission_request", "finished", "put_object"]
