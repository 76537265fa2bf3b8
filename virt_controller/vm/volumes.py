"""DataVolumes a VM brings along or refers to: what is to be made, what its start waits for, what people are told.

The rules of spec 2.5; the DataVolumes themselves are filled by CDI, or by virt_local's importer on one machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from virt_controller.claims import claims_of, claims_of_template, template_names
from virt_controller.vm.effects import AdoptDataVolume, CreateDataVolume
from virt_controller.vm.observed import Observed
from virt_kube.resources import VIRTUAL_MACHINES
from virt_types import labels
from virt_types.cdi.objects import DataVolume, ImportCondition
from virt_types.v1 import VirtualMachine

SUCCEEDED = "Succeeded"
FAILED = "Failed"
WAIT_FOR_FIRST_CONSUMER = "WaitForFirstConsumer"
PENDING_POPULATION = "PendingPopulation"
# Phases in which the guest may be started: it is what the volume waits for, or there is nothing to wait for.
READY_PHASES = frozenset({SUCCEEDED, WAIT_FOR_FIRST_CONSUMER, PENDING_POPULATION})
BROKEN_RUNNING = frozenset({"Error", "ImagePullFailed"})
QUOTA = "ErrExceededQuota"
RECOVERY = "ManualRecoveryRequired"

NOT_SERVED = "can't start: this cluster has no DataVolumes (install CDI, or leave spec.dataVolumeTemplates out)"
IMPORT_FAILED = "DataVolume {name} failed to import disk image"
OVER_QUOTA = "DataVolume {name} exceeds quota limits"


def wanted(observed: Observed, *, starts: bool) -> CreateDataVolume | AdoptDataVolume | None:
    """The next DataVolume to make or take over; one that somebody else controls is used as it is, once it stays."""
    vm = observed.vm
    if not observed.serves_data_volumes or (not starts and _postponed(vm)):
        return None
    known = {each.metadata.name: each for each in observed.data_volumes}
    for name in template_names(vm):
        found = known.get(name)
        if found is None:
            return CreateDataVolume(name)
        if found.metadata.controller is None and not is_leaving(found, vm):
            return AdoptDataVolume(name)
    return None


def awaited(observed: Observed) -> str:
    """What the start waits for, in words; empty when nothing of `dataVolumeTemplates` is missing."""
    names = template_names(observed.vm)
    if names and not observed.serves_data_volumes:
        return NOT_SERVED
    known = {each.metadata.name: each for each in observed.data_volumes}
    waits = [_wait(name, known.get(name), observed.vm) for name in names]
    waits = [each for each in waits if each]
    return f"waits for {', '.join(waits)}" if waits else ""


def needs_recovery(vm: VirtualMachine) -> bool:
    """Whether a migration of volumes failed half-way, so that a start could take the wrong disks (spec 2.4).

    It is over when the template names the claims again that the volumes were to leave, or asks for no migration.
    """
    if not any(each.type == RECOVERY and each.status == "True" for each in vm.status.conditions):
        return False
    update = vm.status.volume_update_state
    moving = update.volume_migration_state if update is not None else None
    if moving is None:
        return True
    sources = {each.volume_name: each.source_pvc_info for each in moving.migrated_volumes}
    left = [
        each.name
        for each in vm.spec.template.spec.volumes
        if (source := sources.get(each.name)) is not None and source.claim_name not in claims_of([each])
    ]
    return bool(left) and vm.spec.update_volumes_strategy == "Migration"


def is_leaving(volume: DataVolume, vm: VirtualMachine) -> bool:
    """Whether it is being deleted, or about to be: that of a former VM of this name goes with it, and its disk too."""
    if volume.metadata.deletion_timestamp:
        return True
    owner = volume.metadata.controller
    if owner is None or owner.kind != VIRTUAL_MACHINES.kind:
        return False
    return owner.name == vm.metadata.name and owner.uid != vm.metadata.uid


def _wait(name: str, volume: DataVolume | None, vm: VirtualMachine) -> str:
    if volume is None:
        return f"DataVolume {name} to be created"
    if is_leaving(volume, vm):
        return f"a former DataVolume {name} to be gone"
    phase = volume.status.phase or "Pending"
    if phase in READY_PHASES:
        return ""
    said = trouble(volume) or _why_broken(volume)
    return f"DataVolume {name} ({phase}{': ' + said if said else ''})"


def _why_broken(volume: DataVolume) -> str:
    running = _condition(volume, "Running")
    return (running.message or "") if running is not None and is_broken(volume) else ""


def is_broken(volume: DataVolume) -> bool:
    """Whether people should look: it has failed, or its worker fails and tries again (spec 2.7, row 7)."""
    running = _condition(volume, "Running")
    failing = running is not None and running.status == "False" and running.reason in BROKEN_RUNNING
    return volume.status.phase == FAILED or failing


def is_provisioning(volume: DataVolume) -> bool:
    """Whether it is being filled, and not only waiting for its first user (spec 2.7, row 9)."""
    if volume.status.phase in (SUCCEEDED, PENDING_POPULATION):
        return False
    bound = _condition(volume, "Bound")
    return volume.status.phase != WAIT_FOR_FIRST_CONSUMER or (bound is not None and bound.status == "True")


def trouble(volume: DataVolume) -> str:
    """The sentence of the FailedDataVolumeImport event; empty when there is none to tell."""
    name = volume.metadata.name
    if volume.status.phase == FAILED:
        return IMPORT_FAILED.format(name=name)
    bound = _condition(volume, "Bound")
    if bound is not None and bound.status == "False" and bound.reason == QUOTA:
        return OVER_QUOTA.format(name=name)
    return ""


def mounted(observed: Observed) -> Iterator[DataVolume]:
    """The DataVolumes behind the template's volumes."""
    names = set(claims_of_template(observed.vm))
    return (each for each in observed.data_volumes if each.metadata.name in names)


def printable(volumes: Iterable[DataVolume]) -> str:
    """DataVolumeError or Provisioning, whichever comes first in spec 2.7; empty when all is well."""
    found = list(volumes)
    if any(is_broken(each) for each in found):
        return "DataVolumeError"
    return "Provisioning" if any(is_provisioning(each) for each in found) else ""


def _postponed(vm: VirtualMachine) -> bool:
    return vm.metadata.annotations.get(labels.IMMEDIATE_DATA_VOLUME_CREATION) == "false"


def _condition(volume: DataVolume, type_: str) -> ImportCondition | None:
    return next((each for each in volume.status.conditions if each.type == type_), None)
