"""Nodes in the order of their room: always what sorting them would give, and placement decides as without it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support.fake_kube import FakeKube
from support.fake_node import node_object

from virt_controller.caches import Caches
from virt_controller.objects import Node
from virt_controller.placement import Demand, place
from virt_controller.rooms import Rooms
from virt_types.codec import encode, from_builtins
from virt_types.v1 import VirtualMachineInstance

GIB = 1 << 30
NAMES = ("a", "b", "c", "d")


def vmi(memory: int, zone: str, liked: str) -> VirtualMachineInstance:
    spec: dict[str, Any] = {"domain": {"memory": {"guest": f"{memory}Gi"}, "devices": {}}}
    if zone:
        spec["nodeSelector"] = {"zone": zone}
    if liked:
        expressions = [{"key": "zone", "operator": "In", "values": [liked]}]
        wish = [{"weight": 5, "preference": {"matchExpressions": expressions}}]
        spec["affinity"] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": wish}}
    return from_builtins({"metadata": {"name": "x", "namespace": "ns"}, "spec": spec}, VirtualMachineInstance)


change = st.one_of(
    st.tuples(st.just("take"), st.sampled_from(NAMES), st.integers(0, 8)),
    st.tuples(st.just("give"), st.sampled_from(NAMES), st.integers(0, 8)),
    st.tuples(st.just("node"), st.sampled_from(NAMES), st.integers(1, 16)),
    st.tuples(st.just("gone"), st.sampled_from(NAMES), st.just(0)),
)
zones = st.sampled_from(["", "east", "west"])


@given(st.lists(change, max_size=25), st.integers(1, 6), zones, zones)
def test_placement_by_room_is_placement(story: list[tuple[str, str, int]], memory: int, zone: str, liked: str) -> None:
    caches = Caches(FakeKube(clock=lambda: 0.0))
    rooms = Rooms(caches.nodes)
    for version, (what, name, size) in enumerate(story, start=1):
        if what in ("take", "give"):
            (rooms.take if what == "take" else rooms.give)(name, Demand(0, size * GIB))
            continue
        body = node_object(name, memory=f"{size}Gi", cpu="64")
        body["metadata"]["resourceVersion"] = str(version)
        body["metadata"]["labels"]["zone"] = "east" if name in "ab" else "west"
        if what == "node":
            caches.nodes.absorb(encode(body))
        else:
            caches.nodes._delete(from_builtins(body, Node))
        free = {
            each.metadata.name: rooms.taken.get(each.metadata.name, Demand(0, 0)).memory
            - int(str(each.status.allocatable["memory"]).removesuffix("Gi")) * GIB
            for each in caches.nodes.list()
        }
        assert [each.metadata.name for each in rooms.nodes()] == sorted(free, key=lambda name: (free[name], name))
    wanted = vmi(memory, zone, liked)
    assert place(wanted, rooms.nodes(), rooms.taken, by_room=True) == place(wanted, caches.nodes.list(), rooms.taken)
