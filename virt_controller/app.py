"""virt-controller as one coroutine: the loops over shared caches. Run by `__main__` and by `virtctl local up`."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

from virt_controller.caches import Caches
from virt_controller.nodes import NodeController
from virt_controller.placer import Placer
from virt_controller.pool.controller import PoolController
from virt_controller.replicas.controller import ReplicaSetController
from virt_controller.vm.controller import VirtualMachineController
from virt_controller.vmi.controller import InstanceController
from virt_kube.api import KubeClient
from virt_kube.clock import Clock, system_clock
from virt_kube.events import EventRecorder
from virt_kube.runner import Runner

log = logging.getLogger("virt_controller.app")

# The names events carry as their source, as KubeVirt's controllers do.
VM_COMPONENT = "virtualmachine-controller"
NODE_COMPONENT = "node-controller"
REPLICAS_COMPONENT = "virtualmachinereplicaset-controller"
POOL_COMPONENT = "virtualmachinepool-controller"


@dataclass(frozen=True)
class Options:
    """`namespace` "" means all. `clock` gives Unix seconds, `jitter` a number from 0 up to 1."""

    namespace: str = ""
    workers: int = 8
    clock: Clock = system_clock
    jitter: Callable[[], float] = random.random


async def run(client: KubeClient, *, options: Options | None = None) -> None:
    """Work until cancelled. The client stays open."""
    chosen = options or Options()
    caches = Caches(client, chosen.namespace)
    placer = Placer(caches.nodes, caches.vmis, caches.claims, caches.data_volumes)
    recorder = EventRecorder(client, VM_COMPONENT, clock=chosen.clock)
    node_recorder = EventRecorder(client, NODE_COMPONENT, clock=chosen.clock)
    replicas_recorder = EventRecorder(client, REPLICAS_COMPONENT, clock=chosen.clock)
    pool_recorder = EventRecorder(client, POOL_COMPONENT, clock=chosen.clock)
    vms = VirtualMachineController(client, caches, placer, recorder, clock=chosen.clock, jitter=chosen.jitter)
    vmis = InstanceController(client, caches, placer, recorder, clock=chosen.clock)
    nodes = NodeController(client, caches, node_recorder, clock=chosen.clock)
    replicas = ReplicaSetController(client, caches, placer, replicas_recorder, clock=chosen.clock)
    pools = PoolController(client, caches, pool_recorder, clock=chosen.clock)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(caches.run(), name="caches")
        tasks.create_task(recorder.run(), name="events")
        tasks.create_task(node_recorder.run(), name="node-events")
        tasks.create_task(replicas_recorder.run(), name="replicas-events")
        tasks.create_task(pool_recorder.run(), name="pool-events")
        await caches.synced()
        log.info("caches synced vms=%d vmis=%d nodes=%d", len(caches.vms), len(caches.vmis), len(caches.nodes))
        tasks.create_task(Runner("vm", vms.queue, vms.reconcile, workers=chosen.workers).run(), name="vm")
        tasks.create_task(Runner("vmi", vmis.queue, vmis.reconcile, workers=chosen.workers).run(), name="vmi")
        tasks.create_task(
            Runner("replicas", replicas.queue, replicas.reconcile, workers=chosen.workers).run(), name="replicas"
        )
        tasks.create_task(Runner("pool", pools.queue, pools.reconcile, workers=chosen.workers).run(), name="pool")
        tasks.create_task(Runner("node", nodes.queue, nodes.reconcile, workers=1).run(), name="node")
