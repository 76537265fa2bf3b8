"""The one connection to libvirt: every call off the loop and with a deadline, every event as a domain's name.

A lost connection is made again with growing pauses, for ever; guests do not depend on it. Used by `agent`, `network`
and `server`. No libvirt exception leaves this module (`libvirt_errors`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from xml.etree import ElementTree as ET

import libvirt

from virt_handler.domains import NAMESPACE, Domain, read_domain, with_disk_errors
from virt_handler.errors import GuestStateError, HandlerError, HypervisorUnreachable, NoSuchGuest
from virt_handler.libvirt_errors import mapped
from virt_handler.libvirt_events import carry_events
from virt_handler.rootports import with_ports

log = logging.getLogger("virt_handler.libvirt_host")

T = TypeVar("T")

THREADS = 16
DEADLINE = 30.0
START_DEADLINE = 300.0
# Seconds a guest's agent may take to answer.
AGENT_TIMEOUT = 5
MIN_PAUSE = 0.5
MAX_PAUSE = 15.0
# Two lost answers, five seconds apart, and libvirt gives the connection up.
KEEPALIVE = (5, 2)
MAX_SCREENSHOT = 64 << 20
# The least a domain can be that has a TPM.
NO_MORE = """<domain type="qemu"><name>forget-{uuid}</name><uuid>{uuid}</uuid><memory>1024</memory>
<os><type>hvm</type></os><devices>
<tpm model="tpm-crb"><backend type="emulator" version="2.0"/></tpm></devices></domain>"""
EVENTS = (
    libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE,
    libvirt.VIR_DOMAIN_EVENT_ID_REBOOT,
    libvirt.VIR_DOMAIN_EVENT_ID_WATCHDOG,
    libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON,
    libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE,
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_ADDED,
    libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
    libvirt.VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE,
)

libvirt.registerErrorHandler(lambda _context, _error: None, None)  # it would print to stderr


class LibvirtHost:
    """libvirt on this machine. `on_change` hears domain names, and "" when everything may have changed."""

    def __init__(self, uri: str, on_change: Callable[[str], None]) -> None:
        self.uri = uri
        self.connected = asyncio.Event()
        self.lost_at: float | None = time.monotonic()
        self._on_change = on_change
        self._connection: Any = None
        self._hearing: list[int] = []  # what libvirt calls our wishes to hear events
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="libvirt")
        self._closed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop

    @property
    def session(self) -> bool:
        """Whether guests run as the user who asks, without the system's networks."""
        return self.uri.endswith("/session")

    @property
    def shares_directories(self) -> bool:
        """Whether libvirt runs virtiofs daemons: it needs to be root for that."""
        return not self.session

    async def run(self) -> None:
        """Keep the connection until cancelled."""
        self._loop = asyncio.get_running_loop()
        carry_events()
        pause = MIN_PAUSE
        try:
            while True:
                try:
                    await self._connect()
                except HandlerError as error:
                    log.warning("libvirt unreachable uri=%s retry_in=%.1f error=%s", self.uri, pause, error)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, MAX_PAUSE)
                    continue
                pause = MIN_PAUSE
                await self._closed.wait()
                log.warning("libvirt connection lost uri=%s", self.uri)
                await self._disconnect()
        finally:
            await self._disconnect()
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def observe(self, name: str) -> Domain | None:
        """The domain of this name as libvirt sees it now; None is libvirt's own word that there is none."""

        def read(connection: Any) -> Domain:
            domain = connection.lookupByName(name)
            state, reason = domain.state()
            found = read_domain(domain.XMLDesc(), state, reason)
            if (found.state, found.reason) != ("paused", "ioerror"):
                return found
            with contextlib.suppress(libvirt.libvirtError):  # it may have gone on meanwhile, or ended
                found = with_disk_errors(found, domain.diskErrors())
            return found

        try:
            return await self.call(f"look at domain {name}", read)
        except NoSuchGuest:
            return None

    async def launch(self, xml: str, *, paused: bool = False) -> str:
        """Define the domain, with room for what is plugged in later, and start it; returns its uuid.

        A second call for a running one only returns.
        """
        flags = libvirt.VIR_DOMAIN_START_PAUSED if paused else 0

        def launch(connection: Any) -> str:
            domain = connection.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
            if not domain.isActive():
                if roomier := with_ports(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)):
                    domain = connection.defineXML(roomier)
                domain.createWithFlags(flags)
            return str(domain.UUIDString())

        return await self.call("start the guest", launch, deadline=START_DEADLINE)

    async def shut_down(self, uuid: str, *, agent: bool) -> None:
        """Press the power button, and ask the guest's agent when it is there. Says nothing when neither can be."""

        def shut_down(domain: Any) -> None:
            with contextlib.suppress(libvirt.libvirtError):
                domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
            if agent:
                with contextlib.suppress(libvirt.libvirtError):
                    domain.agentSetResponseTimeout(AGENT_TIMEOUT)
                    domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT)

        await self.on_domain(uuid, "shut the guest down", shut_down)

    async def destroy(self, uuid: str) -> None:
        """End QEMU at once; a guest that is down already is fine."""
        with contextlib.suppress(GuestStateError, NoSuchGuest):
            await self.on_domain(uuid, "destroy the guest", lambda domain: domain.destroy(), deadline=60.0)

    async def undefine(self, uuid: str) -> None:
        """Forget the domain, not its EFI variables: they are in a file of ours. An unknown one is fine."""
        flags = (
            libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
            | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        )
        with contextlib.suppress(NoSuchGuest):
            await self.on_domain(uuid, "undefine the domain", lambda domain: domain.undefineFlags(flags))

    async def forget_tpm(self, uuid: str) -> None:
        """Remove the memory of a TPM whose domain is gone; libvirt knows where it is, and wants a domain to ask by."""
        xml = NO_MORE.format(uuid=uuid)

        def forget(connection: Any) -> None:
            connection.defineXML(xml).undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_TPM)

        await self.call("forget the TPM", forget)

    async def set_metadata(self, uuid: str, xml: str) -> None:
        """Replace our metadata, in the running guest and in its definition."""

        def write(domain: Any) -> None:
            flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG | (libvirt.VIR_DOMAIN_AFFECT_LIVE if domain.isActive() else 0)
            domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml, "kubevirt", NAMESPACE, flags)

        await self.on_domain(uuid, "write the domain's metadata", write)

    async def suspend(self, uuid: str) -> None:
        await self.on_domain(uuid, "pause the guest", lambda domain: domain.suspend())

    async def resume(self, uuid: str) -> None:
        await self.on_domain(uuid, "unpause the guest", lambda domain: domain.resume())

    async def reset(self, uuid: str) -> None:
        await self.on_domain(uuid, "reset the guest", lambda domain: domain.reset())

    async def reboot(self, uuid: str) -> None:
        """Ask the guest to reboot: through its agent, else by ACPI."""
        flags = libvirt.VIR_DOMAIN_REBOOT_GUEST_AGENT | libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN
        await self.on_domain(uuid, "reboot the guest", lambda domain: domain.reboot(flags))

    async def screenshot(self, uuid: str) -> bytes:
        """The first screen as libvirt gives it (PPM or PNG)."""

        def shoot(connection: Any) -> bytes:
            stream = connection.newStream()
            try:
                connection.lookupByUUIDString(uuid).screenshot(stream, 0)
                parts, size = [], 0
                while part := stream.recv(262120):
                    size += len(part)
                    if size > MAX_SCREENSHOT:
                        stream.abort()
                        raise GuestStateError(f"the screen's picture is larger than {MAX_SCREENSHOT} bytes")
                    parts.append(part)
                stream.finish()
            except libvirt.libvirtError:
                with contextlib.suppress(libvirt.libvirtError):
                    stream.abort()
                raise
            return b"".join(parts)

        return await self.call("take a screenshot", shoot)

    async def qemu_user(self) -> tuple[int, int] | None:
        """The user and group QEMU runs as, from libvirt's security model; None when it is ourselves."""
        text = await self.call("read the host's capabilities", lambda connection: connection.getCapabilities())
        return read_qemu_user(text)

    async def versions(self) -> tuple[int, int]:
        """libvirt's and QEMU's version, in libvirt's encoding."""
        return await self.call(
            "ask for versions", lambda connection: (connection.getLibVersion(), connection.getVersion())
        )

    async def on_domain(self, uuid: str, doing: str, function: Callable[[Any], T], *, deadline: float = DEADLINE) -> T:
        """Run `function(domain)` in a thread; raises a HypervisorError."""
        return await self.call(
            doing, lambda connection: function(connection.lookupByUUIDString(uuid)), deadline=deadline
        )

    async def call(self, doing: str, function: Callable[[Any], T], *, deadline: float = DEADLINE) -> T:
        """Run `function(connection)` in a thread; raises a HypervisorError, also when `deadline` (seconds) passes."""
        connection = self._connection
        if connection is None:
            raise HypervisorUnreachable(f"can't {doing}: not connected to libvirt at {self.uri}")
        return await self._in_thread(doing, lambda: function(connection), deadline)

    async def _in_thread(self, doing: str, function: Callable[[], T], deadline: float) -> T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(deadline):
                return await loop.run_in_executor(self._threads, function)
        except libvirt.libvirtError as error:
            raise mapped(error, doing) from None
        except TimeoutError:
            raise HypervisorUnreachable(f"can't {doing}: libvirt did not answer within {deadline:.0f} s") from None

    async def _connect(self) -> None:
        def connect() -> tuple[Any, list[int]]:
            connection = libvirt.open(self.uri)
            with contextlib.suppress(libvirt.libvirtError):  # a driver without a daemon has no keepalive
                connection.setKeepAlive(*KEEPALIVE)
            connection.registerCloseCallback(self._on_close, None)
            hearing = [connection.domainEventRegisterAny(None, event, self._on_event, None) for event in EVENTS]
            return connection, hearing

        self._closed.clear()
        self._connection, self._hearing = await self._in_thread(f"connect to libvirt at {self.uri}", connect, DEADLINE)
        self.lost_at = None
        self.connected.set()
        log.info("libvirt connected uri=%s", self.uri)
        self._on_change("")

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self.connected.clear()
        if connection is None:
            return
        self.lost_at = time.monotonic()

        def close() -> None:
            """Whoever hears events keeps the connection open, and the daemon waiting for its answers."""
            deaf = (partial(connection.domainEventDeregisterAny, number) for number in self._hearing)
            for undo in (*deaf, connection.unregisterCloseCallback, connection.close):
                with contextlib.suppress(libvirt.libvirtError):
                    undo()

        with contextlib.suppress(HandlerError):
            await self._in_thread("close the connection", close, 5.0)

    def _on_event(self, _connection: Any, domain: Any, *_details: Any) -> None:
        self._on_change(domain.name())

    def _on_close(self, _connection: Any, _reason: int, _opaque: Any) -> None:
        self._loop.call_soon_threadsafe(self._closed.set)


def read_qemu_user(capabilities: str) -> tuple[int, int] | None:
    """User and group id in a capabilities document: `<baselabel type='qemu'>+64055:+64055</baselabel>`."""
    root = ET.fromstring(capabilities)  # noqa: S314  written by libvirt
    for model in root.iterfind("host/secmodel"):
        label = model.findtext("baselabel[@type='qemu']", "")
        if model.findtext("model") == "dac" and label:
            user, _, group = label.partition(":")
            return int(user.lstrip("+")), int(group.lstrip("+") or user.lstrip("+"))
    return None
