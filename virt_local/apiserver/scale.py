"""The scale subresource: an autoscaling/v1 Scale that reads and writes one number of its object."""

from __future__ import annotations

from typing import Any

import msgspec

from virt_kube.api import Json, PatchKind
from virt_local.apiserver import patches, represent
from virt_local.apiserver.call import Answer, Call
from virt_local.apiserver.metadata import wrong_name
from virt_local.apiserver.registry import Scale
from virt_local.apiserver.scaled import at
from virt_local.apiserver.status import bad_request, internal, invalid, invalid_value
from virt_local.apiserver.writes import Writer
from virt_local.store import Record

API_VERSION = "autoscaling/v1"
_META = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def read(call: Call, record: Record) -> Record:
    """The Scale of a stored object; 500 when it says no number, as a real server answers."""
    return Record(record.rev, msgspec.json.encode(_scale(call, represent.decode(record.value))))


def _paths(call: Call) -> Scale:
    if call.version.scale is None:
        raise call.not_found()
    return call.version.scale


def _scale(call: Call, obj: Json, *, strict: bool = True) -> Json:
    paths = _paths(call)
    replicas = at(obj, paths.spec)
    if replicas is None and strict:
        raise internal(f'the spec replicas field ".{paths.spec}" does not exist')
    status: Json = {"replicas": at(obj, paths.status) or 0}
    if paths.selector and (selector := at(obj, paths.selector)):
        status["selector"] = selector
    meta = {key: obj["metadata"][key] for key in _META if key in obj["metadata"]}
    spec = {"replicas": replicas} if replicas else {}
    return {"kind": "Scale", "apiVersion": API_VERSION, "metadata": meta, "spec": spec, "status": status}


async def update(writer: Writer, call: Call, body: Json) -> Answer:
    if body.get("kind") not in (None, "", "Scale"):
        raise bad_request(f'no kind "{body.get("kind")}" is registered for {API_VERSION} Scale')
    return await _write(writer, call, lambda _: body)


async def patch(writer: Writer, call: Call, kind: PatchKind, body: Any) -> Answer:
    def patched(scale: Json) -> Json:
        changed = patches.json_patch(scale, body) if kind == "json" else patches.merge_patch(scale, body)
        if not isinstance(changed, dict):
            raise bad_request("a patch must leave an object")
        return changed

    return await _write(writer, call, patched)


async def _write(writer: Writer, call: Call, make: Any) -> Answer:
    paths = _paths(call)

    def scaled(obj: Json) -> Json:
        wanted = make(_scale(call, obj, strict=False))
        name = (wanted.get("metadata") or {}).get("name") or call.name
        if name != call.name:
            raise wrong_name(name, call.name)
        replicas = (wanted.get("spec") or {}).get("replicas", 0)
        if not isinstance(replicas, int) or isinstance(replicas, bool):
            shown = msgspec.json.encode(wanted).decode()
            text = "json: cannot unmarshal into Go struct field ScaleSpec.spec.replicas of type int32"
            raise invalid("", "", "", [invalid_value("patch", shown, text)])
        if replicas < 0:
            cause = invalid_value(f".{paths.spec}", replicas, "should be a non-negative integer")
            raise invalid(call.resource.group, call.resource.kind, call.name, [cause])
        *parents, last = paths.spec.split(".")
        target = obj
        for step in parents:
            target = target.setdefault(step, {})
        target[last] = replicas
        revision = (wanted.get("metadata") or {}).get("resourceVersion")
        if revision:
            obj["metadata"]["resourceVersion"] = revision
        return obj

    answer = await writer.change(call, scaled, walk=True)
    return Answer(200, msgspec.json.encode(_scale(call, represent.decode(answer.body))))
