"""What running a VM costs: API writes from the start request to Running, and nothing at all when nothing happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.fake_kube import FakeKube, loop_clock
from support.fake_node import FakeNode, add_node

from virt_controller.app import Options, run
from virt_kube.api import Json
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES

pytestmark = pytest.mark.looptime


def vm_object(name: str = "vm1", **spec: Any) -> Json:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"domain": {"firmware": {"uuid": "5d307ca9"}, "memory": {"guest": "64Mi"}, "devices": {}}},
    }
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name},
        "spec": {**spec, "template": template},
    }


@asynccontextmanager
async def controllers(kube: FakeKube, *, node: bool = True, **options: Any) -> AsyncIterator[FakeNode]:
    agent = FakeNode(kube)
    if node:
        await add_node(kube)
    tasks = [
        asyncio.create_task(run(kube, options=Options(clock=loop_clock, jitter=lambda: 0.0, **options))),
        asyncio.create_task(agent.run()),
    ]
    try:
        yield agent
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results


async def settle(seconds: float = 1.0) -> None:
    await asyncio.sleep(seconds)


def status(kube: FakeKube, name: str = "vm1") -> Json:
    vm = kube.find(VIRTUAL_MACHINES, "default", name)
    assert vm is not None
    return vm.get("status", {})


async def test_five_writes_from_start_to_running_and_the_revision_after_them() -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINES, "default", vm_object(running=False))
        await settle()
        assert status(kube)["printableStatus"] == "Stopped"
        kube.requests.clear()
        await kube.patch(VIRTUAL_MACHINES, "default", "vm1", {"spec": {"running": True}}, kind="merge")
        await settle()
        assert status(kube)["printableStatus"] == "Running"
        assert status(kube)["ready"] is True
    *writes, last = [f"{w.verb} {w.plural}{w.subresource and '/' + w.subresource}" for w in kube.writes()]
    assert last == "create controllerrevisions"
    assert sorted(writes) == sorted(
        [
            "patch virtualmachines",
            "create virtualmachineinstances",
            "patch virtualmachines/status",
            "patch virtualmachineinstances",
            "patch virtualmachines/status",
        ]
    )


async def test_six_writes_from_creation_to_running() -> None:
    """As the benchmark counts: what the user asked for is not ours."""
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINES, "default", vm_object(runStrategy="Always"))
        kube.requests.clear()
        await settle()
        assert status(kube)["ready"] is True
    asked = [request for request in kube.writes(events=True) if request.verb != "list"]
    assert len([each for each in asked if each.plural != "events"]) == 6, asked


async def test_nothing_is_asked_while_nothing_happens() -> None:
    kube = FakeKube()
    async with controllers(kube):
        for number in range(5):
            await kube.create(VIRTUAL_MACHINES, "default", vm_object(f"vm{number}", runStrategy="Always"))
        await settle(5)
        kube.requests.clear()
        await settle(3600)
        assert kube.requests == []


async def test_a_relist_writes_nothing() -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINES, "default", vm_object(runStrategy="Always"))
        await settle(5)
        kube.requests.clear()
        kube.compact()
        await settle(60)
        assert kube.counts()["list virtualmachines"] == 1
        assert kube.writes() == []


async def test_the_instance_is_created_placed() -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINES, "default", vm_object(runStrategy="Always"))
        await settle()
    created = next(w.body for w in kube.writes() if w.verb == "create" and w.plural == "virtualmachineinstances")
    assert created["metadata"]["labels"]["kubevirt.io/nodeName"] == "node1"
    assert created["status"]["nodeName"] == "node1"
    assert created["status"]["phase"] == "Scheduled"
    assert [each["phase"] for each in created["status"]["phaseTransitionTimestamps"]] == ["Pending", "Scheduled"]
    assert kube.find(VIRTUAL_MACHINE_INSTANCES, "default", "vm1") is not None
