"""Node health: what silence does not prove, what does, and whom a taint drives out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.fake_kube import loop_clock
from support.fake_node import add_node
from test_controller_placement import Cluster, vmi_object

from virt_kube.api import Json
from virt_kube.clock import rfc3339
from virt_kube.resources import NODES, VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES


async def silent_node(cluster: Cluster) -> None:
    """A node with a running guest whose agent fell silent an hour ago."""
    await add_node(cluster.kube, heartbeat=rfc3339(loop_clock()))
    await cluster.kube.create(VIRTUAL_MACHINE_INSTANCES, "ns", vmi_object())
    await asyncio.sleep(1)
    assert cluster.vmi()["status"]["phase"] == "Running"
    cluster.agent.stops = False
    await asyncio.sleep(3600)


@pytest.mark.looptime
async def test_a_silent_node_takes_nothing_new_and_its_guests_are_left_alone() -> None:
    async with Cluster() as cluster:
        await silent_node(cluster)
        host = cluster.kube.find(NODES, "", "node1")
        assert host is not None
        assert host["metadata"]["labels"]["kubevirt.io/schedulable"] == "false"
        message = "virt-handler is not responsive, marking node as unresponsive"
        assert cluster.events("NodeUnresponsive") == [message]
        assert cluster.vmi()["status"]["phase"] == "Running"
        ready = cluster.condition("Ready")
        assert (ready["status"], ready["reason"]) == ("Unknown", "NodeUnresponsive")
        assert "the guest may be running" in ready["message"]
        cluster.kube.requests.clear()
        await asyncio.sleep(600)
        assert cluster.kube.writes() == []


@pytest.mark.looptime
async def test_the_guests_of_a_machine_that_is_off_for_sure_are_failed() -> None:
    async with Cluster() as cluster:
        await silent_node(cluster)
        taint = {"spec": {"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]}}
        await cluster.kube.patch(NODES, "", "node1", taint, kind="merge")
        await asyncio.sleep(1)
        status = cluster.vmi()["status"]
        assert (status["phase"], status["reason"]) == ("Failed", "NodeUnresponsive")


@pytest.mark.looptime
async def test_a_beating_heart_keeps_a_node_open() -> None:
    async with Cluster() as cluster:
        await add_node(cluster.kube, heartbeat=rfc3339(loop_clock()))
        for _ in range(20):
            await asyncio.sleep(60)
            beat = {"metadata": {"annotations": {"kubevirt.io/heartbeat": rfc3339(loop_clock())}}}
            await cluster.kube.patch(NODES, "", "node1", beat, kind="merge")
        host = cluster.kube.find(NODES, "", "node1")
        assert host is not None
        assert host["metadata"]["labels"]["kubevirt.io/schedulable"] == "true"


@pytest.mark.looptime
@pytest.mark.parametrize("skew", [-3600, 3600])
async def test_the_clock_of_another_machine_may_be_wrong(skew: int) -> None:
    """Only that a heart beats counts, and for how long we have heard none."""

    def beat() -> str:
        return rfc3339(loop_clock() + skew)

    async def schedulable(expected: str) -> None:
        host = cluster.kube.find(NODES, "", "node1")
        assert host is not None
        assert host["metadata"]["labels"]["kubevirt.io/schedulable"] == expected

    async with Cluster() as cluster:
        await add_node(cluster.kube, heartbeat=beat())
        await cluster.kube.create(VIRTUAL_MACHINE_INSTANCES, "ns", vmi_object())
        for _ in range(10):
            await asyncio.sleep(60)
            beaten = {"metadata": {"annotations": {"kubevirt.io/heartbeat": beat()}}}
            await cluster.kube.patch(NODES, "", "node1", beaten, kind="merge")
        await schedulable("true")
        assert cluster.condition("Ready")["status"] == "True"
        await asyncio.sleep(301)
        await schedulable("false")
        assert cluster.condition("Ready")["status"] == "Unknown"


@pytest.mark.looptime
async def test_a_controller_that_was_away_listens_before_it_doubts() -> None:
    """`virtctl local up` after a weekend starts controllers and agent at the same time."""
    async with Cluster() as cluster:
        await add_node(cluster.kube, heartbeat=rfc3339(loop_clock() - 3600))
        vmi = vmi_object()
        vmi["status"] = {"phase": "Running", "nodeName": "node1", "conditions": [{"type": "Ready", "status": "True"}]}
        await cluster.kube.create(VIRTUAL_MACHINE_INSTANCES, "ns", vmi)
        await asyncio.sleep(200)
        assert cluster.condition("Ready")["status"] == "True"
        beat = {"metadata": {"annotations": {"kubevirt.io/heartbeat": rfc3339(loop_clock())}}}
        await cluster.kube.patch(NODES, "", "node1", beat, kind="merge")
        await asyncio.sleep(250)
        assert cluster.condition("Ready")["status"] == "True"
        await asyncio.sleep(60)
        assert cluster.condition("Ready")["status"] == "Unknown"


@pytest.mark.looptime
async def test_a_node_that_was_deleted_and_stays_away_has_lost_its_guests() -> None:
    async with Cluster() as cluster:
        await silent_node(cluster)
        await cluster.kube.delete(NODES, "", "node1")
        await asyncio.sleep(290)
        assert cluster.vmi()["status"]["phase"] == "Running"
        await asyncio.sleep(20)
        status = cluster.vmi()["status"]
        assert (status["phase"], status["reason"]) == ("Failed", "NodeUnresponsive")
        assert cluster.condition("Ready")["message"].endswith(": its node node1 failed")
        assert "kubevirt.io/foregroundDeleteVirtualMachine" not in cluster.vmi()["metadata"].get("finalizers", [])


@pytest.mark.looptime
async def test_a_node_that_comes_back_keeps_its_guests() -> None:
    async with Cluster() as cluster:
        await silent_node(cluster)
        await cluster.kube.delete(NODES, "", "node1")
        await asyncio.sleep(60)
        await add_node(cluster.kube, heartbeat=rfc3339(loop_clock()))
        await asyncio.sleep(299)
        assert cluster.vmi()["status"]["phase"] == "Running"


def tolerating(**toleration: Any) -> Json:
    return vmi_object(tolerations=[{"key": "maintenance", "operator": "Exists", **toleration}])


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("vmi", "taint", "stays"),
    [
        (vmi_object(), {"key": "maintenance", "effect": "NoExecute"}, 0),
        (vmi_object(), {"key": "maintenance", "effect": "NoSchedule"}, None),
        (vmi_object(), {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}, None),
        (tolerating(), {"key": "maintenance", "effect": "NoExecute"}, None),
        (tolerating(tolerationSeconds=120), {"key": "maintenance", "effect": "NoExecute"}, 120),
        (tolerating(effect="NoSchedule"), {"key": "maintenance", "effect": "NoExecute"}, 0),
    ],
)
async def test_whom_a_taint_drives_out(vmi: Json, taint: Json, stays: int | None) -> None:
    async with Cluster() as cluster:
        await add_node(cluster.kube)
        await cluster.kube.create(VIRTUAL_MACHINE_INSTANCES, "ns", vmi)
        await asyncio.sleep(1)
        await cluster.kube.patch(NODES, "", "node1", {"spec": {"taints": [taint]}}, kind="merge")
        await asyncio.sleep((stays or 1) - 0.5)
        assert bool(cluster.kube.objects("virtualmachineinstances")) == (stays != 0)
        await asyncio.sleep(3600)
        assert bool(cluster.kube.objects("virtualmachineinstances")) == (stays is None)


@pytest.mark.looptime
async def test_a_vm_that_was_driven_out_says_so_and_comes_back_when_it_may() -> None:
    async with Cluster() as cluster:
        await add_node(cluster.kube)
        domain = {"firmware": {"uuid": "u"}, "devices": {}}
        spec = {"runStrategy": "Always", "template": {"spec": {"domain": domain}}}
        await cluster.kube.create(VIRTUAL_MACHINES, "ns", {"metadata": {"name": "a"}, "spec": spec})
        await asyncio.sleep(100)
        taint = {"spec": {"taints": [{"key": "maintenance", "value": "now", "effect": "NoExecute"}]}}
        await cluster.kube.patch(NODES, "", "node1", taint, kind="merge")
        await asyncio.sleep(1)
        evicted = "evicted: node node1 has the taint maintenance=now:NoExecute"
        assert cluster.events("TaintManagerEviction") == [f"ns/a is {evicted}"]
        vm = cluster.kube.find(VIRTUAL_MACHINES, "ns", "a")
        assert vm is not None
        ended = next(each for each in vm["status"]["conditions"] if each["type"] == "Ended")
        assert (ended["reason"], ended["message"]) == ("Evicted", f"by the platform: {evicted}")
        assert vm["status"]["printableStatus"] == "ErrorUnschedulable"
        await cluster.kube.patch(NODES, "", "node1", {"spec": {"taints": None}}, kind="merge")
        await asyncio.sleep(1)
        assert cluster.vmi()["status"]["phase"] == "Running"
