"""The controllers against the embedded API server, with real admission: over HTTPS as a program, and in process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.embedded_cluster import cluster

from virt_kube.api import Json, NotFound
from virt_kube.resources import EVENTS, VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from virt_types import labels


def machine(**spec: Any) -> Json:
    disk = {"name": "root", "disk": {"bus": "virtio"}}
    domain = {"devices": {"disks": [disk]}, "memory": {"guest": "64Mi"}}
    volumes = [{"name": "root", "containerDisk": {"image": "registry.example/disk:1"}}]
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"domain": domain, "volumes": volumes}}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "vm1", "namespace": "default"},
        "spec": {**spec, "template": template},
    }


async def is_gone(check: Callable[[], Any]) -> bool:
    try:
        await check()
    except NotFound:
        return True
    return False


@pytest.mark.parametrize("over_http", [True, False], ids=["https", "in-process"])
async def test_the_life_of_a_vm(tmp_path: Path, over_http: bool) -> None:
    async with cluster(tmp_path, over_http=over_http) as c:
        await c.admin.create(VIRTUAL_MACHINES, "default", machine(runStrategy="Halted"))
        stopped = await c.shows("Stopped")
        identity = stopped["spec"]["template"]["spec"]["domain"]["firmware"]
        assert labels.VM_FINALIZER in stopped["metadata"]["finalizers"]

        await c.admin.patch(VIRTUAL_MACHINES, "default", "vm1", {"spec": {"runStrategy": "Always"}}, kind="merge")
        running = await c.shows("Running")
        assert (running["status"]["created"], running["status"]["runStrategy"]) == (True, "Always")
        vmi = json.loads(await c.admin.get(VIRTUAL_MACHINE_INSTANCES, "default", "vm1"))
        assert vmi["spec"]["domain"]["firmware"] == identity
        assert vmi["metadata"]["labels"][labels.NODE_NAME] == "node1"
        phases = [each["phase"] for each in vmi["status"]["phaseTransitionTimestamps"]]
        assert phases == ["Pending", "Scheduled", "Running"]

        await c.agent.end("default", "vm1", "Succeeded")
        for _ in range(400):
            if len(c.agent.started) == 2:
                break
            await asyncio.sleep(0.02)
        assert len(set(c.agent.started)) == 2
        await c.shows("Running")

        await c.admin.patch(VIRTUAL_MACHINES, "default", "vm1", {"spec": {"runStrategy": "Halted"}}, kind="merge")
        await c.shows("Stopped")
        for _ in range(400):
            if await is_gone(lambda: c.admin.get(VIRTUAL_MACHINE_INSTANCES, "default", "vm1")):
                break
            await asyncio.sleep(0.02)
        events = [json.loads(item) for item in (await c.admin.list(EVENTS, "default")).items]
        reasons = {event["reason"] for event in events if event["involvedObject"]["uid"] == stopped["metadata"]["uid"]}
        assert reasons == {"SuccessfulCreate", "SuccessfulDelete"}

        await c.admin.delete(VIRTUAL_MACHINES, "default", "vm1")
        await c.gone()


async def test_orphaned_and_adopted_again(tmp_path: Path) -> None:
    async with cluster(tmp_path, over_http=False) as c:
        await c.admin.create(VIRTUAL_MACHINES, "default", machine(runStrategy="Always"))
        await c.shows("Running")
        before = json.loads(await c.admin.get(VIRTUAL_MACHINE_INSTANCES, "default", "vm1"))
        await c.admin.delete(VIRTUAL_MACHINES, "default", "vm1", propagation="Orphan")
        await c.gone()
        left = json.loads(await c.admin.get(VIRTUAL_MACHINE_INSTANCES, "default", "vm1"))
        assert left["metadata"]["uid"] == before["metadata"]["uid"]
        assert not left["metadata"].get("ownerReferences")
        await c.admin.create(VIRTUAL_MACHINES, "default", machine(runStrategy="Always"))
        vm = await c.shows("Running")
        adopted = json.loads(await c.admin.get(VIRTUAL_MACHINE_INSTANCES, "default", "vm1"))
        assert adopted["metadata"]["uid"] == before["metadata"]["uid"]
        assert adopted["metadata"]["ownerReferences"][0]["uid"] == vm["metadata"]["uid"]
        assert len(c.agent.started) == 1
