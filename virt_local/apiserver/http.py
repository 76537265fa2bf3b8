"""The HTTP face: authentication, negotiation, bodies, answers, streams. Everything it serves comes from the pipeline.

One handler takes every path, because Kubernetes' paths are data (groups and resources come and go), not routes.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any

import msgspec
from aiohttp import web

from virt_kube.admission import UserInfo
from virt_kube.api import ApiError, Json, PatchKind
from virt_local.apiserver import bodies, reads, represent, tables, watches
from virt_local.apiserver.authn import Authenticator, impersonated, wants_impersonation
from virt_local.apiserver.call import Answer, Call, Params
from virt_local.apiserver.deletes import DeleteOptions, delete_options
from virt_local.apiserver.documents import Documents
from virt_local.apiserver.negotiate import PLAIN, YAML, Media, negotiate
from virt_local.apiserver.pipeline import Pipeline
from virt_local.apiserver.proxy import SubresourceBackend, subresource_attributes
from virt_local.apiserver.rbac import Attributes
from virt_local.apiserver.reviews import Reviews
from virt_local.apiserver.routing import Route, resource_route, split
from virt_local.apiserver.status import (
    NO_PAGE,
    bad_request,
    failure,
    internal,
    invalid_options,
    method_not_allowed,
    no_such_page,
    no_such_resource,
    not_supported,
    too_large,
    unsupported_media_type,
)

log = logging.getLogger("virt_local.apiserver")

GZIP_OVER = 128 * 1024  # bytes
_PATCH_KINDS: dict[str, PatchKind] = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
}
APPLY = "application/apply-patch+yaml"
TOKEN_REQUEST = ("create", "", "serviceaccounts", "token")
_NOT_FOUND_TEXT = "404 page not found\n"


class HttpFace:
    def __init__(
        self,
        pipeline: Pipeline,
        documents: Documents,
        authenticator: Authenticator,
        reviews: Reviews,
        subresources: SubresourceBackend | None,
    ) -> None:
        self._pipeline = pipeline
        self._documents = documents
        self._authenticator = authenticator
        self._reviews = reviews
        self._subresources = subresources

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            return await self._dispatch(request)
        except ApiError as error:
            return _failed(error)
        except RecursionError:
            return _failed(bad_request("the object is nested too deeply"))
        except (ConnectionResetError, web.HTTPException):
            raise
        except Exception:
            # The one place where an unforeseen error ends: the client gets a Status, the log gets the traceback.
            log.exception("request failed method=%s path=%s", request.method, request.path)
            return _failed(internal("an unexpected error; see the log of the server"))

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        ssl_object = request.transport.get_extra_info("ssl_object") if request.transport else None
        user = self._authenticator.user(request.headers.get("Authorization", ""), ssl_object)
        raw_path = request.rel_url.raw_path
        parts = split(raw_path)
        if wants_impersonation(request.headers):
            user = impersonated(self._pipeline.authorizer, request.headers, user, _asked(request, parts))
        if self._subresources is not None and self._subresources.owns(parts):
            self._pipeline.authorizer.require(user, subresource_attributes(request))
            return await self._subresources.serve(request, user)
        if "//" in raw_path:
            raise no_such_resource()
        route = resource_route(request.method, parts, request.query)
        if route is None:
            return await self._document(request, user, parts)
        if (review := self._reviews.find(route.group, route.version, route.plural)) is not None:
            self._pipeline.authorizer.require(user, route.attributes)
            return await self._review(request, user, review, route.namespace)
        if (route.verb, route.group, route.plural, route.subresource) == TOKEN_REQUEST:
            return await self._token(request, user, route)
        return await self._resource(request, user, route)

    async def _document(self, request: web.Request, user: UserInfo, parts: list[str]) -> web.Response:
        path = "/" + "/".join(parts)
        self._pipeline.authorizer.require(user, Attributes(request.method.lower(), path=path))
        found = self._documents.find(parts, request.headers.get("Accept", ""), str(request.url.host), request.url.port)
        if found is None:
            raise no_such_page()
        if request.method not in ("GET", "HEAD"):
            raise method_not_allowed()
        headers = dict(found.headers)
        if found.etag:
            headers["ETag"] = found.etag
            if request.headers.get("If-None-Match") == found.etag:
                return web.Response(status=304, headers=headers)
        return _body(request, found.body, content_type=found.content_type, headers=headers)

    async def _review(self, request: web.Request, user: UserInfo, kind: str, namespace: str) -> web.Response:
        if request.method != "POST":
            raise method_not_allowed()
        obj, _ = await self._object(request, kind)
        return _answer(request, Answer(201, self._reviews.answer(kind, obj, user, namespace)), ())

    async def _token(self, request: web.Request, user: UserInfo, route: Route) -> web.Response:
        """A TokenRequest: a token of a service account."""
        self._pipeline.authorizer.require(user, route.attributes)
        obj, _ = await self._object(request, "TokenRequest")
        return _answer(request, Answer(201, self._reviews.token(route.namespace, route.name, obj)), ())

    async def _resource(self, request: web.Request, user: UserInfo, route: Route) -> web.StreamResponse:
        if self._pipeline.registry.find(route.group, route.version, route.plural) is None:
            self._pipeline.authorizer.require(user, route.attributes)
            if not self._builtin_group(route.group):
                raise no_such_page()
            raise no_such_resource()
        if request.method in ("HEAD", "OPTIONS") or request.method not in _METHODS:
            raise method_not_allowed()
        call = self._pipeline.call(user, route)
        return await getattr(self, f"_{route.verb}")(request, call, route)  # type: ignore[no-any-return]

    def _builtin_group(self, group: str) -> bool:
        return any(resource.builtin and resource.group == group for resource in self._pipeline.registry.all())

    async def _get(self, request: web.Request, call: Call, _route: Route) -> web.Response:
        media = negotiate(request.headers.get("Accept", ""))
        record = self._pipeline.get(call, request.query)
        return self._one(request, call, Answer(200, self._shown(call, record.value)), media, record.value)

    def _shown(self, call: Call, value: bytes) -> bytes:
        return value if call.subresource == "scale" else represent.served(value, call.resource, call.version)

    def _one(
        self, request: web.Request, call: Call, answer: Answer, media: Media = PLAIN, stored: bytes | None = None
    ) -> web.Response:
        body = answer.body
        if stored is not None and call.subresource != "scale":
            if media.as_kind == "Table":
                meta = {"resourceVersion": represent.meta(stored).resource_version}
                body = tables.table(call, [stored], meta, _include(request.query), media.version)
            elif media.as_kind == "PartialObjectMetadata":
                body = tables.partial_bytes(stored, media.version)
        return _answer(request, Answer(answer.code, body), call.warnings, media)

    async def _list(self, request: web.Request, call: Call, _route: Route) -> web.Response:
        media = negotiate(request.headers.get("Accept", ""))
        found = await self._pipeline.page(call, request.query)
        if not media.as_kind:
            return _answer(request, Answer(200, reads.list_body(call, found)), call.warnings, media)
        meta: Json = {"resourceVersion": str(found.revision)}
        if found.continue_:
            meta["continue"] = found.continue_
            if found.remaining is not None:
                meta["remainingItemCount"] = found.remaining
        values = [record.value for record in found.records]
        if media.as_kind == "Table":
            body = tables.table(call, values, meta, _include(request.query), media.version)
        else:
            body = tables.partial_list(values, meta, media.version)
        return _answer(request, Answer(200, body), call.warnings, media)

    async def _watch(self, request: web.Request, call: Call, route: Route) -> web.StreamResponse:
        media = negotiate(request.headers.get("Accept", ""))
        params: dict[str, str] = dict(request.query)
        if route.named_watch:
            params["fieldSelector"] = f"metadata.name={route.name}"
            call.name = ""
        include = _include(request.query)
        chosen = reads.selection(call, params)
        options = watches.watch_options(self._pipeline.store, params)
        response = web.StreamResponse(headers=_warnings(call.warnings, {"Content-Type": media.type}))
        response.enable_chunked_encoding()
        await response.prepare(request)
        lines = _Lines(call, media, include)
        try:
            async with aclosing(self._pipeline.watch(call, chosen, options)) as stream:
                async for group in stream:
                    await response.write(b"".join(map(lines.line, group)))
        except ApiError as error:
            await response.write(watches.error_line(error))
        except ConnectionResetError:
            return response
        await response.write_eof()
        return response

    async def _create(self, request: web.Request, call: Call, _route: Route) -> web.Response:
        media = negotiate(request.headers.get("Accept", ""))
        _options(request, call, "CreateOptions")
        obj, duplicates = await self._object(request, call.resource.kind)
        answer = await self._pipeline.create(call, obj, duplicates)
        return self._one(request, call, answer, media, answer.body)

    async def _update(self, request: web.Request, call: Call, _route: Route) -> web.Response:
        if not call.name:
            raise bad_request("name must be provided")
        media = negotiate(request.headers.get("Accept", ""))
        _options(request, call, "UpdateOptions")
        obj, duplicates = await self._object(request, call.resource.kind)
        answer = await self._pipeline.update(call, obj, duplicates)
        return self._one(request, call, answer, media, answer.body)

    async def _patch(self, request: web.Request, call: Call, _route: Route) -> web.Response:
        media = negotiate(request.headers.get("Accept", ""))
        kind = _patch_kind(request, call)
        _options(request, call, "PatchOptions")
        if kind is None:
            patch = bodies.decode_apply(await _read(request))
            answer = await self._pipeline.apply(call, patch, force=request.query.get("force", "").lower() in _TRUE)
            return self._one(request, call, answer, media, answer.body)
        if "force" in request.query:
            raise invalid_options("PatchOptions", _FORCE)
        patch = bodies.decode_patch(await _read(request))
        answer = await self._pipeline.patch(call, kind, patch)
        return self._one(request, call, answer, media, answer.body)

    async def _delete(self, request: web.Request, call: Call, _route: Route) -> web.Response:
        media = negotiate(request.headers.get("Accept", ""))
        options = await self._delete_options(request, call)
        return self._one(request, call, await self._pipeline.delete(call, options), media)

    async def _deletecollection(self, request: web.Request, call: Call, _route: Route) -> web.Response:
        media = negotiate(request.headers.get("Accept", ""))
        options = await self._delete_options(request, call)
        return self._one(request, call, await self._pipeline.delete_collection(call, request.query, options), media)

    async def _delete_options(self, request: web.Request, call: Call) -> DeleteOptions:
        body = await _read(request)
        obj: Json = {}
        if body:
            obj, _ = bodies.decode_object(body, request.headers.get("Content-Type", ""), "DeleteOptions")
        return delete_options(call, obj, request.query)

    async def _object(self, request: web.Request, kind: str) -> tuple[Json, list[str]]:
        return bodies.decode_object(await _read(request), request.headers.get("Content-Type", ""), kind)


_TRUE = frozenset({"1", "t", "true"})
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_FORCE = not_supported("force", "true", ["nil"])._replace(
    reason="FieldValueForbidden", message="Forbidden: may not be specified for non-apply patch"
)


class _Lines:
    """Events as lines of the media type asked for. Plain lines are shared by all watchers of a change."""

    def __init__(self, call: Call, media: Media, include: str) -> None:
        self._call = call
        self._media = media
        self._include = include
        self._heads = True

    def line(self, event: watches.Event) -> bytes:
        if not self._media.as_kind:
            return watches.plain_line(self._call, event)
        if event.type == "BOOKMARK":
            return watches.line(event.type, event.value)
        if self._media.as_kind != "Table":
            return watches.line(event.type, tables.partial_bytes(event.value, self._media.version))
        if self._heads:
            self._heads = False
            return watches.line(event.type, self._table(event.value, heads=True))
        key = ("table", event.type, self._call.resource.group, self._call.version.name, self._include)
        return watches.cached(event, key, lambda: watches.line(event.type, self._table(event.value, heads=False)))

    def _table(self, value: bytes, *, heads: bool) -> bytes:
        meta = {"resourceVersion": represent.meta(value).resource_version}
        return tables.table(self._call, [value], meta, self._include, self._media.version, heads=heads)


def _asked(request: web.Request, parts: list[str]) -> Attributes:
    route = resource_route(request.method, parts, request.query)
    return route.attributes if route else Attributes(request.method.lower(), path="/" + "/".join(parts))


async def _read(request: web.Request) -> bytes:
    """The body; 413 as soon as it is known to be too large."""
    if (request.content_length or 0) > bodies.MAX_BODY:
        raise too_large(bodies.MAX_BODY)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        size += len(chunk)
        if size > bodies.MAX_BODY:
            raise too_large(bodies.MAX_BODY)
        chunks.append(chunk)
    return b"".join(chunks)


def _options(request: web.Request, call: Call, kind: str) -> None:
    """What the query asks of a write. A client that names no manager is known by its program's name."""
    call.read_write_options(request.query, kind)
    agent = request.headers.get("User-Agent", "").partition("/")[0].split()
    call.field_manager = call.field_manager or (agent[0] if agent else "unknown")
    call.tracked = call.resource.kind != "Event"


