"""Affinity, anti-affinity and spread between VMIs: who may be where, who is first, and what is said when nobody can."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_kube import FakeKube
from test_controller_budget import controllers, settle
from test_controller_placement import node, vmi_object

from virt_controller.neighbours import Neighbours
from virt_controller.objects import Node
from virt_controller.placement import Placed, Unschedulable, place
from virt_kube.api import Json
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES
from virt_types.codec import from_builtins
from virt_types.v1 import VirtualMachineInstance

ZONE, HOST = "zone", "kubernetes.io/hostname"
NODES = [node("n1", labels={ZONE: "a"}), node("n2", labels={ZONE: "a"}), node("n3", labels={ZONE: "b"})]
REQUIRED, PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)


def term(key: str = ZONE, app: str = "db", **more: Any) -> Json:
    return {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}, **more}


def near(*terms: Json) -> Json:
    return {"affinity": {"podAffinity": {REQUIRED: list(terms)}}}


def apart(*terms: Json) -> Json:
    return {"affinity": {"podAntiAffinity": {REQUIRED: list(terms)}}}


def wish(kind: str, weight: int = 100) -> Json:
    return {"affinity": {kind: {PREFERRED: [{"weight": weight, "podAffinityTerm": term()}]}}}


def spread(skew: int = 1, key: str = ZONE, hard: bool = True, **more: Any) -> Json:
    unsatisfiable = "DoNotSchedule" if hard else "ScheduleAnyway"
    constraint = {"maxSkew": skew, "whenUnsatisfiable": unsatisfiable, **term(key), **more}
    return {"topologySpreadConstraints": [constraint]}


def vmi(
    name: str = "new", on: str = "", *, app: str = "db", namespace: str = "ns", **spec: Any
) -> VirtualMachineInstance:
    body = vmi_object(name, "64Mi", **spec)
    body["metadata"] |= {"namespace": namespace, "labels": {"app": app}}
    status = {"phase": "Running", "nodeName": on} if on else {}
    return from_builtins({**body, "status": status}, VirtualMachineInstance)


def answer(new: VirtualMachineInstance, *there: VirtualMachineInstance, nodes: list[Node] = NODES) -> str:
    """The node, or why there is none."""
    result = place(new, nodes, {}, Neighbours(lambda: there, lambda: there))
    return result.node if isinstance(result, Placed) else result.message


ANSWERS: list[tuple[str, VirtualMachineInstance, list[VirtualMachineInstance], str]] = [
    ("near one", vmi(**near(term(HOST))), [vmi("a", "n2")], "n2"),
    ("near one's zone", vmi(**near(term())), [vmi("a", "n3")], "n3"),
    ("first of a group", vmi(**near(term())), [], "n1"),
    (
        "nobody to be near to",
        vmi(app="web", **near(term())),
        [],
        "0/3 nodes are available: 3 pod affinity: no VMI with app=db in the same zone.",
    ),
    ("near in another namespace", vmi(**near(term(HOST, namespaces=["x"]))), [vmi("a", "n2", namespace="x")], "n2"),
    ("near in all namespaces", vmi(**near(term(HOST, namespaceSelector={}))), [vmi("a", "n3", namespace="x")], "n3"),
    (
        "near in a namespace by its name",
        vmi(**near(term(HOST, namespaceSelector={"matchLabels": {"kubernetes.io/metadata.name": "x"}}))),
        [vmi("a", "n3", namespace="x"), vmi("b", "n2", namespace="y")],
        "n3",
    ),
    ("apart from one", vmi(**apart(term(HOST))), [vmi("a", "n1"), vmi("b", "n2")], "n3"),
    ("apart by zone", vmi(**apart(term())), [vmi("a", "n1")], "n3"),
    ("apart from others only", vmi(**apart(term(app="web"))), [vmi("a", "n1")], "n1"),
    (
        "nowhere apart",
        vmi(**apart(term())),
        [vmi("a", "n1"), vmi("b", "n2"), vmi("c", "n3")],
        "0/3 nodes are available: 2 pod anti-affinity: 2 VMI with app=db in the same zone; "
        "1 pod anti-affinity: 1 VMI with app=db in the same zone.",
    ),
    ("repelled", vmi(), [vmi("a", "n1", **apart(term()))], "n3"),
    ("not meant by the repelling", vmi(app="web"), [vmi("a", "n1", **apart(term()))], "n1"),
    ("near is a wish", vmi(**wish("podAffinity")), [vmi("a", "n3")], "n3"),
    ("apart is a wish", vmi(**wish("podAntiAffinity")), [vmi("a", "n1"), vmi("b", "n2")], "n3"),
    ("spread over zones", vmi(**spread()), [vmi("a", "n1")], "n3"),
    ("spread allows a skew", vmi(**spread(skew=2)), [vmi("a", "n1")], "n1"),
    ("spread as a wish", vmi(**spread(hard=False)), [vmi("a", "n1")], "n3"),
    (
        "spread over what the selector leaves",
        vmi(nodeSelector={ZONE: "a"}, **spread()),
        [vmi("a", "n1"), vmi("b", "n2")],
        "n1",
    ),
    (
        "spread that ignores the selector",
        vmi(nodeSelector={ZONE: "a"}, **spread(nodeAffinityPolicy="Ignore")),
        [vmi("a", "n1")],
        "0/3 nodes are available: 2 topology spread: skew 2 in zone=a, at most 1 allowed; "
        "1 nodeSelector zone=a not matched.",
    ),
    ("too few domains", vmi(**spread(minDomains=3)), [], "n1"),
    (
        "full for too few domains",
        vmi(**spread(minDomains=3)),
        [vmi("a", "n1"), vmi("b", "n3")],
        "0/3 nodes are available: 2 topology spread: skew 2 in zone=a, at most 1 allowed; "
        "1 topology spread: skew 2 in zone=b, at most 1 allowed.",
    ),
    (
        "no such topology",
        vmi(**spread(key="rack")),
        [],
        "0/3 nodes are available: 3 topology spread: the node has no label rack.",
    ),
    ("same revision only", vmi(**near(term(HOST, matchLabelKeys=["app"]))), [vmi("a", "n2")], "n2"),
    ("nothing without a selector", vmi(**apart({"topologyKey": ZONE})), [vmi("a", "n1")], "n1"),
]


@pytest.mark.parametrize(
    ("new", "there", "expected"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS]
)
def test_where_a_vmi_goes(new: VirtualMachineInstance, there: list[VirtualMachineInstance], expected: str) -> None:
    assert answer(new, *there) == expected


def test_every_requirement_is_named() -> None:
    hosts = [node("n1", labels={ZONE: "a"}, memory="64Mi", spec={"unschedulable": True})]
    said = answer(vmi(nodeSelector={"disk": "ssd"}, **apart(term())), vmi("a", "n1"), nodes=hosts)
    assert said == (
        "0/1 nodes are available: 1 cordoned, nodeSelector disk=ssd not matched, "
        "pod anti-affinity: 1 VMI with app=db in the same zone, "
        "91Mi memory missing (needs 155Mi, 64Mi of 64Mi free)."
    )


def test_a_taint_may_close_a_domain() -> None:
    tainted = node("n3", labels={ZONE: "b"}, spec={"taints": [{"key": "k", "effect": "NoSchedule"}]})
    hosts = [*NODES[:2], tainted]
    full = [vmi("a", "n1")]
    assert "skew 2 in zone=a" in answer(vmi(**spread()), *full, nodes=hosts)
    assert answer(vmi(**spread(nodeTaintsPolicy="Honor")), *full, nodes=hosts) == "n1"


@given(st.lists(st.sampled_from(["db", "web"]), max_size=12), st.integers(1, 3))
def test_a_spread_is_kept_as_vmis_come(apps: list[str], skew: int) -> None:
    there: list[VirtualMachineInstance] = []
    for number, app in enumerate(apps):
        new = vmi(f"v{number}", app=app, **spread(skew))
        result = place(new, NODES, {}, Neighbours(lambda: tuple(there), tuple))
        assert isinstance(result, Placed)
        there.append(vmi(f"v{number}", result.node, app=app))
    zones = {"n1": "a", "n2": "a", "n3": "b"}
    filled = Counter(zones[each.status.node_name or ""] for each in there if each.metadata.labels["app"] == "db")
    assert abs(filled["a"] - filled["b"]) <= skew


@given(st.integers(1, 6))
def test_vmis_that_want_to_be_apart_never_share(count: int) -> None:
    there: list[VirtualMachineInstance] = []
    for number in range(count):
        result = place(vmi(f"v{number}", **apart(term(HOST))), NODES, {}, Neighbours(lambda: there, lambda: there))
        if isinstance(result, Unschedulable):
            assert number >= len(NODES)
        else:
            there.append(vmi(f"v{number}", result.node, **apart(term(HOST))))
    hosts = [each.status.node_name for each in there]
    assert len(hosts) == len(set(hosts)) == min(count, len(NODES))


@pytest.mark.looptime
async def test_vmis_made_at_once_stay_apart_and_one_that_waits_follows_its_neighbour() -> None:
    kube = FakeKube()
    async with controllers(kube):
        for number in range(2):
            spec = vmi_object(f"v{number}", "64Mi", **apart(term(HOST)))
            spec["metadata"] = {"name": f"v{number}", "labels": {"app": "db"}}
            await kube.create(VIRTUAL_MACHINE_INSTANCES, "ns", spec)
        lonely = vmi_object("lonely", "64Mi", **near(term(HOST, app="late")))
        await kube.create(VIRTUAL_MACHINE_INSTANCES, "ns", lonely)
        await settle()
        phases = [each["status"]["phase"] for each in kube.objects("virtualmachineinstances")]
        assert sorted(phases) == ["Pending", "Pending", "Running"]
        friend = vmi_object("friend", "64Mi")
        friend["metadata"] = {"name": "friend", "labels": {"app": "late"}}
        await kube.create(VIRTUAL_MACHINE_INSTANCES, "ns", friend)
        await settle()
        met = kube.find(VIRTUAL_MACHINE_INSTANCES, "ns", "lonely")
        assert met is not None
        assert met["status"]["phase"] == "Running"
