"""Services on one machine: ClusterIPs (127.96.0.0/16) and NodePorts (on 127.0.0.1) that lead into the guests.

A userland stand-in for kube-proxy and the endpoints controller, run by the supervisor: sockets and Endpoints objects
are kept to what `virt_local.endpoints` says.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

from virt_kube.api import ApiError, Json, KubeClient, NotFound, Resource
from virt_kube.events import EventRecorder
from virt_kube.informer import Informer
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES
from virt_local.endpoints import Guest, Listen, Service, meant, plan, subsets
from virt_local.forward import Backend, Forward, TcpForward, UdpForward
from virt_types import codec

log = logging.getLogger("virt_local.service_proxy")

SERVICES = Resource("", "v1", "services", "Service")
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints")

SETTLE = 0.05  # seconds; changes come in bursts
RETRY = 5.0


class ServiceProxy:
    """Keeps listeners and Endpoints true to what the API says, until cancelled; Services hear what they can't have."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._events = EventRecorder(client, "virt-local")
        self._told: set[tuple[str, str]] = set()  # uids of Service and guest
        self._services = Informer(client, SERVICES, lambda data: codec.decode(data, Service))
        self._guests = Informer(client, VIRTUAL_MACHINE_INSTANCES, lambda data: codec.decode(data, Guest))
        self._changed = asyncio.Event()
        self._forwards: dict[Listen, Forward] = {}
        self._draining: list[Forward] = []
        self._written: dict[str, list[Json]] = {}  # by the Service's uid
        for informer in (self._services, self._guests):
            informer.add_handler(lambda _old, _new: self._changed.set())

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._services.run())
            tasks.create_task(self._guests.run())
            tasks.create_task(self._events.run())
            await self._services.synced.wait()
            await self._guests.synced.wait()
            ready()
            try:
                await self._follow()
            finally:
                await asyncio.gather(*(forward.close() for forward in (*self._forwards.values(), *self._draining)))

    async def _follow(self) -> None:
        while True:
            self._changed.clear()
            settled = await self._listen(plan(self._services.list(), self._guests.list()))
            settled &= await self._publish()
            self._explain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), None if settled else RETRY)
            await asyncio.sleep(SETTLE)

    async def _listen(self, wanted: Mapping[Listen, tuple[Backend, ...]]) -> bool:
        """Close, re-target and open; whether all of it worked."""
        alive = {guest.metadata.uid for guest in self._guests.list() if guest.status.phase == "Running"}
        for listen in [each for each in self._forwards if each not in wanted]:
            forward = self._forwards.pop(listen)
            forward.stop()
            self._draining.append(forward)
            log.info("service address closed address=%s port=%d/%s", *listen)
        for forward in self._draining:
            forward.retarget((), alive)
        self._draining = [forward for forward in self._draining if forward.busy]
        settled = True
        for listen, backends in wanted.items():
            if listen in self._forwards:
                self._forwards[listen].retarget(backends, alive)
            else:
                settled &= await self._open(listen, backends)
        return settled

    async def _open(self, listen: Listen, backends: tuple[Backend, ...]) -> bool:
        forward = TcpForward(backends) if listen.protocol == "TCP" else UdpForward(backends)
        try:
            await forward.open(listen.address, listen.port)
        except OSError as err:
            log.warning("service address not available address=%s port=%d/%s error=%s", *listen, err.strerror or err)
            return False
        self._forwards[listen] = forward
        log.info("service address open address=%s port=%d/%s backends=%d", *listen, len(backends))
        return True

    def _explain(self) -> None:
        """Tell a Service once of each running guest that it selects and can't lead to."""
        guests, found = self._guests.list(), set[tuple[str, str]]()
        for service in self._services.list():
            for guest in meant(service, guests):
                if guest.unreachable:
                    found.add(pair := (service.metadata.uid, guest.metadata.uid))
                    if pair not in self._told:
                        text = f"no way to {guest.metadata.name}: {guest.unreachable}"
                        self._events.event(service, "Warning", "GuestUnreachable", text)
        self._told = found

    async def _publish(self) -> bool:
        """Write the Endpoints that differ from what was written last; whether all of it worked."""
        guests, settled = self._guests.list(), True
        services = {service.metadata.uid: service for service in self._services.list() if service.spec.selector}
        self._written = {uid: found for uid, found in self._written.items() if uid in services}
        for uid, service in services.items():
            found = subsets(service, guests)
            if self._written.get(uid) != found:
                settled &= await self._write(service, found)
        return settled

    async def _write(self, service: Service, found: list[Json]) -> bool:
        """Owned by their Service, the Endpoints go with it even when nobody runs here."""
        meta = service.metadata
        owner = {"apiVersion": "v1", "kind": "Service", "name": meta.name, "uid": meta.uid, "controller": True}
        body: Json = {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {"name": meta.name, "namespace": meta.namespace, "ownerReferences": [owner]},
            "subsets": found,
        }
        try:
            try:
                await self._client.update(ENDPOINTS, meta.namespace, meta.name, body)
            except NotFound:
                await self._client.create(ENDPOINTS, meta.namespace, body)
        except ApiError as err:
            log.warning("endpoints not written namespace=%s name=%s error=%s", meta.namespace, meta.name, err.message)
            return False
        self._written[meta.uid] = found
        return True
