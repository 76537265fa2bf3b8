"""KubeClient over HTTP: any Kubernetes API server, found through a kubeconfig or the pod's service account.

Called by the components when they run as programs of their own; in `virtctl local up` they get the in-process client
instead. Every failure below (sockets, TLS, timeouts, broken replies) leaves here as an ApiError.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ssl import SSLError
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from virt_kube.api import (
    PATCH_CONTENT_TYPES,
    ApiError,
    Gone,
    Json,
    JsonPatch,
    ListPage,
    PatchKind,
    Propagation,
    Resource,
    ServerFault,
    Unauthorized,
    Unreachable,
    WatchEvent,
    error_from_status,
)
from virt_kube.kubeconfig import ClientConfig, KubeconfigError, load
from virt_kube.proxies import from_environment

CONNECT_TIMEOUT = 5.0
REQUEST_TIMEOUT = 30.0
WATCH_SECONDS = (300, 600)  # what we ask of the server; spread so that watches don't end together
WATCH_GRACE = 30.0  # silence beyond the server's own timeout means the connection is dead
PAGE_ITEMS = 500
MAX_REPLY = 256 << 20
MAX_ERROR_REPLY = 1 << 20
MAX_WATCH_LINE = 16 << 20


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    items: list[msgspec.Raw] = msgspec.field(default_factory=list)
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


_list_decoder = msgspec.json.Decoder(_List)
_event_decoder = msgspec.json.Decoder(_Event)
Headers = list[tuple[str, str]]
_EVENT_TYPES = frozenset({"ADDED", "MODIFIED", "DELETED", "BOOKMARK"})


class HttpClient:
    """KubeClient over kept-alive connections to one API server. Create it inside a running loop."""

    def __init__(self, config: ClientConfig, *, user_agent: str = "virtctl") -> None:
        self._config = config
        self._proxy = _proxy_of(config)
        connector = aiohttp.TCPConnector(ssl=config.ssl_context() or False, limit=64, keepalive_timeout=60)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT, sock_connect=CONNECT_TIMEOUT, connect=REQUEST_TIMEOUT),
            headers={"User-Agent": user_agent, "Accept": "application/json"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    @classmethod
    def from_kubeconfig(
        cls, path: str | None = None, context: str | None = None, *, user_agent: str = "virtctl"
    ) -> HttpClient:
        """The client kubectl's rules lead to. Raises KubeconfigError."""
        return cls(load(path, context), user_agent=user_agent)

    async def get(self, resource: Resource, namespace: str, name: str) -> bytes:
        return await self._request("GET", resource.path(namespace, name))

    async def list(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> ListPage:
        query = {"limit": str(PAGE_ITEMS), **_selectors(label_selector, field_selector)}
        path = resource.path(namespace)
        items: list[bytes] = []
        while True:
            try:
                page = _decode_list(await self._request("GET", path, query=query))
            except Gone:
                if "continue" not in query:
                    raise
                # The list was compacted away between two pages: take it in one piece.
                items, query = [], _selectors(label_selector, field_selector)
                continue
            items += [bytes(item) for item in page.items]
            if not page.metadata.continue_:
                return ListPage(items, page.metadata.resource_version)
            query["continue"] = page.metadata.continue_

    async def watch(
        self, resource: Resource, namespace: str = "", *, resource_version: str, label_selector: str = ""
    ) -> AsyncIterator[WatchEvent]:
        seconds = random.randint(*WATCH_SECONDS)  # noqa: S311  spread, not secrecy
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
            **_selectors(label_selector, ""),
        }
        patience = aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT, sock_read=seconds + WATCH_GRACE)
        async with self._open("GET", resource.path(namespace), query=query, patience=patience) as response:
            async for line in _lines(response.content):
                yield _decode_event(line)

    async def create(self, resource: Resource, namespace: str, body: Json | bytes) -> bytes:
        return await self._request("POST", resource.path(namespace), body=_encode(body))

    async def update(
        self, resource: Resource, namespace: str, name: str, body: Json | bytes, *, subresource: str = ""
    ) -> bytes:
        return await self._request("PUT", resource.path(namespace, name, subresource), body=_encode(body))

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Json | JsonPatch,
        *,
        kind: PatchKind = "json",
        subresource: str = "",
    ) -> bytes:
        path = resource.path(namespace, name, subresource)
        return await self._request(
            "PATCH", path, body=msgspec.json.encode(patch), content_type=PATCH_CONTENT_TYPES[kind]
        )

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        propagation: Propagation = "Background",
        grace_period_seconds: int | None = None,
    ) -> None:
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        await self._request("DELETE", resource.path(namespace, name), body=_encode(options))

    async def close(self) -> None:
        await self._session.close()

    async def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        async with self._open(method, path, query=query, body=body, content_type=content_type) as response:
            return await _read_bounded(response, MAX_REPLY)

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        patience: aiohttp.ClientTimeout | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A reply with a good status code; everything else is raised as an ApiError."""
        options: dict[str, Any] = {"params": query, "data": body, "headers": self._headers(body and content_type)}
        if patience:
            options["timeout"] = patience
        if self._config.tls_server_name:
            options["server_hostname"] = self._config.tls_server_name
        if self._proxy:
            options["proxy"] = self._proxy
        try:
            async with self._session.request(
                method, self._config.server + path, allow_redirects=False, **options
            ) as response:
                if response.status >= 300:
                    raise await _refusal(response, method, path)
                yield response
        except TimeoutError as error:
            raise self._unreachable(f"{method} {path} got no answer in time") from error
        except (aiohttp.ClientError, SSLError, OSError, asyncio.IncompleteReadError) as error:
            raise self._unreachable(str(error) or type(error).__name__) from error

    def _headers(self, content_type: str | bytes | None) -> Headers:
        try:
            headers = self._config.headers()
        except KubeconfigError as error:
            raise Unauthorized(error.message, hint=error.hint) from error
        return [*headers, ("Content-Type", str(content_type))] if content_type else headers

    def _unreachable(self, why: str) -> Unreachable:
        return Unreachable(
            f"the server at {self._config.server} can't be reached: {why}",
            hint="Is it running? `virtctl local status` tells for the one-machine cluster.",
        )


def _proxy_of(config: ClientConfig) -> str:
    """The proxy's URL; "" for none. Raises KubeconfigError. (aiohttp's own look at the environment reads ~/.netrc.)"""
    server = urlsplit(config.server)
    try:
        port = server.port or (443 if config.tls else 80)
    except ValueError as error:
        raise KubeconfigError(f'server "{config.server}" is not an address: {error}') from error
    found = config.proxy_url or from_environment(server.scheme, server.hostname or "", port)
    url = f"http://{found}" if found and "://" not in found else found
    proxy = urlsplit(url)
    if url and proxy.scheme not in {"http", "https"}:
        raise KubeconfigError(
            f"the proxy {proxy.scheme}://{proxy.hostname} is neither http nor https",
            hint="name another with HTTPS_PROXY or the kubeconfig's proxy-url, or none for this server with NO_PROXY",
        )
    return url


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The lines of a watch. aiohttp's own readline stops at 128 KiB, one VMI with its status may be more."""
    pending = bytearray()
    async for chunk in stream.iter_any():
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            pending += chunk[start:end]
            if pending.strip():
                yield bytes(pending)
            pending.clear()
            start = end + 1
        pending += chunk[start:]
        if len(pending) > MAX_WATCH_LINE:
            raise ServerFault(f"a watch event is larger than {MAX_WATCH_LINE >> 20} MiB")


