"""Whether a VMI's disks are there yet: which claim or DataVolume it waits for, and which one it has failed with.

A claim must exist and be bound, and the DataVolume behind it be filled; a DataVolume that waits for its first consumer
is bound and filled because of the waiting VMI (spec 3.4, DESIGN: the storage takes a VMI for the consumer).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from virt_controller.claims import claim_names
from virt_controller.objects import PersistentVolumeClaim
from virt_kube.events import EventKind
from virt_types.cdi.objects import DataVolume
from virt_types.v1 import VirtualMachineInstance

BOUND = "Bound"
FILLED = frozenset({"Succeeded"})
FAILED = "Failed"
CLAIM_MISSING = "PVC {namespace}/{name} does not exist, waiting for it to appear"
CLAIM_LEAVING = "waits for another PVC {namespace}/{name}: this one is being deleted"
CLAIM_UNBOUND = "waits for PVC {namespace}/{name} to be bound (now {phase})"
VOLUME_UNFILLED = "waits for DataVolume {namespace}/{name} to be filled (now {phase})"
IMPORT_FAILED = "DataVolume {name} failed to import disk image"

ALL_READY = ("True", "AllDVsReady", "All of the VMI's DVs are bound and ready")
NOT_READY = "NotAllDVsReady", "Not all of the VMI's DVs are ready"


class Wait(NamedTuple):
    """Why a VMI can't be placed now, and the event to tell of it ("" for none).

    `reason` is that of its Synchronized condition ("" for none); `unschedulable`: PodScheduled says it too.
    """

    message: str
    reason: str = ""
    event: str = ""
    event_type: EventKind = "Normal"
    unschedulable: bool = True


class Disks(NamedTuple):
    """Where a VMI's claims and DataVolumes are looked up, by name in its namespace."""

    claim: Callable[[str], PersistentVolumeClaim | None]
    volume: Callable[[str], DataVolume | None]


def missing(vmi: VirtualMachineInstance, disks: Disks) -> Wait | None:
    """What the VMI's disks lack; None when all are there."""
    names = claim_names(vmi)
    waits = (_claim_missing(vmi, name, disks) for name in names)
    pending = (_not_ready(vmi, name, disks) for name in names)
    return next(filter(None, waits), None) or next(filter(None, pending), None)


def _claim_missing(vmi: VirtualMachineInstance, name: str, disks: Disks) -> Wait | None:
    if disks.claim(name) is not None:
        return None
    message = CLAIM_MISSING.format(namespace=vmi.metadata.namespace, name=name)
    return Wait(message, "FailedPvcNotFound", "FailedPvcNotFound")


def _not_ready(vmi: VirtualMachineInstance, name: str, disks: Disks) -> Wait | None:
    volume, claim = disks.volume(name), disks.claim(name)
    place = {"namespace": vmi.metadata.namespace, "name": name}
    if volume is not None and volume.status.phase not in FILLED:
        message = VOLUME_UNFILLED.format(**place, phase=volume.status.phase or "Pending")
        return Wait(message, unschedulable=False)
    if claim is not None and claim.metadata.deletion_timestamp:
        return Wait(CLAIM_LEAVING.format(**place), event="PVCNotReady", unschedulable=False)
    if claim is not None and claim.status.phase != BOUND:
        message = CLAIM_UNBOUND.format(**place, phase=claim.status.phase or "Pending")
        return Wait(message, event="PVCNotReady", unschedulable=False)
    return None


def failed(vmi: VirtualMachineInstance, disks: Disks) -> str:
    """What to tell of a DataVolume that failed for good; empty when none did."""
    volumes = (disks.volume(name) for name in claim_names(vmi))
    names = [each.metadata.name for each in volumes if each is not None and each.status.phase == FAILED]
    return IMPORT_FAILED.format(name=names[0]) if names else ""


def data_volumes_ready(vmi: VirtualMachineInstance, disks: Disks) -> tuple[str, str, str] | None:
    """Status, reason and message of the condition DataVolumesReady; None when the VMI has no DataVolumes."""
    found = [each for each in map(disks.volume, claim_names(vmi)) if each is not None]
    if not found:
        return None
    if all(each.status.phase in FILLED for each in found):
        return ALL_READY
    told = {it.status for each in found for it in each.status.conditions if it.type == "Ready"}
    return ("False" if "False" in told else "Unknown", *NOT_READY)
