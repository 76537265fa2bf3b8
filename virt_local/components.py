"""The components of a one-machine cluster: how each is built, and when it counts as ready.

The supervisor runs these. They get their Kubernetes client from a `Context`: in process when the API runs here too,
else over HTTP with the certificate of their account.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from virt_kube.admission import UserInfo
from virt_kube.api import ApiError, KubeClient
from virt_kube.events import EventRecorder
from virt_kube.resources import NODES
from virt_local.errors import AddressInUse, NotRunning, PkiError
from virt_local.settings import Places, Settings
from virt_types import codec, labels
from virt_types.meta import Base, ObjectMeta

if TYPE_CHECKING:
    from virt_local import pki
    from virt_local.apiserver.server import ApiServer
    from virt_local.store import Store

log = logging.getLogger("virt_local.components")

NODE_POLL = 0.25
RENEW_EVERY = 86_400.0  # seconds between two looks at the certificates
# Does what kube-proxy and a provisioner do in a cluster: volumes, storage classes, endpoints.
LOCAL_USER = "system:serviceaccount:kubevirt:virt-local"
# Makes and fills the claims of DataVolumes.
CDI_USER, CDI_GROUP = "system:serviceaccount:cdi:cdi-controller", "system:serviceaccounts:cdi"

Ready = Callable[[], None]


class Api:
    """The Kubernetes API with its admission, garbage collection and certificates; an async context manager."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = contextlib.AsyncExitStack()
        self._server: ApiServer | None = None
        self._collector: asyncio.Task[None] | None = None
        self.server = ""

    async def __aenter__(self) -> Self:
        from virt_api.admission import KubeVirtAdmission
        from virt_local import pki
        from virt_local.apiserver.audit import AuditLog
        from virt_local.apiserver.proxy import AggregatedApis
        from virt_local.apiserver.roles import COLLECTOR
        from virt_local.apiserver.server import ApiServer
        from virt_local.apiserver.tokens import Tokens
        from virt_local.datavolumes.admission import DataVolumeAdmission
        from virt_local.gc import GarbageCollector
        from virt_local.store import Store
        from virt_types.crds import custom_resource_definitions

        settings, places = self._settings, self._settings.places
        async with contextlib.AsyncExitStack() as stack:
            certificates = await asyncio.to_thread(
                pki.ensure, places.state, node=_node_name(settings), host=settings.host
            )
            store: Store = await Store.open(places.state / "store.db")
            stack.push_async_callback(store.close)
            admission = KubeVirtAdmission(require_node=False)
            self._server = ApiServer(
                store,
                admission=DataVolumeAdmission(admission, lambda: self.client(UserInfo(CDI_USER, (CDI_GROUP,)))),
                subresources=AggregatedApis(places.api_socket, places.importer_socket),
                tokens=Tokens(store, places.state / "pki" / "tokens.key"),
                audit=AuditLog(settings.audit_log) if settings.audit_log else None,
            )
            stack.push_async_callback(self._server.stop)
            admission.connect(self._server.client(UserInfo(labels.API_USER, (labels.SERVICE_ACCOUNTS_GROUP,))))
            await self._server.bootstrap(custom_resource_definitions())
            self._collector = asyncio.create_task(
                GarbageCollector(store, self._server.registry, self._server.client(COLLECTOR)).run()
            )
            stack.push_async_callback(_cancelled, self._collector)
            tls = certificates.server_context()
            self.server = _url(settings.host, await self._listen(self._server, tls))
            await asyncio.to_thread(_write_kubeconfigs, places, certificates, self.server)
            stack.push_async_callback(_cancelled, asyncio.create_task(self._renew(tls)))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _renew(self, tls: ssl.SSLContext) -> None:
        """A cluster may run for longer than its certificates are good: those near their end are made anew."""
        from virt_local import pki

        places, node = self._settings.places, _node_name(self._settings)
        while True:
            await asyncio.sleep(RENEW_EVERY)
            try:
                certificates = await asyncio.to_thread(pki.ensure, places.state, node=node, host=self._settings.host)
                tls.load_cert_chain(certificates.server.cert, certificates.server.key)
                await asyncio.to_thread(_write_kubeconfigs, places, certificates, self.server)
            except (PkiError, OSError) as error:
                log.warning("certificates not renewed error=%s", error)

    async def _listen(self, server: ApiServer, tls: ssl.SSLContext) -> int:
        """The port; the chosen one may have been taken since it was looked at."""
        host, port = self._settings.host, self._settings.port
        try:
            return await server.start(host, port, tls)
        except OSError as err:
            if not self._settings.any_port:
                raise AddressInUse(
                    f"can't listen on {host}:{port}: address already in use", hint="stop what listens there"
                ) from err
        return await server.start(host, 0, tls)

    def client(self, user: UserInfo) -> KubeClient:
        if self._server is None:
            raise NotRunning("the API server has not started")
        return self._server.client(user)

    async def failed(self) -> None:
        """Until something the API can't do without ends; raises why."""
        if self._collector is not None:
            await self._collector


