"""The server without HTTP: every verb on every resource, for a known user. HTTP and in-process requests meet here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from functools import partial
from typing import Any

from virt_kube.admission import Admission, UserInfo
from virt_kube.api import Json, PatchKind
from virt_local.apiserver import reads, scale
from virt_local.apiserver.authz import Authorizer
from virt_local.apiserver.builtins import CRD
from virt_local.apiserver.call import Answer, Call, Params
from virt_local.apiserver.definitions.names import NameKeeper
from virt_local.apiserver.deletes import DeleteOptions, Deleter
from virt_local.apiserver.discovery import sub_verbs
from virt_local.apiserver.grants import Guard
from virt_local.apiserver.reads import Page, Selection
from virt_local.apiserver.registry import Registry, ResourceType, Version
from virt_local.apiserver.routing import Route
from virt_local.apiserver.schemas import Schemas
from virt_local.apiserver.services import ServiceAllocator
from virt_local.apiserver.status import method_not_allowed, no_such_page, no_such_resource, not_found, unsupported_verb
from virt_local.apiserver.watches import Event, Session, WatchOptions
from virt_local.apiserver.writes import Writer
from virt_local.store import Record, Store


class Pipeline:
    def __init__(
        self,
        store: Store,
        registry: Registry,
        admission: Admission | None,
        authorizer: Authorizer,
        services: ServiceAllocator,
    ) -> None:
        self.store = store
        self.registry = registry
        self.authorizer = authorizer
        self.schemas = Schemas()
        self._names = NameKeeper(store)
        self._writer = Writer(store, self.schemas, services, Guard(authorizer), admission)
        self._defining: set[asyncio.Task[Answer]] = set()
        self._deleter = Deleter(store, self.schemas, admission)

    def call(self, user: UserInfo, route: Route) -> Call:
        """The call a route means, permitted for the user. Raises 403, 404, 405."""
        self.authorizer.require(user, route.attributes)
        found = self.registry.find(route.group, route.version, route.plural)
        if found is None:
            raise no_such_resource()
        resource, version = found
        self._require_path(route, resource, version)
        namespace = route.namespace if resource.namespaced else ""
        call = Call(user, resource, version, namespace, route.name, route.subresource)
        if version.warning:
            call.warnings.append(version.warning)
        return call

    def _require_path(self, route: Route, resource: ResourceType, version: Version) -> None:
        within = bool(route.namespace) and route.group + route.plural != "namespaces"
        across = not route.namespace and (route.name or route.verb not in ("list", "watch"))
        if across if resource.namespaced else within:
            if resource.builtin and across and not route.name:
                raise method_not_allowed()  # the path is there, for those who list
            raise no_such_resource() if resource.builtin else no_such_page()
        if route.subresource and (route.deeper or not _has_subresource(resource, version, route.subresource)):
            if resource.builtin:
                raise no_such_resource()
            raise not_found(resource.group, resource.plural, route.name)
        allowed = resource.verbs
        if route.subresource:
            allowed = tuple(sub_verbs(route.subresource))
        if (
            route.verb not in allowed
            or (resource.builtin and route.verb == "create" and route.name)
            or (resource.builtin and route.verb in ("update", "patch") and not route.name)
        ):
            raise method_not_allowed() if resource.builtin else unsupported_verb(route.group, route.plural, route.verb)

    def get(self, call: Call, params: Params) -> Record:
        record = self.schemas.current(call.resource, reads.get(self.store, call, params))
        if call.subresource == "scale":
            return scale.read(call, record)
        return record

    async def page(self, call: Call, params: Params) -> Page:
        found = await reads.page(self.store, call, params, reads.selection(call, params))
        if not call.resource.since:
            return found
        return found._replace(records=[self.schemas.current(call.resource, record) for record in found.records])

    async def create(self, call: Call, obj: Json, duplicates: list[str]) -> Answer:
        return await self._settled(call, self._writer.create(call, obj, duplicates))

    async def update(self, call: Call, obj: Json, duplicates: list[str]) -> Answer:
        if call.subresource == "scale":
            return await scale.update(self._writer, call, obj)
        return await self._settled(call, self._writer.update(call, obj, duplicates))

    async def patch(self, call: Call, kind: PatchKind, patch: Any) -> Answer:
        if call.subresource == "scale":
            return await scale.patch(self._writer, call, kind, patch)
        return await self._settled(call, self._writer.patch(call, kind, patch))

    async def apply(self, call: Call, patch: Any, *, force: bool) -> Answer:
        return await self._settled(call, self._writer.apply(call, patch, force=force))

    async def delete(self, call: Call, options: DeleteOptions) -> Answer:
        return await self._settled(call, self._deleter.delete(call, options))

    async def delete_collection(self, call: Call, params: Params, options: DeleteOptions) -> Answer:
        return await self._deleter.delete_collection(call, await self.page(call, params), options)

    async def _settled(self, call: Call, write: Awaitable[Answer]) -> Answer:
        """The answer of a write; a definition's names are seen to before anybody asks for them."""
        if call.resource is not CRD or call.dry_run:
            return await write
        # Both or neither, though the client may hang up meanwhile.
        task = asyncio.ensure_future(self._defined(call, write))
        self._defining.add(task)
        task.add_done_callback(self._defining.discard)
        return await asyncio.shield(task)

    async def _defined(self, call: Call, write: Awaitable[Answer]) -> Answer:
        answer = await write
        await self._names.settle(call)
        return answer

    def watch(self, call: Call, chosen: Selection, options: WatchOptions) -> AsyncGenerator[list[Event], None]:
        return Session(self.store, call, chosen, options, partial(self.schemas.current, call.resource)).events()


def _has_subresource(resource: ResourceType, version: Version, name: str) -> bool:
    if name == "status":
        return version.status
    if name == "scale":
        return version.scale is not None
    return name in resource.subresources
