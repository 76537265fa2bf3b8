"""delete and deletecollection: options, preconditions, finalizers;
what waits for others waits with a deletionTimestamp.

Dependents and namespace contents are removed by `virt_local/gc.py`, as on a real cluster by its controllers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from virt_kube.admission import Admission
from virt_kube.api import ApiError, Json
from virt_local.apiserver import represent
from virt_local.apiserver.builtins import CRD, NAMESPACE, PROTECTED_NAMESPACES
from virt_local.apiserver.call import Answer, Call, Params, flag, integer
from virt_local.apiserver.definitions.names import CLEANUP_FINALIZER, mark_terminating
from virt_local.apiserver.metadata import now
from virt_local.apiserver.reads import Page, list_body
from virt_local.apiserver.schemas import Schemas
from virt_local.apiserver.status import (
    bad_request,
    conflict,
    forbidden,
    invalid_options,
    invalid_value,
    not_supported,
    qualified,
    success,
)
from virt_local.apiserver.typed import go_name
from virt_local.apiserver.writes import admission_request, finished, put_object
from virt_local.errors import WrongRevision
from virt_local.store import Record, Store

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
POLICIES = ("Foreground", "Background", "Orphan")
_RETRIES = 10
# Kinds whose deletion answers the object instead of a Status.
_ANSWERS_OBJECT = frozenset({"Service", "ServiceAccount", "StorageClass", "Pod", "PersistentVolumeClaim"})


@dataclass(frozen=True)
class DeleteOptions:
    """`accepted`: who asked in the old way not to orphan is told 202 while something is left to do."""

    policy: str = ""
    grace: int | None = None
    uid: str | None = None
    revision: str | None = None
    accepted: bool = False


def delete_options(call: Call, body: Json, params: Params) -> DeleteOptions:
    """From the body (DeleteOptions of any group), without one from the query; sets the call's dry run. 400 and 422."""
    _require_options(body)
    if body:
        params = {}
    policy = body.get("propagationPolicy")
    if policy is None:
        policy = params.get("propagationPolicy")
    orphan: bool | None = body.get("orphanDependents")
    if orphan is None and "orphanDependents" in params:
        orphan = flag(params, "orphanDependents")
    if orphan is not None and policy is not None:
        text = "orphanDependents and deletionPropagation cannot be both set"
        raise invalid_options("DeleteOptions", invalid_value("propagationPolicy", policy, text))
    if policy is not None and policy not in POLICIES:
        raise invalid_options("DeleteOptions", not_supported("propagationPolicy", policy, [*POLICIES, "nil"]))
    if orphan is not None:
        policy = "Orphan" if orphan else "Background"
    dry_run = body.get("dryRun") or ([params["dryRun"]] if "dryRun" in params else [])
    if any(part != "All" for part in dry_run):
        raise invalid_options("DeleteOptions", not_supported("dryRun", dry_run, ["All"]))
    call.dry_run = bool(dry_run)
    grace = body.get("gracePeriodSeconds")
    conditions = body.get("preconditions") or {}
    return DeleteOptions(
        policy=policy or "",
        accepted=orphan is False,
        grace=integer(params, "gracePeriodSeconds") if grace is None else grace,
        uid=conditions.get("uid"),
        revision=conditions.get("resourceVersion"),
    )


_SCHEME = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"
_OPTION_TYPES: dict[str, tuple[type, str]] = {
    "propagationPolicy": (str, "v1.DeletionPropagation"),
    "orphanDependents": (bool, "bool"),
    "gracePeriodSeconds": (int, "int64"),
    "dryRun": (list, "[]string"),
    "preconditions": (dict, "v1.Preconditions"),
}
_CONDITION_TYPES: dict[str, tuple[type, str]] = {"uid": (str, "types.UID"), "resourceVersion": (str, "string")}


def _require_options(body: Json) -> None:
    kind = body.get("kind")
    if kind not in (None, "", "DeleteOptions"):
        version = body.get("apiVersion") or "v1"
        raise bad_request(f'no kind "{kind}" is registered for version "{version}" in scheme "{_SCHEME}"')
    _require_types("", body, _OPTION_TYPES)
    _require_types("preconditions.", body.get("preconditions") or {}, _CONDITION_TYPES)


def _require_types(path: str, given: Json, types: dict[str, tuple[type, str]]) -> None:
    for name, (python, go) in types.items():
        value = given.get(name)
        if value is not None and type(value) is not python:
            struct = "Preconditions" if path else "DeleteOptions"
            raise bad_request(
                f"json: cannot unmarshal {go_name(value, go)} into Go struct field {struct}.{path}{name} of type {go}"
            )