class Context:
    """What a component is built from. An async context manager that closes the clients it gave."""

    def __init__(self, settings: Settings, api: Api | None) -> None:
        self.settings = settings
        self._api = api
        self._stack = contextlib.AsyncExitStack()

    def client(self, name: str, *groups: str) -> KubeClient:
        """A client for the account `name`; a component of its own process speaks HTTP."""
        if self._api is not None:
            return self._api.client(UserInfo(name, (labels.SERVICE_ACCOUNTS_GROUP, *groups)))
        from virt_kube.http import HttpClient

        path = component_kubeconfig(self.settings.places, name)
        if not path.exists():
            raise NotRunning(
                f"no API has run here yet: {path} does not exist", hint="virtctl local up --components api"
            )
        client = HttpClient.from_kubeconfig(str(path), None)
        self._stack.push_async_callback(client.close)
        return client

    def identify_node(self, name: str) -> None:
        """Let the certificate of the agent say `name`, when that is not the node the API's process knew."""
        if self._api is not None:
            return
        from virt_kube.kubeconfig import load
        from virt_local import pki

        places = self.settings.places
        path = component_kubeconfig(places, labels.HANDLER_USER)
        if path.exists():
            certificates = pki.ensure(places.state, node=name)
            pair = certificates.components[pki.AGENT]
            pki.write_kubeconfig(path, certificates, load(str(path)).server, pair=pair)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()


Run = Callable[[Context, Ready], Awaitable[None]]


async def _subresources(context: Context, ready: Ready) -> None:
    from virt_api.app import serve

    places = context.settings.places
    client = context.client(labels.API_USER)
    await serve(client, socket=places.api_socket, handler_socket=places.handler_socket, ready=ready)


async def _proxy(context: Context, ready: Ready) -> None:
    from virt_local.service_proxy import ServiceProxy

    await ServiceProxy(context.client(LOCAL_USER)).run(ready)


async def _storage(context: Context, ready: Ready) -> None:
    from virt_local.storage import LocalStorage

    client = context.client(LOCAL_USER)
    events = EventRecorder(client, "virt-local")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(events.run())
        tasks.create_task(LocalStorage(client, context.settings.places.volumes, events).run(ready))


async def _importer(context: Context, ready: Ready) -> None:
    from virt_local import pki
    from virt_local.datavolumes.app import Options, UploadServers, run

    settings = context.settings
    tls = await asyncio.to_thread(pki.upload_context, settings.places.state)
    options = Options(
        volumes=settings.places.volumes,
        images=settings.places.imports,
        registry_mirrors=settings.registry_mirrors,
        http_mirrors=settings.http_mirrors,
        uploads=UploadServers(settings.places.importer_socket, settings.host, tls),
    )
    await run(context.client(CDI_USER, CDI_GROUP), options, ready)


async def _controllers(context: Context, ready: Ready) -> None:
    from virt_controller.app import run

    ready()
    await run(context.client(labels.CONTROLLER_USER))


async def _node(context: Context, ready: Ready) -> None:
    from virt_handler.app import run
    from virt_handler.options import Options

    settings = context.settings
    name = _node_name(settings)
    options = Options(
        node_name=name,
        state_dir=settings.places.state,
        run_dir=settings.places.run,
        accelerator=settings.accelerator,
        network=settings.network,
        registry_mirrors=settings.registry_mirrors,
    )
    await asyncio.to_thread(context.identify_node, name)
    client = context.client(labels.HANDLER_USER, f"system:node:{name}")
    waiting = asyncio.create_task(_schedulable(client, name, ready))
    try:
        await run(client, options=options)
    finally:
        await _cancelled(waiting)


class _Node(Base, kw_only=True):
    metadata: ObjectMeta


async def _schedulable(client: KubeClient, name: str, ready: Ready) -> None:
    """Ready when the node takes guests."""
    while True:
        with contextlib.suppress(ApiError):
            node = codec.decode(await client.get(NODES, "", name), _Node)
            if node.metadata.labels.get(labels.NODE_SCHEDULABLE) == "true":
                ready()
                return
        await asyncio.sleep(NODE_POLL)


FACTORIES: Mapping[str, Run] = {
    "subresources": _subresources,
    "controllers": _controllers,
    "node": _node,
    "proxy": _proxy,
    "storage": _storage,
    "importer": _importer,
}


def component_kubeconfig(places: Places, account: str) -> Path:
    """Where the kubeconfig of an account lies."""
    return places.state / "pki" / f"{account.rpartition(':')[2]}.kubeconfig"


def _node_name(settings: Settings) -> str:
    from virt_handler.options import default_node_name

    return settings.node_name or default_node_name()


def _write_kubeconfigs(places: Places, certificates: pki.Pki, server: str) -> None:
    from virt_local import pki

    pki.write_kubeconfig(places.kubeconfig, certificates, server)
    for name, pair in certificates.components.items():
        pki.write_kubeconfig(places.state / "pki" / f"{name}.kubeconfig", certificates, server, pair=pair)


def _url(host: str, port: int) -> str:
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task