def _decode_event(line: bytes) -> WatchEvent:
    try:
        event = _event_decoder.decode(line)
        if event.type == "ERROR":
            raise error_from_status(msgspec.json.decode(event.object))
    except (msgspec.DecodeError, AttributeError) as error:
        raise ServerFault(f"the server sent a watch event that is not one: {error}") from error
    if event.type not in _EVENT_TYPES:
        raise ServerFault(f"the server sent a watch event of unknown type {event.type[:20]!r}")
    return WatchEvent(event.type, bytes(event.object))  # type: ignore[arg-type]  # checked in the line above


def _decode_list(body: bytes) -> _List:
    try:
        return _list_decoder.decode(body)
    except msgspec.DecodeError as error:
        raise ServerFault(f"the server sent a list that is not one: {error}") from error


async def _read_bounded(response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            raise ServerFault(f"the reply to {response.method} {response.url.path} is larger than {limit >> 20} MiB")
    return bytes(body)


async def _refusal(response: aiohttp.ClientResponse, method: str, path: str) -> ApiError:
    body = await _read_bounded(response, MAX_ERROR_REPLY)
    try:
        status = msgspec.json.decode(body, type=Json)
    except msgspec.DecodeError:
        status = {}
    if status.get("kind") != "Status":
        text = body.decode(errors="replace").strip()[:200] or str(response.reason or "")
        status = {"code": response.status, "message": f"{method} {path}: HTTP {response.status}: {text}"}
    return error_from_status(status, response.status)


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    given = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {name: value for name, value in given.items() if value}


def _encode(body: Json | bytes) -> bytes:
    return body if isinstance(body, bytes) else msgspec.json.encode(body)