def _patch_kind(request: web.Request, call: Call) -> PatchKind | None:
    """None for a server-side apply."""
    media = bodies.media_type(request.headers.get("Content-Type", ""))
    if media == APPLY:
        if not request.query.get("fieldManager"):
            raise invalid_options(
                "PatchOptions",
                not_supported("fieldManager", "", [])._replace(
                    reason="FieldValueRequired", message="Required value: is required for apply patch"
                ),
            )
        return None
    kind = _PATCH_KINDS.get(media)
    if kind is None or (kind == "strategic" and not call.resource.builtin):
        known = [name for name in _PATCH_KINDS if call.resource.builtin or _PATCH_KINDS[name] != "strategic"]
        raise unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: "
            + ", ".join([*known, APPLY])
        )
    return kind


def _include(params: Params) -> str:
    include = params.get("includeObject", "Metadata") or "Metadata"
    if include not in tables.INCLUDE:
        raise bad_request(f'unrecognized includeObject value: "{include}"')
    return include


def _answer(request: web.Request, answer: Answer, warnings: Iterable[str], media: Media = PLAIN) -> web.Response:
    body = answer.body
    if media.type == YAML:
        body = to_yaml(body)
    return _body(
        request,
        body,
        status=answer.code,
        content_type=media.type,
        headers=_warnings(warnings, {"Cache-Control": "no-cache, private"}),
    )


