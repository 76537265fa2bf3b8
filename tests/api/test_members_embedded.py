"""Replica sets and pools against the embedded API server: real admission, scale subresource and garbage collection."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.embedded_cluster import Cluster, cluster

from virt_kube.api import Invalid, Json, Resource
from virt_kube.resources import REPLICA_SETS, VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINE_POOLS, VIRTUAL_MACHINES
from virt_types import labels

SELECTOR = {"matchLabels": {"app": "x"}}


def template() -> Json:
    disk = {"name": "root", "disk": {"bus": "virtio"}}
    domain = {"devices": {"disks": [disk]}, "memory": {"guest": "64Mi"}}
    volumes = [{"name": "root", "containerDisk": {"image": "registry.example/disk:1"}}]
    return {"metadata": {"labels": {"app": "x"}}, "spec": {"domain": domain, "volumes": volumes}}


def replica_set(replicas: int) -> Json:
    spec = {"replicas": replicas, "selector": SELECTOR, "template": template()}
    return {"apiVersion": "kubevirt.io/v1", "kind": REPLICA_SETS.kind, "metadata": {"name": "s"}, "spec": spec}


def pool(replicas: int) -> Json:
    machine = {"metadata": {"labels": {"app": "x"}}, "spec": {"runStrategy": "Always", "template": template()}}
    spec = {"replicas": replicas, "selector": SELECTOR, "virtualMachineTemplate": machine, "maxUnavailable": 1}
    kind = VIRTUAL_MACHINE_POOLS
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "p"}, "spec": spec}


async def listed(c: Cluster, resource: Resource) -> list[Json]:
    return [json.loads(item) for item in (await c.admin.list(resource, "default")).items]


async def until(c: Cluster, resource: Resource, holds: Callable[[list[Json]], bool]) -> list[Json]:
    found: list[Json] = []
    for _ in range(500):
        found = await listed(c, resource)
        if holds(found):
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"still {found}")


def counts(replicas: int, ready: int) -> Callable[[list[Json]], bool]:
    def holds(found: list[Json]) -> bool:
        status: Any = found[0].get("status", {})
        return (status.get("replicas"), status.get("readyReplicas")) == (replicas, ready)

    return holds


async def scale(c: Cluster, resource: Resource, name: str, replicas: int) -> Json:
    """As `kubectl scale` and autoscalers do."""
    change = {"spec": {"replicas": replicas}}
    found: Json = json.loads(await c.admin.patch(resource, "default", name, change, kind="merge", subresource="scale"))
    return found


async def test_the_life_of_a_replica_set(tmp_path: Path) -> None:
    async with cluster(tmp_path, over_http=False) as c:
        await c.admin.create(REPLICA_SETS, "default", replica_set(3))
        await until(c, REPLICA_SETS, counts(3, 3))
        answer = await scale(c, REPLICA_SETS, "s", 1)
        assert (answer["kind"], answer["status"]) == ("Scale", {"replicas": 3, "selector": "app=x"})
        await until(c, REPLICA_SETS, counts(1, 1))
        (left,) = await until(c, VIRTUAL_MACHINE_INSTANCES, lambda found: len(found) == 1)
        assert left["metadata"]["generateName"] == "s"
        assert left["metadata"]["finalizers"] == [labels.VMI_FINALIZER]
        await c.admin.delete(REPLICA_SETS, "default", "s")
        await until(c, VIRTUAL_MACHINE_INSTANCES, lambda found: not found)


async def test_the_life_of_a_pool(tmp_path: Path) -> None:
    async with cluster(tmp_path, over_http=False) as c:
        await c.admin.create(VIRTUAL_MACHINE_POOLS, "default", pool(2))
        await until(c, VIRTUAL_MACHINE_POOLS, counts(2, 2))
        before = {each["metadata"]["name"]: each for each in await listed(c, VIRTUAL_MACHINES)}
        grown = {"spec": {"domain": {"memory": {"guest": "80Mi"}}}}
        change = {"spec": {"virtualMachineTemplate": {"spec": {"template": grown}}}}
        await c.admin.patch(VIRTUAL_MACHINE_POOLS, "default", "p", change, kind="merge")
        await until(
            c,
            VIRTUAL_MACHINE_INSTANCES,
            lambda found: [each["spec"]["domain"]["memory"]["guest"] for each in found] == ["80Mi", "80Mi"],
        )
        await until(c, VIRTUAL_MACHINE_POOLS, counts(2, 2))
        for each in await listed(c, VIRTUAL_MACHINES):
            identity = before[each["metadata"]["name"]]["spec"]["template"]["spec"]["domain"]
            domain = each["spec"]["template"]["spec"]["domain"]
            assert domain["firmware"] == identity["firmware"], "a machine keeps its identity"
            assert domain["devices"]["interfaces"] == identity["devices"]["interfaces"], "its MAC address too"
        await scale(c, VIRTUAL_MACHINE_POOLS, "p", 1)
        await until(c, VIRTUAL_MACHINES, lambda found: len(found) == 1)
        await c.admin.delete(VIRTUAL_MACHINE_POOLS, "default", "p")
        await until(c, VIRTUAL_MACHINES, lambda found: not found)


async def test_rules_hold_at_the_api(tmp_path: Path) -> None:
    async with cluster(tmp_path, over_http=False) as c:
        await c.admin.create(VIRTUAL_MACHINE_POOLS, "default", {**pool(0), "metadata": {"name": "p"}})
        for change, said in (
            ({"maxUnavailable": "101%"}, "maxUnavailable percentage value 101 must be between 1 and 100"),
            ({"selector": {"matchLabels": {"app": "y"}}}, "selector is immutable after creation."),
            ({"scaleInStrategy": {"unmanaged": {}, "proactive": {}}}, "only one strategy can be configured at a time"),
            ({"autohealing": {"minFailingToStartDuration": "soon"}}, "'soon' is not a duration"),
        ):
            with pytest.raises(Invalid, match=re.escape(said)):
                await c.admin.patch(VIRTUAL_MACHINE_POOLS, "default", "p", {"spec": change}, kind="merge")
