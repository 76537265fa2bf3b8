"""A pool from its creation to its end: the real loops, an API in memory, a faked node agent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.fake_kube import FakeKube
from support.many import SELECTOR, controllers, guest_template
from support.many import told as all_told

from virt_controller.pool.update import max_unavailable
from virt_kube.api import Json
from virt_kube.resources import (
    CONTROLLER_REVISIONS,
    DATA_VOLUMES,
    PERSISTENT_VOLUME_CLAIMS,
    VIRTUAL_MACHINE_INSTANCES,
    VIRTUAL_MACHINE_POOLS,
    VIRTUAL_MACHINES,
)
from virt_types import labels
from virt_types.codec import from_builtins
from virt_types.pool.v1beta1 import VirtualMachinePool

pytestmark = pytest.mark.looptime


def pool(replicas: int | None = 2, *, machine: Json | None = None, **spec: Any) -> Json:
    template = {"runStrategy": "Always", "template": guest_template(), **(machine or {})}
    body: Json = {
        "selector": SELECTOR,
        "virtualMachineTemplate": {"metadata": {"labels": {"app": "r"}}, "spec": template},
        **spec,
    }
    if replicas is not None:
        body["replicas"] = replicas
    return {
        "apiVersion": "pool.kubevirt.io/v1beta1",
        "kind": "VirtualMachinePool",
        "metadata": {"name": "p"},
        "spec": body,
    }


DISK = {
    "metadata": {"name": "disk"},
    "spec": {"source": {"blank": {}}, "storage": {"resources": {"requests": {"storage": "1Gi"}}}},
}


def with_disk() -> Json:
    guest = guest_template()
    guest["spec"]["volumes"] = [{"name": "root", "dataVolume": {"name": "disk"}}]
    return {"template": guest, "dataVolumeTemplates": [DISK]}


async def fill_disks(kube: FakeKube) -> None:
    """Plays CDI: every DataVolume succeeds and has a claim."""
    while True:
        for volume in kube.objects("datavolumes"):
            name = volume["metadata"]["name"]
            if volume.get("status", {}).get("phase") != "Succeeded":
                meta = volume["metadata"]
                owner = {"apiVersion": "v1", "kind": "DataVolume", "name": name, "uid": meta["uid"], "controller": True}
                claim = {"metadata": {"name": name, "ownerReferences": [owner]}, "status": {"phase": "Bound"}}
                await kube.create(PERSISTENT_VOLUME_CLAIMS, "default", claim)
                bound = {"status": {"phase": "Bound"}}
                await kube.patch(PERSISTENT_VOLUME_CLAIMS, "default", name, bound, kind="merge", subresource="status")
                await kube.patch(DATA_VOLUMES, "default", name, {"status": {"phase": "Succeeded"}}, kind="merge")
        await asyncio.sleep(0.1)


async def change(kube: FakeKube, **spec: Any) -> None:
    await kube.patch(VIRTUAL_MACHINE_POOLS, "default", "p", {"spec": spec}, kind="merge")


async def retemplate(kube: FakeKube, memory: str = "128Mi", **spec: Any) -> None:
    guest = {"spec": {"domain": {"memory": {"guest": memory}}}}
    await change(kube, virtualMachineTemplate={"spec": {"template": guest}}, **spec)


def machines(kube: FakeKube) -> dict[str, Json]:
    return {each["metadata"]["name"]: each for each in kube.objects("virtualmachines")}


def guests(kube: FakeKube) -> dict[str, Json]:
    return {each["metadata"]["name"]: each for each in kube.objects("virtualmachineinstances")}


def memory_of(found: dict[str, Json]) -> dict[str, str]:
    return {name: each["spec"]["domain"]["memory"]["guest"] for name, each in found.items()}


def found(kube: FakeKube) -> Json:
    it = kube.find(VIRTUAL_MACHINE_POOLS, "default", "p")
    assert it is not None
    return it


def status(kube: FakeKube) -> Json:
    return {key: value for key, value in found(kube).get("status", {}).items() if key != "conditions"}


def condition(kube: FakeKube, type_: str) -> Json | None:
    return next((each for each in found(kube)["status"].get("conditions", []) if each["type"] == type_), None)


def told(kube: FakeKube) -> list[tuple[str, str]]:
    return all_told(kube, "virtualmachinepool-controller")


def revisions(kube: FakeKube) -> list[str]:
    return [
        each["metadata"]["name"]
        for each in kube.objects(CONTROLLER_REVISIONS.plural)
        if each["metadata"]["ownerReferences"][0]["kind"] == "VirtualMachinePool"
    ]


async def test_grows_shrinks_and_goes() -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINE_POOLS, "default", pool(3))
        await asyncio.sleep(3)
        assert sorted(machines(kube)) == ["p-0", "p-1", "p-2"]
        assert status(kube) == {"replicas": 3, "readyReplicas": 3, "labelSelector": "app=r"}
        vm = machines(kube)["p-1"]
        assert vm["metadata"]["labels"] == {"app": "r", labels.POOL_REVISION: "p-1"}
        assert guests(kube)["p-1"]["metadata"]["labels"][labels.POOL_REVISION] == "p-1"
        assert revisions(kube) == ["p-1"]
        await change(kube, replicas=1, scaleInStrategy={"proactive": {"selectionPolicy": {"sortPolicy": "Oldest"}}})
        await asyncio.sleep(3)
        assert sorted(machines(kube)) == ["p-2"]
        await change(kube, replicas=3)
        await asyncio.sleep(3)
        assert sorted(machines(kube)) == ["p-0", "p-1", "p-2"], "the lowest free ordinals"
        assert revisions(kube) == ["p-1"], "a change of size makes no revision"
        await kube.delete(VIRTUAL_MACHINE_POOLS, "default", "p")
        await asyncio.sleep(3)
        assert machines(kube) == {}
        assert guests(kube) == {}
    assert ("SuccessfulCreate", "Created VM default/p-0") in told(kube)
    assert sum(reason == "SuccessfulDelete" for reason, _ in told(kube)) == 2


async def test_nothing_is_asked_while_nothing_happens() -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINE_POOLS, "default", pool(5))
        await asyncio.sleep(5)
        kube.requests.clear()
        await asyncio.sleep(3600)
        assert kube.requests == []


async def test_a_name_somebody_else_has_is_left_out() -> None:
    kube = FakeKube()
    async with controllers(kube):
        other = {"metadata": {"name": "p-0", "labels": {"app": "r"}}, "spec": {"template": guest_template()}}
        await kube.create(VIRTUAL_MACHINES, "default", other)
        await kube.create(VIRTUAL_MACHINE_POOLS, "default", pool(2))
        await asyncio.sleep(3)
        assert sorted(machines(kube)) == ["p-0", "p-1", "p-2"]
        assert "ownerReferences" not in machines(kube)["p-0"]["metadata"], "existing VMs are never adopted"
        await kube.delete(VIRTUAL_MACHINE_POOLS, "default", "p")
        await asyncio.sleep(3)
        assert sorted(machines(kube)) == ["p-0"]


async def test_each_machine_has_disks_and_references_of_its_own() -> None:
    kube = FakeKube()
    template = with_disk()
    template["template"]["spec"]["volumes"] += [
        {"name": "shared", "persistentVolumeClaim": {"claimName": "for-all"}},
        {"name": "cm", "configMap": {"name": "cfg"}},
        {"name": "se", "secret": {"secretName": "sec"}},
        {"name": "ci", "cloudInitNoCloud": {"secretRef": {"name": "user"}, "networkDataSecretRef": {"name": "net"}}},
        {"name": "sp", "sysprep": {"configMap": {"name": "answers"}}},
    ]
    template["template"]["spec"]["accessCredentials"] = [
        {"sshPublicKey": {"source": {"secret": {"secretName": "key"}}, "propagationMethod": {"noCloud": {}}}}
    ]
    naming = {"appendIndexToConfigMapRefs": True, "appendIndexToSecretRefs": True}
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINE_POOLS, "default", pool(2, machine=template, nameGeneration=naming))
        await asyncio.sleep(3)
        spec = machines(kube)["p-1"]["spec"]
        assert [each["metadata"]["name"] for each in spec["dataVolumeTemplates"]] == ["disk-1"]
        volumes = {each.pop("name"): each for each in spec["template"]["spec"]["volumes"]}
        assert volumes == {
            "root": {"dataVolume": {"name": "disk-1"}},
            "shared": {"persistentVolumeClaim": {"claimName": "for-all"}},
            "cm": {"configMap": {"name": "cfg-1"}},
            "se": {"secret": {"secretName": "sec-1"}},
            "ci": {"cloudInitNoCloud": {"secretRef": {"name": "user-1"}, "networkDataSecretRef": {"name": "net-1"}}},
            "sp": {"sysprep": {"configMap": {"name": "answers-1"}}},
        }
        credentials = spec["template"]["spec"]["accessCredentials"]
        assert credentials[0]["sshPublicKey"]["source"]["secret"]["secretName"] == "key-1"
        assert [each["metadata"]["name"] for each in kube.objects("datavolumes")] == ["disk-0", "disk-1"]


@pytest.mark.parametrize("preservation", [None, "Disabled", "Offline", "Online"])
async def test_scale_in_keeps_or_drops_the_disks(preservation: str | None) -> None:
    kube = FakeKube()
    strategy: Json = {"proactive": {"selectionPolicy": {"sortPolicy": "DescendingOrder"}}}
    if preservation:
        strategy["proactive"]["statePreservation"] = preservation
    kept = preservation in ("Offline", "Online")
    async with controllers(kube):
        cdi = asyncio.create_task(fill_disks(kube))
        await kube.create(VIRTUAL_MACHINE_POOLS, "default", pool(2, machine=with_disk(), scaleInStrategy=strategy))
        await asyncio.sleep(3)
        before = {each["metadata"]["name"]: each["metadata"]["uid"] for each in kube.objects("datavolumes")}
        await change(kube, replicas=1)
        await asyncio.sleep(3)
        assert sorted(machines(kube)) == ["p-0"]
        assert [each["metadata"]["name"] for each in kube.objects("datavolumes")] == (
            ["disk-0", "disk-1"] if kept else ["disk-0"]
        )
        await change(kube, replicas=2)
        await asyncio.sleep(3)
        after = {each["metadata"]["name"]: each["metadata"]["uid"] for each in kube.objects("datavolumes")}
        assert (after["disk-1"] == before["disk-1"]) == kept, "a kept disk is used again"
        await kube.delete(VIRTUAL_MACHINE_POOLS, "default", "p")
        await asyncio.sleep(3)
        assert machines(kube) == {}
        assert bool(kube.objects("datavolumes")) == kept
        cdi.cancel()
    assert any(reason == "MemoryNotKept" for reason, _ in told(kube)) == (preservation == "Online")


@pytest.mark.parametrize("strategy", ["unmanaged", "opportunistic"])
async def test_scale_in_that_somebody_else_does(strategy: str) -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINE_POOLS, "default", pool(3, scaleInStrategy={strategy: {}}))
        await asyncio.sleep(3)
        await change(kube, replicas=1)
        await asyncio.sleep(3)
        assert len(machines(kube)) == 3
        await kube.delete(VIRTUAL_MACHINES, "default", "p-1")
        await asyncio.sleep(3)
        assert sorted(machines(kube)) == ["p-0", "p-2"]


async def test_selectors_limit_who_goes_and_the_pool_says_so() -> None:
    kube = FakeKube()
    selectors = {"labelSelector": {"matchLabels": {"role": "spare"}}}
    policy = {"proactive": {"selectionPolicy": {"selectors": selectors}}}
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINE_POOLS, "default", pool(3, scaleInStrategy=policy))
        await asyncio.sleep(3)
        mark = {"spec": {"template": {"metadata": {"labels": {"role": "spare"}}}}}
        await kube.patch(VIRTUAL_MACHINES, "default", "p-1", mark, kind="merge")
        await change(kube, replicas=1)
        await asyncio.sleep(3)
        assert sorted(machines(kube)) == ["p-0", "p-2"]
        failure = condition(kube, "ReplicaFailure")
        assert failure is not None
        assert failure["reason"] == "FailedScaleIn"
        assert failure["message"].startswith("1 VMs are too many")


async def test_a_machine_that_is_not_ready_goes_first() -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINE_POOLS, "default", pool(4))
        await asyncio.sleep(3)
        await kube.patch(VIRTUAL_MACHINES, "default", "p-2", {"spec": {"runStrategy": "Halted"}}, kind="merge")
        await asyncio.sleep(3)
        await change(kube, replicas=3)
        await asyncio.sleep(3)
        assert sorted(machines(kube)) == ["p-0", "p-1", "p-3"]


async def test_a_paused_pool_changes_nothing() -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINE_POOLS, "default", pool(2))
        await asyncio.sleep(3)
        await change(kube, paused=True, replicas=4)
        await retemplate(kube)
        await asyncio.sleep(3)
        assert set(memory_of(guests(kube)).values()) == {"64Mi"}
        assert len(machines(kube)) == 2
        paused = condition(kube, "ReplicaPaused")
        assert paused is not None
        assert (paused["reason"], paused["message"]) == ("SuccessfulPaused", "Pool controller is paused")
        await kube.delete(VIRTUAL_MACHINES, "default", "p-0")
        await asyncio.sleep(3)
        assert sorted(machines(kube)) == ["p-1"], "a paused pool holds up no delete"
        await change(kube, paused=False)
        await asyncio.sleep(5)
        assert status(kube)["readyReplicas"] == 4
        assert set(memory_of(guests(kube)).values()) == {"128Mi"}
    assert ("SuccessfulPaused", "Pool is paused") in told(kube)
    assert ("SuccessfulResume", "Pool is unpaused") in told(kube)


def fewest_running(kube: FakeKube, names: set[str], begin: int) -> int:
    """The smallest number of running guests at any time since `begin`; all `names` ran then."""
    running, fewest = set(names), len(names)
    for _, plural, type_, obj in kube.history[begin:]:
        if plural == "virtualmachineinstances":
            name = obj["metadata"]["name"]
            alive = type_ != "DELETED" and obj["status"]["phase"] == "Running"
            running = running | {name} if alive else running - {name}
            fewest = min(fewest, len(running))
    return fewest


@pytest.mark.parametrize(
    ("limit", "wanted", "allowed"),
    [("50%", 3, 1), ("34%", 6, 2), ("1%", 6, 1), ("100%", 6, 6), (2, 6, 2), (9, 6, 9), (None, 6, 6), (None, 0, 1)],
)
def test_how_many_may_be_without_a_guest(limit: int | str | None, wanted: int, allowed: int) -> None:
    """As KubeVirt counts: a share is rounded down, but one may always be."""
    found = from_builtins(pool(wanted, **({} if limit is None else {"maxUnavailable": limit})), VirtualMachinePool)
    assert max_unavailable(found, wanted) == allowed


async def test_who_goes_can_be_chosen_by_the_nodes_that_are_asked_for() -> None:
    """A machine that is off has no node, but the labels its node will have."""
    kube = FakeKube()
    requirement = {"key": "zone", "operator": "In", "values": ["b"]}
    policy = {"proactive": {"selectionPolicy": {"selectors": {"nodeSelectorRequirementMatcher": [requirement]}}}}
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINE_POOLS, "default", pool(3, machine={"runStrategy": "Halted"}))
        await asyncio.sleep(3)
        mark = {"spec": {"template": {"spec": {"nodeSelector": {"zone": "b"}}}}}
        await kube.patch(VIRTUAL_MACHINES, "default", "p-1", mark, kind="merge")
        await change(kube, replicas=2, scaleInStrategy=policy)
        await asyncio.sleep(3)
        assert sorted(machines(kube)) == ["p-0", "p-2"]


@pytest.mark.parametrize("strategy", ["Always", "RerunOnFailure", "Manual"])
@pytest.mark.parametrize("limit", [1, "34%", None])
async def test_a_rollout_keeps_its_limit(limit: int | str | None, strategy: str) -> None:
    kube = FakeKube()
    allowed = {1: 1, "34%": 2, None: 6}[limit]
    spec = {} if limit is None else {"maxUnavailable": limit}
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINE_POOLS, "default", pool(6, machine={"runStrategy": strategy}, **spec))
        await asyncio.sleep(3)
        if strategy == "Manual":
            for name in machines(kube):
                start = {"status": {"stateChangeRequests": [{"action": "Start"}]}}
                await kube.patch(VIRTUAL_MACHINES, "default", name, start, kind="merge", subresource="status")
            await asyncio.sleep(3)
        ids = {name: each["metadata"]["uid"] for name, each in guests(kube).items()}
        assert len(ids) == 6

        begin = len(kube.history)
        await retemplate(kube)
        await asyncio.sleep(20)
        assert set(memory_of(guests(kube)).values()) == {"128Mi"}
        assert {each["metadata"]["labels"][labels.POOL_REVISION] for each in guests(kube).values()} == {"p-2"}
        assert all(guests(kube)[name]["metadata"]["uid"] != uid for name, uid in ids.items())
        assert fewest_running(kube, set(ids), begin) >= 6 - allowed
        assert revisions(kube) == ["p-2"], "the old one is pruned"
    assert ("SuccessfulUpdate", "Updated VM default/p-0") in told(kube)
    assert ("SuccessfulDelete", "Successfully updated resource default/p-0") in told(kube)


async def test_a_rollout_that_breaks_guests_stops() -> None:
    kube = FakeKube()
    async with controllers(kube) as agent:
        await kube.create(VIRTUAL_MACHINE_POOLS, "default", pool(4, maxUnavailable=1))
        await asyncio.sleep(3)
        agent.boots = False
        await retemplate(kube)
        await asyncio.sleep(600)
        assert sorted(memory_of(guests(kube)).values()) == ["128Mi", "64Mi", "64Mi", "64Mi"]


async def test_opportunistic_and_unmanaged_updates_leave_guests_alone() -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINE_POOLS, "default", pool(2, updateStrategy={"unmanaged": {}}))
        await asyncio.sleep(3)
        await retemplate(kube)
        await asyncio.sleep(3)
        specs = {name: each["spec"]["template"] for name, each in machines(kube).items()}
        assert set(memory_of(specs).values()) == {"64Mi"}
        await change(kube, updateStrategy={"opportunistic": {}, "unmanaged": None})
        await asyncio.sleep(3)
        specs = {name: each["spec"]["template"] for name, each in machines(kube).items()}
        assert set(memory_of(specs).values()) == {"128Mi"}
        assert set(memory_of(guests(kube)).values()) == {"64Mi"}
        await kube.delete(VIRTUAL_MACHINE_INSTANCES, "default", "p-0")
        await asyncio.sleep(3)
        assert memory_of(guests(kube)) == {"p-0": "128Mi", "p-1": "64Mi"}
        assert revisions(kube) == ["p-1", "p-2"], "one is still in use by a guest"


async def test_new_labels_restart_nobody_and_what_a_user_stopped_stays_so() -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINE_POOLS, "default", pool(2))
        await asyncio.sleep(3)
        await kube.patch(VIRTUAL_MACHINES, "default", "p-1", {"spec": {"runStrategy": "Halted"}}, kind="merge")
        await kube.patch(VIRTUAL_MACHINES, "default", "p-1", {"metadata": {"labels": {"mine": "1"}}}, kind="merge")
        await asyncio.sleep(3)
        uid = guests(kube)["p-0"]["metadata"]["uid"]
        fresh = {"metadata": {"labels": {"tier": "a"}}}
        await change(kube, virtualMachineTemplate={**fresh, "spec": {"template": fresh}})
        await asyncio.sleep(3)
        guest = guests(kube)["p-0"]["metadata"]
        assert guest["uid"] == uid
        assert guest["labels"]["tier"] == "a"
        assert machines(kube)["p-1"]["metadata"]["labels"] == {
            "app": "r",
            "mine": "1",
            "tier": "a",
            labels.POOL_REVISION: "p-2",
        }
        assert "p-1" not in guests(kube)
        assert machines(kube)["p-1"]["spec"]["runStrategy"] == "Halted"


async def test_changed_disks_make_the_machines_anew() -> None:
    kube = FakeKube()
    async with controllers(kube):
        cdi = asyncio.create_task(fill_disks(kube))
        await kube.create(VIRTUAL_MACHINE_POOLS, "default", pool(2, machine=with_disk(), maxUnavailable=1))
        await asyncio.sleep(3)
        before = {each["metadata"]["uid"] for each in (*machines(kube).values(), *kube.objects("datavolumes"))}
        disk = {**DISK, "spec": {**DISK["spec"], "storage": {"resources": {"requests": {"storage": "2Gi"}}}}}
        await change(kube, virtualMachineTemplate={"spec": {"dataVolumeTemplates": [disk]}})
        await asyncio.sleep(10)
        assert sorted(machines(kube)) == ["p-0", "p-1"]
        assert not before & {
            each["metadata"]["uid"] for each in (*machines(kube).values(), *kube.objects("datavolumes"))
        }
        assert status(kube)["readyReplicas"] == 2
        cdi.cancel()


async def test_finalizers_of_others_survive_and_orphaned_machines_can_be_deleted() -> None:
    kube = FakeKube()
    async with controllers(kube):
        body = pool(2)
        body["metadata"]["finalizers"] = ["example.org/mine"]
        await kube.create(VIRTUAL_MACHINE_POOLS, "default", body)
        await asyncio.sleep(3)
        assert found(kube)["metadata"]["finalizers"] == ["example.org/mine", labels.POOL_FINALIZER]
        await kube.delete(VIRTUAL_MACHINE_POOLS, "default", "p", propagation="Orphan")
        await asyncio.sleep(3)
        assert found(kube)["metadata"]["finalizers"] == ["example.org/mine"]
        await kube.patch(VIRTUAL_MACHINE_POOLS, "default", "p", {"metadata": {"finalizers": []}}, kind="merge")
        await asyncio.sleep(3)
        assert sorted(machines(kube)) == ["p-0", "p-1"]
        assert all(labels.POOL_FINALIZER not in each["metadata"]["finalizers"] for each in machines(kube).values())
        await kube.delete(VIRTUAL_MACHINES, "default", "p-0")
        await asyncio.sleep(3)
        assert sorted(machines(kube)) == ["p-1"]


async def test_what_does_not_match_any_more_is_let_go() -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINE_POOLS, "default", pool(2))
        await asyncio.sleep(3)
        await kube.patch(VIRTUAL_MACHINES, "default", "p-0", {"metadata": {"labels": {"app": "z"}}}, kind="merge")
        await asyncio.sleep(3)
        assert sorted(machines(kube)) == ["p-0", "p-1", "p-2"]
        free = machines(kube)["p-0"]["metadata"]
        assert free["ownerReferences"] == []
        assert labels.POOL_FINALIZER not in free["finalizers"]
        assert guests(kube)["p-0"]["status"]["phase"] == "Running"


async def test_healing_touches_its_own_only_and_not_in_a_storm() -> None:
    kube = FakeKube()
    async with controllers(kube) as agent:
        rules = {"startUpFailureThreshold": 1}
        await kube.create(VIRTUAL_MACHINE_POOLS, "default", pool(2, autohealing=rules))
        other = {
            "metadata": {"name": "other", "labels": {"app": "r"}},
            "spec": {"runStrategy": "Always", "template": guest_template()},
        }
        await kube.create(VIRTUAL_MACHINES, "default", other)
        await asyncio.sleep(3)
        ids = {name: each["metadata"]["uid"] for name, each in machines(kube).items()}

        async def crash() -> None:
            while True:
                for name in ("p-0", "other"):
                    if guests(kube).get(name, {}).get("status", {}).get("phase") == "Running":
                        await agent.end("default", name, "Failed")
                await asyncio.sleep(0.5)

        crashing = asyncio.create_task(crash())
        await asyncio.sleep(600)
        crashing.cancel()
        after = {name: each["metadata"]["uid"] for name, each in machines(kube).items()}
        assert after["other"] == ids["other"]
        assert after["p-1"] == ids["p-1"]
        assert after["p-0"] != ids["p-0"]
        made = [each for each in kube.requests if each.verb == "create" and each.name == "p-0"]
        assert 4 <= sum(each.plural == "virtualmachines" for each in made) <= 8
        assert kube.counts()["delete virtualmachines"] <= 7


async def test_a_machine_that_cannot_start_for_long_is_made_anew() -> None:
    kube = FakeKube()
    async with controllers(kube):
        guest = guest_template()
        guest["spec"]["domain"]["memory"]["guest"] = "900Gi"  # more than the node has
        await kube.create(
            VIRTUAL_MACHINE_POOLS,
            "default",
            pool(1, machine={"template": guest}, autohealing={"minFailingToStartDuration": "10m"}),
        )
        await asyncio.sleep(590)
        assert kube.counts()["create virtualmachines"] == 1
        await asyncio.sleep(60)
        assert kube.counts()["create virtualmachines"] == 2
