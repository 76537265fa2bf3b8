"""When a guest counts as ready and alive, and what a probe reaches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from virt_handler import probes
from virt_handler.errors import GuestAgentError, HypervisorUnreachable
from virt_handler.guest_agent import Ran
from virt_handler.prober import Prober
from virt_handler.probes import Count, Rule, counted
from virt_types.codec import from_builtins
from virt_types.v1 import VirtualMachineInstance


def test_the_defaults_are_kubernetes() -> None:
    vmi = guest(livenessProbe={"guestAgentPing": {}, "successThreshold": 5})
    [(rule, _)] = probes.rules_of(vmi)
    assert rule == Rule("liveness", delay=0, period=10, timeout=1, successes=1, failures=3)


def test_the_delay_counts_from_the_guests_start() -> None:
    told = {"phase": "Running", "phaseTransitionTimestamp": "2026-01-01T00:00:00Z"}
    began = from_builtins({"status": {"phaseTransitionTimestamps": [told]}}, VirtualMachineInstance)
    assert probes.running_for(began, 1767225600 + 90) == 90
    assert probes.running_for(began, 1767225600 - 90) == 0
    assert probes.running_for(guest(), 5.0) == 0


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 4), st.integers(1, 4))
def test_a_verdict_needs_its_number_of_answers_in_a_row(answers: list[bool], successes: int, failures: int) -> None:
    rule = Rule("readiness", successes=successes, failures=failures)
    count = Count()
    for done, good in enumerate(answers, 1):
        before = count
        count = counted(rule, count, "" if good else "no")
        row = answers[max(0, done - (successes if good else failures)) : done]
        long_enough = len(row) == (successes if good else failures) and set(row) == {good}
        assert count.verdict is (good if long_enough else before.verdict)


def guest(**spec: Any) -> VirtualMachineInstance:
    interfaces = {"interfaces": [{"name": "default", "ports": [{"name": "web", "port": 8080}]}]}
    return from_builtins(
        {
            "metadata": {"name": "vm", "namespace": "ns", "uid": "u"},
            "spec": {"domain": {"devices": interfaces}, **spec},
        },
        VirtualMachineInstance,
    )


class Agent:
    """The guest's agent, as told."""

    def __init__(self, *, silent: bool = False, code: int = 0) -> None:
        self.silent, self.code = silent, code
        self.ran: list[list[str]] = []

    async def ping(self, uuid: str, seconds: int) -> None:
        if self.silent:
            raise GuestAgentError("Guest agent is not responding")

    async def run(self, uuid: str, command: list[str], seconds: float) -> Ran:
        self.ran.append(command)
        return Ran(self.code, "bad\x1b[31m" * 100)


async def ask(probe: dict[str, Any], agent: Agent | None = None, address: str = "127.0.0.1") -> Count:
    """The first answer to a readiness probe."""
    heard: asyncio.Queue[Count] = asyncio.Queue()

    async def on_answer(_vmi: VirtualMachineInstance, _rule: Rule, _before: Count, after: Count) -> None:
        heard.put_nowait(after)

    prober = Prober(agent or Agent(), on_answer)  # type: ignore[arg-type]  stands in for the guest's agent
    vmi = guest(readinessProbe={"failureThreshold": 1, **probe})
    prober.watch(vmi, "uuid", address, paused=False)
    assert prober.not_ready(vmi) == probes.NOT_YET
    try:
        async with asyncio.timeout(5):
            return await heard.get()
    finally:
        await prober.stop()


@pytest.mark.parametrize(
    ("probe", "agent", "address", "why"),
    [
        ({"guestAgentPing": {}}, Agent(), "", ""),
        ({"guestAgentPing": {}}, Agent(silent=True), "", "Guest agent is not responding"),
        ({"exec": {"command": ["true"]}}, Agent(), "", ""),
        ({"exec": {"command": ["false"]}}, Agent(code=1), "", "the command ended with 1: bad[31mbad"),
        ({"tcpSocket": {"port": 22}}, Agent(), "", "the guest has no address"),
        ({"tcpSocket": {"port": 22, "host": "169.254.169.254"}}, Agent(), "127.0.0.1", "is not this guest's address"),
        ({"httpGet": {"port": "nosuch"}}, Agent(), "127.0.0.1", "port nosuch is neither"),
        ({"httpGet": {"port": 1, "scheme": "ftp"}}, Agent(), "127.0.0.1", "ftp://127.0.0.1:1/"),
        ({"tcpSocket": {"port": 1}}, Agent(), "127.0.0.1", "connection refused"),
    ],
)
async def test_answers(probe: dict[str, Any], agent: Agent, address: str, why: str) -> None:
    count = await ask(probe, agent, address)
    assert count.verdict is (not why)
    assert why in count.why
    assert count.why.isprintable()
    assert len(count.why) <= 200


@pytest.mark.parametrize(
    ("status", "well"), [(200, True), (302, True), (399, True), (400, False), (404, False), (500, False)]
)
async def test_http(status: int, *, well: bool) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.headers["X-Asked-By"] == "test"
        return web.Response(status=status if request.path == "/well" else 418, headers={"Location": "http://10.0.0.1/"})

    app = web.Application()
    app.router.add_get("/{path}", answer)
    async with TestServer(app) as server:
        headers = [{"name": "X-Asked-By", "value": "test"}]
        count = await ask({"httpGet": {"port": server.port, "path": "/well", "httpHeaders": headers}})
    assert count.verdict is well


async def test_a_guest_that_hangs_does_not_answer_in_time() -> None:
    over = asyncio.Event()

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    count = await ask({"httpGet": {"port": port}})
    over.set()
    await asyncio.sleep(0)
    server.close()
    await server.wait_closed()
    assert count.why == "no answer within 1 s"


async def test_a_hypervisor_that_is_away_says_nothing_about_a_guest() -> None:
    class Away(Agent):
        async def ping(self, uuid: str, seconds: int) -> None:
            raise HypervisorUnreachable("libvirtd restarts")

    asked: list[Count] = []

    async def on_answer(_vmi: VirtualMachineInstance, _rule: Rule, _before: Count, after: Count) -> None:
        asked.append(after)

    prober = Prober(Away(), on_answer)  # type: ignore[arg-type]  stands in for the guest's agent
    prober.watch(guest(livenessProbe={"guestAgentPing": {}, "failureThreshold": 1}), "uuid", "", paused=False)
    await asyncio.sleep(0.05)
    assert asked == []
    await prober.stop()


async def test_a_paused_guest_is_not_asked() -> None:
    asked: list[Count] = []

    async def on_answer(_vmi: VirtualMachineInstance, _rule: Rule, _before: Count, after: Count) -> None:
        asked.append(after)

    prober = Prober(Agent(), on_answer)  # type: ignore[arg-type]  stands in for the guest's agent
    vmi = guest(readinessProbe={"guestAgentPing": {}})
    prober.watch(vmi, "uuid", "", paused=True)
    await asyncio.sleep(0.05)
    assert (asked, prober.not_ready(vmi)) == ([], probes.NOT_YET)
    await prober.stop()


def test_without_a_readiness_probe_every_guest_is_ready() -> None:
    prober = Prober(Agent(), _nobody)  # type: ignore[arg-type]  stands in for the guest's agent
    assert prober.not_ready(guest()) is None


_nobody: Callable[..., Any] = lambda *_: asyncio.sleep(0)  # noqa: E731
