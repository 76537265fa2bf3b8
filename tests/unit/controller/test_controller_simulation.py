"""Controllers against a lying API and a user who does anything: no double VMI, no lost VM, and it always settles.

Every run is a seed: the API refuses, loses answers, reports false conflicts; its watches break, repeat themselves and
come out of order; the controller process dies at random requests, before or after they took effect, and starts again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.doomed import Doomed, check_alive, lying
from support.fake_kube import FakeKube, Faults
from support.fake_node import FakeNode, add_node
from support.simulated import simulate

from virt_kube.api import Conflict, Gone, Invalid, Json, NotFound
from virt_kube.resources import (
    DATA_VOLUMES,
    PERSISTENT_VOLUME_CLAIMS,
    VIRTUAL_MACHINE_INSTANCES,
    VIRTUAL_MACHINES,
)

NAMES = ("a", "b")
STORIES = int(os.environ.get("SIMULATED_STORIES", "100"))
STRATEGIES = ("Always", "Halted", "Manual", "RerunOnFailure", "Once")


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
        vm: Json = {"runStrategy": rng.choice(STRATEGIES), "template": {"spec": spec}}
        if rng.random() < 0.3:
            spec["volumes"] = [{"name": "root", "dataVolume": {"name": f"{name}-disk"}}]
            vm["dataVolumeTemplates"] = [{"metadata": {"name": f"{name}-disk"}, "spec": {"source": {"blank": {}}}}]
        await self.kube.create(VIRTUAL_MACHINES, "default", {"metadata": {"name": name}, "spec": vm})
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


class Importer:
    """Fills DataVolumes in its own time: a claim is bound first, then the DataVolume is done."""

    def __init__(self, kube: FakeKube) -> None:
        self.kube = kube

    async def run(self) -> None:
        while True:
            page = await self.kube.list(DATA_VOLUMES)
            for volume in self.kube.objects("datavolumes"):
                await self.see(volume)
            with contextlib.suppress(Gone):
                async for event in self.kube.watch(DATA_VOLUMES, resource_version=page.resource_version):
                    if event.type == "ADDED":
                        await self.see(msgspec.json.decode(event.object))

    async def see(self, volume: Json) -> None:
        if volume.get("status", {}).get("phase") != "Succeeded":
            with contextlib.suppress(Conflict, Invalid, NotFound):
                await self.fill(volume["metadata"]["name"], volume["metadata"]["uid"])

    async def fill(self, name: str, uid: str) -> None:
        with contextlib.suppress(Conflict):  # that of an earlier DataVolume of the name
            await self.kube.create(PERSISTENT_VOLUME_CLAIMS, "default", {"metadata": {"name": name}})
        bound = {"status": {"phase": "Bound"}}
        await self.kube.patch(PERSISTENT_VOLUME_CLAIMS, "default", name, bound, kind="merge", subresource="status")
        await asyncio.sleep(0.3)
        test = {"op": "test", "path": "/metadata/uid", "value": uid}
        done = {"op": "add", "path": "/status", "value": {"phase": "Succeeded"}}
        await self.kube.patch(DATA_VOLUMES, "default", name, [test, done])


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
        self.node = FakeNode(self.kube)
        self.user = User(self.kube, self.node)
        self.doomed = Doomed(self.kube, self.rng, faults, crash)

    async def play(self, actions: list[tuple[str, str, float]]) -> None:
        await add_node(self.kube)
        importer = Importer(self.kube)
        tasks = [asyncio.create_task(each) for each in (self.doomed.keep_running(), self.node.run(), importer.run())]
        try:
            for name in NAMES:
                await self.user.do("create", name, self.rng)
            for action, name, pause in actions:
                await self.user.do(action, name, self.rng)
                await asyncio.sleep(pause)
                check_alive(tasks)
            self.node.boots = True
            await self.doomed.settle()
            check_alive(tasks)
            for name in NAMES:
                self.check(name)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

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
        owned = {plural: self.owned(plural, vm) for plural in ("datavolumes", "controllerrevisions")}
        assert len(owned["datavolumes"]) == len(vm["spec"].get("dataVolumeTemplates", [])), f"{name}: {owned}"
        if vmi is not None:
            assert vmi["metadata"]["ownerReferences"][0]["uid"] == vm["metadata"]["uid"], name
            from_here = vm["metadata"]["uid"] in vmi["status"].get("virtualMachineRevisionName", "")
            made_from = vmi["metadata"].get("annotations", {}).get("kubevirt.io/vm-generation")
            if from_here and phase == "Running" and made_from == str(vm["metadata"]["generation"]):
                assert vmi["status"]["virtualMachineRevisionName"] in owned["controllerrevisions"], name
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

    def owned(self, plural: str, vm: Json) -> set[str]:
        return {
            each["metadata"]["name"]
            for each in self.kube.objects(plural)
            if any(owner["uid"] == vm["metadata"]["uid"] for owner in each["metadata"].get("ownerReferences", []))
        }


step = st.tuples(
    st.sampled_from(ACTIONS), st.sampled_from(NAMES), st.sampled_from((0.0, 0.0, 0.002, 0.05, 0.5, 3.0, 40.0))
)
stories = st.lists(step, min_size=6, max_size=30)
some = settings(max_examples=STORIES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@some
@given(actions=stories, seed=st.integers(0, 2**32))
def test_settles_on_a_healthy_api(actions: list[tuple[str, str, float]], seed: int) -> None:
    simulate(lambda: World(seed, None, 0.0).play(actions))


# A stop of an instance made by hand, asked for before the loop has seen either.
@example(actions=[("orphan", "b", 0.0), ("stand_alone", "a", 0.0), ("stop", "a", 0.0)], seed=0)
@some
@given(actions=stories, seed=st.integers(0, 2**32))
def test_settles_through_faults(actions: list[tuple[str, str, float]], seed: int) -> None:
    simulate(lambda: World(seed, lying(seed), 0.0).play(actions))


@some
@given(actions=stories, seed=st.integers(0, 2**32), crash=st.sampled_from((0.02, 0.1, 0.3)))
def test_settles_though_the_controller_dies_at_any_request(
    actions: list[tuple[str, str, float]], seed: int, crash: float
) -> None:
    simulate(lambda: World(seed, lying(seed) if seed % 2 else None, crash).play(actions))


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
