"""Placement, waiting and node health: which node, what is missing by how much, and what silence does not prove."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_kube import FakeKube, loop_clock
from support.fake_node import FakeNode, add_node, node_object

from virt_controller.app import Options, run
from virt_controller.caches import Caches
from virt_controller.objects import Node
from virt_controller.placement import Placed, Unschedulable, demand, place, taken_by
from virt_controller.placer import Placer
from virt_kube.api import Json
from virt_kube.resources import PERSISTENT_VOLUME_CLAIMS, VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from virt_types.codec import encode, from_builtins
from virt_types.v1 import VirtualMachineInstance


def node(name: str = "n1", *, labels: dict[str, str] | None = None, **options: Any) -> Node:
    body = node_object(name, **options)
    body["metadata"]["labels"].update(labels or {})
    return from_builtins(body, Node)


def vmi_object(name: str = "a", memory: str = "1Gi", **spec: Any) -> Json:
    domain = {"devices": {}, "memory": {"guest": memory}, **spec.pop("domain", {})}
    return {"metadata": {"name": name, "uid": name}, "spec": {"domain": domain, **spec}}


def vmi(
    name: str = "a", memory: str = "1Gi", on: str = "", phase: str = "Running", **spec: Any
) -> VirtualMachineInstance:
    status = {"phase": phase, **({"nodeName": on} if on else {})}
    return from_builtins({**vmi_object(name, memory, **spec), "status": status}, VirtualMachineInstance)


def required(*expressions: Json) -> Json:
    terms = [{"matchExpressions": list(expressions)}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def expression(operator: str, *values: str) -> Json:
    return {"key": "gen", "operator": operator, "values": list(values)}


TAINT = {"taints": [{"key": "kubevirt.io/drain", "value": "now", "effect": "NoSchedule"}]}

FITS: list[tuple[VirtualMachineInstance, Node]] = [
    (vmi(), node()),
    (vmi(nodeSelector={"zone": "x"}), node(labels={"zone": "x"})),
    (vmi(affinity=required(expression("In", "1", "2"))), node(labels={"gen": "2"})),
    (vmi(affinity=required(expression("NotIn", "1"))), node()),
    (vmi(affinity=required(expression("Exists"))), node(labels={"gen": ""})),
    (vmi(affinity=required(expression("DoesNotExist"))), node()),
    (vmi(affinity=required(expression("Gt", "3"))), node(labels={"gen": "4"})),
    (vmi(affinity=required(expression("Lt", "3"))), node(labels={"gen": "2"})),
    (vmi(tolerations=[{"operator": "Exists"}]), node(spec=TAINT)),
    (vmi(tolerations=[{"key": "kubevirt.io/drain", "value": "now"}]), node(spec=TAINT)),
    (vmi(), node(spec={"taints": [{"key": "a", "effect": "PreferNoSchedule"}]})),
]

DRAIN = "taint kubevirt.io/drain=now:NoSchedule not tolerated"
REFUSED: list[tuple[VirtualMachineInstance, Node, str]] = [
    (vmi(), node(spec={"unschedulable": True}), "1 cordoned"),
    (vmi(), node(labels={"kubevirt.io/schedulable": "false"}), "1 kubevirt.io/schedulable=false"),
    (vmi(nodeSelector={"zone": "x"}), node(labels={"zone": "y"}), "1 nodeSelector zone=x not matched"),
    (vmi(affinity=required(expression("In", "1"))), node(), "1 required node affinity not matched"),
    (
        vmi(affinity=required(expression("Gt", "3"))),
        node(labels={"gen": "old"}),
        "1 required node affinity not matched",
    ),
    (vmi(affinity=required()), node(), "1 required node affinity not matched"),
    (vmi(), node(spec=TAINT), f"1 {DRAIN}"),
    (vmi(tolerations=[{"key": "kubevirt.io/drain", "value": "later"}]), node(spec=TAINT), f"1 {DRAIN}"),
    (vmi(tolerations=[{"operator": "Exists", "effect": "NoExecute"}]), node(spec=TAINT), f"1 {DRAIN}"),
    (vmi(memory="4Gi"), node(memory="4Gi"), "1 98Mi memory missing (needs 4194Mi, 4096Mi of 4096Mi free)"),
    (
        vmi(domain={"cpu": {"sockets": 2, "cores": 2, "dedicatedCpuPlacement": True}}),
        node(cpu="3"),
        "1 1000m cpu missing (needs 4000m, 3000m of 3000m free)",
    ),
]


@pytest.mark.parametrize(("machine", "host"), FITS)
def test_fits(machine: VirtualMachineInstance, host: Node) -> None:
    assert place(machine, [host], {}) == Placed("n1")


@pytest.mark.parametrize(("machine", "host", "why"), REFUSED)
def test_says_what_is_missing(machine: VirtualMachineInstance, host: Node, why: str) -> None:
    assert place(machine, [host], {}) == Unschedulable(f"0/1 nodes are available: {why}.")


def test_counts_the_reasons_of_many_nodes() -> None:
    hosts = [node("n1", spec={"unschedulable": True}), node("n2", spec=TAINT), node("n3", spec=TAINT)]
    answer = place(vmi(), hosts, {})
    assert answer == Unschedulable(f"0/3 nodes are available: 2 {DRAIN}; 1 cordoned.")
    assert place(vmi(), [], {}) == Unschedulable("no node is known: is virt-handler running?")


def test_the_room_others_take_counts_until_they_end() -> None:
    hosts = [node(memory="3Gi")]
    assert isinstance(place(vmi("b", "2Gi"), hosts, taken_by([vmi("a", "2Gi", on="n1")])), Unschedulable)
    assert place(vmi("b", "2Gi"), hosts, taken_by([vmi("a", "2Gi", on="n1", phase="Succeeded")])) == Placed("n1")
    assert place(vmi("b", "2Gi"), hosts, taken_by([vmi("a", "2Gi", on="n2")])) == Placed("n1")


def test_prefers_what_is_preferred_and_then_the_emptier_node() -> None:
    hosts = [node("n1"), node("n2", labels={"gen": "2"})]
    assert place(vmi(), hosts, taken_by([vmi("b", on="n1")])) == Placed("n2")
    assert place(vmi(), hosts, taken_by([vmi("b", on="n2")])) == Placed("n1")
    preference = {"weight": 5, "preference": {"matchExpressions": [expression("In", "2")]}}
    wish = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preference]}}
    assert place(vmi(affinity=wish), hosts, taken_by([vmi("b", on="n2")])) == Placed("n2")


def test_demand_is_requests_or_guest_size_and_overhead() -> None:
    assert demand(vmi(memory="1Gi")).memory == (1024 + 2 + 50 + 8 + 32) << 20
    asked = vmi(memory="1Gi", domain={"resources": {"requests": {"memory": "512Mi", "cpu": "1500m"}}})
    assert demand(asked).memory == (512 + 2 + 50 + 8 + 32) << 20
    assert demand(asked).cpu == 1500
    assert demand(vmi(domain={"cpu": {"cores": 4}})).cpu == 400


@given(st.lists(st.integers(1, 6), max_size=12), st.lists(st.integers(1, 8), min_size=1, max_size=4))
def test_never_more_than_a_node_has(guests: list[int], sizes: list[int]) -> None:
    hosts = [node(f"n{number}", memory=f"{size}Gi", cpu="64") for number, size in enumerate(sizes)]
    placed: list[VirtualMachineInstance] = []
    for number, size in enumerate(guests):
        answer = place(vmi(f"v{number}", f"{size}Gi"), hosts, taken_by(placed))
        if isinstance(answer, Placed):
            placed.append(vmi(f"v{number}", f"{size}Gi", on=answer.node))
    for number, size in enumerate(sizes):
        taken = sum(demand(each).memory for each in placed if each.status.node_name == f"n{number}")
        assert taken <= size << 30


class Cluster:
    """A running controller and its API."""

    def __init__(self) -> None:
        self.kube = FakeKube()
        self.agent = FakeNode(self.kube)
        self.tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Cluster:
        options = Options(clock=loop_clock, jitter=lambda: 0.0)
        self.tasks = [asyncio.create_task(run(self.kube, options=options)), asyncio.create_task(self.agent.run())]
        await asyncio.sleep(0.1)
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def vmi(self, name: str = "a") -> Json:
        found = self.kube.find(VIRTUAL_MACHINE_INSTANCES, "ns", name)
        assert found is not None
        return found

    def condition(self, type_: str, name: str = "a") -> Json:
        return next((each for each in self.vmi(name)["status"]["conditions"] if each["type"] == type_), {})

    def events(self, reason: str) -> list[str]:
        return [event["message"] for event in self.kube.objects("events") if event["reason"] == reason]


@pytest.mark.looptime
async def test_a_stand_alone_vmi_waits_for_room_and_then_runs() -> None:
    async with Cluster() as cluster:
        await add_node(cluster.kube, memory="3Gi")
        await cluster.kube.create(VIRTUAL_MACHINE_INSTANCES, "ns", vmi_object("a", "2Gi"))
        await asyncio.sleep(1)
        await cluster.kube.create(VIRTUAL_MACHINE_INSTANCES, "ns", vmi_object("b", "2Gi"))
        await asyncio.sleep(1)
        assert cluster.vmi("a")["status"]["phase"] == "Running"
        assert cluster.vmi("b")["status"]["phase"] == "Pending"
        waiting = cluster.condition("PodScheduled", "b")
        assert (waiting["status"], waiting["reason"]) == ("False", "Unschedulable")
        assert "memory missing" in waiting["message"]
        assert cluster.events("FailedScheduling") == [waiting["message"]]
        await cluster.kube.delete(VIRTUAL_MACHINE_INSTANCES, "ns", "a")
        await asyncio.sleep(1)
        assert cluster.vmi("b")["status"]["phase"] == "Running"
        assert cluster.condition("PodScheduled", "b") == {}


@pytest.mark.looptime
async def test_a_vm_nobody_can_run_says_so_and_runs_when_a_node_comes() -> None:
    async with Cluster() as cluster:
        machine = {
            "metadata": {"name": "a"},
            "spec": {"runStrategy": "Always", "template": {"spec": vmi_object()["spec"]}},
        }
        await cluster.kube.create(VIRTUAL_MACHINES, "ns", machine)
        await asyncio.sleep(1)
        stored = cluster.kube.find(VIRTUAL_MACHINES, "ns", "a")
        assert stored is not None
        assert stored["status"]["printableStatus"] == "ErrorUnschedulable"
        assert cluster.events("FailedScheduling") == ["no node is known: is virt-handler running?"]
        await add_node(cluster.kube)
        await asyncio.sleep(1)
        assert cluster.vmi()["status"]["phase"] == "Running"


@pytest.mark.looptime
async def test_a_missing_claim_is_named_and_waited_for() -> None:
    async with Cluster() as cluster:
        await add_node(cluster.kube)
        volumes = [{"name": "root", "persistentVolumeClaim": {"claimName": "late"}}]
        await cluster.kube.create(VIRTUAL_MACHINE_INSTANCES, "ns", vmi_object(volumes=volumes))
        await asyncio.sleep(1)
        assert cluster.condition("Synchronized")["reason"] == "FailedPvcNotFound"
        assert cluster.condition("PodScheduled")["reason"] == "Unschedulable"
        assert cluster.condition("Ready")["reason"] == "PodNotExists"
        assert cluster.events("FailedPvcNotFound") == ["PVC ns/late does not exist, waiting for it to appear"]
        await cluster.kube.create(PERSISTENT_VOLUME_CLAIMS, "ns", {"metadata": {"name": "late"}})
        await asyncio.sleep(1)
        assert cluster.vmi()["status"]["phase"] == "Pending"
        assert cluster.condition("PodScheduled") == cluster.condition("Synchronized") == {}
        assert "waits for PVC ns/late to be bound (now Pending)" in cluster.condition("Ready")["message"]
        bound = {"status": {"phase": "Bound"}}
        await cluster.kube.patch(PERSISTENT_VOLUME_CLAIMS, "ns", "late", bound, kind="merge", subresource="status")
        await asyncio.sleep(1)
        assert cluster.vmi()["status"]["phase"] == "Running"
        assert cluster.condition("Synchronized") == {}


@pytest.mark.looptime
async def test_a_vmi_deleted_before_it_was_placed_goes() -> None:
    async with Cluster() as cluster:
        await cluster.kube.create(VIRTUAL_MACHINE_INSTANCES, "ns", vmi_object())
        await asyncio.sleep(1)
        await cluster.kube.delete(VIRTUAL_MACHINE_INSTANCES, "ns", "a")
        await asyncio.sleep(1)
        assert cluster.kube.objects("virtualmachineinstances") == []
        last = [obj for _, plural, type_, obj in cluster.kube.history if type_ == "DELETED" and plural != "events"]
        assert last[-1]["status"]["phase"] == "Failed"


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.sampled_from(["", "n1", "n2"]),
            st.sampled_from(["Pending", "Running", "Failed"]),
            st.booleans(),
        )
    )
)
def test_the_running_count_is_what_counting_would_give(story: list[tuple[str, str, str, bool]]) -> None:
    """Whatever becomes of VMIs, the placer's count of taken room stays that of the cache."""
    kube = FakeKube(clock=lambda: 0.0)
    caches = Caches(kube)
    placer = Placer(caches.nodes, caches.vmis, caches.claims, caches.data_volumes)
    for version, (name, on, phase, gone) in enumerate(story, start=1):
        changed = vmi(name, f"{version}Gi", on=on, phase=phase)
        changed.metadata.resource_version = str(version)
        if gone:
            caches.vmis._delete(changed)
        else:
            caches.vmis.absorb(encode(changed))
        counted = taken_by(caches.vmis.list())
        assert {node: taken for node, taken in placer._rooms.taken.items() if any(taken)} == counted
