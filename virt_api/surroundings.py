"""What admission has to read besides the object it judges; the rules themselves are virt_types.validation.cluster's.

Called by `virt_api.admission`. Without a client, as in tests of single objects, nothing is read and nothing refused.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from virt_api import refusals
from virt_kube.api import Json, KubeClient, NotFound, Resource
from virt_kube.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    REPLICA_SETS,
    VIRTUAL_MACHINE_INSTANCE_MIGRATIONS,
    VIRTUAL_MACHINE_INSTANCES,
    VIRTUAL_MACHINE_POOLS,
    VIRTUAL_MACHINES,
)
from virt_types import codec
from virt_types.cdi.objects import DataVolume
from virt_types.errors import Cause, InvalidObject
from virt_types.meta import Base, ObjectMeta
from virt_types.v1 import (
    VirtualMachineInstance,
    VirtualMachineInstanceMigration,
    VirtualMachineInstanceSpec,
    VirtualMachineSpec,
)
from virt_types.validation import cluster


class Named(Base, kw_only=True):
    """Any object, of which only the metadata matters."""

    metadata: ObjectMeta


async def instance_of(kube: KubeClient | None, namespace: str, name: str) -> VirtualMachineInstance | None:
    """The instance of that name, None when there is none (or nobody to ask)."""
    found = await _get(kube, VIRTUAL_MACHINE_INSTANCES, namespace, name)
    return None if found is None else codec.decode(found, VirtualMachineInstance)


class Template(NamedTuple):
    """Where an owner of a kind keeps the spec of what it makes."""

    owner: Resource
    path: tuple[str, ...]
    made: type[VirtualMachineSpec] | type[VirtualMachineInstanceSpec]


TEMPLATES = {
    "VirtualMachine": Template(VIRTUAL_MACHINES, ("spec", "template", "spec"), VirtualMachineInstanceSpec),
    "VirtualMachineInstanceReplicaSet": Template(
        REPLICA_SETS, ("spec", "template", "spec"), VirtualMachineInstanceSpec
    ),
    "VirtualMachinePool": Template(
        VIRTUAL_MACHINE_POOLS, ("spec", "virtualMachineTemplate", "spec"), VirtualMachineSpec
    ),
}


async def with_fields_of_owner(kube: KubeClient | None, obj: Json, namespace: str) -> Json:
    """What a controller made from its template, with the template's fields that the controller does not know.

    A controller older than the CRDs would lose them, and a guest would run without what its manifest says.
    """
    owners = (obj.get("metadata") or {}).get("ownerReferences") or []
    owner: Json = next((one for one in owners if one.get("controller")), {})
    template = TEMPLATES.get(owner.get("kind", ""))
    if template is None or not isinstance(obj.get("spec"), dict):
        return obj
    found = await _get(kube, template.owner, namespace, owner.get("name", ""))
    original = msgspec.json.decode(found) if found is not None else {}
    if (original.get("metadata") or {}).get("uid") != owner.get("uid"):
        return obj
    for step in template.path:
        original = original.get(step) or {}
    try:
        return obj | {"spec": codec.with_unknown(obj["spec"], original, template.made)}
    except InvalidObject:
        return obj  # told where it is decoded as a whole


async def new_migration(kube: KubeClient, migration: VirtualMachineInstanceMigration, namespace: str) -> list[Cause]:
    """Raises the plain 400 that KubeVirt's clients know when the instance can't be migrated now."""
    name = migration.spec.vmi_name
    if not name:
        return []  # told already
    vmi = await instance_of(kube, namespace, name)
    page = await kube.list(VIRTUAL_MACHINE_INSTANCE_MIGRATIONS, namespace)
    others = [codec.decode(item, VirtualMachineInstanceMigration) for item in page.items]
    refusal = cluster.migration_create(migration, namespace, vmi, others)
    if refusal:
        raise refusals.bad_request(refusal)
    return []


async def new_data_volume(kube: KubeClient, volume: DataVolume, namespace: str) -> list[Cause]:
    """A claim of the DataVolume's name must be meant for it."""
    found = await _get(kube, PERSISTENT_VOLUME_CLAIMS, namespace, volume.metadata.name)
    claim = None if found is None else codec.decode(found, Named).metadata
    return cluster.data_volume_create(volume, namespace, claim)


async def _get(kube: KubeClient | None, resource: Resource, namespace: str, name: str) -> bytes | None:
    if kube is None or not name:
        return None
    try:
        return await kube.get(resource, namespace, name)
    except NotFound:
        return None
