"""The importer as one component: caches, loops and workers, wired and run. Called by `virt_local.components`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from aiohttp import web

from virt_handler.images.store import ImageStore
from virt_kube.api import KubeClient
from virt_kube.clock import system_clock
from virt_kube.directories import make_passable
from virt_kube.events import EventRecorder
from virt_kube.informer import Key
from virt_kube.runner import Runner
from virt_kube.unix_sockets import listen_privately
from virt_kube.workqueue import WorkQueue
from virt_local.datavolumes.caches import Caches
from virt_local.datavolumes.controller import DataVolumeController
from virt_local.datavolumes.fill import Filler
from virt_local.datavolumes.sources import DataSourceController
from virt_local.datavolumes.uploads import PREFERRED_PORT, Uploads
from virt_local.datavolumes.workers import Workers

log = logging.getLogger("virt_local.datavolumes")

COLLECT_EVERY = 6 * 3600.0
STOP_GRACE = 2.0  # seconds an upload has to end


class UploadServers(NamedTuple):
    """`socket` is where the API server finds us; the proxy listens on `host` with `tls`."""

    socket: Path
    host: str
    tls: ssl.SSLContext


class Options(NamedTuple):
    """`volumes` as the storage component has it; `images` is where pulled images are kept between imports."""

    volumes: Path
    images: Path
    registry_mirrors: Mapping[str, str]
    http_mirrors: Mapping[str, str]
    uploads: UploadServers | None = None


class _Images:
    """One store for imports without a CA of their own; another, for a while, for each with one."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._shared = self._store(None)

    @contextlib.asynccontextmanager
    async def __call__(self, tls: ssl.SSLContext | None) -> AsyncIterator[ImageStore]:
        if tls is None:
            yield self._shared
            return
        store = self._store(tls)
        try:
            yield store
        finally:
            await store.close()

    def _store(self, tls: ssl.SSLContext | None) -> ImageStore:
        return ImageStore(self._options.images, self._options.registry_mirrors, frozenset(), tls=tls)

    async def keep_tidy(self) -> None:
        """Until cancelled. Nothing rests on these images, so age and room alone decide."""
        guests = self._options.images / "guests"  # for ever empty
        await asyncio.to_thread(guests.mkdir, exist_ok=True)
        await asyncio.to_thread(self._shared.sweep)
        try:
            while True:
                await asyncio.to_thread(self._shared.collect, guests)
                await asyncio.sleep(COLLECT_EVERY)
        finally:
            await self._shared.close()


async def run(client: KubeClient, options: Options, ready: Callable[[], None] = lambda: None) -> None:
    """Until cancelled."""
    await asyncio.to_thread(make_passable, options.images)  # for the user that qemu-img runs as
    caches, events, images = Caches(client), EventRecorder(client, "datavolume-controller"), _Images(options)
    filler = Filler(client, options.volumes, images, options.http_mirrors, caches.user_of)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(events.run())
        tasks.create_task(caches.run())
        tasks.create_task(images.keep_tidy())
        await caches.synced()
        queue: WorkQueue[Key] = WorkQueue()
        workers = Workers(filler.fill, queue.add, system_clock)
        volumes = DataVolumeController(client, caches, workers, events, queue, clock=system_clock)
        sources = DataSourceController(client, caches, clock=system_clock)
        uploads = Uploads(workers, filler, caches.claim, clock=system_clock)
        servers = await _listen(uploads, options.uploads) if options.uploads is not None else ()
        ready()
        try:
            async with asyncio.TaskGroup() as loops:
                loops.create_task(Runner("datavolumes", queue, volumes.reconcile, workers=4).run())
                loops.create_task(Runner("datasources", sources.queue, sources.reconcile, workers=1).run())
        finally:
            for server in servers:
                await server.cleanup()
            await workers.close()


async def _listen(uploads: Uploads, servers: UploadServers) -> tuple[web.AppRunner, ...]:
    """Both servers; the proxy on its usual port, or on a free one."""
    api = web.AppRunner(uploads.api, access_log=None, shutdown_timeout=STOP_GRACE)
    proxy = web.AppRunner(uploads.proxy, access_log=None, shutdown_timeout=STOP_GRACE)
    for runner in (api, proxy):
        await runner.setup()
    await web.SockSite(api, listen_privately(servers.socket)).start()
    try:
        await web.TCPSite(proxy, servers.host, PREFERRED_PORT, ssl_context=servers.tls).start()
    except OSError:
        await web.TCPSite(proxy, servers.host, 0, ssl_context=servers.tls).start()
    host = f"[{servers.host}]" if ":" in servers.host else servers.host
    uploads.url = f"https://{host}:{proxy.addresses[0][1]}"
    log.info("upload proxy listens url=%s", uploads.url)
    return api, proxy
