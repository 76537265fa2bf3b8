"""Revisions are stored once, reused when identical, never taken from somebody else, and pruned by owner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from support.fake_kube import FakeKube
from support.machines import vm

from virt_controller.caches import Caches
from virt_controller.revisions import data_of, prune, revision, store
from virt_kube.api import Conflict
from virt_kube.resources import CONTROLLER_REVISIONS

pytestmark = pytest.mark.looptime
PLURAL = CONTROLLER_REVISIONS.plural


@pytest.fixture
def kube() -> FakeKube:
    return FakeKube(collect=False)


@pytest.fixture
async def caches(kube: FakeKube) -> AsyncIterator[Caches]:
    caches = Caches(kube)
    work = asyncio.create_task(caches.run())
    await caches.synced()
    kube.requests.clear()
    yield caches
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_an_identical_revision_is_stored_once(kube: FakeKube, caches: Caches) -> None:
    body = revision(vm(), "r-1", {"spec": {"a": [1]}}, 1, marks={"kind": "it"})
    stored = await store(kube, caches.revisions, body)
    again = await store(kube, caches.revisions, body)
    assert data_of(stored) == data_of(again) == {"spec": {"a": [1]}}
    assert stored.metadata.labels == {"kind": "it"}
    assert stored.metadata.controller is not None
    assert [request.verb for request in kube.writes()] == ["create"]


async def test_a_revision_the_cache_has_not_seen_yet_is_reused(kube: FakeKube, caches: Caches) -> None:
    body = revision(vm(), "r-1", {"spec": 1}, 1)
    first = store(kube, caches.revisions, body), store(kube, caches.revisions, body)
    left, right = await asyncio.gather(*first)
    assert left.metadata.uid == right.metadata.uid
    assert len(kube.objects(PLURAL)) == 1


async def test_other_data_under_the_same_name_is_replaced(kube: FakeKube, caches: Caches) -> None:
    await store(kube, caches.revisions, revision(vm(), "r-1", {"spec": 1}, 1))
    stored = await store(kube, caches.revisions, revision(vm(), "r-1", {"spec": 2}, 1))
    assert data_of(stored) == {"spec": 2}
    assert [each["data"] for each in kube.objects(PLURAL)] == [{"spec": 2}]


async def test_a_revision_of_somebody_else_is_left_alone(kube: FakeKube, caches: Caches) -> None:
    await store(kube, caches.revisions, revision(vm(meta={"uid": "other"}), "r-1", {"spec": 1}, 1))
    with pytest.raises(Conflict, match="somebody else"):
        await store(kube, caches.revisions, revision(vm(), "r-1", {"spec": 2}, 1))
    assert [each["data"] for each in kube.objects(PLURAL)] == [{"spec": 1}]


async def test_prune_takes_only_what_the_owner_no_longer_needs(kube: FakeKube, caches: Caches) -> None:
    for name, owner in (("a-1", vm()), ("a-2", vm()), ("b-1", vm()), ("a-9", vm(meta={"uid": "other"}))):
        await store(kube, caches.revisions, revision(owner, name, {}, 1))
    await prune(kube, caches.revisions, vm(), prefix="a-", keep={"a-2"})
    assert [each["metadata"]["name"] for each in kube.objects(PLURAL)] == ["a-2", "a-9", "b-1"]
