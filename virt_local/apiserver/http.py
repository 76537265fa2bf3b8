"""The HTTP face: negotiation, bodies, streams, for whom `door.py` let in. All it serves comes from the pipeline.

One handler takes every path, because Kubernetes' paths are data (groups and resources come and go), not routes.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

from aiohttp import web

from virt_kube.admission import UserInfo
from virt_kube.api import ApiError, Json, PatchKind
from virt_local.apiserver import bodies, reads, represent, tables, watches
from virt_local.apiserver.answers import answer, failed, raw, warning_headers
from virt_local.apiserver.call import Answer, Call, Params
from virt_local.apiserver.deletes import DeleteOptions, delete_options
from virt_local.apiserver.documents import Documents
from virt_local.apiserver.limits import Gate
from virt_local.apiserver.negotiate import PLAIN, Media, negotiate
from virt_local.apiserver.pipeline import Pipeline
from virt_local.apiserver.protobuf import writable
from virt_local.apiserver.rbac import Attributes
from virt_local.apiserver.reviews import Reviews
from virt_local.apiserver.routing import Route
from virt_local.apiserver.status import (
    bad_request,
    invalid_options,
    method_not_allowed,
    no_such_page,
    no_such_resource,
    not_supported,
    too_large,
    too_slow,
    unsupported_media_type,
    unsupported_patch,
)
from virt_local.apiserver.streams import Lines, pieces

log = logging.getLogger("virt_local.apiserver")

_PATCH_KINDS: dict[str, PatchKind] = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
}
APPLY = "application/apply-patch+yaml"
TOKEN_REQUEST = ("create", "", "serviceaccounts", "token")


class HttpFace:
    def __init__(
        self,
        pipeline: Pipeline,
        documents: Documents,
        reviews: Reviews,
        gate: Gate,
    ) -> None:
        self._pipeline = pipeline
        self._documents = documents
        self._reviews = reviews
        self._gate = gate

    async def serve(
        self, request: web.BaseRequest, user: UserInfo, parts: list[str], route: Route | None
    ) -> web.StreamResponse:
        """Answer one request of a known user. `route` is None outside resources. Raises ApiError."""
        raw_path = request.rel_url.raw_path
        if "//" in raw_path:
            raise no_such_page() if raw_path.startswith("//") else no_such_resource()
        if route is None:
            if raw_path.startswith("/openapi/") and raw_path.endswith("/"):
                raise no_such_page()
            return await self._document(request, user, parts)
        if (review := self._reviews.find(route.group, route.version, route.plural)) is not None:
            self._pipeline.authorizer.require(user, route.attributes)
            return await self._review(request, user, review, route.namespace)
        if (route.verb, route.group, route.plural, route.subresource) == TOKEN_REQUEST:
            return await self._token(request, user, route)
        return await self._resource(request, user, route)

    async def _document(self, request: web.BaseRequest, user: UserInfo, parts: list[str]) -> web.Response:
        path = "/" + "/".join(parts)
        self._pipeline.authorizer.require(user, Attributes(request.method.lower(), path=path))
        address = f"{request.url.host}:{request.url.port}"
        found = self._documents.find(parts, request.headers.get("Accept", ""), request.query, address)
        if found is None:
            raise no_such_page()
        if request.method not in ("GET", "HEAD") and not found.any_method:
            raise method_not_allowed()
        headers = dict(found.headers)
        if found.etag:
            headers["ETag"] = found.etag
            if request.headers.get("If-None-Match") == found.etag:
                return web.Response(status=304, headers=headers)
        return raw(request, found.body, content_type=found.content_type, headers=headers, status=found.status)

    async def _review(self, request: web.BaseRequest, user: UserInfo, kind: str, namespace: str) -> web.Response:
        if request.method != "POST":
            raise method_not_allowed()
        obj, _ = await self._object(request, kind)
        return answer(request, Answer(201, self._reviews.answer(kind, obj, user, namespace)), ())

    async def _token(self, request: web.BaseRequest, user: UserInfo, route: Route) -> web.Response:
        """A TokenRequest: a token of a service account."""
        self._pipeline.authorizer.require(user, route.attributes)
        obj, _ = await self._object(request, "TokenRequest")
        return answer(request, Answer(201, self._reviews.token(route.namespace, route.name, obj)), ())

    async def _resource(self, request: web.BaseRequest, user: UserInfo, route: Route) -> web.StreamResponse:
        found = self._pipeline.registry.find(route.group, route.version, route.plural)
        if found is None:
            self._pipeline.authorizer.require(user, route.attributes)
            if not self._builtin_group(route.group):
                raise no_such_page()
            raise no_such_resource()
        if request.method not in _METHODS and found[0].builtin:
            raise method_not_allowed()
        call = self._pipeline.call(user, route)
        try:
            return await getattr(self, f"_{route.verb}")(request, call, route)  # type: ignore[no-any-return]
        except ApiError as error:
            return failed(error, request.headers.get("Accept", ""), call.warnings)

    def _builtin_group(self, group: str) -> bool:
        return any(resource.builtin and resource.group == group for resource in self._pipeline.registry.all())

    async def _get(self, request: web.BaseRequest, call: Call, _route: Route) -> web.Response:
        media = _media(request, call)
        record = self._pipeline.get(call, request.query)
        return self._one(request, call, Answer(200, self._shown(call, record.value)), media, record.value)

    def _shown(self, call: Call, value: bytes) -> bytes:
        return value if call.subresource == "scale" else represent.served(value, call.resource, call.version)

    def _one(
        self, request: web.BaseRequest, call: Call, made: Answer, media: Media = PLAIN, stored: bytes | None = None
    ) -> web.Response:
        body = made.body
        if call.subresource == "scale" and media.as_kind == "Table":
            body = tables.scale_table(body, _include(request.query), media.version)
        elif stored is not None and call.subresource != "scale":
            if media.as_kind == "Table":
                meta = {"resourceVersion": represent.meta(stored).resource_version}
                body = tables.table(call, [stored], meta, _include(request.query), media.version)
            elif media.as_kind == "PartialObjectMetadata":
                body = tables.partial_bytes(stored, media.version)
        return answer(request, Answer(made.code, body), call.warnings, media)

    async def _list(self, request: web.BaseRequest, call: Call, _route: Route) -> web.Response:
        media = _media(request, call)
        found = await self._pipeline.page(call, request.query)
        if not media.as_kind:
            return answer(request, Answer(200, reads.list_body(call, found)), call.warnings, media)
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
        return answer(request, Answer(200, body), call.warnings, media)

    async def _watch(self, request: web.BaseRequest, call: Call, route: Route) -> web.StreamResponse:
        media = negotiate(request.headers.get("Accept", ""), builtin=call.resource.builtin)
        params: dict[str, str] = dict(request.query)
        if route.named_watch:
            params["fieldSelector"] = f"metadata.name={route.name}"
            call.name = ""
        include = _include(request.query)
        chosen = reads.selection(call, params)
        options = watches.watch_options(self._pipeline.store, params)
        response = web.StreamResponse(headers=warning_headers(call.warnings, {"Content-Type": media.type}))
        response.enable_chunked_encoding()
        await response.prepare(request)
        lines = Lines(call, media, include)
        try:
            async with aclosing(self._pipeline.watch(call, chosen, options)) as stream:
                async for group in stream:
                    for piece in pieces(map(lines.line, group)):
                        await response.write(piece)
        except ApiError as error:
            await response.write(watches.error_line(error))
        except ConnectionResetError:
            return response
        await response.write_eof()
        return response

    async def _create(self, request: web.BaseRequest, call: Call, _route: Route) -> web.Response:
        media = _media(request, call)
        _options(request, call, "CreateOptions")
        obj, duplicates = await self._object(request, call.resource.kind, named=not call.resource.builtin)
        made = await self._pipeline.create(call, obj, duplicates)
        return self._one(request, call, made, media, made.body)

    async def _update(self, request: web.BaseRequest, call: Call, _route: Route) -> web.Response:
        if not call.name:
            raise bad_request("name must be provided")
        media = _media(request, call)
        _options(request, call, "UpdateOptions")
        obj, duplicates = await self._object(request, call.resource.kind, named=not call.resource.builtin)
        made = await self._pipeline.update(call, obj, duplicates)
        return self._one(request, call, made, media, made.body)

    async def _patch(self, request: web.BaseRequest, call: Call, _route: Route) -> web.Response:
        media = _media(request, call)
        kind = _patch_kind(request, call)
        _options(request, call, "PatchOptions")
        if kind is None:
            body = await self._read(request)
            patch = bodies.decode_apply(body)
            call.warnings += bodies.repeated_keys(body)
            made = await self._pipeline.apply(call, patch, force=request.query.get("force", "").lower() in _TRUE)
            return self._one(request, call, made, media, made.body)
        if "force" in request.query:
            raise invalid_options("PatchOptions", _FORCE)
        body = await self._read(request)
        if kind == "json":
            patch = bodies.decode_operations(body)
        else:
            patch, call.duplicates = bodies.decode_patch(body)
        made = await self._pipeline.patch(call, kind, patch)
        return self._one(request, call, made, media, made.body)

    async def _delete(self, request: web.BaseRequest, call: Call, _route: Route) -> web.Response:
        media = _media(request, call)
        options = await self._delete_options(request, call)
        return self._one(request, call, await self._pipeline.delete(call, options), media)

    async def _deletecollection(self, request: web.BaseRequest, call: Call, _route: Route) -> web.Response:
        media = _media(request, call)
        options = await self._delete_options(request, call)
        return self._one(request, call, await self._pipeline.delete_collection(call, request.query, options), media)

    async def _delete_options(self, request: web.BaseRequest, call: Call) -> DeleteOptions:
        body = await self._read(request)
        obj: Json = {}
        if body:
            obj, _ = bodies.decode_object(body, request.headers.get("Content-Type", ""), "DeleteOptions")
        return delete_options(call, obj, request.query)

    async def _read(self, request: web.BaseRequest) -> bytes:
        """The body; 413 as soon as it is known to be too large, 408 when it is too long in coming."""
        if (request.content_length or 0) > bodies.MAX_BODY:
            raise too_large(bodies.MAX_BODY)
        if (coding := request.headers.get("Content-Encoding", "identity")) != "identity":
            raise unsupported_media_type(f"the body of the request is encoded as {coding}: send it as it is")
        chunks: list[bytes] = []
        with self._gate.body() as taken:
            try:
                async with asyncio.timeout(self._gate.limits.body_seconds):
                    async for chunk in request.content.iter_any():
                        if taken.size + len(chunk) > bodies.MAX_BODY:
                            raise too_large(bodies.MAX_BODY)
                        taken.take(len(chunk))
                        chunks.append(chunk)
            except TimeoutError:
                raise too_slow(self._gate.limits.body_seconds) from None
        return b"".join(chunks)

    async def _object(self, request: web.BaseRequest, kind: str, *, named: bool = False) -> tuple[Json, list[str]]:
        body, content = await self._read(request), request.headers.get("Content-Type", "")
        return bodies.decode_object(body, content, kind, named=named)


_TRUE = frozenset({"1", "t", "true"})
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_FORCE = not_supported("force", "true", ["nil"])._replace(
    reason="FieldValueForbidden", message="Forbidden: may not be specified for non-apply patch"
)


def _options(request: web.BaseRequest, call: Call, kind: str) -> None:
    """What the query asks of a write. A client that names no manager is known by its program's name."""
    call.read_write_options(request.query, kind)
    agent = request.headers.get("User-Agent", "").partition("/")[0].split()
    call.field_manager = call.field_manager or (agent[0] if agent else "unknown")
    call.tracked = call.resource.kind != "Event"


def _patch_kind(request: web.BaseRequest, call: Call) -> PatchKind | None:
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
        if call.resource.builtin:
            raise unsupported_patch()
        known = [name for name, patch_kind in _PATCH_KINDS.items() if patch_kind != "strategic"]
        raise unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: "
            + ", ".join([*known, APPLY])
        )
    return kind


def _media(request: web.BaseRequest, call: Call) -> Media:
    """What the answer is to look like. Streams are JSON: whoever likes protobuf better takes it too."""
    kind = "Scale" if call.subresource == "scale" else call.resource.kind
    builtin = call.resource.builtin
    accept, metadata = request.headers.get("Accept", ""), call.subresource != "scale"
    return negotiate(accept, builtin=builtin, protobuf=builtin and writable(kind), metadata=metadata)


def _include(params: Params) -> str:
    include = params.get("includeObject", "Metadata") or "Metadata"
    if include not in tables.INCLUDE:
        raise bad_request(f'unrecognized includeObject value: "{include}"')
    return include
