"""A node agent without hypervisor: it answers for its VMIs as virt-handler would, through the same API."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
from support.fake_kube import loop_clock

from virt_kube.api import Conflict, Gone, Invalid, Json, KubeClient, NotFound
from virt_kube.clock import Clock, rfc3339
from virt_kube.resources import NODES, VIRTUAL_MACHINE_INSTANCES

HANDLER_FINALIZER = "kubevirt.io/foregroundDeleteVirtualMachine"


def node_object(
    name: str = "node1", *, memory: str = "16Gi", cpu: str = "8", heartbeat: str = "", **extra: Any
) -> Json:
    """A Node as virt-handler registers it."""
    node: Json = {
        "metadata": {
            "name": name,
            "labels": {"kubevirt.io/schedulable": "true", "kubernetes.io/hostname": name},
            "annotations": {"kubevirt.io/heartbeat": heartbeat} if heartbeat else {},
        },
        "spec": {},
        "status": {"allocatable": {"cpu": cpu, "memory": memory}},
    }
    for key, value in extra.items():
        node[key] = {**node.get(key, {}), **value}
    return node


async def add_node(kube: KubeClient, name: str = "node1", **options: Any) -> None:
    node = node_object(name, **options)
    await kube.create(NODES, "", node)
    await kube.patch(NODES, "", name, {"status": node["status"]}, kind="merge", subresource="status")


class FakeNode:
    """Runs every VMI placed on `name`. `kube` should be a client without faults, as the agent is not on trial."""

    def __init__(
        self,
        kube: KubeClient,
        name: str = "node1",
        *,
        boots: bool = True,
        stops: bool = True,
        fails: bool = False,
        clock: Clock = loop_clock,
    ) -> None:
        self.kube = kube
        self.clock = clock
        self.name = name
        self.boots = boots
        self.stops = stops
        self.fails = fails  # guests end before they run
        self.started: list[str] = []
        self.running: dict[tuple[str, str], str] = {}

    async def run(self) -> None:
        while True:
            try:
                page = await self.kube.list(VIRTUAL_MACHINE_INSTANCES)
                for item in page.items:
                    await self._see(msgspec.json.decode(item))
                async for event in self.kube.watch(VIRTUAL_MACHINE_INSTANCES, resource_version=page.resource_version):
                    if event.type in ("ADDED", "MODIFIED"):
                        await self._see(msgspec.json.decode(event.object))
            except Gone:
                continue

    async def end(self, namespace: str, name: str, phase: str) -> None:
        """The guest ends by itself."""
        vmi = await self._find(namespace, name)
        assert vmi is not None
        await self._write(vmi, phase)

    async def _find(self, namespace: str, name: str) -> Json | None:
        try:
            found: Json = msgspec.json.decode(await self.kube.get(VIRTUAL_MACHINE_INSTANCES, namespace, name))
        except NotFound:
            return None
        return found

    async def _see(self, vmi: Json) -> None:
        """Act on the object as it is now; a late event must not bring back the past."""
        meta = vmi["metadata"]
        current = await self._find(meta["namespace"], meta["name"])
        if (
            current is None
            or current["metadata"]["uid"] != meta["uid"]
            or current["status"].get("nodeName") != self.name
        ):
            return
        for _ in range(5):
            with contextlib.suppress(Conflict, Invalid, NotFound):
                await self._act(current)
                return

    async def _act(self, vmi: Json) -> None:
        meta, phase = vmi["metadata"], vmi["status"]["phase"]
        final = phase in ("Succeeded", "Failed")
        if meta.get("deletionTimestamp") and not final and self.stops:
            await self._write(vmi, "Succeeded")
        elif final and HANDLER_FINALIZER in meta.get("finalizers", []) and meta.get("deletionTimestamp"):
            rest = [each for each in meta["finalizers"] if each != HANDLER_FINALIZER]
            await self._patch(vmi, [{"op": "replace", "path": "/metadata/finalizers", "value": rest}])
        elif phase == "Scheduled" and self.fails:
            await self._write(vmi, "Failed")
        elif phase == "Scheduled" and self.boots and not meta.get("deletionTimestamp"):
            key = (meta["namespace"], meta["name"])
            assert meta["uid"] not in self.started, "one VMI was started twice"
            assert key not in self.running, "two guests of one VM"
            self.started.append(meta["uid"])
            self.running[key] = meta["uid"]
            await self._write(vmi, "Running")

    async def _write(self, vmi: Json, phase: str) -> None:
        stamps = vmi["status"].get("phaseTransitionTimestamps", [])
        now = rfc3339(self.clock())
        ready = phase == "Running"
        if not ready:
            self.running.pop((vmi["metadata"]["namespace"], vmi["metadata"]["name"]), None)
        conditions = [each for each in vmi["status"].get("conditions", []) if each["type"] not in ("Ready", "Paused")]
        condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": now}
        if ready and vmi["spec"].get("startStrategy") == "Paused":
            condition.update(status="False", reason="GuestPaused")
            conditions.append({"type": "Paused", "status": "True", "reason": "PausedByUser"})
        if not ready:
            condition.update(reason="GuestNotRunning", message="Guest VM is not reported as running")
        await self._patch(
            vmi,
            [
                {"op": "add", "path": "/status/phase", "value": phase},
                {
                    "op": "add",
                    "path": "/status/phaseTransitionTimestamps",
                    "value": [*stamps, {"phase": phase, "phaseTransitionTimestamp": now}],
                },
                {"op": "add", "path": "/status/conditions", "value": [*conditions, condition]},
            ],
        )

    async def _patch(self, vmi: Json, operations: list[Json]) -> None:
        meta = vmi["metadata"]
        test = {"op": "test", "path": "/metadata/uid", "value": meta["uid"]}
        await self.kube.patch(VIRTUAL_MACHINE_INSTANCES, meta["namespace"], meta["name"], [test, *operations])
