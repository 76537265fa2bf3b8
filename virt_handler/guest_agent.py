"""Questions and orders to the agent inside a guest, each with a deadline: a guest may never hold the node agent up.

When they are asked, and what is recorded before a freeze, is for the callers to say: `keeper`, `server` and `prober`.
What comes back is judged in `guest_facts`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import libvirt_qemu
import msgspec

from virt_handler.errors import GuestAgentError
from virt_handler.guest_facts import GuestFacts, printable, read_guest_facts
from virt_handler.libvirt_host import AGENT_TIMEOUT, LibvirtHost
from virt_kube.api import Json

log = logging.getLogger("virt_handler.guest_agent")

MAX_REPLY = 1 << 20
MAX_OUTPUT = 4096
POLL_INTERVAL = 0.2
FROZEN = "frozen"
# A freeze takes as long as the guest writes out what it has in memory. Seconds; libvirt's own limit comes first.
FREEZE_TIMEOUT = 45
DEADLINE = 60.0
TURNS = 3  # guests that are spoken to at once

T = TypeVar("T")


class Ran(NamedTuple):
    """How a command in the guest ended."""

    code: int
    output: str


class GuestAgent:
    """The agents of all guests, through libvirt; every failure is a HypervisorError."""

    def __init__(self, libvirt_host: LibvirtHost) -> None:
        self._libvirt = libvirt_host
        self._turns = asyncio.Semaphore(TURNS)
        self._asking: dict[str, asyncio.Task[GuestFacts]] = {}

    async def facts(self, uuid: str) -> GuestFacts:
        """All that the agent supports of what libvirt asks; one that is silent raises GuestAgentError.

        Who asks while the guest is being asked gets the same answer, so nobody can keep a guest or a thread busy.
        """
        task = self._asking.get(uuid)
        if task is None:
            task = self._asking[uuid] = asyncio.create_task(self._ask(uuid))
            task.add_done_callback(lambda done: self._asked(uuid, done))
        return await asyncio.shield(task)

    def _asked(self, uuid: str, done: asyncio.Task[GuestFacts]) -> None:
        del self._asking[uuid]
        if not done.cancelled():
            done.exception()  # whoever still waits has it too

    async def _ask(self, uuid: str) -> GuestFacts:
        def ask(domain: Any) -> dict[str, Any]:
            domain.agentSetResponseTimeout(AGENT_TIMEOUT)
            return dict(domain.guestInfo(0, 0))

        info = await self._on(uuid, "ask the guest agent", ask)
        return read_guest_facts(info, await self._command(uuid, "guest-info"))

    async def ping(self, uuid: str, seconds: int = AGENT_TIMEOUT) -> None:
        await self._command(uuid, "guest-ping", seconds=seconds)

    async def freeze(self, uuid: str) -> int:
        """Flush and freeze all file systems; how many they are."""

        def freeze(domain: Any) -> int:
            domain.agentSetResponseTimeout(FREEZE_TIMEOUT)
            return int(domain.fsFreeze())

        return await self._on(uuid, "freeze the guest", freeze)

    async def thaw(self, uuid: str) -> int:
        def thaw(domain: Any) -> int:
            domain.agentSetResponseTimeout(AGENT_TIMEOUT)
            return int(domain.fsThaw())

        return await self._on(uuid, "unfreeze the guest", thaw)

    async def is_frozen(self, uuid: str) -> bool:
        return bool(await self._command(uuid, "guest-fsfreeze-status") == FROZEN)

    async def run(self, uuid: str, command: list[str], seconds: float) -> Ran:
        """Run a command in the guest and wait for its end; GuestAgentError when it takes longer than `seconds`."""
        program, *arguments = command
        started = await self._command(uuid, "guest-exec", {"path": program, "arg": arguments, "capture-output": True})
        pid = started.get("pid") if isinstance(started, dict) else None
        if not isinstance(pid, int):
            raise GuestAgentError("the guest agent did not say which process it started")
        try:
            async with asyncio.timeout(seconds):
                while True:
                    status = await self._command(uuid, "guest-exec-status", {"pid": pid})
                    if isinstance(status, dict) and status.get("exited") is True:
                        return _ran(status)
                    await asyncio.sleep(POLL_INTERVAL)
        except TimeoutError:
            raise GuestAgentError(f"{printable(program)} did not end within {seconds:g} s") from None

    async def _command(
        self, uuid: str, name: str, arguments: Json | None = None, *, seconds: int = AGENT_TIMEOUT
    ) -> Any:
        """One command of the agent's own protocol; its `return`."""
        request = {"execute": name} | ({"arguments": arguments} if arguments else {})
        text = msgspec.json.encode(request).decode()

        def ask(domain: Any) -> str:
            return str(libvirt_qemu.qemuAgentCommand(domain, text, seconds, 0))

        reply = await self._on(uuid, f"ask the guest agent for {name}", ask)
        if len(reply) > MAX_REPLY:
            raise GuestAgentError(f"the guest agent answered {name} with more than {MAX_REPLY} bytes")
        try:
            return msgspec.json.decode(reply)["return"]
        except (msgspec.DecodeError, KeyError, TypeError, RecursionError):
            raise GuestAgentError(f"the guest agent answered {name} with something else than its answer") from None

    async def _on(self, uuid: str, doing: str, function: Callable[[Any], T]) -> T:
        """libvirtd works on five calls of a client at once: guests that hang must leave it some for everything else."""
        async with self._turns:
            return await self._libvirt.on_domain(uuid, doing, function, deadline=DEADLINE)


def _ran(status: Json) -> Ran:
    code, signal = status.get("exitcode"), status.get("signal")
    text = ""
    for part in ("out-data", "err-data"):
        data = status.get(part)
        if isinstance(data, str):
            text += _decoded(data)
    if isinstance(code, int):
        return Ran(code, text)
    return Ran(128 + signal if isinstance(signal, int) else -1, text)


def _decoded(data: str) -> str:
    try:
        return printable(base64.b64decode(data[: 2 * MAX_OUTPUT]).decode(errors="replace"), MAX_OUTPUT)
    except (binascii.Error, ValueError):
        return ""
