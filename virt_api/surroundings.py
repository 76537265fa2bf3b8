"""What admission has to read besides the object it judges; the rules themselves are virt_types.validation.cluster's.

Called by `virt_api.admission`. Without a client, as in tests of single objects, nothing is read and nothing refused.
"""

from __future__ import annotations

from virt_api import refusals
from virt_kube.api import KubeClient, NotFound, Resource
from virt_kube.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    VIRTUAL_MACHINE_INSTANCE_MIGRATIONS,
    VIRTUAL_MACHINE_INSTANCES,
)
from virt_types import codec
from virt_types.cdi.objects import DataVolume
from virt_types.errors import Cause
from virt_types.meta import Base, ObjectMeta
from virt_types.v1 import VirtualMachineInstance, VirtualMachineInstanceMigration
from virt_types.validation import cluster


class Named(Base, kw_only=True):
    """Any object, of which only the metadata matters."""

    metadata: ObjectMeta


async def instance_of(kube: KubeClient | None, namespace: str, name: str) -> VirtualMachineInstance | None:
    """The instance of that name, None when there is none (or nobody to ask)."""
    found = await _get(kube, VIRTUAL_MACHINE_INSTANCES, namespace, name)
    return None if found is None else codec.decode(found, VirtualMachineInstance)


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
