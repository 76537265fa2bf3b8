"""Events: never in the caller's way, repeats counted, floods held back; and JSON patches and leases beside them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_kube import FakeKube, Faults, apply_json_patch, loop_clock
from support.machines import vm

from virt_kube.api import Forbidden, Invalid, Json, Resource, Unreachable
from virt_kube.events import BURST, COMBINED, QUEUE, EventRecorder
from virt_kube.leader import LEASE_SECONDS, RENEW_DEADLINE, LeaderElector, LostLease
from virt_kube.patch import diff, diff_status, pointer, set_finalizers
from virt_kube.resources import LEASES

pytestmark = pytest.mark.looptime


async def record(kube: FakeKube, *said: tuple[str, str], pause: float = 0.0) -> list[Json]:
    recorder = EventRecorder(kube, "virtualmachine-controller", "host1", clock=loop_clock)
    task = asyncio.create_task(recorder.run())
    for reason, message in said:
        recorder.event(vm(), "Normal", reason, message)
        await asyncio.sleep(pause)
    await asyncio.sleep(100)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return kube.objects("events")


async def test_an_event_is_what_kubectl_describe_looks_for() -> None:
    (event,) = await record(FakeKube(), ("SuccessfulCreate", "Started it"))
    assert event["involvedObject"] == {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "namespace": "ns",
        "name": "vm1",
        "uid": "11111111-aaaa",
        "resourceVersion": "7",
    }
    assert event["metadata"]["namespace"] == "ns"
    assert event["metadata"]["name"].startswith("vm1.")
    assert event["source"] == {"component": "virtualmachine-controller", "host": "host1"}
    assert (event["type"], event["reason"], event["message"], event["count"]) == (
        "Normal",
        "SuccessfulCreate",
        "Started it",
        1,
    )
    assert event["firstTimestamp"] == event["lastTimestamp"]


async def test_repeats_are_counted_on_one_event() -> None:
    (event,) = await record(FakeKube(), *[("Again", "and again")] * 5, pause=10)
    assert event["count"] == 5
    assert event["firstTimestamp"] < event["lastTimestamp"]


async def test_many_alike_are_combined() -> None:
    events = await record(FakeKube(), *[("Alike", f"number {n}") for n in range(15)])
    plain = [event for event in events if not event["message"].startswith(COMBINED)]
    combined = [event for event in events if event["message"].startswith(COMBINED)]
    assert len(plain) == 10
    assert [event["count"] for event in combined] == [5]


async def test_one_object_gets_a_burst_and_then_one_in_five_minutes() -> None:
    kube = FakeKube()
    await record(kube, *[(f"Reason{n}", "x") for n in range(BURST + 10)])
    assert kube.counts()["create events"] == BURST
    slow = FakeKube()
    await record(slow, *[(f"Reason{n}", "x") for n in range(BURST + 4)], pause=301)
    assert slow.counts()["create events"] == BURST + 4


async def test_a_dead_api_blocks_nobody_and_costs_nothing_but_a_bounded_queue() -> None:
    kube = FakeKube(faults=Faults(refuse=1.0))
    recorder = EventRecorder(kube, "c", clock=loop_clock)
    task = asyncio.create_task(recorder.run())
    for number in range(QUEUE + 500):
        subject = vm(meta={"uid": str(number)})
        recorder.event(subject, "Warning", "R", "m")
    assert len(recorder._queue) == QUEUE
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_event_survives_an_outage() -> None:
    faults = Faults(refuse=1.0)
    kube = FakeKube(faults=faults)
    asyncio.get_running_loop().call_later(20, lambda: setattr(faults, "refuse", 0.0))
    (event,) = await record(kube, ("Told", "late"))
    assert event["count"] == 1


async def test_a_last_word_that_is_refused_silences_no_other() -> None:
    kube = FakeKube()
    create = kube.create

    async def choosy(resource: Resource, namespace: str, body: Any) -> bytes:
        if body["involvedObject"]["name"] == "vm0":
            raise Forbidden("the namespace is being terminated")
        return await create(resource, namespace, body)

    kube.create = choosy  # type: ignore[method-assign]
    recorder = EventRecorder(kube, "c", clock=loop_clock)
    task = asyncio.create_task(recorder.run())
    await asyncio.sleep(0)
    for number in range(4):
        recorder.event(vm(meta={"name": f"vm{number}", "uid": str(number)}), "Normal", "Stopped", "bye")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [event["involvedObject"]["name"] for event in kube.objects("events")] == ["vm1", "vm2", "vm3"]


plain = st.recursive(st.none() | st.integers(), lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3))
maps = st.dictionaries(st.text(max_size=3), plain, max_size=4)


@given(maps, maps, st.integers(1, 4))
def test_a_diff_makes_one_the_other(old: Json, new: Json, depth: int) -> None:
    assert apply_json_patch({"a/b": old}, diff(old, new, "a/b", depth=depth)) == {"a/b": new}


def test_an_empty_diff_is_no_patch() -> None:
    assert diff_status(vm().metadata, {"a": [1]}, {"a": [1]}) == []


@pytest.mark.parametrize("changed", [{"uid": "another"}, {"resourceVersion": "8"}])
def test_a_status_patch_hits_only_what_was_seen(changed: dict[str, Any]) -> None:
    seen = vm(printableStatus="Stopped")
    patch = diff_status(seen.metadata, {"printableStatus": "Stopped"}, {"printableStatus": "Running"})
    metadata = {"uid": seen.metadata.uid, "resourceVersion": "7"}
    stored = {"metadata": metadata, "status": {"printableStatus": "Stopped"}}
    assert apply_json_patch(stored, patch)["status"] == {"printableStatus": "Running"}
    with pytest.raises(Invalid):
        apply_json_patch({**stored, "metadata": {**metadata, **changed}}, patch)


def test_finalizers_are_replaced_only_as_they_were_seen() -> None:
    seen = vm(meta={"finalizers": ["a", "b"]})
    patch = set_finalizers(seen.metadata, ["b"])
    stored = {"metadata": {"uid": seen.metadata.uid, "finalizers": ["a", "b"]}}
    assert apply_json_patch(stored, patch)["metadata"]["finalizers"] == ["b"]
    stored["metadata"]["finalizers"] = ["a", "b", "somebody else's"]
    with pytest.raises(Invalid):
        apply_json_patch(stored, patch)


def test_pointers_are_escaped() -> None:
    assert pointer("metadata", "labels", "a~b/c", 0) == "/metadata/labels/a~0b~1c/0"


class Copy:
    """One copy of a program that wants to lead."""

    def __init__(self, kube: FakeKube, name: str) -> None:
        self.leading = False
        self.elector = LeaderElector(kube, "kubevirt", "virt-controller", name, clock=loop_clock)
        self.task = asyncio.create_task(self.elector.lead(self._work))

    async def _work(self) -> None:
        self.leading = True
        try:
            await asyncio.Event().wait()
        finally:
            self.leading = False

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_one_leads_and_a_clean_end_hands_over_at_once() -> None:
    kube = FakeKube()
    first = Copy(kube, "first")
    await asyncio.sleep(1)
    second = Copy(kube, "second")
    await asyncio.sleep(300)
    assert (first.leading, second.leading) == (True, False)
    await first.end()
    await asyncio.sleep(3)
    assert (first.leading, second.leading) == (False, True)
    lease = kube.find(LEASES, "kubevirt", "virt-controller")
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == "second"
    assert lease["spec"]["leaseTransitions"] >= 1
    await second.end()


async def test_a_leader_that_is_cut_off_stops_before_its_successor_starts() -> None:
    kube = FakeKube()
    faults = Faults()
    first, second = Copy(kube.view(faults), "first"), Copy(kube, "second")
    await asyncio.sleep(30)
    assert (first.leading, second.leading) == (True, False)
    faults.refuse = 1.0
    overlap = []
    for _ in range(int(LEASE_SECONDS + RENEW_DEADLINE) * 10):
        await asyncio.sleep(0.1)
        overlap.append(first.leading and second.leading)
    assert not any(overlap)
    assert (first.leading, second.leading) == (False, True)
    with pytest.raises(LostLease):
        await first.task
    await second.end()


@pytest.mark.parametrize("after", [0.0, 0.5, 1.9])
async def test_a_leader_whose_server_hangs_stops_before_its_lease_is_over(after: float) -> None:
    """A server that refuses at once is the easy case: here every renewal waits for its own deadline."""
    kube = FakeKube()
    now = asyncio.get_running_loop().time
    hangs, renewed = False, 0.0

    class Hanging:
        """The API, until it answers no more."""

        def __getattr__(self, verb: str) -> Any:
            async def call(*args: Any) -> bytes:
                nonlocal renewed
                if hangs:
                    await asyncio.Event().wait()
                began, answer = now(), await getattr(kube, verb)(*args)
                renewed = began if verb == "update" else renewed
                return bytes(answer)

            return call

    first = Copy(Hanging(), "first")  # type: ignore[arg-type]  the verbs that are asked for
    await asyncio.sleep(20 + after)
    hangs = True
    while first.leading:  # noqa: ASYNC110  polls what has no event
        await asyncio.sleep(0.1)
    assert now() - renewed < RENEW_DEADLINE + 0.5
    with pytest.raises(LostLease):
        await first.task


async def test_work_that_fails_ends_the_leading() -> None:
    async def work() -> None:
        raise Unreachable("no")

    with pytest.raises(Unreachable):
        await LeaderElector(FakeKube(), "ns", "l", "me", clock=loop_clock).lead(work)