def to_yaml(body: bytes) -> bytes:
    import yaml

    found: Any = msgspec.json.decode(body)
    return bytes(
        yaml.dump(found, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), encoding="utf-8", allow_unicode=True)
    )


def _body(request: web.Request, body: bytes, *, content_type: str, headers: Any, status: int = 200) -> web.Response:
    response = web.Response(status=status, headers=headers)
    if len(body) > GZIP_OVER and "gzip" in request.headers.get("Accept-Encoding", ""):
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        body = packer.compress(body) + packer.flush()
        response.headers["Content-Encoding"] = "gzip"
        response.headers["Vary"] = "Accept-Encoding"
    response.headers["Content-Type"] = content_type
    response.body = body
    return response


def _warnings(warnings: Iterable[str], headers: dict[str, str]) -> Any:
    from multidict import CIMultiDict

    found = CIMultiDict(headers)
    for warning in dict.fromkeys(warnings):
        text = (
            "".join(char if char.isprintable() else " " for char in warning).replace("\\", "\\\\").replace('"', '\\"')
        )
        found.add("Warning", f'299 - "{text}"')
    return found


def _failed(error: ApiError) -> web.Response:
    if error.reason == NO_PAGE:
        return web.Response(status=404, text=_NOT_FOUND_TEXT)
    status = error.status or failure(error.code, error.reason, error.message).status
    headers = {"Cache-Control": "no-cache, private"}
    retry = (status.get("details") or {}).get("retryAfterSeconds")
    if retry:
        headers["Retry-After"] = str(retry)
    return web.Response(
        status=error.code, body=msgspec.json.encode(status), content_type="application/json", headers=headers
    )
