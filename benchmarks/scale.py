"""100,000 VMs on 1,000 nodes in memory: what one object costs the controllers, and whether that depends on the others.

    python -m benchmarks.scale [--machines N] [--nodes N] [--report docs/scale.md]

The caches, the loops and placement are the real ones; the API is a table that answers at once and keeps nothing else.
Each cost is measured on a tenth of the size and on the whole: what the caches make of one object must not grow with
their number. `docs/scale.md` says what follows from the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import measure
from benchmarks.cluster import machine_manifest
from virt_api.admission import KubeVirtAdmission
from virt_controller.caches import Caches
from virt_controller.objects import Node
from virt_controller.placer import Placer
from virt_controller.vm.controller import VirtualMachineController
from virt_kube.admission import AdmissionRequest, UserInfo
from virt_kube.api import AlreadyExists, Json, ListPage, NotFound, Resource, WatchEvent
from virt_kube.clock import rfc3339
from virt_kube.events import EventRecorder
from virt_kube.informer import Informer, Key
from virt_kube.resources import CONTROLLER_REVISIONS, NODES, VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from virt_types import labels
from virt_types.codec import decode, encode, from_builtins
from virt_types.v1 import VirtualMachineInstance

MACHINES, NODES_WANTED = 100_000, 1_000
SAMPLE = 300  # objects looked at one by one
ZONES = 10
NOW = 1_780_000_000.0


class Row(NamedTuple):
    """One cost: at a tenth of the size, and at the whole."""

    name: str
    unit: str
    tenth: float
    whole: float


class Table:
    """A KubeClient whose objects are what is put into it; a write answers with the object as it would be stored."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[Key, bytes]] = {}
        self.writes = 0
        self._version = 1

    def put(self, resource: Resource, obj: Json) -> bytes:
        self._version += 1
        meta = obj["metadata"]
        meta.setdefault("uid", f"{resource.plural[:12]}-{self._version:024x}")
        meta["resourceVersion"] = str(self._version)
        data = encode(obj)
        self.objects.setdefault(resource.plural, {})[Key(meta.get("namespace", ""), meta["name"])] = data
        return data

    async def get(self, resource: Resource, namespace: str, name: str) -> bytes:
        found = self.objects.get(resource.plural, {}).get(Key(namespace, name))
        if found is None:
            raise NotFound(name)
        return found

    async def list(self, resource: Resource, *_: str, **__: str) -> ListPage:
        return ListPage([*self.objects.get(resource.plural, {}).values()], str(self._version))

    async def watch(self, *_: Any, **__: str) -> AsyncIterator[WatchEvent]:
        await asyncio.Event().wait()
        yield WatchEvent("BOOKMARK", b"")

    async def create(self, resource: Resource, namespace: str, body: Json | bytes) -> bytes:
        obj: Json = json.loads(body) if isinstance(body, bytes) else body
        if Key(namespace, obj["metadata"].get("name", "")) in self.objects.get(resource.plural, {}):
            raise AlreadyExists(obj["metadata"]["name"])
        self.writes += 1
        return self.put(resource, obj)

    async def patch(self, resource: Resource, namespace: str, name: str, patch: Any, **_: Any) -> bytes:
        obj: Json = json.loads(await self.get(resource, namespace, name))
        for operation in patch:
            _apply(obj, operation)
        self.writes += 1
        return self.put(resource, obj)

    async def update(self, *_: Any, **__: Any) -> bytes:
        raise NotImplementedError

    async def delete(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        return


def _apply(obj: Json, operation: Json) -> None:
    """The operations our own patches are made of; their tests hold here."""
    *path, last = [each.replace("~1", "/").replace("~0", "~") for each in operation["path"].split("/")[1:]]
    target = obj
    for each in path:
        target = target.setdefault(each, {})
    if operation["op"] == "remove":
        del target[last]
    elif operation["op"] != "test":
        target[last] = operation["value"]


class World:
    """`machines` VMs that run, each with its VMI and revision, on `nodes` nodes."""

    def __init__(self, machines: int, nodes: int) -> None:
        self.machines = machines
        self.nodes = nodes
        self.table = Table()
        self.caches = Caches(self.table)  # type: ignore[arg-type]  # deletes nothing
        self.placer = _placer(self.caches)
        recorder = EventRecorder(self.table, "scale", clock=lambda: NOW)  # type: ignore[arg-type]
        self.loop = VirtualMachineController(
            self.table,  # type: ignore[arg-type]
            self.caches,
            self.placer,
            recorder,
            clock=lambda: NOW,
            jitter=lambda: 0.0,
        )

    async def fill(self) -> None:
        for number in range(self.nodes):
            self.table.put(NODES, _node(number))
        template = await _admitted(_machine("vm"))
        for number in range(self.machines):
            vm, vmi, revision = _running(template, number, self.nodes)
            uid = json.loads(self.table.put(VIRTUAL_MACHINES, vm))["metadata"]["uid"]
            for each in (vmi, revision):
                each["metadata"]["ownerReferences"][0]["uid"] = uid
            self.table.put(VIRTUAL_MACHINE_INSTANCES, vmi)
            self.table.put(CONTROLLER_REVISIONS, revision)

    async def relist(self) -> float:
        """Seconds until every cache has seen everything once."""
        begin = time.perf_counter()
        informing = asyncio.create_task(self.caches.run())
        await self.caches.synced()
        took = time.perf_counter() - begin
        informing.cancel()
        await asyncio.gather(informing, return_exceptions=True)
        return took

    async def reconcile(self, keys: list[Key]) -> float:
        """Seconds of CPU per VM, the median of them one by one."""
        took = []
        for key in keys:
            begin = time.process_time()
            await self.loop.reconcile(key)
            took.append(time.process_time() - begin)
        return statistics.median(took)

    def place(self, selector: dict[str, str]) -> float:
        """Seconds of CPU for one VMI that waits for a node."""
        vmi = from_builtins(_instance("waiting", selector), VirtualMachineInstance)
        took = []
        for _ in range(SAMPLE):
            fresh = decode(encode(vmi), VirtualMachineInstance)
            begin = time.process_time()
            self.placer.apply(fresh, NOW)
            took.append(time.process_time() - begin)
        return statistics.median(took)

    def sample(self) -> list[Key]:
        step = max(1, self.machines // SAMPLE)
        return [Key("default", f"vm-{number}") for number in range(0, self.machines, step)][:SAMPLE]


def _placer(caches: Caches) -> Placer:
    return Placer(caches.nodes, caches.vmis, caches.claims, caches.data_volumes)


def _machine(name: str) -> Json:
    manifest = machine_manifest(name)
    manifest["metadata"]["namespace"] = "default"
    manifest["spec"]["runStrategy"] = "Always"
    return manifest


async def _admitted(vm: Json) -> Json:
    kind = ("kubevirt.io", "v1", "virtualmachines", "VirtualMachine")
    request = AdmissionRequest("CREATE", *kind, "default", "vm", "", vm, None, UserInfo("user"))
    made = (await KubeVirtAdmission(require_node=False).admit(request)).obj
    assert made is not None
    return made


def _node(number: int) -> Json:
    marks = {
        labels.NODE_SCHEDULABLE: "true",
        labels.HOSTNAME: f"node-{number}",
        "topology.kubernetes.io/zone": f"zone-{number % ZONES}",
        **{f"cpu-feature.node.kubevirt.io/feature-{feature}": "true" for feature in range(60)},
    }
    beat = {labels.NODE_HEARTBEAT: rfc3339(NOW)}
    room = {"allocatable": {"cpu": "64", "memory": "512Gi"}}
    return {"metadata": {"name": f"node-{number}", "labels": marks, "annotations": beat}, "spec": {}, "status": room}


def _running(template: Json, number: int, nodes: int) -> tuple[Json, Json, Json]:
    name, node = f"vm-{number}", f"node-{number % nodes}"
    stored = json.loads(json.dumps(template))
    meta = {"name": name, "namespace": "default", "generation": 1, "finalizers": [labels.VM_FINALIZER]}
    owner = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": name, "uid": "", "controller": True}
    owned = {"namespace": "default", "ownerReferences": [owner]}
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(NOW - 3600)}
    vm: Json = {**stored, "metadata": meta, "status": {}}
    revision = f"revision-start-vm-{number}-1"
    phases = ("Pending", "Scheduled", "Running")
    vmi: Json = {
        **_instance(name, {}),
        "spec": stored["spec"]["template"]["spec"],
        "status": {
            "phase": "Running",
            "nodeName": node,
            "conditions": [ready],
            "virtualMachineRevisionName": revision,
            "phaseTransitionTimestamps": [
                {"phase": phase, "phaseTransitionTimestamp": rfc3339(NOW - 3600)} for phase in phases
            ],
        },
    }
    vmi["metadata"] |= owned | {
        "labels": {labels.NODE_NAME: node, "vm.kubevirt.io/name": name},
        "annotations": {labels.VM_GENERATION: "1"},
        "finalizers": [labels.VM_FINALIZER, labels.VMI_FINALIZER],
    }
    data = {"metadata": {"name": revision, **owned}, "data": {"spec": stored["spec"]}, "revision": 1}
    return vm, vmi, data


def _instance(name: str, selector: dict[str, str]) -> Json:
    spec: Json = machine_manifest(name)["spec"]["template"]["spec"]
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {**spec, "nodeSelector": selector} if selector else spec,
    }


