"""get and list: from stored bytes to served bytes, decoding only what selectors ask about."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

import msgspec

from virt_local.apiserver import represent
from virt_local.apiserver.call import Call, Params, integer
from virt_local.apiserver.selectors import FieldSelector, LabelSelector
from virt_local.apiserver.status import (
    bad_request,
    expired,
    forbidden_value,
    invalid_options,
    not_supported,
    too_large_resource_version,
)
from virt_local.errors import Compacted
from virt_local.store import Key, Record, Store

GONE = (
    "The provided continue parameter is too old to display a consistent list result. You must start a new list without "
    "the continue parameter."
)


class Selection(NamedTuple):
    """What a list or watch is about. Label terms read metadata only; field terms decode the object."""

    labels: LabelSelector
    fields: FieldSelector

    def matches(self, value: bytes) -> bool:
        if self.labels and not self.labels.matches(represent.meta(value).labels):
            return False
        return not self.fields or self.fields.matches(represent.decode(value))


class Page(NamedTuple):
    """Stored objects of one list answer. `remaining` is unknown (None) when selectors are at work."""

    records: list[Record]
    revision: int
    continue_: str
    remaining: int | None


class _Continue(msgspec.Struct):
    rv: int
    after: tuple[str, str]


def selection(call: Call, params: Params) -> Selection:
    labels = LabelSelector(params.get("labelSelector", ""))
    fields = FieldSelector(params.get("fieldSelector", ""), call.resource.fields, builtin=call.resource.builtin)
    return Selection(labels, fields)


def get(store: Store, call: Call, params: Params) -> Record:
    record = store.get(call.key)
    _wanted_version(store, params)
    if record is None:
        raise call.not_found()
    return record


async def page(store: Store, call: Call, params: Params, chosen: Selection) -> Page:
    """One page of a list, all pages of one list at one revision."""
    limit = integer(params, "limit") or 0
    token = params.get("continue", "")
    wanted = _continued(token, params) if token else _Continue(_list_version(store, params), ("", ""))
    revision = wanted.rv or store.revision
    items = await _items(store, call, chosen, revision if wanted.rv else 0)
    if wanted.after != ("", ""):
        items = [(key, record) for key, record in items if (key.namespace, key.name) > wanted.after]
    matching = (
        items
        if not (chosen.labels or chosen.fields)
        else [(key, record) for key, record in items if chosen.matches(record.value)]
    )
    if not limit or len(matching) <= limit:
        return Page([record for _, record in matching], revision, "", None)
    last = matching[limit - 1][0]
    remaining = None if chosen.labels or chosen.fields else len(matching) - limit
    following = _encode_continue(_Continue(revision, (last.namespace, last.name)))
    return Page([record for _, record in matching[:limit]], revision, following, remaining)


async def _items(store: Store, call: Call, chosen: Selection, revision: int) -> list[tuple[Key, Record]]:
    namespace, resource = call.namespace, call.resource.stored_as
    if not call.resource.namespaced:
        namespace = ""
    if revision:
        try:
            return await store.objects_at(resource, namespace, revision)
        except Compacted:
            raise expired(GONE) from None
    namespace = namespace or chosen.fields.exact("metadata.namespace") or ""
    if (name := chosen.fields.exact("metadata.name")) is not None and (namespace or not call.resource.namespaced):
        key = Key(resource, namespace, name)
        record = store.get(key)
        return [(key, record)] if record else []
    return store.objects(resource, namespace)


def _list_version(store: Store, params: Params) -> int:
    """The revision a list must be at exactly, 0 for the newest."""
    match, version = params.get("resourceVersionMatch", ""), params.get("resourceVersion", "")
    if match and not version:
        why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        raise invalid_options("ListOptions", forbidden_value("resourceVersionMatch", why))
    if match not in ("", "Exact", "NotOlderThan"):
        raise invalid_options(
            "ListOptions", not_supported("resourceVersionMatch", match, ["Exact", "NotOlderThan", ""])
        )
    if match == "Exact" and version == "0":
        why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        raise invalid_options("ListOptions", forbidden_value("resourceVersionMatch", why))
    number = _wanted_version(store, params)
    if match == "Exact":
        if number < store.compacted:
            raise expired("The resourceVersion for the provided list is too old.")
        return number
    return 0


def _wanted_version(store: Store, params: Params) -> int:
    """The resourceVersion a read asks for; 504 when it lies in the future."""
    text = params.get("resourceVersion", "")
    if not text:
        return 0
    number = parse_version(text)
    if number is None:
        why = f'strconv.ParseUint: parsing "{text}": invalid syntax'
        raise bad_request(f'invalid resource version: resourceVersion: Invalid value: "{text}": {why}')
    if number > store.revision:
        raise too_large_resource_version(number, store.revision)
    return number


def parse_version(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() else None


def _encode_continue(token: _Continue) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")


def _continued(token: str, params: Params) -> _Continue:
    if params.get("resourceVersion", "") not in ("", "0"):
        raise bad_request("specifying resource version is not allowed when using continue")
    try:
        padded = token + "=" * (-len(token) % 4)
        return msgspec.json.decode(base64.urlsafe_b64decode(padded), type=_Continue)
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise bad_request(f"continue key is not valid: {_shown(token)}") from None


def _shown(token: str) -> str:
    return token if len(token) < 40 else token[:40] + "..."


def list_body(call: Call, found: Page) -> bytes:
    """The List object, joined from stored bytes."""
    resource, version = call.resource, call.version
    items = [represent.list_item(record.value, resource, version) for record in found.records]
    meta: dict[str, object] = {"resourceVersion": str(found.revision)}
    if found.continue_:
        meta["continue"] = found.continue_
        if found.remaining is not None:
            meta["remainingItemCount"] = found.remaining
    elif not resource.builtin:
        meta["continue"] = ""
    kind = resource.list_kind or resource.kind + "List"
    head = f'{{"kind":"{kind}","apiVersion":"{call.api_version}","metadata":'.encode()
    head += msgspec.json.encode(meta) + b',"items":['
    if not items:
        return head + b"]}"
    items[0] = head + items[0]
    items[-1] += b"]}"
    return b",".join(items)  # the one copy of megabytes
