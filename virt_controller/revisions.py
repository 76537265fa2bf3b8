"""ControllerRevisions: what an object was made from, stored so that later edits don't change what runs.

The VM loop keeps the spec an instance was started from, instancetypes and pools what their VMs were made from. A
revision belongs to its owner and goes with it; its data never changes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from virt_controller.objects import ControllerRevision
from virt_kube.api import AlreadyExists, Conflict, Json, KubeClient, NotFound
from virt_kube.informer import Informer, Object
from virt_kube.resources import CONTROLLER_REVISIONS
from virt_types.codec import decode

OWNER_INDEX = "owner"

RevisionCache = Informer[ControllerRevision]


def revision(owner: Object, name: str, data: Json, number: int, *, marks: Mapping[str, str] | None = None) -> Json:
    """The revision `name` of `owner`, ready to be stored; `marks` become its labels."""
    meta = owner.metadata
    reference = {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    metadata: Json = {"name": name, "namespace": meta.namespace, "ownerReferences": [reference]}
    if marks:
        metadata["labels"] = dict(marks)
    kind = CONTROLLER_REVISIONS
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": metadata,
        "data": data,
        "revision": number,
    }


async def store(client: KubeClient, cache: RevisionCache, body: Json) -> ControllerRevision:
    """Make sure the API has exactly this revision; an identical one costs no request.

    One of the same name and owner but other data is replaced; one of another owner raises Conflict.
    """
    namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
    known = cache.get(namespace, name)
    if known is not None and _same(known, body):
        return known
    try:
        return _decoded(await client.create(CONTROLLER_REVISIONS, namespace, body), cache)
    except AlreadyExists:
        there = _decoded(await client.get(CONTROLLER_REVISIONS, namespace, name), cache)
    if _same(there, body):
        return there
    if _owner_uid(there) != body["metadata"]["ownerReferences"][0]["uid"]:
        raise Conflict(f"ControllerRevision {namespace}/{name} belongs to somebody else")
    await _delete(client, there)
    return _decoded(await client.create(CONTROLLER_REVISIONS, namespace, body), cache)


async def prune(
    client: KubeClient,
    cache: RevisionCache,
    owner: Object,
    *,
    keep: Collection[str],
    prefix: str = "",
    label: str = "",
) -> None:
    """Delete the owner's revisions whose name begins with `prefix` and that have `label`, but for those in `keep`."""
    for each in cache.by_index(OWNER_INDEX, owner.metadata.uid):
        name, marks = each.metadata.name, each.metadata.labels
        if name.startswith(prefix) and name not in keep and (not label or label in marks):
            await _delete(client, each)


def data_of(stored: ControllerRevision) -> Json:
    """The stored data as plain JSON."""
    content = msgspec.json.decode(stored.data)
    return content if isinstance(content, dict) else {}


def decode_revision(data: bytes) -> ControllerRevision:
    """As an informer keeps it: the data stays bytes, apart from the answer they came in."""
    stored = decode(data, ControllerRevision)
    stored.data = msgspec.Raw(bytes(stored.data))
    return stored


def owners(stored: ControllerRevision) -> list[str]:
    """The informer's index: the uid of who owns it."""
    uid = _owner_uid(stored)
    return [uid] if uid else []


async def _delete(client: KubeClient, stored: ControllerRevision) -> None:
    meta = stored.metadata
    try:
        await client.delete(CONTROLLER_REVISIONS, meta.namespace, meta.name, uid=meta.uid)
    except (NotFound, Conflict):
        return  # gone already, or another one by now


def _decoded(answer: bytes, cache: RevisionCache) -> ControllerRevision:
    cache.absorb(answer)
    return decode_revision(answer)


def _same(stored: ControllerRevision, body: Json) -> bool:
    same_owner: bool = _owner_uid(stored) == body["metadata"]["ownerReferences"][0]["uid"]
    return same_owner and data_of(stored) == body["data"]


def _owner_uid(stored: ControllerRevision) -> str:
    owner = stored.metadata.controller
    return owner.uid if owner is not None else ""
