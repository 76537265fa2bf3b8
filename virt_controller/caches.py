"""The informers all loops of this process share."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from virt_controller.objects import ControllerRevision, Node, PersistentVolumeClaim
from virt_controller.phase import is_final
from virt_controller.placer import claim_names
from virt_controller.revisions import OWNER_INDEX, decode_revision, owners
from virt_kube.api import KubeClient
from virt_kube.informer import Informer
from virt_kube.resources import (
    CONTROLLER_REVISIONS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    VIRTUAL_MACHINE_INSTANCES,
    VIRTUAL_MACHINES,
)
from virt_types.codec import decode
from virt_types.v1 import VirtualMachine, VirtualMachineInstance

CLAIM_INDEX = "claim"
NODE_INDEX = "node"
UNPLACED_INDEX = "unplaced"


class Caches:
    """VMs, VMIs, nodes, claims and revisions as the API last showed them."""

    def __init__(self, client: KubeClient, namespace: str = "") -> None:
        self.vms = Informer[VirtualMachine](
            client,
            VIRTUAL_MACHINES,
            partial(decode, type_=VirtualMachine),
            namespace=namespace,
            indexers={CLAIM_INDEX: _claims_of_vm},
        )
        self.vmis = Informer[VirtualMachineInstance](
            client,
            VIRTUAL_MACHINE_INSTANCES,
            partial(decode, type_=VirtualMachineInstance),
            namespace=namespace,
            indexers={
                UNPLACED_INDEX: _unplaced,
                NODE_INDEX: _node,
            },
        )
        self.nodes = Informer[Node](client, NODES, partial(decode, type_=Node))
        self.claims = Informer[PersistentVolumeClaim](
            client, PERSISTENT_VOLUME_CLAIMS, partial(decode, type_=PersistentVolumeClaim), namespace=namespace
        )
        self.revisions = Informer[ControllerRevision](
            client, CONTROLLER_REVISIONS, decode_revision, namespace=namespace, indexers={OWNER_INDEX: owners}
        )
        self._all: tuple[Informer[Any], ...] = (self.vms, self.vmis, self.nodes, self.claims, self.revisions)

    async def run(self) -> None:
        """Keep all of them true until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for informer in self._all:
                tasks.create_task(informer.run(), name=f"informer-{informer.resource.plural}")

    async def synced(self) -> None:
        """Wait until each has seen the whole list once."""
        for informer in self._all:
            await informer.synced.wait()


def _claims_of_vm(vm: VirtualMachine) -> list[str]:
    template = VirtualMachineInstance(spec=vm.spec.template.spec)
    return [f"{vm.metadata.namespace}/{name}" for name in claim_names(template)]


def _unplaced(vmi: VirtualMachineInstance) -> tuple[str, ...]:
    return () if vmi.status.node_name or is_final(vmi) else ("true",)


def _node(vmi: VirtualMachineInstance) -> tuple[str, ...]:
    return (vmi.status.node_name,) if vmi.status.node_name else ()
