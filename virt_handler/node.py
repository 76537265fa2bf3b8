"""This machine's Node object: made when nobody else does, and kept fresh by one small patch a minute.

The heartbeat tells, it never drives: nothing here touches a guest. Called by `app`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import random
from collections.abc import Callable

from virt_handler.accelerator import Verdict
from virt_handler.images.manifest import architecture
from virt_kube.api import AlreadyExists, ApiError, Json, KubeClient, NotFound
from virt_kube.clock import Clock, rfc3339, system_clock
from virt_kube.resources import NODES
from virt_types.labels import ARCH, HOSTNAME, NODE_HEARTBEAT, NODE_SCHEDULABLE

log = logging.getLogger("virt_handler.node")

INTERVAL = 60.0
JITTER = 0.2
MAX_GUESTS = 110
ACCELERATOR = "virt-handler.kubevirt.io/accelerator"
ACCELERATOR_WHY = "virt-handler.kubevirt.io/accelerator-reason"


class NodeAgent:
    """Registers the node and sends its heartbeat. `register`: make the object when it is missing.

    While libvirt is away (`healthy` says no) nothing new is placed here.
    """

    def __init__(
        self,
        client: KubeClient,
        name: str,
        verdict: Verdict,
        *,
        register: bool,
        healthy: Callable[[], bool],
        clock: Clock = system_clock,
    ) -> None:
        self._client = client
        self._name = name
        self._verdict = verdict
        self._register = register
        self._healthy = healthy
        self._clock = clock

    async def run(self) -> None:
        """Beat until cancelled, then say that nothing is to be placed here."""
        try:
            while True:
                try:
                    await self.beat()
                except ApiError as error:
                    log.warning("heartbeat failed node=%s error=%s", self._name, error)
                    await asyncio.sleep(5.0)
                    continue
                await asyncio.sleep(INTERVAL * random.uniform(1, 1 + JITTER))  # noqa: S311  spreads load, guards nothing
        finally:
            await self._leave()

    async def beat(self) -> None:
        """One heartbeat; registers the node when it is missing."""
        try:
            await self._patch(schedulable=self._healthy())
        except NotFound:
            if not self._register:
                raise
            try:
                await self._client.create(NODES, "", self._node())
            except AlreadyExists:
                await self._patch(schedulable=self._healthy())
            else:
                log.info("node registered node=%s", self._name)

    async def _patch(self, *, schedulable: bool) -> None:
        await self._client.patch(NODES, "", self._name, {"metadata": self._metadata(schedulable)}, kind="merge")

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(1.0):
                await self._patch(schedulable=False)
        except (ApiError, TimeoutError, asyncio.CancelledError):
            log.info("node not marked unschedulable node=%s", self._name)

    def _metadata(self, schedulable: bool) -> Json:
        return {
            "labels": {NODE_SCHEDULABLE: "true" if schedulable else "false"},
            "annotations": {
                NODE_HEARTBEAT: rfc3339(self._clock()),
                ACCELERATOR: self._verdict.accelerator,
                ACCELERATOR_WHY: self._verdict.why,
            },
        }

    def _node(self) -> Json:
        metadata = self._metadata(schedulable=True)
        labels = {HOSTNAME: self._name, ARCH: architecture(), "kubernetes.io/os": "linux", **metadata["labels"]}
        resources = capacity()
        now = rfc3339(self._clock())
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "AgentReady",
            "message": "virt-handler is ready",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        return {
            "apiVersion": NODES.api_version,
            "kind": NODES.kind,
            "metadata": {"name": self._name, "labels": labels, "annotations": metadata["annotations"]},
            "status": {
                "capacity": resources,
                "allocatable": resources,
                "conditions": [ready],
                "addresses": [{"type": "Hostname", "address": self._name}],
                "nodeInfo": {"architecture": architecture(), "operatingSystem": "linux", **_versions()},
            },
        }


def capacity() -> dict[str, str]:
    """What guests can have of this machine, as Kubernetes quantities."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {"cpu": str(os.cpu_count() or 1), "memory": f"{pages * size // 1024}Ki", "pods": str(MAX_GUESTS)}


def _versions() -> dict[str, str]:
    return {
        "kernelVersion": platform.release(),
        "osImage": platform.freedesktop_os_release().get("PRETTY_NAME", "Linux"),
    }
