"""The informer: whatever the watch does to it, its copy becomes what the API has, and never goes back in time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fake_kube import FakeKube, Faults
from support.simulated import simulate

from virt_kube.api import Json, ListPage, NotFound, Unreachable
from virt_kube.informer import MAX_BACKOFF, MIN_BACKOFF, UNSERVED_RETRY, Informer, Key
from virt_kube.resources import NODES, VIRTUAL_MACHINES
from virt_types.codec import decode
from virt_types.v1 import VirtualMachine

decode_vm = partial(decode, type_=VirtualMachine)
Change = tuple[str | None, str | None]


def vm_object(name: str, **labels: str) -> Json:
    return {"metadata": {"name": name, "labels": labels, "managedFields": [{"manager": "m"}]}, "spec": {"template": {}}}


def informer_of(kube: FakeKube, **options: Any) -> Informer[VirtualMachine]:
    return Informer(kube, VIRTUAL_MACHINES, decode_vm, jitter=lambda: 0.5, **options)


@contextlib.asynccontextmanager
async def running(informer: Informer[VirtualMachine]) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.looptime
async def test_list_then_watch() -> None:
    kube = FakeKube()
    await kube.create(VIRTUAL_MACHINES, "ns", vm_object("old"))
    informer = informer_of(kube, indexers={"app": lambda vm: vm.metadata.labels.values()})
    changes: list[Change] = []
    informer.add_handler(lambda old, new: changes.append((old and old.metadata.name, new and new.metadata.name)))
    async with running(informer):
        assert not informer.synced.is_set()
        await informer.synced.wait()
        await kube.create(VIRTUAL_MACHINES, "ns", vm_object("new", app="x"))
        await kube.patch(VIRTUAL_MACHINES, "ns", "new", {"metadata": {"labels": {"app": "y"}}}, kind="merge")
        await kube.delete(VIRTUAL_MACHINES, "ns", "old")
        await asyncio.sleep(1)
        assert [vm.metadata.name for vm in informer.list()] == ["new"]
        assert informer.list("elsewhere") == []
        assert informer.by_index("app", "x") == ()
        assert [vm.metadata.name for vm in informer.by_index("app", "y")] == ["new"]
        assert Key("ns", "new") in informer
        new = informer.get("ns", "new")
        assert new is not None
        assert new.metadata.managed_fields == []
        assert new.kind == "VirtualMachine"
    assert changes == [(None, "old"), (None, "new"), ("new", "new"), ("old", None)]


@pytest.mark.looptime
async def test_an_optional_kind_may_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    kube = FakeKube()
    await kube.create(VIRTUAL_MACHINES, "ns", vm_object("a"))
    lists, served = kube.list, False

    async def asked(*args: Any, **selectors: str) -> ListPage:
        if not served:
            raise NotFound("the server could not find the requested resource")
        return await lists(*args, **selectors)

    monkeypatch.setattr(kube, "list", asked)
    informer = informer_of(kube, optional=True)
    async with running(informer):
        await informer.synced.wait()
        assert (informer.served, len(informer)) == (False, 0)
        served = True
        await asyncio.sleep(UNSERVED_RETRY + 1)
        assert (informer.served, len(informer)) == (True, 1)
        served = False
        kube.compact()
        await asyncio.sleep(UNSERVED_RETRY)
        assert (informer.served, len(informer)) == (False, 0)


@pytest.mark.looptime
async def test_a_late_handler_hears_of_everything() -> None:
    kube = FakeKube()
    await kube.create(VIRTUAL_MACHINES, "ns", vm_object("a"))
    informer = informer_of(kube)
    async with running(informer):
        await informer.synced.wait()
        heard: list[Change] = []
        informer.add_handler(lambda old, new: heard.append((old and "old", new and new.metadata.name)))
        assert heard == [(None, "a")]


@pytest.mark.looptime
async def test_a_relist_finds_what_was_missed() -> None:
    kube = FakeKube()
    await kube.create(VIRTUAL_MACHINES, "ns", vm_object("goes"))
    faults = Faults(lose_event=1.0)
    informer = informer_of(kube.view(faults))
    gone: list[str] = []
    informer.add_handler(lambda old, new: gone.append(old.metadata.name) if old and not new else None)
    async with running(informer):
        await informer.synced.wait()
        await asyncio.sleep(1)
        await kube.delete(VIRTUAL_MACHINES, "ns", "goes")
        await kube.create(VIRTUAL_MACHINES, "ns", vm_object("comes"))
        faults.lose_event = 0
        await asyncio.sleep(60)
        assert [vm.metadata.name for vm in informer.list()] == ["comes"]
    assert gone == ["goes"]


@pytest.mark.looptime
async def test_a_successor_of_the_same_name_is_not_taken_for_its_predecessor() -> None:
    kube = FakeKube()
    await kube.create(VIRTUAL_MACHINES, "ns", vm_object("a"))
    faults = Faults()
    informer = informer_of(kube.view(faults))
    heard: list[tuple[bool, bool]] = []
    informer.add_handler(lambda old, new: heard.append((old is not None, new is not None)))
    async with running(informer):
        await informer.synced.wait()
        await asyncio.sleep(1)
        faults.lose_event = 1.0
        await kube.delete(VIRTUAL_MACHINES, "ns", "a")
        await kube.create(VIRTUAL_MACHINES, "ns", vm_object("a"))
        faults.lose_event = 0
        await asyncio.sleep(60)
    assert heard == [(False, True), (True, False), (False, True)]


@pytest.mark.looptime
async def test_ones_own_writes_are_seen_at_once_and_only_once() -> None:
    kube = FakeKube()
    informer = informer_of(kube)
    heard: list[str] = []
    informer.add_handler(lambda old, new: heard.append(new.metadata.resource_version if new else "gone"))
    async with running(informer):
        await informer.synced.wait()
        await asyncio.sleep(1)
        answer = await kube.create(VIRTUAL_MACHINES, "ns", vm_object("a"))
        assert informer.absorb(answer) is informer.get("ns", "a")
        assert len(heard) == 1
        later = await kube.patch(VIRTUAL_MACHINES, "ns", "a", {"spec": {"running": True}}, kind="merge")
        informer.absorb(later)
        informer.absorb(answer)
        await asyncio.sleep(1)
        now = informer.get("ns", "a")
        assert now is not None
        assert now.spec.running is True
        assert len(heard) == 2


@pytest.mark.looptime
async def test_an_absorbed_last_answer_does_not_outlive_its_object() -> None:
    """The answer to the patch that lets an object go looks alive and is as new as the list without it."""
    kube = FakeKube()
    await kube.create(VIRTUAL_MACHINES, "ns", {**vm_object("a"), "metadata": {"name": "a", "finalizers": ["f"]}})
    informer = informer_of(kube)
    async with running(informer):
        await informer.synced.wait()
        await asyncio.sleep(1)
        await kube.delete(VIRTUAL_MACHINES, "ns", "a")
        kube.compact()
        informer.absorb(await kube.patch(VIRTUAL_MACHINES, "ns", "a", {"metadata": {"finalizers": None}}, kind="merge"))
        await asyncio.sleep(60)
        assert informer.get("ns", "a") is None


@pytest.mark.looptime
async def test_an_unreadable_object_stops_nobody_else() -> None:
    kube = FakeKube()
    await kube.create(VIRTUAL_MACHINES, "ns", {"metadata": {"name": "bad"}, "spec": {"running": "perhaps"}})
    await kube.create(VIRTUAL_MACHINES, "ns", vm_object("good"))
    informer = informer_of(kube)
    async with running(informer):
        await informer.synced.wait()
        assert [vm.metadata.name for vm in informer.list()] == ["good"]


@pytest.mark.looptime
async def test_a_dead_server_is_asked_less_and_less_often() -> None:
    asked: list[float] = []

    class Dead(FakeKube):
        async def list(self, *args: Any, **options: Any) -> Any:
            asked.append(asyncio.get_running_loop().time())
            raise Unreachable("refused")

    async with running(informer_of(Dead())):
        await asyncio.sleep(600)
    gaps = [round(b - a, 6) for a, b in itertools.pairwise(asked)]
    assert gaps == sorted(gaps)
    assert gaps[0] >= MIN_BACKOFF
    assert MAX_BACKOFF / 2 <= gaps[-1] <= MAX_BACKOFF


@pytest.mark.looptime
async def test_a_server_that_ends_every_watch_at_once_is_not_hammered() -> None:
    class Short(FakeKube):
        async def watch(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
            self.watches += 1
            for event in ():
                yield event

    kube = Short()
    async with running(informer_of(kube)):
        await asyncio.sleep(600)
    assert 20 <= kube.watches < 60


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.sampled_from(["create", "touch", "delete"]), st.sampled_from("abc"), st.floats(0, 0.2)), min_size=5
    ),
    st.integers(0, 2**32),
)
def test_the_copy_converges_and_never_goes_back(changes: list[tuple[str, str, float]], seed: int) -> None:
    async def scenario() -> None:
        faults = Faults(
            refuse=0.1,
            lose_event=0.05,
            double_event=0.2,
            late_event=0.2,
            stale_event=0.2,
            cut_watch=0.1,
            compact=0.1,
            rng=random.Random(seed),  # noqa: S311  a story to replay
        )
        kube = FakeKube()
        informer = informer_of(kube.view(faults))
        seen: dict[str, int] = {}
        present: set[str] = set()

        def check(old: VirtualMachine | None, new: VirtualMachine | None) -> None:
            if new is None:
                assert old is not None
                assert old.metadata.uid in present, "told twice that it is gone"
                present.discard(old.metadata.uid)
                return
            version = int(new.metadata.resource_version)
            assert version > seen.get(new.metadata.name, 0), "went back in time"
            assert (old is not None) == (new.metadata.uid in present)
            seen[new.metadata.name] = version
            present.add(new.metadata.uid)

        informer.add_handler(check)
        async with running(informer):
            for what, name, pause in changes:
                with contextlib.suppress(Exception):
                    await _change(kube, what, name)
                await asyncio.sleep(pause)
            for field in ("refuse", "lose_event", "double_event", "late_event", "stale_event", "cut_watch", "compact"):
                setattr(faults, field, 0.0)
            await asyncio.sleep(120)
            have = {vm.metadata.name: vm.metadata.resource_version for vm in informer.list()}
        assert have == {
            vm["metadata"]["name"]: vm["metadata"]["resourceVersion"] for vm in kube.objects("virtualmachines")
        }

    simulate(scenario)


async def _change(kube: FakeKube, what: str, name: str) -> None:
    if what == "create":
        await kube.create(VIRTUAL_MACHINES, "ns", vm_object(name))
    elif what == "touch":
        patch = {"metadata": {"labels": {"t": str(random.random())}}}  # noqa: S311  any new value
        await kube.patch(VIRTUAL_MACHINES, "ns", name, patch, kind="merge")
    else:
        await kube.delete(VIRTUAL_MACHINES, "ns", name)


def test_cluster_scoped_keys_are_names() -> None:
    assert str(Key("", "node1")) == "node1"
    assert str(Key("ns", "vm1")) == "ns/vm1"
    assert NODES.path("ignored", "node1") == "/api/v1/nodes/node1"
