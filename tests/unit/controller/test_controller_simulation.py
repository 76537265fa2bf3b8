"""Controllers against a lying API and a user who does anything: no double VMI, no lost VM, and it always settles.

Every run is a seed: the API refuses, loses answers, reports false conflicts; its watches break, repeat themselves and
come out of order; the controller process dies at random requests, before or after they took effect, and starts again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fake_kube import FakeKube, Faults, Request, loop_clock
from support.fake_node import FakeNode, add_node
from support.simulated import simulate

from virt_controller.app import Options, run
from virt_kube.api import Conflict, Invalid, Json, NotFound
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES

NAMES = ("a", "b")
STRATEGIES = ("Always", "Halted", "Manual", "RerunOnFailure", "Once")
LONGER_THAN_ANY_BACKOFF = 3000.0


class User:
    """Does what virtctl and virt-api do, and remembers what they must have achieved."""

    def __init__(self, kube: FakeKube, node: FakeNode) -> None:
        self.kube = kube
        self.node = node
        self.stopped: dict[str, bool] = {}

    async def do(self, action: str, name: str, rng: random.Random) -> None:
        with contextlib.suppress(NotFound, Conflict, Invalid):  # refused, as a user may be
            await getattr(self, action)(name, rng)

    async def create(self, name: str, rng: random.Random) -> None:
        spec: Json = {"domain": {"firmware": {"uuid": "u"}, "devices": {}, "memory": {"guest": "64Mi"}}}
        if rng.random() < 0.2:
            del spec["domain"]["firmware"]
        vm = {"metadata": {"name": name}, "spec": {"runStrategy": rng.choice(STRATEGIES), "template": {"spec": spec}}}
        await self.kube.create(VIRTUAL_MACHINES, "default", vm)
        self.stopped.pop(name, None)

    async def start(self, name: str, rng: random.Random) -> None:
        vm, vmi = self._vm(name), self._vmi(name)
        requests = vm.get("status", {}).get("stateChangeRequests", [])
        live = vmi is not None and vmi["status"]["phase"] not in ("Succeeded", "Failed")
        if live or requests:
            return
        match vm["spec"]["runStrategy"]:
            case "Halted" if rng.random() < 0.3:
                await self._queue(vm, [{"action": "Start", "data": {"paused": "true"}}])
            case "Halted":
                await self._declare(vm, "Always")
            case "Manual" | "RerunOnFailure":
                stop = [{"action": "Stop", "uid": vmi["metadata"]["uid"]}] if vmi else []
                await self._queue(vm, [*stop, {"action": "Start"}])
            case _:
                return
        self.stopped.pop(name, None)

    async def stop(self, name: str, rng: random.Random) -> None:
        vm, vmi = self._vm(name), self._vmi(name)
        match vm["spec"]["runStrategy"]:
            case "Always" | "Once":
                if vm.get("status", {}).get("stateChangeRequests"):
                    await self._queue(vm, [])  # before the strategy, as virt_api does
                await self._declare(vm, "Halted")
            case "Manual" | "RerunOnFailure" if vmi and vmi["status"]["phase"] not in ("Succeeded", "Failed"):
                await self._queue(vm, [{"action": "Stop", "uid": vmi["metadata"]["uid"]}])
            case _:
                return
        self.stopped[name] = True

    async def restart(self, name: str, rng: random.Random) -> None:
        vm, vmi = self._vm(name), self._vmi(name)
        requests = vm.get("status", {}).get("stateChangeRequests", [])
        if vmi is None or requests or vm["spec"]["runStrategy"] in ("Halted", "Once"):
            return
        await self._queue(vm, [{"action": "Stop", "uid": vmi["metadata"]["uid"]}, {"action": "Start"}])
        self.stopped.pop(name, None)

    async def switch(self, name: str, rng: random.Random) -> None:
        await self._declare(self._vm(name), rng.choice(STRATEGIES))
        self.stopped.pop(name, None)

    async def delete(self, name: str, rng: random.Random) -> None:
        await self.kube.delete(VIRTUAL_MACHINES, "default", name)

    async def orphan(self, name: str, rng: random.Random) -> None:
        await self.kube.delete(VIRTUAL_MACHINES, "default", name, propagation="Orphan")

    async def delete_instance(self, name: str, rng: random.Random) -> None:
        await self.kube.delete(VIRTUAL_MACHINE_INSTANCES, "default", name)

    async def stand_alone(self, name: str, rng: random.Random) -> None:
        vmi = {"metadata": {"name": name}, "spec": {"domain": {"devices": {}, "memory": {"guest": "64Mi"}}}}
        await self.kube.create(VIRTUAL_MACHINE_INSTANCES, "default", vmi)
        self.stopped.pop(name, None)

    async def guest_ends(self, name: str, rng: random.Random) -> None:
        vmi = self._vmi(name)
        if vmi is not None and vmi["status"]["phase"] in ("Running", "Scheduled"):
            await self.node.end("default", name, rng.choice(("Succeeded", "Failed")))

    async def boots_fail(self, name: str, rng: random.Random) -> None:
        self.node.boots = not self.node.boots

    def _vm(self, name: str) -> Json:
        vm = self.kube.find(VIRTUAL_MACHINES, "default", name)
        if vm is None or vm["metadata"].get("deletionTimestamp"):
            raise NotFound(name)
        return vm

    def _vmi(self, name: str) -> Json | None:
        return self.kube.find(VIRTUAL_MACHINE_INSTANCES, "default", name)

    async def _declare(self, vm: Json, strategy: str) -> None:
        patch = [
            {"op": "test", "path": "/spec/runStrategy", "value": vm["spec"]["runStrategy"]},
            {"op": "replace", "path": "/spec/runStrategy", "value": strategy},
        ]
        await self.kube.patch(VIRTUAL_MACHINES, "default", vm["metadata"]["name"], patch)

    async def _queue(self, vm: Json, requests: list[Json]) -> None:
        meta = vm["metadata"]
        test = [{"op": "test", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]}]
        if "status" not in vm:
            change = {"op": "add", "path": "/status", "value": {"stateChangeRequests": requests}}
        else:
            change = {"op": "add", "path": "/status/stateChangeRequests", "value": requests}
        await self.kube.patch(VIRTUAL_MACHINES, "default", meta["name"], [*test, change], subresource="status")


ACTIONS = (
    "create",
    "start",
    "start",
    "stop",
    "restart",
    "switch",
    "delete",
    "orphan",
    "delete_instance",
    "stand_alone",
    "guest_ends",
    "guest_ends",
    "boots_fail",
)


class World:
    """The controllers, dying and coming back, in front of one API."""

    def __init__(self, seed: int, faults: Faults | None, crash: float) -> None:
        self.rng = random.Random(seed)  # noqa: S311  a story to replay, no secret
        self.kube = FakeKube()
        self.faults = faults
        self.crash = crash
        self.node = FakeNode(self.kube)
        self.user = User(self.kube, self.node)
        self.calm = False
        self.incarnations = 0

    def _freeze(self, dead: asyncio.Event) -> Callable[[Request, str], bool]:
        def freeze(request: Request, moment: str) -> bool:
            if not self.calm and request.verb not in ("list", "watch") and self.rng.random() < self.crash:
                dead.set()
            return dead.is_set()

        return freeze

    async def keep_running(self) -> None:
        while True:
            self.incarnations += 1
            dead = asyncio.Event()
            client = self.kube.view(None if self.calm else self.faults, self._freeze(dead))
            work = asyncio.create_task(run(client, options=Options(clock=loop_clock, jitter=self.rng.random)))
            waiting = asyncio.create_task(dead.wait())
            try:
                await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
                assert not work.done(), work.exception()
            finally:
                work.cancel()
                waiting.cancel()
                await asyncio.gather(work, waiting, return_exceptions=True)
            await asyncio.sleep(self.rng.random())

    async def play(self, actions: list[tuple[str, str, float]]) -> None:
        await add_node(self.kube)
        tasks = [asyncio.create_task(self.keep_running()), asyncio.create_task(self.node.run())]
        try:
            for name in NAMES:
                await self.user.do("create", name, self.rng)
            for action, name, pause in actions:
                await self.user.do(action, name, self.rng)
                await asyncio.sleep(pause)
                self._check_alive(tasks)
            self.calm = True
            self.node.boots = True
            if self.faults:
                self._quiet(self.faults)
            self.kube.compact()  # the API's own word on everything, once
            await asyncio.sleep(LONGER_THAN_ANY_BACKOFF)
            self._check_alive(tasks)
            self.kube.requests.clear()
            await asyncio.sleep(LONGER_THAN_ANY_BACKOFF)
            assert self.kube.writes() == [], "it never settles"
            for name in NAMES:
                self.check(name)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    def _quiet(faults: Faults) -> None:
        for name in ("refuse", "lose_answer", "conflict", "lose_event", "double_event", "late_event", "stale_event"):
            setattr(faults, name, 0.0)
        faults.cut_watch = faults.compact = 0.0

    @staticmethod
    def _check_alive(tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            if task.done():
                task.result()

    def check(self, name: str) -> None:
        vm = self.kube.find(VIRTUAL_MACHINES, "default", name)
        vmi = self.kube.find(VIRTUAL_MACHINE_INSTANCES, "default", name)
        phase = vmi["status"]["phase"] if vmi else None
        if vmi is not None:
            assert not vmi["metadata"].get("deletionTimestamp"), f"{name}: a delete that never ends"
            assert phase in ("Running", "Succeeded", "Failed"), f"{name}: a VMI left in {phase}"
        if vm is None:
            return
        assert not vm["metadata"].get("deletionTimestamp"), f"{name}: a VM that can't be deleted"
        status, strategy = vm["status"], vm["spec"]["runStrategy"]
        assert status.get("created", False) == (vmi is not None), name
        paused = vmi is not None and vmi["spec"].get("startStrategy") == "Paused"
        assert status.get("ready", False) == (phase == "Running" and not paused), name
        assert not status.get("stateChangeRequests"), f"{name}: a request left behind {status}"
        if vmi is not None:
            assert vmi["metadata"]["ownerReferences"][0]["uid"] == vm["metadata"]["uid"], name
        if strategy == "Always":
            assert phase == "Running", f"{name}: a lost VM: {vm}"
        if strategy == "Halted":
            assert vmi is None, name
        if strategy == "Once":
            assert vmi is not None, name
        if self.user.stopped.get(name):
            assert phase != "Running", f"{name}: a stop was undone"
        printable = status["printableStatus"]
        if phase == "Running":
            assert printable in ("Running", "Paused"), (name, printable)
        else:
            assert printable in ("Stopped", "CrashLoopBackOff"), (name, printable)


step = st.tuples(
    st.sampled_from(ACTIONS), st.sampled_from(NAMES), st.sampled_from((0.0, 0.0, 0.002, 0.05, 0.5, 3.0, 40.0))
)
stories = st.lists(step, min_size=6, max_size=30)
some = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@some
@given(actions=stories, seed=st.integers(0, 2**32))
def test_settles_on_a_healthy_api(actions: list[tuple[str, str, float]], seed: int) -> None:
    simulate(lambda: World(seed, None, 0.0).play(actions))


@some
@given(actions=stories, seed=st.integers(0, 2**32))
def test_settles_through_faults(actions: list[tuple[str, str, float]], seed: int) -> None:
    simulate(lambda: World(seed, _faults(seed), 0.0).play(actions))


@some
@given(actions=stories, seed=st.integers(0, 2**32), crash=st.sampled_from((0.02, 0.1, 0.3)))
def test_settles_though_the_controller_dies_at_any_request(
    actions: list[tuple[str, str, float]], seed: int, crash: float
) -> None:
    simulate(lambda: World(seed, _faults(seed) if seed % 2 else None, crash).play(actions))


def _faults(seed: int) -> Faults:
    rng = random.Random(seed)  # noqa: S311  a story to replay, no secret
    return Faults(
        refuse=0.05,
        lose_answer=0.05,
        conflict=0.05,
        lose_event=0.02,
        double_event=0.1,
        late_event=0.1,
        stale_event=0.1,
        cut_watch=0.05,
        compact=0.1,
        rng=rng,
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_simulation_sees_a_lost_vm(strategy: str) -> None:
    """The invariants must be able to fail: without controllers nothing is as declared."""

    async def scenario() -> None:
        world = World(1, None, 0.0)
        vm = {"metadata": {"name": "a"}, "spec": {"runStrategy": strategy}, "status": {}}
        await world.kube.create(VIRTUAL_MACHINES, "default", vm)
        with pytest.raises((AssertionError, KeyError)):
            world.check("a")

    simulate(scenario)
