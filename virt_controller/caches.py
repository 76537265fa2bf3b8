"""The informers all loops of this process share."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from virt_controller.claims import claim_names, claims_of_template, volume_names
from virt_controller.neighbours import looks_around, repels
from virt_controller.objects import ControllerRevision, Node, PersistentVolumeClaim
from virt_controller.phase import is_final
from virt_controller.revisions import OWNER_INDEX, decode_revision, owners
from virt_kube.api import KubeClient
from virt_kube.informer import Informer, Object
from virt_kube.resources import (
    CONTROLLER_REVISIONS,
    DATA_VOLUMES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    REPLICA_SETS,
    VIRTUAL_MACHINE_INSTANCES,
    VIRTUAL_MACHINE_POOLS,
    VIRTUAL_MACHINES,
)
from virt_types import labels
from virt_types.cdi.objects import DataVolume
from virt_types.codec import decode
from virt_types.pool.v1beta1 import VirtualMachinePool
from virt_types.v1 import VirtualMachine, VirtualMachineInstance, VirtualMachineInstanceReplicaSet

WHILE_FILLING = (50_000, 20, 50)  # thresholds of Python's garbage collector
MANY = 10_000  # objects: from here on a search of all of them is a pause that is noticed
CLAIM_INDEX = "claim"
NODE_INDEX = "node"
VOLUME_INDEX = "data-volume"
UNPLACED_INDEX = "unplaced"
REPELLING_INDEX = "repelling"
# What the last two know a VMI by.
ANY = "any"
LOOKING_AROUND = "looking-around"
NAMESPACE_INDEX = "namespace"
STRAY_INDEX = "stray"


class Caches:
    """VMs, VMIs, nodes, claims, revisions and, where they are served, DataVolumes, replica sets and pools."""

    def __init__(self, client: KubeClient, namespace: str = "") -> None:
        self.vms = Informer[VirtualMachine](
            client,
            VIRTUAL_MACHINES,
            partial(decode, type_=VirtualMachine),
            namespace=namespace,
            indexers={
                CLAIM_INDEX: _claims_of_vm,
                VOLUME_INDEX: _data_volumes_of_vm,
                OWNER_INDEX: _keeper,
                STRAY_INDEX: _stray_machine,
            },
        )
        self.vmis = Informer[VirtualMachineInstance](
            client,
            VIRTUAL_MACHINE_INSTANCES,
            partial(decode, type_=VirtualMachineInstance),
            namespace=namespace,
            indexers={
                CLAIM_INDEX: _claims_awaited,
                UNPLACED_INDEX: _unplaced,
                NODE_INDEX: _node,
                REPELLING_INDEX: _repelling,
                OWNER_INDEX: _keeper,
                STRAY_INDEX: _stray_instance,
            },
        )
        self.nodes = Informer[Node](client, NODES, partial(decode, type_=Node))
        self.claims = Informer[PersistentVolumeClaim](
            client, PERSISTENT_VOLUME_CLAIMS, partial(decode, type_=PersistentVolumeClaim), namespace=namespace
        )
        self.revisions = Informer[ControllerRevision](
            client, CONTROLLER_REVISIONS, decode_revision, namespace=namespace, indexers={OWNER_INDEX: owners}
        )
        self.data_volumes = Informer[DataVolume](
            client, DATA_VOLUMES, partial(decode, type_=DataVolume), namespace=namespace, optional=True
        )
        self.replica_sets = Informer[VirtualMachineInstanceReplicaSet](
            client,
            REPLICA_SETS,
            partial(decode, type_=VirtualMachineInstanceReplicaSet),
            namespace=namespace,
            indexers={NAMESPACE_INDEX: _namespace},
            optional=True,
        )
        self.pools = Informer[VirtualMachinePool](
            client,
            VIRTUAL_MACHINE_POOLS,
            partial(decode, type_=VirtualMachinePool),
            namespace=namespace,
            optional=True,
        )
        self._all: tuple[Informer[Any], ...] = (
            self.vms,
            self.vmis,
            self.nodes,
            self.claims,
            self.revisions,
            self.data_volumes,
            self.replica_sets,
            self.pools,
        )

    async def run(self) -> None:
        """Keep all of them true until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for informer in self._all:
                tasks.create_task(informer.run(), name=f"informer-{informer.resource.plural}")

    async def synced(self) -> None:
        """Wait until each has seen the whole list once."""
        with _rare_collections():
            for informer in self._all:
                await informer.synced.wait()
        if sum(map(len, self._all)) >= MANY:
            gc.freeze()  # out of every later search; what is frozen goes when nothing refers to it, as ever


@contextmanager
def _rare_collections() -> Iterator[None]:
    """What fills caches stays: to search it for garbage again and again took most of a long list's time."""
    before = gc.get_threshold()
    gc.set_threshold(*WHILE_FILLING)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _claims_of_vm(vm: VirtualMachine) -> list[str]:
    return [f"{vm.metadata.namespace}/{name}" for name in claims_of_template(vm)]


def _data_volumes_of_vm(vm: VirtualMachine) -> list[str]:
    return [f"{vm.metadata.namespace}/{name}" for name in volume_names(vm)]


def _claims_awaited(vmi: VirtualMachineInstance) -> list[str]:
    """The claims of a VMI that waits for a node; a DataVolume has its claim's name."""
    names = claim_names(vmi) if _unplaced(vmi) else []
    return [f"{vmi.metadata.namespace}/{name}" for name in names]


def _unplaced(vmi: VirtualMachineInstance) -> tuple[str, ...]:
    if vmi.status.node_name or is_final(vmi):
        return ()
    return (ANY, LOOKING_AROUND) if looks_around(vmi) else (ANY,)


def _repelling(vmi: VirtualMachineInstance) -> tuple[str, ...]:
    return (ANY,) if vmi.status.node_name and not is_final(vmi) and repels(vmi) else ()


def _node(vmi: VirtualMachineInstance) -> tuple[str, ...]:
    return (vmi.status.node_name,) if vmi.status.node_name else ()


def _namespace(obj: Object) -> tuple[str, ...]:
    return (obj.metadata.namespace,)


def _keeper(obj: Object) -> tuple[str, ...]:
    """The uid of the replica set or pool that controls it; a VM's one instance is found by its name."""
    owner = obj.metadata.controller
    return (owner.uid,) if owner is not None and owner.kind in (REPLICA_SETS.kind, VIRTUAL_MACHINE_POOLS.kind) else ()


def _stray_instance(vmi: VirtualMachineInstance) -> list[str]:
    """A VMI that nobody controls: by its namespace, and by that and each label it has."""
    meta = vmi.metadata
    if meta.controller is not None:
        return []
    return [meta.namespace, *(f"{meta.namespace}/{key}={value}" for key, value in meta.labels.items())]


def _stray_machine(vm: VirtualMachine) -> tuple[str, ...]:
    """A VM that no pool controls but that has a pool's finalizer: by the pool its revision label tells of."""
    if labels.POOL_FINALIZER not in vm.metadata.finalizers or _keeper(vm):
        return ()
    pool = vm.metadata.labels.get(labels.POOL_REVISION, "").rpartition("-")[0]
    return (f"{vm.metadata.namespace}/{pool}",)
