"""The API server as the supervisor holds it: wired together, started, stopped.

`virt_local/cli.py` runs it inside `virtctl local up`, `__main__.py` alone.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from ipaddress import IPv4Network

from virt_kube.admission import Admission, UserInfo
from virt_kube.api import Json
from virt_local.apiserver import former, represent
from virt_local.apiserver.audit import AuditLog
from virt_local.apiserver.authn import Authenticator
from virt_local.apiserver.authz import Authorizer
from virt_local.apiserver.bootstrap import bootstrap
from virt_local.apiserver.builtins import BUILTINS, CRD
from virt_local.apiserver.call import Call
from virt_local.apiserver.definitions.model import resource_type
from virt_local.apiserver.discovery import Discovery
from virt_local.apiserver.documents import GIT_VERSION, Documents
from virt_local.apiserver.door import Door
from virt_local.apiserver.expiry import EventExpiry
from virt_local.apiserver.http import HttpFace
from virt_local.apiserver.limits import DEFAULTS, Gate, Limits, Listener, raise_file_limit
from virt_local.apiserver.openapi import OpenApi
from virt_local.apiserver.pipeline import Pipeline
from virt_local.apiserver.proxy import SubresourceBackend
from virt_local.apiserver.registry import Registry, no_views
from virt_local.apiserver.reviews import Reviews
from virt_local.apiserver.roles import AUTHENTICATED, MASTERS
from virt_local.apiserver.services import CLUSTER_IPS, ServiceAllocator
from virt_local.apiserver.tokens import Tokens
from virt_local.inprocess import InProcessClient
from virt_local.store import Change, Store

log = logging.getLogger("virt_local.apiserver")

SYSTEM = UserInfo("system:apiserver", (MASTERS, AUTHENTICATED))
IDLE = 90.0  # seconds a connection may wait between requests, or take over the head of one: k8s.io/apiserver's
STOP_GRACE = 2.0  # seconds open watches have to end
BACKLOG = 1_024  # connections the kernel holds until they are accepted


class ApiServer:
    """Call `bootstrap` before the first request, `start` to listen, `stop` in the end. The store stays the caller's."""

    def __init__(
        self,
        store: Store,
        *,
        admission: Admission | None = None,
        subresources: SubresourceBackend | None = None,
        authenticator: Authenticator | None = None,
        tokens: Tokens | None = None,
        audit: AuditLog | None = None,
        limits: Limits = DEFAULTS,
        cluster_ips: IPv4Network = CLUSTER_IPS,
    ) -> None:
        self.store = store
        self.registry = Registry(BUILTINS, no_views if admission is None else former.views)
        authorizer = Authorizer(store)
        tokens = tokens or Tokens(store)
        authenticator = authenticator or Authenticator(tokens=tokens)
        self._pipeline = Pipeline(store, self.registry, admission, authorizer, ServiceAllocator(store, cluster_ips))
        self._subresources = subresources
        documents = Documents(
            Discovery(
                self.registry,
                subresources=subresources is not None,
                imports=subresources is not None and subresources.imports,
            ),
            OpenApi(self.registry, GIT_VERSION),
            lambda: not store.closed,
        )
        self._audit = audit
        self._gate = Gate(limits)
        self._reviews = Reviews(authorizer, authenticator, tokens)
        face = HttpFace(self._pipeline, documents, self._reviews, self._gate)
        self._door = Door(face, authenticator, authorizer, self._gate, subresources=subresources, audit=audit)
        self._listener: Listener | None = None
        self._socket: asyncio.Server | None = None
        self._expiry = EventExpiry(store)
        self._sweeper: asyncio.Task[None] | None = None
        for _, record in store.objects(CRD.stored_as):
            self._define(record.value)
        store.subscribe(CRD.stored_as, self._definition_changed)

    def client(self, user: UserInfo = SYSTEM) -> InProcessClient:
        """A KubeClient through the same pipeline, without HTTP."""
        return InProcessClient(self._pipeline, self._reviews, user, self._audit)

    async def bootstrap(self, definitions: list[Json]) -> None:
        """See to the first namespaces and roles, and these CustomResourceDefinitions, as this version has them."""
        await bootstrap(self._pipeline, SYSTEM, definitions)

    async def start(self, host: str, port: int, ssl_context: ssl.SSLContext | None = None) -> int:
        """Listen; returns the port (of use when 0 was asked for). Raises OSError when the address is taken."""
        limits = self._gate.limits
        self._gate.limits = limits._replace(connections=raise_file_limit(limits.connections))
        listener = Listener(
            self._door.handle,
            self._gate,
            handler_cancellation=True,  # a watch whose client went away must not wait for the next event
            access_log=None,
            max_line_size=limits.field,
            max_field_size=limits.field,
            max_headers=limits.headers,
            keepalive_timeout=IDLE,
            auto_decompress=False,  # a small body must not become a large one
        )
        handshake = limits.handshake_seconds if ssl_context else None
        self._socket = await asyncio.get_running_loop().create_server(
            listener, host, port, ssl=ssl_context, ssl_handshake_timeout=handshake, backlog=BACKLOG
        )
        self._listener = listener
        self._sweeper = asyncio.create_task(self._expiry.run())
        found: int = self._socket.sockets[0].getsockname()[1]
        log.info("api server listens host=%s port=%d", host, found)
        return found

    async def stop(self) -> None:
        """Stop listening and end open streams; the store is left to its owner."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
            self._sweeper = None
        self.store.end_watches()
        if self._socket is not None and self._listener is not None:
            self._socket.close()
            self._listener.pre_shutdown()
            await self._listener.shutdown(STOP_GRACE)
            self._socket = self._listener = None
        if self._audit is not None:
            await asyncio.to_thread(self._audit.close)
            self._audit = None
        if self._subresources is not None:
            await self._subresources.close()

    def _definition_changed(self, change: Change) -> None:
        self._pipeline.schemas.forget(change.key.name)
        if change.deleted:
            self.registry.drop_crd(change.key.name)
        else:
            self._define(change.value)

    def _define(self, value: bytes) -> None:
        name = represent.meta(value).name
        key = Call(SYSTEM, CRD, CRD.storage, "", name).key

        def stored() -> bytes | None:
            record = self.store.get(key)
            return record.value if record else None

        resource = resource_type(value, stored)
        if resource.established:
            self.registry.put(resource)
        else:
            self.registry.drop_crd(name)