class Deleter:
    def __init__(self, store: Store, schemas: Schemas, admission: Admission | None = None) -> None:
        self._store = store
        self._schemas = schemas
        self._admission = admission

    async def delete(self, call: Call, options: DeleteOptions) -> Answer:
        """200 with a Status when the object is gone, with the object when it waits for finalizers."""
        self._require_deletable(call)
        for _ in range(_RETRIES):
            stored = self._store.get(call.key)
            if stored is None:
                raise call.not_found()
            record = self._schemas.current(call.resource, stored)
            self._require_preconditions(call, record, options)
            old = represent.decode(record.value)
            if self._admission is not None:
                result = await self._admission.admit(admission_request("DELETE", call, None, old))
                call.warnings += result.warnings
            try:
                return await self._remove(call, record, old, options)
            except WrongRevision:
                continue
        raise conflict(call.resource.group, call.resource.plural, call.name)

    async def _remove(self, call: Call, record: Record, old: Json, options: DeleteOptions) -> Answer:
        new = represent.decode(record.value)
        meta = new["metadata"]
        finalizers = _finalizers(call, meta.get("finalizers") or [], options)
        if finalizers:
            meta["finalizers"] = finalizers
        else:
            meta.pop("finalizers", None)
        if not meta.get("deletionTimestamp"):
            meta["deletionTimestamp"] = now()
            if call.resource not in (NAMESPACE, CRD):
                meta["deletionGracePeriodSeconds"] = 0
                if call.resource.counts_generation:
                    meta["generation"] = meta.get("generation", 0) + 1
        if call.resource is NAMESPACE:
            new.setdefault("status", {})["phase"] = "Terminating"
        elif call.resource is CRD:
            mark_terminating(new)
        if not finished(new):
            value = represent.encode(new, call.resource)
            if not call.dry_run and new != old:
                value = (await put_object(self._store, call.key, record.rev, new, call)).value
            return self._object(call, value)._replace(code=202 if options.accepted else 200)
        if not call.dry_run:
            last = represent.decode(record.value)
            record = await put_object(self._store, call.key, record.rev, last, call, delete=True)
        if call.resource.builtin and call.resource.kind in _ANSWERS_OBJECT:
            return self._object(call, record.value)
        status = success(call.resource.group, call.resource.plural, call.name, meta["uid"])
        return Answer(200, msgspec.json.encode(status))

    async def delete_collection(self, call: Call, found: Page, options: DeleteOptions) -> Answer:
        """Delete what was listed; answers the list as it was."""
        gone: list[Record] = []
        for record in found.records:
            about = represent.meta(record.value)
            one = replace(call, namespace=about.namespace, name=about.name)
            try:
                await self.delete(one, options)
            except ApiError as error:
                if error.code != 404:
                    raise
                continue
            gone.append(record)
        return Answer(200, list_body(call, found._replace(records=gone)))

    def _object(self, call: Call, value: bytes) -> Answer:
        return Answer(200, represent.served(value, call.resource, call.version))

    def _require_deletable(self, call: Call) -> None:
        if call.resource is NAMESPACE and call.name in PROTECTED_NAMESPACES:
            raise forbidden("", "namespaces", call.name, "this namespace may not be deleted")

    def _require_preconditions(self, call: Call, record: Record, options: DeleteOptions) -> None:
        kind = qualified(call.resource.group, call.resource.kind)
        uid = represent.meta(record.value).uid
        if options.uid is not None and options.uid != uid:
            why = (
                f"the UID in the precondition ({options.uid}) does not match the UID in record ({uid}). "
                "The object might have been deleted and then recreated"
            )
            raise _precondition(call, kind, why)
        if options.revision is not None and options.revision != str(record.rev):
            why = (
                f"the ResourceVersion in the precondition ({options.revision}) does not match the ResourceVersion in "
                f"record ({record.rev}). The object might have been modified"
            )
            raise _precondition(call, kind, why)


def _precondition(call: Call, kind: str, why: str) -> ApiError:
    error = conflict(call.resource.group, call.resource.kind, call.name, why)
    error.message = error.status["message"] = f'Operation cannot be fulfilled on {kind} "{call.name}": {why}'
    return error


def _finalizers(call: Call, present: list[str], options: DeleteOptions) -> list[str]:
    """The object's finalizers with the one its propagation policy asks for."""
    wanted = list(present)
    if call.resource is CRD and CLEANUP_FINALIZER not in wanted:
        wanted.append(CLEANUP_FINALIZER)
    if not options.policy:
        return wanted
    ours = {"Foreground": FOREGROUND, "Orphan": ORPHAN}.get(options.policy)
    wanted = [name for name in wanted if name not in (FOREGROUND, ORPHAN) or name == ours]
    if ours and ours not in wanted:
        wanted.append(ours)
    return wanted
