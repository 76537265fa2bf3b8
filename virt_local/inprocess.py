"""A KubeClient inside the API server's process: the same pipeline as over HTTP, bytes in and bytes out.

The components that `virtctl local up` runs in one process talk to each other through it. Watches hand out the stored
bytes themselves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

import msgspec

from virt_kube.admission import UserInfo
from virt_kube.api import Json, JsonPatch, ListPage, PatchKind, Propagation, Resource, WatchEvent
from virt_local.apiserver import reads, represent, watches
from virt_local.apiserver.call import Call
from virt_local.apiserver.deletes import DeleteOptions
from virt_local.apiserver.pipeline import Pipeline
from virt_local.apiserver.routing import Route
from virt_local.apiserver.status import bad_request


class InProcessClient:
    """Implements virt_kube.api.KubeClient for one user."""

    def __init__(self, pipeline: Pipeline, user: UserInfo) -> None:
        self._pipeline = pipeline
        self._user = user

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
        call = self._call("create", resource, namespace)
        return (await self._pipeline.create(call, _object(body), [])).body

    async def update(
        self, resource: Resource, namespace: str, name: str, body: Json | bytes, *, subresource: str = ""
    ) -> bytes:
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
        call = self._call("delete", resource, namespace, name)
        await self._pipeline.delete(call, DeleteOptions(policy=propagation, grace=grace_period_seconds, uid=uid))

    async def close(self) -> None:
        """Nothing is held open."""

    def _call(self, verb: str, resource: Resource, namespace: str, name: str = "", subresource: str = "") -> Call:
        if resource.plural == "namespaces" and not resource.group:
            namespace = name
        route = Route(verb, resource.group, resource.version, resource.plural, namespace, name, subresource)
        return self._pipeline.call(self._user, route)


def _object(body: Json | bytes) -> Json:
    """A decoded object the pipeline may keep and change."""
    try:
        found = msgspec.json.decode(body if isinstance(body, bytes) else msgspec.json.encode(body))
    except msgspec.DecodeError as error:
        raise bad_request(f"the object provided is unrecognized: {error}") from None
    if not isinstance(found, dict):
        raise bad_request("the object provided is unrecognized: not an object")
    return found
