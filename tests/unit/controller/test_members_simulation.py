"""Replica sets and pools before a lying API, with a process that dies at any request and users who do anything.

No replica too many at any time, none lost, none orphaned by accident, nothing that can't be deleted; and it settles.
`./run simulate` plays many more stories than the test run has time for (SIMULATED_STORIES).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.doomed import Doomed, check_alive, lying
from support.fake_kube import FakeKube, Faults
from support.fake_node import FakeNode, add_node
from support.many import guest_template
from support.simulated import simulate

from virt_kube.api import Conflict, Invalid, Json, NotFound
from virt_kube.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    REPLICA_SETS,
    VIRTUAL_MACHINE_INSTANCES,
    VIRTUAL_MACHINE_POOLS,
    VIRTUAL_MACHINES,
)
from virt_types import labels

STORIES = int(os.environ.get("SIMULATED_STORIES", "80"))
SIZES = (0, 1, 2, 3, 5)
MEMBERS = ("virtualmachines", "virtualmachineinstances")
PROPAGATIONS = ("Background", "Orphan", "Foreground")


class User:
    """Creates, scales, changes and deletes; sets are all named `s`, pools `p`, so that names come again."""

    def __init__(self, kube: FakeKube, node: FakeNode, rng: random.Random) -> None:
        self.kube = kube
        self.node = node
        self.rng = rng
        self.most: dict[str, int] = {}  # replicas ever wanted, by the keeper's uid
        self.generation = 0
        self.too_many: list[str] = []
        self.disks: dict[str, str] = {}  # the uid of each DataVolume, by its name, as it was first made
        self.tasks: set[asyncio.Task[None]] = set()
        kube.on_create = self._count

    async def do(self, action: str) -> None:
        with contextlib.suppress(NotFound, Conflict, Invalid):  # refused, as a user may be
            await getattr(self, action)()

    async def create_set(self) -> None:
        body = {"selector": {"matchLabels": {"app": "r"}}, "template": guest_template(), "replicas": self._size()}
        await self.kube.create(REPLICA_SETS, "default", {"metadata": {"name": "s"}, "spec": body})

    async def create_pool(self) -> None:
        template = {"runStrategy": "Always", "template": guest_template()}
        machine = {"metadata": {"labels": {"app": "r"}}, "spec": template}
        body: Json = {
            "selector": {"matchLabels": {"app": "r"}},
            "virtualMachineTemplate": machine,
            "replicas": self._size(),
            "maxUnavailable": self.rng.choice((1, 2, "50%")),
        }
        if self.rng.random() < 0.5:
            body["autohealing"] = {"startUpFailureThreshold": 1}
        await self.kube.create(VIRTUAL_MACHINE_POOLS, "default", {"metadata": {"name": "p"}, "spec": body})

    async def create_keeping_pool(self) -> None:
        """A pool whose disks outlive its machines."""
        guest = guest_template()
        guest["spec"]["volumes"] = [{"name": "data", "dataVolume": {"name": "data"}}]
        disks = [{"metadata": {"name": "data"}, "spec": {"source": {"blank": {}}}}]
        machine = {"runStrategy": "Always", "template": guest, "dataVolumeTemplates": disks}
        body: Json = {
            "selector": {"matchLabels": {"app": "r"}},
            "virtualMachineTemplate": {"metadata": {"labels": {"app": "r"}}, "spec": machine},
            "replicas": self._size(),
            "scaleInStrategy": {"proactive": {"statePreservation": "Offline"}},
        }
        await self.kube.create(VIRTUAL_MACHINE_POOLS, "default", {"metadata": {"name": "p"}, "spec": body})

    async def delete_pool(self) -> None:
        await self.kube.delete(VIRTUAL_MACHINE_POOLS, "default", "p")

    async def scale(self) -> None:
        await self._change(replicas=self._size())

    async def pause(self) -> None:
        await self._change(paused=True)

    async def resume(self) -> None:
        await self._change(paused=False)

    async def retemplate(self) -> None:
        self.generation += 1
        guest = {"metadata": {"labels": {"v": str(self.generation)}}}
        if self.rng.random() < 0.6:
            guest["spec"] = {"terminationGracePeriodSeconds": self.generation}  # type: ignore[dict-item]
        await self._patch(VIRTUAL_MACHINE_POOLS, "p", virtualMachineTemplate={"spec": {"template": guest}})
        await self._patch(REPLICA_SETS, "s", template=guest)

    async def delete(self) -> None:
        resource, name = self.rng.choice(((REPLICA_SETS, "s"), (VIRTUAL_MACHINE_POOLS, "p")))
        await self.kube.delete(resource, "default", name, propagation=self.rng.choice(PROPAGATIONS))

    async def delete_member(self) -> None:
        if (vmi := self._any("virtualmachineinstances")) is not None:
            await self.kube.delete(VIRTUAL_MACHINE_INSTANCES, "default", vmi["metadata"]["name"])

    async def delete_machine(self) -> None:
        if (vm := self._any("virtualmachines")) is not None:
            await self.kube.delete(VIRTUAL_MACHINES, "default", vm["metadata"]["name"])

    async def guest_ends(self) -> None:
        vmi = self._any("virtualmachineinstances")
        if vmi is not None and vmi["status"]["phase"] in ("Running", "Scheduled"):
            await self.node.end("default", vmi["metadata"]["name"], self.rng.choice(("Succeeded", "Failed")))

    async def relabel(self) -> None:
        kind = self.rng.choice((VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES))
        if (found := self._any(kind.plural)) is not None:
            change = {"metadata": {"labels": {"app": self.rng.choice(("r", "z"))}}}
            await self.kube.patch(kind, "default", found["metadata"]["name"], change, kind="merge")

    async def stray(self) -> None:
        body = guest_template()
        body["metadata"]["name"] = f"stray{self.rng.randrange(3)}"
        await self.kube.create(VIRTUAL_MACHINE_INSTANCES, "default", body)

    async def boots_fail(self) -> None:
        self.node.boots = not self.node.boots

    async def _change(self, **spec: Any) -> None:
        await self._patch(REPLICA_SETS, "s", **spec)
        await self._patch(VIRTUAL_MACHINE_POOLS, "p", **spec)

    async def _patch(self, resource: Any, name: str, **spec: Any) -> None:
        with contextlib.suppress(NotFound):
            await self.kube.patch(resource, "default", name, {"spec": spec}, kind="merge")
        if "replicas" in spec and (found := self.kube.find(resource, "default", name)) is not None:
            uid = found["metadata"]["uid"]
            self.most[uid] = max(self.most.get(uid, 0), spec["replicas"])

    def _size(self) -> int:
        return self.rng.choice(SIZES)

    def _any(self, plural: str) -> Json | None:
        found = [each for each in self.kube.objects(plural) if not each["metadata"].get("deletionTimestamp")]
        return self.rng.choice(found) if found else None

    def _count(self, plural: str, obj: Json) -> None:
        """Called for every object that is being created: is it one too many?"""
        meta = obj["metadata"]
        if plural == "datavolumes":
            self._fill(obj)
        if "replicas" in obj.get("spec", {}):
            self.most[meta["uid"]] = obj["spec"]["replicas"]
        owner = next(iter(meta.get("ownerReferences", ())), None)
        if plural not in MEMBERS or owner is None or owner["uid"] not in self.most:
            return
        made = "generateName" in meta  # a replica: those that were adopted are beyond our control
        alive = [
            each
            for each in self.kube.objects(plural)
            if (not made or "generateName" in each["metadata"])
            and any(each_owner["uid"] == owner["uid"] for each_owner in each["metadata"].get("ownerReferences") or ())
            and each["metadata"]["labels"].get("app") == "r"
            and (plural == "virtualmachines" or each["status"]["phase"] not in ("Succeeded", "Failed"))
            and (plural == "virtualmachines" or not each["metadata"].get("deletionTimestamp"))
        ]
        if len(alive) >= self.most[owner["uid"]]:
            self.too_many.append(meta["name"])

    def _fill(self, volume: Json) -> None:
        """Plays CDI, which is done at once."""
        name = volume["metadata"]["name"]
        volume["status"] = {"phase": "Succeeded"}
        self.disks.setdefault(name, volume["metadata"]["uid"])
        if self.kube.find(PERSISTENT_VOLUME_CLAIMS, "default", name) is None:
            self.tasks.add(asyncio.ensure_future(self._claim(name)))

    async def _claim(self, name: str) -> None:
        with contextlib.suppress(Conflict):
            await self.kube.create(PERSISTENT_VOLUME_CLAIMS, "default", {"metadata": {"name": name}})
        bound = {"status": {"phase": "Bound"}}
        await self.kube.patch(PERSISTENT_VOLUME_CLAIMS, "default", name, bound, kind="merge", subresource="status")


ACTIONS = (
    "create_set",
    "create_pool",
    "scale",
    "scale",
    "pause",
    "resume",
    "retemplate",
    "delete",
    "delete_member",
    "delete_machine",
    "guest_ends",
    "guest_ends",
    "relabel",
    "stray",
    "boots_fail",
)


class World:
    def __init__(self, seed: int, faults: Faults | None, crash: float) -> None:
        self.kube = FakeKube()
        self.node = FakeNode(self.kube)
        rng = random.Random(seed)  # noqa: S311  a story to replay, no secret
        self.user = User(self.kube, self.node, rng)
        self.doomed = Doomed(self.kube, rng, faults, crash)

    async def play(
        self, actions: list[tuple[str, float]], *, first: tuple[str, ...] = ("create_set", "create_pool")
    ) -> None:
        await add_node(self.kube, cpu="64", memory="256Gi")
        tasks = [asyncio.create_task(self.doomed.keep_running()), asyncio.create_task(self.node.run())]
        try:
            for action in first:
                await self.user.do(action)
            for action, pause in actions:
                await self.user.do(action)
                await asyncio.sleep(pause)
                check_alive(tasks)
            self.node.boots = True
            await self.user.do("resume")
            await self.doomed.settle()
            check_alive(tasks)
            self.check()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def check(self) -> None:
        assert self.user.too_many == []
        for plural in ("virtualmachines", "virtualmachineinstances", REPLICA_SETS.plural, VIRTUAL_MACHINE_POOLS.plural):
            for each in self.kube.objects(plural):
                assert not each["metadata"].get("deletionTimestamp"), f"{plural}: a delete that never ends"
        self.check_set()
        self.check_pool()

    def check_set(self) -> None:
        keeper = self.kube.find(REPLICA_SETS, "default", "s")
        replicas = self.kube.objects("virtualmachineinstances")
        owned = [each for each in replicas if _owner(each)[0] == REPLICA_SETS.kind]
        if keeper is None:
            assert owned == [], "replicas of a set that is gone"
            return
        strays = [
            each for each in replicas if _owner(each) == ("", "") and each["metadata"]["labels"].get("app") == "r"
        ]
        assert all(each["status"]["phase"] in ("Succeeded", "Failed") for each in strays), "a stray that nobody adopted"
        wanted = keeper["spec"]["replicas"]
        assert {_owner(each)[1] for each in owned} <= {keeper["metadata"]["uid"]}
        assert [each["status"]["phase"] for each in owned] == ["Running"] * wanted
        status = keeper["status"]
        assert (status["replicas"], status["readyReplicas"]) == (wanted, wanted)
        assert not status.get("conditions")

    def check_pool(self) -> None:
        keeper = self.kube.find(VIRTUAL_MACHINE_POOLS, "default", "p")
        machines = self.kube.objects("virtualmachines")
        owned = [each for each in machines if _owner(each)[0] == VIRTUAL_MACHINE_POOLS.kind]
        free = [each for each in machines if each not in owned]
        assert all(labels.POOL_FINALIZER not in each["metadata"]["finalizers"] for each in free), "held for nothing"
        if keeper is None:
            assert owned == [], "machines of a pool that is gone"
            return
        wanted = keeper["spec"]["replicas"]
        assert len(owned) == wanted
        assert {_owner(each)[1] for each in owned} <= {keeper["metadata"]["uid"]}
        assert (keeper["status"]["replicas"], keeper["status"]["readyReplicas"]) == (wanted, wanted)
        assert not keeper["status"].get("conditions")
        template = keeper["spec"]["virtualMachineTemplate"]["spec"]["template"]
        for each in owned:
            guest = self.kube.find(VIRTUAL_MACHINE_INSTANCES, "default", each["metadata"]["name"])
            assert guest is not None
            asked = template["spec"].get("terminationGracePeriodSeconds")
            assert guest["spec"].get("terminationGracePeriodSeconds") == asked, "a guest of an old template"
            revision = each["metadata"]["labels"][labels.POOL_REVISION]
            assert guest["metadata"]["labels"][labels.POOL_REVISION] == revision


def _owner(obj: Json) -> tuple[str, str]:
    owner = next(iter(obj["metadata"].get("ownerReferences") or ()), {"kind": "", "uid": ""})
    return owner["kind"], owner["uid"]


KEEPING = (
    "create_keeping_pool",
    "scale",
    "scale",
    "pause",
    "resume",
    "retemplate",
    "delete_pool",
    "delete_machine",
    "guest_ends",
    "boots_fail",
)
step = st.tuples(st.sampled_from(ACTIONS), st.sampled_from((0.0, 0.0, 0.002, 0.06, 0.5, 3.0, 70.0)))
stories = st.lists(step, min_size=6, max_size=30)
some = settings(max_examples=STORIES, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@some
@given(actions=stories, seed=st.integers(0, 2**32))
def test_settles_on_a_healthy_api(actions: list[tuple[str, float]], seed: int) -> None:
    simulate(lambda: World(seed, None, 0.0).play(actions))


@some
@given(actions=stories, seed=st.integers(0, 2**32))
def test_settles_through_faults(actions: list[tuple[str, float]], seed: int) -> None:
    simulate(lambda: World(seed, lying(seed), 0.0).play(actions))


@some
@given(actions=stories, seed=st.integers(0, 2**32), crash=st.sampled_from((0.02, 0.1, 0.3)))
def test_settles_though_the_controller_dies_at_any_request(
    actions: list[tuple[str, float]], seed: int, crash: float
) -> None:
    simulate(lambda: World(seed, lying(seed) if seed % 2 else None, crash).play(actions))


keeping_step = st.tuples(st.sampled_from(KEEPING), st.sampled_from((0.0, 0.002, 0.06, 0.5, 3.0)))


@some
@given(
    actions=st.lists(keeping_step, min_size=6, max_size=20),
    seed=st.integers(0, 2**32),
    crash=st.sampled_from((0.0, 0.02, 0.2)),
)
def test_no_disk_is_lost_that_is_to_be_kept(actions: list[tuple[str, float]], seed: int, crash: float) -> None:
    async def scenario() -> None:
        world = World(seed, lying(seed) if seed % 2 else None, crash)
        await world.play(actions, first=("create_keeping_pool",))
        there = {each["metadata"]["name"]: each["metadata"]["uid"] for each in world.kube.objects("datavolumes")}
        assert there == world.user.disks

    simulate(scenario)


@pytest.mark.parametrize("kind", ["create_set", "create_pool"])
def test_the_simulation_sees_a_lost_replica(kind: str) -> None:
    """The invariants must be able to fail: without controllers nothing is as declared."""

    async def scenario() -> None:
        world = World(3, None, 0.0)
        world.user._size = lambda: 2  # type: ignore[method-assign]
        await world.user.do(kind)
        with pytest.raises((AssertionError, KeyError)):
            world.check()

    simulate(scenario)
