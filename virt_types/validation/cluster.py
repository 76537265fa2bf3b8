"""Rules about a new object that take other objects to judge: an instance, its migrations, a claim.

Pure; `virt_api.surroundings` reads what they need. A rule that upstream refuses by a plain error returns its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from virt_types import labels
from virt_types.cdi.objects import DataVolume
from virt_types.errors import Cause
from virt_types.meta import ObjectMeta
from virt_types.running import FINAL_PHASES
from virt_types.v1 import VirtualMachineInstance, VirtualMachineInstanceMigration
from virt_types.validation.scope import duplicate, shown

LIVE_MIGRATABLE = "LiveMigratable"
# Under these a DataVolume takes over a claim of its name: the claim was filled for it, or is to be adopted.
PRE_POPULATED = "cdi.kubevirt.io/storage.prePopulated"
STATIC_VOLUME = "cdi.kubevirt.io/storage.checkStaticVolume"


def migration_create(
    migration: VirtualMachineInstanceMigration,
    namespace: str,
    vmi: VirtualMachineInstance | None,
    migrations: Iterable[VirtualMachineInstanceMigration],
) -> str:
    """Why the instance can't be migrated, "" when it can; `migrations` are all of the namespace."""
    name = migration.spec.vmi_name or ""
    if vmi is None:
        return f'the VMI "{namespace}/{shown(name)}" does not exist'
    if vmi.status.phase in FINAL_PHASES:
        return "Cannot migrate VMI in finalized state."
    movable = next((one for one in vmi.status.conditions if one.type == LIVE_MIGRATABLE), None)
    if movable is not None and movable.status == "False":
        return f"Cannot migrate VMI, Reason: {movable.reason or ''}, Message: {movable.message or ''}"
    under_way = next(
        (one for one in migrations if one.spec.vmi_name == name and one.status.phase not in FINAL_PHASES), None
    )
    if under_way is not None:
        job = f"Active migration job ({under_way.metadata.uid})"
        return f"in-flight migration detected. {job} is currently already in progress for VMI {shown(name)}."
    return ""


def data_volume_create(volume: DataVolume, namespace: str, claim: ObjectMeta | None) -> list[Cause]:
    """A DataVolume makes its claim; one that is there already has to be meant for it."""
    name = volume.metadata.name
    if claim is None or _meant_for(volume.metadata.annotations, claim, name):
        return []
    message = f"Destination PVC {namespace}/{name} already exists"
    return [duplicate("metadata.name", message)]


def _meant_for(asked: Mapping[str, Any], claim: ObjectMeta, name: str) -> bool:
    return (
        claim.annotations.get(labels.DV_POPULATED_FOR) == name
        or asked.get(PRE_POPULATED) == name
        or STATIC_VOLUME in asked
        or "true" in (asked.get(labels.CLAIM_ADOPTION), claim.annotations.get(labels.CLAIM_ADOPTION))
    )
