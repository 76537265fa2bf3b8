"""get and list: from stored bytes to served bytes, decoding only what selectors ask about."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

import msgspec

from virt_kube.api import ApiError
from virt_local.apiserver import represent
from virt_local.apiserver.call import Call, Params, integer
from virt_local.apiserver.selectors import FieldSelector, LabelSelector
from virt_local.apiserver.status import (
    bad_request,
    expired,
    forbidden_value,
    invalid_options,
    not_supported,
    server_error,
    too_large_resource_version,
)
from virt_local.errors import Compacted
from virt_local.store import Key, Record, Store
from virt_types.errors import Cause

GONE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)
TOO_OLD = "The resourceVersion for the provided list is too old."
_CONTINUE_FORM = "meta.k8s.io/v1"
_NEWEST = -1  # the revision of a token that goes on with what is there now


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


class _Continue(NamedTuple):
    """Where a list goes on: at which revision (0: the newest, and whoever asked said none), after which object."""

    rv: int
    after: tuple[str, str]


class _Token(msgspec.Struct):
    """As clients carry it, in base64. `start` is the key of the last object and a zero byte."""

    v: str = ""
    rv: int = 0
    start: str = ""


def selection(call: Call, params: Params) -> Selection:
    labels = LabelSelector(params.get("labelSelector", ""))
    fields = FieldSelector(params.get("fieldSelector", ""), call.resource.fields, builtin=call.resource.builtin)
    return Selection(labels, fields)


def get(store: Store, call: Call, params: Params) -> Record:
    record = store.get(call.key)
    _wanted_version(store, params, listing=False)
    if record is None:
        raise call.not_found()
    return record


async def page(store: Store, call: Call, params: Params, chosen: Selection) -> Page:
    """One page of a list, all pages of one list at one revision."""
    limit = max(0, integer(params, "limit") or 0)
    integer(params, "timeoutSeconds")
    token = params.get("continue", "")
    if not token and params.get("resourceVersion") == "0":
        limit = 0  # whatever is there will do, so all of it is at hand
    wanted = _continued(call, token, params) if token else _Continue(_list_version(store, params, limit), ("", ""))
    revision = store.revision if wanted.rv in (0, _NEWEST) else wanted.rv
    items = await _items(store, call, chosen, wanted)
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
    following = _encode_continue(call, _Continue(revision, (last.namespace, last.name)))
    return Page([record for _, record in matching[:limit]], revision, following, remaining)


async def _items(store: Store, call: Call, chosen: Selection, wanted: _Continue) -> list[tuple[Key, Record]]:
    namespace, resource = call.namespace, call.resource.stored_as
    if not call.resource.namespaced:
        namespace = ""
    if wanted.rv > 0:
        try:
            return await store.objects_at(resource, namespace, wanted.rv)
        except Compacted:
            if wanted.after == ("", ""):
                raise expired(TOO_OLD) from None
            raise _gone(call, wanted) from None
    namespace = namespace or chosen.fields.exact("metadata.namespace") or ""
    if (name := chosen.fields.exact("metadata.name")) is not None and (namespace or not call.resource.namespaced):
        key = Key(resource, namespace, name)
        record = store.get(key)
        return [(key, record)] if record else []
    return store.objects(resource, namespace)


def _gone(call: Call, wanted: _Continue) -> ApiError:
    """410 with a token that goes on with what is there now."""
    error = expired(GONE)
    error.status["metadata"] = {"continue": _encode_continue(call, wanted._replace(rv=_NEWEST))}
    return error


def _list_version(store: Store, params: Params, limit: int) -> int:
    """The revision a list must be at exactly, 0 for the newest."""
    match, version = params.get("resourceVersionMatch", ""), params.get("resourceVersion", "")
    if causes := _option_causes(match, version, "sendInitialEvents" in params):
        raise invalid_options("ListOptions", *causes)
    number = _wanted_version(store, params)
    if match == "Exact" or (not match and limit and number):
        if number < store.compacted:
            raise expired(TOO_OLD)
        return number
    return 0


def _option_causes(match: str, version: str, initial_events: bool) -> list[Cause]:
    found: list[Cause] = []
    if match and not version:
        why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        found.append(forbidden_value("resourceVersionMatch", why))
    if match not in ("", "Exact", "NotOlderThan"):
        found.append(not_supported("resourceVersionMatch", match, ["Exact", "NotOlderThan", ""]))
    if match == "Exact" and version == "0":
        why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        found.append(forbidden_value("resourceVersionMatch", why))
    if initial_events:
        found.append(forbidden_value("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return found


def _wanted_version(store: Store, params: Params, *, listing: bool = True) -> int:
    """The resourceVersion a read asks for; 504 when it lies in the future."""
    text = params.get("resourceVersion", "")
    if not text:
        return 0
    number = parse_version(text)
    if number is None:
        why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise bad_request(f"invalid resource version: {why}") if listing else server_error(why)
    if number > store.revision:
        raise too_large_resource_version(number, store.revision)
    return number


def parse_version(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() else None


def _encode_continue(call: Call, at: _Continue) -> str:
    names = [name for name in at.after if name]
    start = "/".join(names[1:] if call.namespace and call.resource.namespaced else names) + "\0"
    return base64.urlsafe_b64encode(msgspec.json.encode(_Token(_CONTINUE_FORM, at.rv, start))).decode().rstrip("=")


def _continued(call: Call, text: str, params: Params) -> _Continue:
    if params.get("resourceVersion", "") not in ("", "0"):
        raise bad_request("specifying resource version is not allowed when using continue")
    try:
        token = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Token)
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise _bad_token(f"continue key is not valid: {error}") from None
    if token.v != _CONTINUE_FORM:
        raise _bad_token(f'continue key is not valid: server does not recognize this encoded version "{token.v}"')
    if not token.rv:
        raise _bad_token("continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)")
    if not token.start:
        raise _bad_token("continue key is not valid: encoded start key empty (version meta.k8s.io/v1)")
    namespace, _, name = token.start.removesuffix("\0").rpartition("/")
    return _Continue(token.rv, (call.namespace if call.resource.namespaced and call.namespace else namespace, name))


def _bad_token(why: str) -> ApiError:
    return bad_request(f"invalid continue token: {why}")


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
