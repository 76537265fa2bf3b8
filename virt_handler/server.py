"""The node agent's own API on a unix socket: consoles, screens, and the verbs that act on a running guest.

Only this user and root may connect (0600, and each peer's credentials are checked). Errors are Kubernetes Status
objects, as `virt_api` passes them on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import msgspec
from aiohttp import web

from virt_handler.domain import REDIRECTIONS
from virt_handler.domains import Domain, domain_name
from virt_handler.errors import (
    BadCall,
    ConsoleError,
    GuestAgentError,
    GuestStateError,
    HandlerError,
    HypervisorUnreachable,
    NoSuchGuest,
)
from virt_handler.guest_agent import FROZEN
from virt_handler.guest_facts import DOCUMENTS, GuestFacts, agent_info
from virt_handler.keeper import Keeper
from virt_handler.layout import Layout
from virt_handler.libvirt_host import LibvirtHost
from virt_handler.pictures import to_png
from virt_handler.records import Record, Records
from virt_handler.streams import DEFAULT_REPLAY, MAX_REPLAY, Active, console, session
from virt_kube.api import Json
from virt_kube.informer import Informer
from virt_kube.unix_sockets import listen_privately
from virt_types.errors import VirtError
from virt_types.v1 import VirtualMachineInstance

log = logging.getLogger("virt_handler.server")

PREFIX = "/v1/namespaces/{namespace}/virtualmachineinstances/{name}"
MAX_BODY = 64 << 10
PEER = struct.Struct("3i")
CODES: tuple[tuple[type[VirtError], int], ...] = (
    (NoSuchGuest, 404),
    (BadCall, 400),
    (GuestStateError, 409),
    (GuestAgentError, 409),
    (ConsoleError, 503),
    (HypervisorUnreachable, 503),
)
USB_BUSY = f"all {REDIRECTIONS} USB ports for remote devices are in use"
VNC_BUSY = "Active VNC connection. Request denied."


class _Freezing(msgspec.Struct, rename="camel"):
    """The body of freeze; 0 seconds is until told."""

    unfreeze_timeout_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class Server:
    """Serves `layout.socket` until cancelled."""

    def __init__(
        self,
        libvirt: LibvirtHost,
        keeper: Keeper,
        layout: Layout,
        informer: Informer[VirtualMachineInstance],
        records: Records,
    ) -> None:
        self._libvirt = libvirt
        self._keeper = keeper
        self._layout = layout
        self._informer = informer
        self._records = records
        self._active = Active()

    async def run(self) -> None:
        runner = web.AppRunner(self.app(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.SockSite(runner, await asyncio.to_thread(_listen, self._layout.socket)).start()
            await asyncio.Event().wait()
        finally:
            await self._active.close_all()
            await runner.cleanup()
            with contextlib.suppress(OSError):
                self._layout.socket.unlink()

    def app(self) -> web.Application:
        app = web.Application(middlewares=[_only_peers, _mapped], client_max_size=MAX_BODY)
        app.router.add_get(f"{PREFIX}/console", self._console)
        app.router.add_get(f"{PREFIX}/vnc", self._vnc)
        app.router.add_get(f"{PREFIX}/usbredir", self._usbredir)
        app.router.add_get(f"{PREFIX}/vnc/screenshot", self._screenshot)
        app.router.add_put(f"{PREFIX}/freeze", self._freeze)
        app.router.add_put(f"{PREFIX}/unfreeze", self._unfreeze)
        app.router.add_get(f"{PREFIX}/guestosinfo", self._agent_info)
        for name, document in DOCUMENTS.items():
            app.router.add_get(f"{PREFIX}/{name}", self._asking(document))
        verbs: dict[str, Callable[[str], Awaitable[None]]] = {
            "pause": self._libvirt.suspend,
            "unpause": self._libvirt.resume,
            "softreboot": self._libvirt.reboot,
            "reset": self._libvirt.reset,
        }
        for verb, act in verbs.items():
            app.router.add_put(f"{PREFIX}/{verb}", self._acting(verb, act))
        return app

    async def _console(self, request: web.Request) -> web.StreamResponse:
        record = self._record(request)
        replay = _number(request.query.get("replay"), DEFAULT_REPLAY, MAX_REPLAY)
        key = f"console/{record.uid}"
        return await console(request, self._layout.files(record.uid), self._active, key, replay)

    async def _vnc(self, request: web.Request) -> web.StreamResponse:
        record = self._record(request)
        key = f"vnc/{record.uid}"
        if request.query.get("preserveSession") == "true" and self._active.busy(key):
            raise ConsoleError(VNC_BUSY)
        return await session(request, self._layout.files(record.uid).vnc_socket, "VNC screen", self._active, key)

    async def _usbredir(self, request: web.Request) -> web.StreamResponse:
        """One of the guest's USB ports for remote devices; each takes one client."""
        record = self._record(request)
        places = {f"usbredir-{n}/{record.uid}": f"usbredir-{n}" for n in range(REDIRECTIONS)}
        key = self._active.reserve(places)
        if key is None:
            raise ConsoleError(USB_BUSY)
        try:
            socket = str(self._layout.guest_run(record.uid) / places[key])
            return await session(request, socket, "USB redirection", self._active, key)
        finally:
            self._active.release(key)

    async def _screenshot(self, request: web.Request) -> web.Response:
        domain = await self._running(request)
        picture = await self._libvirt.screenshot(domain.uuid)
        return web.Response(body=await asyncio.to_thread(to_png, picture), content_type="image/png")

    async def _freeze(self, request: web.Request) -> web.Response:
        domain = await self._running(request)
        await self._keeper.freeze(self._record(request), domain, _unfreeze_timeout(await request.read()))
        return web.Response(status=202)

    async def _unfreeze(self, request: web.Request) -> web.Response:
        domain = await self._running(request)
        await self._keeper.unfreeze(self._record(request), domain)
        return web.Response(status=202)

    async def _agent_info(self, request: web.Request) -> web.Response:
        record = self._record(request)
        facts = await self._facts(request)
        return web.json_response(agent_info(facts, FROZEN if record.frozen is not None else ""))

    def _asking(self, document: Callable[[GuestFacts], Json]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            return web.json_response(document(await self._facts(request)))

        return handle

    async def _facts(self, request: web.Request) -> GuestFacts:
        """Asked of the guest now: a list of users two minutes old is none."""
        domain = await self._running(request)
        return await self._keeper.guests.facts(domain.uuid)

    def _acting(
        self, verb: str, act: Callable[[str], Awaitable[None]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            domain = await self._running(request)
            await act(domain.uuid)
            log.info("verb done verb=%s domain=%s", verb, domain.name)
            return web.Response(status=202)

        return handle

    def _record(self, request: web.Request) -> Record:
        """The record of the VMI as it is now: a former one's sockets are not for its successor's users."""
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        vmi = self._informer.get(namespace, name)
        record = self._records.get(vmi.metadata.uid) if vmi is not None else None
        if record is None or record.stage != "started":
            raise NoSuchGuest(f"VMI {namespace}/{name} does not run on this node")
        return record

    async def _running(self, request: web.Request) -> Domain:
        record = self._record(request)
        domain = await self._libvirt.observe(domain_name(record.namespace, record.name))
        if domain is None or not domain.alive or domain.vmi_uid != record.uid:
            raise GuestStateError(f"VMI {record.namespace}/{record.name} is not running")
        return domain


@web.middleware
async def _only_peers(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    transport = request.transport
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None or peer_uid(sock) not in {0, os.geteuid()}:
        return _status(403, "Forbidden", "only the user that runs virt-handler, and root, may connect")
    return await handler(request)


@web.middleware
async def _mapped(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except HandlerError as error:
        code = next((code for kind, code in CODES if isinstance(error, kind)), 500)
        return _status(code, error.reason, error.message)


def peer_uid(sock: socket.socket) -> int:
    """The user at the other end of a unix socket, by the kernel's word."""
    _, uid, _ = PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    return int(uid)


def _status(code: int, reason: str, message: str) -> web.Response:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    return web.json_response(body, status=code)


def _unfreeze_timeout(body: bytes) -> float:
    try:
        return msgspec.json.decode(body or b"{}", type=_Freezing).unfreeze_timeout_seconds
    except msgspec.MsgspecError as error:
        raise BadCall(f"the body of freeze can't be read: {error}") from None


def _number(text: str | None, default: int, limit: int) -> int:
    return min(int(text), limit) if text is not None and text.isascii() and text.isdigit() else default


def _listen(path: Path) -> socket.socket:
    try:
        return listen_privately(path)
    except OSError as error:
        raise ConsoleError(f"can't listen on {path}: {error.strerror}") from None