async def figures(machines: int, nodes: int) -> dict[str, tuple[str, float]]:
    """Every cost of a world of this size: its unit and its amount."""
    world = World(machines, nodes)
    await world.fill()
    before = _resident()
    listing = await world.relist()
    bytes_each = (_resident() - before) / machines
    first = await world.reconcile(world.sample())
    writes = world.table.writes
    again = await world.reconcile(world.sample())
    assert world.table.writes == writes, "a VM that is as it should be costs a write"
    heart = _heartbeat(world.caches.nodes, world.table)
    return {
        "a running VM, its VMI and its revision in the caches": ("KiB", bytes_each / 1024),
        "a relist, per VM": ("µs", listing / machines * 1e6),
        "a VM whose status has to be written": ("µs", first * 1e6),
        "a VM that is as it should be": ("µs", again * 1e6),
        "placing a VMI that may run anywhere": ("µs", world.place({}) * 1e6),
        "placing a VMI that wants a zone": ("µs", world.place({"topology.kubernetes.io/zone": "zone-3"}) * 1e6),
        "placing a VMI that fits nowhere": ("µs", world.place({"disk": "none"}) * 1e6),
        "a node's heartbeat": ("µs", heart * 1e6),
    }


def _heartbeat(nodes: Informer[Node], table: Table) -> float:
    took = []
    for number in range(SAMPLE):
        node = _node(number % len(nodes))
        node["metadata"]["annotations"][labels.NODE_HEARTBEAT] = rfc3339(NOW + number)
        data = table.put(NODES, node)
        begin = time.process_time()
        nodes.absorb(data)
        took.append(time.process_time() - begin)
    return statistics.median(took)


