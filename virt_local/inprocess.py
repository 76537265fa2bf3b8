"""A KubeClient inside the API server's process: the same pipeline as over HTTP, bytes in and bytes out.

The components that `virtctl local up` runs in one process talk to each other through it. Watches hand out the stored
bytes themselves.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import msgspec

from virt_kube.admission import UserInfo
from virt_kube.api import ApiError, Json, JsonPatch, ListPage, PatchKind, Propagation, Resource, WatchEvent
from virt_local.apiserver import reads, represent, watches
from virt_local.apiserver.audit import AuditLog, Entry
from virt_local.apiserver.call import Call
from virt_local.apiserver.deletes import DeleteOptions
from virt_local.apiserver.pipeline import Pipeline
from virt_local.apiserver.rbac import Attributes
from virt_local.apiserver.reviews import Reviews
from virt_local.apiserver.routing import Route
from virt_local.apiserver.status import bad_request


class InProcessClient:
    """Implements virt_kube.api.KubeClient for one user."""

    def __init__(self, pipeline: Pipeline, reviews: Reviews, user: UserInfo, audit: AuditLog | None = None) -> None:
        self._pipeline = pipeline
        self._reviews = reviews
        self._user = user
        self._audit = audit

    async def get(self, resource: Resource, namespace: str, name: str) -> bytes:
        call = self._call("get", resource, namespace, name)
        return represent.served(self._pipeline.get(call, {}).value, call.resource, call.version)

    async def list(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> ListPage:
        call = self._call("list", resource, namespace)
        found = await self._pipeline.page(call, {"labelSelector": label_selector, "fieldSelector": field_selector})
        items = [represent.served(record.value, call.resource, call.version) for record in found.records]
        return ListPage(items, str(found.revision))

    async def watch(
        self, resource: Resource, namespace: str = "", *, resource_version: str, label_selector: str = ""
    ) -> AsyncIterator[WatchEvent]:
        """Ends when the watcher is too slow, as a connection would: continue from the last event's version."""
        call = self._call("watch", resource, namespace)
        params = {"labelSelector": label_selector, "resourceVersion": resource_version, "allowWatchBookmarks": "true"}
        chosen = reads.selection(call, params)
        options = watches.watch_options(self._pipeline.store, params)
        async with aclosing(self._pipeline.watch(call, chosen, options)) as groups:
            async for group in groups:
                for event in group:
                    shown = event.value
                    if event.type != "BOOKMARK":
                        shown = represent.served(shown, call.resource, call.version)
                    yield WatchEvent(event.type, shown)

    async def create(self, resource: Resource, namespace: str, body: Json | bytes) -> bytes:
        with self._recorded("create", resource, namespace):
            review = self._reviews.find(resource.group, resource.version, resource.plural)
            if review is not None:
                asked = _route("create", resource, namespace).attributes
                self._pipeline.authorizer.require(self._user, asked)
                return self._reviews.answer(review, _object(body), self._user, namespace)
            call = self._call("create", resource, namespace)
            return (await self._pipeline.create(call, _object(body), [])).body

    async def update(
        self, resource: Resource, namespace: str, name: str, body: Json | bytes, *, subresource: str = ""
    ) -> bytes:
        with self._recorded("update", resource, namespace, name, subresource):
            call = self._call("update", resource, namespace, name, subresource)
            return (await self._pipeline.update(call, _object(body), [])).body

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
        with self._recorded("patch", resource, namespace, name, subresource):
            call = self._call("patch", resource, namespace, name, subresource)
            return (await self._pipeline.patch(call, kind, patch)).body

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
        with self._recorded("delete", resource, namespace, name):
            call = self._call("delete", resource, namespace, name)
            await self._pipeline.delete(
                call, DeleteOptions(policy=propagation, grace=grace_period_seconds, uid=uid or None)
            )

    async def close(self) -> None:
        """Nothing is held open."""

    @contextlib.contextmanager
    def _recorded(
        self, verb: str, resource: Resource, namespace: str, name: str = "", subresource: str = ""
    ) -> Iterator[None]:
        """What a component writes is in the audit log as anybody's writes are; what it reads here is not."""
        if self._audit is None:
            yield
            return
        entry = Entry(resource.path(namespace, name, subresource), verb, agent="in-process")
        entry.user = self._user
        entry.about = Attributes(
            verb, resource.group, resource.plural, subresource, namespace, name, version=resource.version
        )
        try:
            yield
        except ApiError as error:
            self._audit.record(entry, error.code, error.status)
            raise
        self._audit.record(entry, 201 if verb == "create" else 200)

    def _call(self, verb: str, resource: Resource, namespace: str, name: str = "", subresource: str = "") -> Call:
        return self._pipeline.call(self._user, _route(verb, resource, namespace, name, subresource))


def _route(verb: str, resource: Resource, namespace: str, name: str = "", subresource: str = "") -> Route:
    if resource.plural == "namespaces" and not resource.group:
        namespace = name
    return Route(verb, resource.group, resource.version, resource.plural, namespace, name, subresource)


def _object(body: Json | bytes) -> Json:
    """A decoded object the pipeline may keep and change."""
    try:
        found = msgspec.json.decode(body if isinstance(body, bytes) else msgspec.json.encode(body))
    except msgspec.DecodeError as error:
        raise bad_request(f"the object provided is unrecognized: {error}") from None
    if not isinstance(found, dict):
        raise bad_request("the object provided is unrecognized: not an object")
    return found
