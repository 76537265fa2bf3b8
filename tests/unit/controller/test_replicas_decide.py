"""The rules of a replica set as tables: who goes first, who is replaced when, and by how many."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_kube import EPOCH

from virt_controller.replicas.decide import decide
from virt_controller.replicas.effects import Adopt, Create, Delete, DeleteFinished, Disown, WriteStatus
from virt_controller.replicas.observed import Observed
from virt_kube.clock import rfc3339
from virt_types import labels
from virt_types.codec import from_builtins
from virt_types.v1 import VirtualMachineInstance, VirtualMachineInstanceReplicaSet

UID = "rs-uid"
NOW = EPOCH + 1000


def keeper(replicas: int, **spec: Any) -> VirtualMachineInstanceReplicaSet:
    body = {"replicas": replicas, "selector": {"matchLabels": {"app": "r"}}, **spec}
    return from_builtins({"metadata": {"name": "rs", "uid": UID}, "spec": body}, VirtualMachineInstanceReplicaSet)


def replica(
    uid: str,
    phase: str = "Running",
    *,
    ready: bool = True,
    node: str = "n1",
    age: float = 500,
    lived: float = 400,
    failures: int = 0,
    **metadata: Any,
) -> VirtualMachineInstance:
    """One that was made `age` seconds ago; one that ended had run for `lived`, or never (below 0)."""
    began = NOW - age
    stamps = {"Pending": began}
    if phase in ("Running", "Succeeded", "Failed") and lived >= 0:
        stamps["Running"] = began
    if phase in ("Succeeded", "Failed"):
        stamps[phase] = began + max(lived, 0)
    meta = {
        "name": uid,
        "uid": uid,
        "namespace": "ns",
        "labels": {"app": "r"},
        "creationTimestamp": rfc3339(began),
        "annotations": {labels.REPLICA_FAILURES: str(failures)} if failures else {},
        **metadata,
    }
    status = {
        "phase": phase,
        "nodeName": node,
        "conditions": [{"type": "Ready", "status": str(ready and phase == "Running")}],
        "phaseTransitionTimestamps": [
            {"phase": name, "phaseTransitionTimestamp": rfc3339(at)} for name, at in stamps.items()
        ],
    }
    return from_builtins({"metadata": meta, "status": status}, VirtualMachineInstance)


def effects(replicas: int, *instances: VirtualMachineInstance, **observed: Any) -> list[object]:
    found = decide(Observed(keeper(replicas), instances, **observed), NOW).effects
    return [each for each in found if not isinstance(each, WriteStatus)]


def test_those_that_are_missed_least_go_first() -> None:
    found = [
        replica("old"),
        replica("new", age=100),
        replica("unready", ready=False),
        replica("starting", "Scheduled"),
        replica("waiting", "Pending", node=""),
    ]
    order = ["waiting", "starting", "unready", "new", "old"]
    for replicas in range(5):
        assert effects(replicas, *found) == [Delete(tuple(order[: 5 - replicas]))]


@pytest.mark.parametrize(
    ("ended", "inherited"),
    [
        (replica("x", "Succeeded", lived=400), 0),
        (replica("x", "Failed", lived=400, failures=7), 0),
        (replica("x", "Failed", lived=20, age=100), 1),
        (replica("x", "Failed", lived=20, age=100, failures=1), 2),
        (replica("x", "Failed", lived=-1, age=100), 1),
    ],
)
def test_who_ended_is_replaced_and_its_failures_are_remembered(ended: VirtualMachineInstance, inherited: int) -> None:
    assert effects(1, ended) == [Create((inherited,)), DeleteFinished(("x",))]


@pytest.mark.parametrize(
    ("failures", "rest"), [(1, (10, 15)), (2, (40, 60)), (4, (160, 240)), (6, (300, 300)), (99, (300, 300))]
)
def test_who_does_not_last_is_replaced_later_each_time(failures: int, rest: tuple[float, float]) -> None:
    ended = replica("x", "Failed", lived=5, age=5, failures=failures)
    decision = decide(Observed(keeper(1), (ended,)), NOW)
    (record,) = decision.effects
    assert isinstance(record, WriteStatus)
    assert record.status.conditions[0].reason == "CrashLoopBackOff"
    assert decision.again_after is not None
    assert rest[0] - 1 <= decision.again_after <= rest[1] + 1


def test_a_place_that_rests_does_not_keep_others_empty() -> None:
    resting = replica("x", "Failed", lived=5, age=5, failures=3)
    assert effects(3, resting) == [Create((0, 0))]
    assert effects(1, resting, replica("a")) == [DeleteFinished(("x",))], "it need not be replaced"


def test_what_is_asked_for_already_counts() -> None:
    assert effects(3, replica("a"), creating=2) == []
    assert effects(1, replica("a"), replica("b"), going=frozenset({"b"})) == []


def test_who_belongs_comes_before_how_many() -> None:
    stranger = replica("z", labels={"app": "other"})
    assert effects(1, stranger) == [Disown("z")]
    assert effects(0, strays=(replica("s"),)) == [Adopt("s")]
    assert effects(0, strays=(replica("s", "Failed"),)) == [], "what has ended is nobody's gain"


phases = st.sampled_from(["Pending", "Scheduled", "Running", "Succeeded", "Failed"])
sizes = st.integers(0, 400)


@given(sizes, st.lists(phases, max_size=20), st.integers(0, 5))
def test_never_more_than_wanted_and_never_more_than_a_burst(wanted: int, found: list[str], creating: int) -> None:
    instances = [replica(f"u{number}", phase, age=number) for number, phase in enumerate(found)]
    alive = sum(phase not in ("Succeeded", "Failed") for phase in found)
    created = deleted = 0
    for effect in effects(wanted, *instances, creating=creating):
        match effect:
            case Create(failures):
                created = len(failures)
            case Delete(uids):
                deleted = len(uids)
    assert not (created and deleted)
    assert created <= max(0, min(250, wanted - alive - creating))
    assert deleted == max(0, min(alive, alive + creating - wanted))