def _resident() -> int:
    gc.collect()
    return measure.resident_bytes(os.getpid())


def rows(machines: int, nodes: int) -> list[Row]:
    logging.disable(logging.WARNING)
    tenth = _apart(machines // 10, nodes // 10)
    whole = _apart(machines, nodes)
    return [Row(name, unit, tenth[name][1], amount) for name, (unit, amount) in whole.items()]


def _apart(machines: int, nodes: int) -> dict[str, tuple[str, float]]:
    """In a process of its own, so that no size inherits another's memory."""
    from multiprocessing import get_context

    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_figures, (machines, nodes))


def _figures(machines: int, nodes: int) -> dict[str, tuple[str, float]]:
    logging.disable(logging.WARNING)
    return asyncio.run(figures(machines, nodes))


def table(found: list[Row], machines: int, nodes: int) -> str:
    small, large = (f"{count:,} VMs, {on:,} nodes" for count, on in ((machines // 10, nodes // 10), (machines, nodes)))
    lines = [f"| cost of | {small} | {large} |", "|---|---|---|"]
    lines += [f"| {row.name} | {row.tenth:.1f} {row.unit} | {row.whole:.1f} {row.unit} |" for row in found]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="What 100,000 VMs cost the controllers.")
    parser.add_argument("--machines", type=int, default=MACHINES)
    parser.add_argument("--nodes", type=int, default=NODES_WANTED)
    parser.add_argument("--report", type=Path, help="write the figures below the marker of this Markdown file")
    options = parser.parse_args()
    found = rows(options.machines, options.nodes)
    text = f"{datetime.now(UTC):%Y-%m-%d}, {measure.machine()}\n\n{table(found, options.machines, options.nodes)}\n"
    print(text)
    if options.report:
        head = options.report.read_text().partition("<!-- measured -->")[0]
        options.report.write_text(f"{head}<!-- measured -->\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
