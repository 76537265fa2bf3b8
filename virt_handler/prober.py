"""Asks guests whether they are well, each probe in a task of its own, and tells whoever has to know of a verdict.

A probe reaches its own guest and nothing else: it dials the address the guest was given, or speaks to its agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import aiohttp

from virt_handler import probes
from virt_handler.errors import HypervisorError, HypervisorUnreachable
from virt_handler.guest_agent import GuestAgent
from virt_handler.guest_facts import printable
from virt_handler.probes import Count, Role, Rule
from virt_types.errors import VirtError
from virt_types.v1 import Probe, VirtualMachineInstance

log = logging.getLogger("virt_handler.prober")

MAX_TOLD = 200


class ProbeFailed(Exception):
    """The guest did not answer as it should; the text says how."""


@dataclass
class Asked:
    """One guest's probes. `paused` holds them: a guest that stands still can't answer."""

    address: str
    domain_uuid: str
    ports: Mapping[str, int]
    paused: bool = False
    counts: dict[Role, Count] = field(default_factory=dict)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Prober:
    """Probes the guests it is told of. `on_answer(vmi, rule, before, after)` hears of failures and changes.

    An answer counts once `on_answer` has returned; when it raises, the next answer makes up for it.
    """

    def __init__(
        self, agent: GuestAgent, on_answer: Callable[[VirtualMachineInstance, Rule, Count, Count], Awaitable[None]]
    ) -> None:
        self._agent = agent
        self._on_answer = on_answer
        self._asked: dict[str, Asked] = {}

    def watch(self, vmi: VirtualMachineInstance, domain_uuid: str, address: str, *, paused: bool) -> None:
        """Probe this running guest from now on; to be repeated with what is known of it."""
        rules = probes.rules_of(vmi)
        if not rules:
            return
        asked = self._asked.get(vmi.metadata.uid)
        if asked is None:
            asked = self._asked[vmi.metadata.uid] = Asked(address, domain_uuid, _ports(vmi))
            if any(each.type == "Ready" and each.status == "True" for each in vmi.status.conditions):
                asked.counts["readiness"] = Count(verdict=True)  # another agent found so; only an answer changes it
            asked.tasks = [asyncio.create_task(self._probe(vmi, asked, rule, probe)) for rule, probe in rules]
        asked.address, asked.paused = address, paused

    def hold(self, uid: str) -> None:
        """Ask no more, and let no answer on its way count, until `watch` says that the guest can answer again."""
        if asked := self._asked.get(uid):
            asked.paused = True

    def not_ready(self, vmi: VirtualMachineInstance) -> str | None:
        """Why the guest is not ready by its readiness probe; None when it is, or has no such probe."""
        asked = self._asked.get(vmi.metadata.uid)
        if vmi.spec.readiness_probe is None or asked is None:
            return None
        return probes.not_ready(asked.counts.get("readiness"))

    def forget(self, uid: str) -> None:
        asked = self._asked.pop(uid, None)
        for task in asked.tasks if asked is not None else ():
            task.cancel()

    async def stop(self) -> None:
        tasks = [task for asked in self._asked.values() for task in asked.tasks]
        for uid in tuple(self._asked):
            self.forget(uid)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _probe(self, vmi: VirtualMachineInstance, asked: Asked, rule: Rule, probe: Probe) -> None:
        await asyncio.sleep(max(0.0, rule.delay - probes.running_for(vmi, time.time())))
        while True:
            try:
                await self._probe_once(vmi, asked, rule, probe)
            except VirtError as error:
                log.warning("answer not counted uid=%s role=%s error=%s", vmi.metadata.uid, rule.role, error)
            except Exception:  # nobody would start this task again: the guest would count as alive for ever
                log.exception("probe crashed uid=%s role=%s", vmi.metadata.uid, rule.role)
            await asyncio.sleep(rule.period)

    async def _probe_once(self, vmi: VirtualMachineInstance, asked: Asked, rule: Rule, probe: Probe) -> None:
        failure = None if asked.paused else await self._ask(asked, rule, probe)
        if failure is None or asked.paused:
            return
        before = asked.counts.get(rule.role, Count())
        after = probes.counted(rule, before, failure)
        if failure or after.verdict is not before.verdict:
            await self._on_answer(vmi, rule, before, after)
        asked.counts[rule.role] = after

    async def _ask(self, asked: Asked, rule: Rule, probe: Probe) -> str | None:
        """Why the probe failed, "" when it did not, None when the guest was not asked: libvirt may be away."""
        try:
            await self._answer(asked, rule, probe)
        except TimeoutError:
            return f"no answer within {rule.timeout} s"
        except HypervisorUnreachable:
            return None
        except OSError as error:
            return os.strerror(error.errno).lower() if error.errno else printable(str(error), MAX_TOLD)
        except (ProbeFailed, HypervisorError, aiohttp.ClientError, ValueError) as error:
            return printable(str(error) or type(error).__name__, MAX_TOLD)
        return ""

    async def _answer(self, asked: Asked, rule: Rule, probe: Probe) -> None:
        """The agent keeps the time itself: waiting for a turn among other guests is not this guest's fault."""
        if probe.guest_agent_ping is not None:
            await self._agent.ping(asked.domain_uuid, rule.timeout)
        elif probe.exec is not None:
            ran = await self._agent.run(asked.domain_uuid, probe.exec.command, rule.timeout)
            if ran.code:
                raise ProbeFailed(f"the command ended with {ran.code}: {ran.output}")
        else:
            async with asyncio.timeout(rule.timeout):
                await _reach(asked, probe)


async def _reach(asked: Asked, probe: Probe) -> None:
    if probe.tcp_socket is not None:
        await _connect(_address(asked, probe.tcp_socket.host), _port(asked, probe.tcp_socket.port))
    elif probe.http_get is not None:
        get = probe.http_get
        address, scheme = _address(asked, get.host), (get.scheme or "HTTP").lower()
        where = f"[{address}]" if ":" in address else address
        headers = {header.name: header.value for header in get.http_headers}
        path = (get.path or "/").removeprefix("/")
        await _get(f"{scheme}://{where}:{_port(asked, get.port)}/{path}", headers)


def _ports(vmi: VirtualMachineInstance) -> dict[str, int]:
    interfaces = vmi.spec.domain.devices.interfaces
    return {port.name: port.port for interface in interfaces for port in interface.ports if port.name}


def _address(asked: Asked, host: str | None) -> str:
    if host and host != asked.address:
        raise ProbeFailed(f"host {host} is not this guest's address: a probe asks its own guest only")
    if not asked.address:
        raise ProbeFailed("the guest has no address that this node reaches")
    return asked.address


def _port(asked: Asked, port: int | str) -> int:
    """A number, or the name of one of the guest's ports."""
    number = asked.ports.get(str(port)) or (int(port) if str(port).isascii() and str(port).isdigit() else 0)
    if not 0 < number < 65536:
        raise ProbeFailed(f"port {port} is neither a number from 1 to 65535 nor the name of a port of an interface")
    return number


async def _connect(address: str, port: int) -> None:
    _, writer = await asyncio.open_connection(address, port)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _get(url: str, headers: Mapping[str, str]) -> None:
    """200 to 399 is well. Certificates are not checked and nothing is followed, as little as a kubelet does."""
    async with (
        aiohttp.ClientSession(headers={"User-Agent": "kube-probe/virt-handler", **headers}) as session,
        session.get(url, ssl=False, allow_redirects=False) as reply,
    ):
        if not 200 <= reply.status < 400:
            raise ProbeFailed(f"HTTP probe failed with statuscode: {reply.status}")
