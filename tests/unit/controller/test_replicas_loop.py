"""A replica set from its creation to its end: the real loop, an API in memory, a faked node agent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.fake_kube import FakeKube, Faults
from support.many import SELECTOR, controllers, guest_template
from support.many import told as all_told

from virt_kube.api import Forbidden, Json
from virt_kube.resources import REPLICA_SETS, VIRTUAL_MACHINE_INSTANCES
from virt_types import labels

pytestmark = pytest.mark.looptime


def replica_set(name: str = "rs", replicas: int | None = 3, **spec: Any) -> Json:
    body: Json = {"selector": SELECTOR, "template": guest_template(), **spec}
    if replicas is not None:
        body["replicas"] = replicas
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstanceReplicaSet",
        "metadata": {"name": name},
        "spec": body,
    }


async def change(kube: FakeKube, name: str = "rs", **spec: Any) -> None:
    await kube.patch(REPLICA_SETS, "default", name, {"spec": spec}, kind="merge")


def replicas(kube: FakeKube, **wanted: str) -> list[Json]:
    found = kube.objects("virtualmachineinstances")
    return [each for each in found if all(each["status"].get(key) == value for key, value in wanted.items())]


def status(kube: FakeKube, name: str = "rs") -> Json:
    found = kube.find(REPLICA_SETS, "default", name)
    assert found is not None
    return {key: value for key, value in found.get("status", {}).items() if key != "conditions"}


def condition(kube: FakeKube, type_: str) -> Json | None:
    found = kube.find(REPLICA_SETS, "default", "rs")
    assert found is not None
    return next((each for each in found["status"].get("conditions", []) if each["type"] == type_), None)


def told(kube: FakeKube) -> list[tuple[str, str]]:
    return all_told(kube, "virtualmachinereplicaset-controller")


async def test_grows_shrinks_and_goes() -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(REPLICA_SETS, "default", replica_set())
        await asyncio.sleep(2)
        assert len(replicas(kube, phase="Running")) == 3
        assert status(kube) == {"replicas": 3, "readyReplicas": 3, "labelSelector": "app=r"}
        await change(kube, replicas=5)
        await asyncio.sleep(2)
        assert len(replicas(kube, phase="Running")) == 5
        await change(kube, replicas=1)
        await asyncio.sleep(2)
        assert len(replicas(kube)) == 1
        assert status(kube) == {"replicas": 1, "readyReplicas": 1, "labelSelector": "app=r"}
        await kube.delete(REPLICA_SETS, "default", "rs")
        await asyncio.sleep(2)
        assert replicas(kube) == []
    reasons = [reason for reason, _ in told(kube)]
    assert reasons.count("SuccessfulCreate") == 5
    assert reasons.count("SuccessfulDelete") == 4


async def test_nothing_is_asked_while_nothing_happens() -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(REPLICA_SETS, "default", replica_set(replicas=10))
        await asyncio.sleep(5)
        kube.requests.clear()
        await asyncio.sleep(3600)
        assert kube.requests == []


async def test_few_writes_for_many_replicas() -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(REPLICA_SETS, "default", replica_set(replicas=300))
        await asyncio.sleep(10)
    counts = kube.counts()
    assert counts["create virtualmachineinstances"] == 300, "more than a burst"
    assert counts["patch virtualmachineinstances"] == 300, "only the node agent's"
    assert counts["patch virtualmachineinstancereplicasets/status"] <= 12


async def test_one_replica_is_wanted_when_none_is_said() -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(REPLICA_SETS, "default", replica_set(replicas=None))
        await asyncio.sleep(2)
        assert len(replicas(kube)) == 1


async def test_a_paused_set_changes_nothing_but_its_counts() -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(REPLICA_SETS, "default", replica_set(replicas=2))
        await asyncio.sleep(2)
        await change(kube, paused=True)
        await change(kube, replicas=4)
        await kube.delete(VIRTUAL_MACHINE_INSTANCES, "default", replicas(kube)[0]["metadata"]["name"])
        await asyncio.sleep(5)
        assert status(kube)["replicas"] == 1
        paused = condition(kube, "ReplicaPaused")
        assert paused is not None
        assert (paused["status"], paused["reason"], paused["message"]) == ("True", "Paused", "Controller got paused")
        await change(kube, paused=False)
        await asyncio.sleep(5)
        assert status(kube)["readyReplicas"] == 4
        assert condition(kube, "ReplicaPaused") is None
    assert ("SuccessfulPaused", "Paused") in told(kube)
    assert ("SuccessfulResumed", "Resumed") in told(kube)


async def test_adopts_strays_and_lets_go_of_what_does_not_match() -> None:
    kube = FakeKube()
    async with controllers(kube):
        stray = {
            "metadata": {"name": "stray", "labels": {"app": "r"}},
            "spec": replica_set()["spec"]["template"]["spec"],
        }
        await kube.create(VIRTUAL_MACHINE_INSTANCES, "default", stray)
        await asyncio.sleep(1)
        await kube.create(REPLICA_SETS, "default", replica_set(replicas=2))
        await asyncio.sleep(2)
        assert len(replicas(kube)) == 2, "the stray is one of them"
        uid = kube.find(REPLICA_SETS, "default", "rs")["metadata"]["uid"]  # type: ignore[index]
        assert {each["metadata"]["ownerReferences"][0]["uid"] for each in replicas(kube)} == {uid}
        await kube.patch(
            VIRTUAL_MACHINE_INSTANCES, "default", "stray", {"metadata": {"labels": {"app": "z"}}}, kind="merge"
        )
        await asyncio.sleep(2)
        assert len(replicas(kube)) == 3
        released = kube.find(VIRTUAL_MACHINE_INSTANCES, "default", "stray")
        assert released is not None
        assert released["metadata"]["ownerReferences"] == []
        assert released["status"]["phase"] == "Running"


async def test_orphaned_replicas_live_on_and_are_adopted_again() -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(REPLICA_SETS, "default", replica_set(replicas=2))
        await asyncio.sleep(2)
        names = [each["metadata"]["name"] for each in replicas(kube)]
        await kube.delete(REPLICA_SETS, "default", "rs", propagation="Orphan")
        await asyncio.sleep(2)
        assert [each["metadata"].get("ownerReferences") for each in replicas(kube)] == [[], []]
        await kube.create(REPLICA_SETS, "default", replica_set(replicas=2))
        await asyncio.sleep(2)
        assert [each["metadata"]["name"] for each in replicas(kube)] == names
        assert all(each["metadata"]["ownerReferences"] for each in replicas(kube))


async def test_a_replica_that_ended_is_replaced_and_removed() -> None:
    kube = FakeKube()
    async with controllers(kube) as agent:
        await kube.create(REPLICA_SETS, "default", replica_set(replicas=2))
        await asyncio.sleep(100)
        ended = replicas(kube)[0]["metadata"]
        await agent.end("default", ended["name"], "Succeeded")
        await asyncio.sleep(2)
        assert len(replicas(kube, phase="Running")) == 2
        assert kube.find(VIRTUAL_MACHINE_INSTANCES, "default", ended["name"]) is None
    assert ("SuccessfulDelete", f"Deleted finished virtual machine: {ended['uid']}") in told(kube)


async def test_crash_looping_replicas_back_off_and_say_so() -> None:
    kube = FakeKube()
    async with controllers(kube) as agent:
        await kube.create(REPLICA_SETS, "default", replica_set(replicas=2))
        await asyncio.sleep(1)

        async def crash() -> None:
            while True:
                for each in replicas(kube, phase="Running"):
                    await agent.end("default", each["metadata"]["name"], "Failed")
                await asyncio.sleep(1)

        crashing = asyncio.create_task(crash())
        await asyncio.sleep(3600)
        looping = condition(kube, "ReplicaFailure")
        assert looping is not None
        assert looping["reason"] == "CrashLoopBackOff"
        assert "in a row); the next try is at 20" in looping["message"]
        assert kube.counts()["create virtualmachineinstances"] <= 2 * (3600 / 300 + 8)
        crashing.cancel()
        await asyncio.sleep(400)
        assert len(replicas(kube, phase="Running")) == 2
        assert condition(kube, "ReplicaFailure") is None
        assert len(replicas(kube)) == 2, "no finished one is left"
        await asyncio.sleep(100)
        name = replicas(kube)[0]["metadata"]["name"]
        await agent.end("default", name, "Failed")  # it lived long enough: forgiven
        await asyncio.sleep(2)
        fresh = replicas(kube, phase="Running")
        assert len(fresh) == 2
        assert sum(labels.REPLICA_FAILURES in each["metadata"].get("annotations", {}) for each in fresh) == 1


async def test_what_is_refused_is_tried_a_few_times_and_told() -> None:
    kube = FakeKube()

    def refuse(plural: str, obj: Json) -> None:
        if plural == "virtualmachineinstances":
            raise Forbidden("exceeded quota: vms")

    kube.on_create = refuse
    async with controllers(kube):
        await kube.create(REPLICA_SETS, "default", replica_set(replicas=200))
        await asyncio.sleep(0.004)
        assert kube.counts()["create virtualmachineinstances"] <= 4
        await asyncio.sleep(60)
        failure = condition(kube, "ReplicaFailure")
        assert failure is not None
        assert failure["reason"] == "FailedCreate"
        assert failure["message"] == "Error creating virtual machine instance: exceeded quota: vms"
        assert kube.counts()["create virtualmachineinstances"] < 30
        kube.on_create = None
        await asyncio.sleep(200)
        assert len(replicas(kube, phase="Running")) == 200
        assert condition(kube, "ReplicaFailure") is None


@pytest.mark.parametrize("taken", [False, True])
async def test_a_create_without_answer_is_looked_up(taken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it was carried out or never arrived: there is never one replica too many."""
    kube = FakeKube()
    faults = Faults(lose_answer=1.0 if taken else 0.0, refuse=0.0 if taken else 1.0)
    client = kube.view()
    create, lost = client.create, 0

    async def flaky(resource: Any, namespace: str, body: Any) -> bytes:
        nonlocal lost
        if resource is VIRTUAL_MACHINE_INSTANCES and lost < 3:
            lost += 1
            client.faults = faults
        try:
            return await create(resource, namespace, body)
        finally:
            client.faults = None

    monkeypatch.setattr(client, "create", flaky)
    async with controllers(kube, client):
        await kube.create(REPLICA_SETS, "default", replica_set(replicas=4))
        await asyncio.sleep(5)
        assert len(replicas(kube, phase="Running")) == 4
        assert kube.counts()["delete virtualmachineinstances"] == 0
        assert kube.counts()["create virtualmachineinstances"] == (4 if taken else 4 + lost)


async def test_a_name_drawn_twice_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    letters = iter("bbbbb" * 2 + "ccccc" + "ddddd" * 4)
    monkeypatch.setattr("virt_controller.replicas.actions.secrets.choice", lambda _: next(letters))
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(REPLICA_SETS, "default", replica_set(replicas=2))
        await asyncio.sleep(2)
        assert [each["metadata"]["name"] for each in replicas(kube)] == ["rsbbbbb", "rsccccc"]
