"""The work queue and its runner: nothing lost, nothing twice at once, failures further and further apart."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.simulated import simulate

from virt_kube.api import Conflict, Unreachable
from virt_kube.expectations import Expectations
from virt_kube.runner import Fatal, Retry, Runner, Verdict
from virt_kube.workqueue import ShutDown, WorkQueue

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_waiting_key_is_there_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in ("a", "b", "a"):
        queue.add(key)
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert len(queue) == 0


async def test_a_key_added_while_worked_comes_again_afterwards() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await queue.get()
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_of_several_delays_the_earliest_holds() -> None:
    queue: WorkQueue[str] = WorkQueue()
    began = now()
    queue.add_after("a", 30)
    queue.add_after("a", 10)
    queue.add_after("a", 20)
    await queue.get()
    assert now() - began == 10
    queue.done("a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(100):
            await queue.get()


async def test_back_off_doubles_to_its_cap_and_is_forgotten() -> None:
    queue: WorkQueue[str] = WorkQueue()
    delays = [queue.add_failed("a") for _ in range(20)]
    assert delays[:4] == [0.005, 0.01, 0.02, 0.04]
    assert delays[-1] == 1000
    queue.forget("a")
    assert queue.add_failed("a") == 0.005


async def test_a_cancelled_waiter_does_not_take_a_key_with_it() -> None:
    queue: WorkQueue[str] = WorkQueue()
    first, second = (asyncio.create_task(queue.get()) for _ in range(2))
    await asyncio.sleep(0)
    queue.add("a")  # wakes the first
    first.cancel()
    assert await asyncio.wait_for(second, 1) == "a"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_shutting_down_ends_the_waiting() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 5)
    waiter = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.shut_down()
    with pytest.raises(ShutDown):
        await waiter
    queue.add("b")
    assert len(queue) == 0


async def run_for(seconds: float, runner: Runner[str]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await runner.run()


async def test_one_key_is_never_worked_twice_at_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    working: set[str] = set()
    seen: list[str] = []

    async def reconcile(key: str) -> Verdict:
        assert key not in working
        working.add(key)
        if len(seen) < 6:
            queue.add(key)
        await asyncio.sleep(1)
        working.discard(key)
        seen.append(key)
        return None

    for key in ("a", "b"):
        queue.add(key)
    await run_for(50, Runner("test", queue, reconcile, workers=4))
    assert sorted(set(seen)) == ["a", "b"]
    assert len(seen) >= 6


@pytest.mark.parametrize(
    ("outcome", "runs_within_a_minute"),
    [
        (None, 1),
        (Fatal("Broken", "for good"), 1),
        (Retry(25.0), 3),
        (Retry(), 14),  # 5 ms doubled: the 14th try comes after 41 s
        (Unreachable("refused"), 14),
        (Conflict("stale"), 14),
        (ZeroDivisionError("a bug"), 14),
    ],
)
async def test_verdicts(outcome: Verdict | Exception, runs_within_a_minute: int) -> None:
    queue: WorkQueue[str] = WorkQueue()
    runs = []

    async def reconcile(key: str) -> Verdict:
        runs.append(now())
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    queue.add("a")
    await run_for(60, Runner("test", queue, reconcile))
    assert len(runs) == runs_within_a_minute


async def test_success_ends_the_back_off() -> None:
    queue: WorkQueue[str] = WorkQueue()
    verdicts: list[Verdict] = [Retry(), Retry(), None, Retry(), None]
    runs: list[float] = []

    async def reconcile(key: str) -> Verdict:
        runs.append(now())
        verdict = verdicts.pop(0)
        if verdict is None and verdicts:
            queue.add_after(key, 1)
        return verdict

    queue.add("a")
    await run_for(10, Runner("test", queue, reconcile))
    gaps = [round(b - a, 3) for a, b in itertools.pairwise(runs)]
    assert gaps == [0.005, 0.01, 1, 0.005]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["add", "after", "fail"])), max_size=30))
def test_no_key_is_lost(operations: list[tuple[str, str]]) -> None:
    async def scenario() -> None:
        queue: WorkQueue[str] = WorkQueue(base_delay=0.0001, max_delay=0.001)
        for key, how in operations:
            {"add": queue.add, "after": lambda k: queue.add_after(k, 0.0005), "fail": queue.add_failed}[how](key)
        worked = set()
        for _ in range(len(operations) * 2):
            try:
                async with asyncio.timeout(0.01):
                    key = await queue.get()
            except TimeoutError:
                break
            worked.add(key)
            queue.done(key)
        assert worked == {key for key, _ in operations}

    simulate(scenario)


async def test_expectations_are_met_or_given_up() -> None:
    expected: Expectations[str] = Expectations()
    expected.expect_creates("vm", 2)
    expected.expect_delete("vm", "uid1")
    assert expected.creates("vm") == 2
    expected.created("vm")
    expected.deleted("vm", "somebody else")
    assert (expected.creates("vm"), expected.deletes("vm")) == (1, {"uid1"})
    expected.created("vm")
    expected.created("vm")
    expected.deleted("vm", "uid1")
    assert expected.remaining("vm") is None

    expected.expect_delete("vm", "uid2")
    await asyncio.sleep(100)
    assert expected.remaining("vm") == 200
    await asyncio.sleep(200)
    assert expected.deletes("vm") == frozenset()
    assert expected.remaining("vm") is None
