"""What may change once an object exists (specification 5.5, and rules 14 to 18 of 5.4): functions of old and new.

Called by admission beside the rules that look at the new object alone. VirtualMachine status is part of it: its volume
requests are written through the status subresource.
"""

from __future__ import annotations

from collections.abc import Iterator

from virt_types import labels
from virt_types.cdi.objects import DataVolume
from virt_types.errors import Cause
from virt_types.pool.v1beta1 import VirtualMachinePool
from virt_types.running import FINAL_PHASES, run_strategy
from virt_types.v1 import (
    Disk,
    InstancetypeMatcher,
    PreferenceMatcher,
    VirtualMachine,
    VirtualMachineInstance,
    VirtualMachineInstanceMigration,
    VirtualMachineVolumeRequest,
    Volume,
)
from virt_types.validation.scope import invalid, number, required, shown

DISKS, VOLUMES = "spec.domain.devices.disks", "spec.volumes"
REQUESTS = "status.volumeRequests"
DISK_BUSES = ("scsi", "virtio")


def vm_update(old: VirtualMachine, new: VirtualMachine, *, vmi: VirtualMachineInstance | None = None) -> list[Cause]:
    """Why a VirtualMachine may not become `new`; `vmi` is its instance, if it has one."""
    return [
        *_restore(old, new),
        *_snapshot(old, new),
        *_matcher("spec.instancetype.revisionName", old.spec.instancetype, new.spec.instancetype),
        *_matcher("spec.preference.revisionName", old.spec.preference, new.spec.preference),
        *(_volume_requests(new, vmi) if new.status.volume_requests != old.status.volume_requests else ()),
    ]


def _restore(old: VirtualMachine, new: VirtualMachine) -> Iterator[Cause]:
    name = old.status.restore_in_progress
    if name is not None and run_strategy(new.spec) != run_strategy(old.spec):
        yield invalid("spec", f'Cannot update VM runStrategy until restore "{shown(name)}" completes')


def _snapshot(old: VirtualMachine, new: VirtualMachine) -> Iterator[Cause]:
    name = old.status.snapshot_in_progress
    if name is None:
        return
    was, now = old.spec.template.spec, new.spec.template.spec
    if (was.volumes, was.domain.devices.disks) != (now.volumes, now.domain.devices.disks):
        yield invalid("spec", f'Cannot update vm disks or volumes until snapshot "{shown(name)}" completes')
    if run_strategy(old.spec) != run_strategy(new.spec):
        yield invalid("spec", f'Cannot update vm running state until snapshot "{shown(name)}" completes')


def _matcher(
    field: str, old: InstancetypeMatcher | PreferenceMatcher | None, new: InstancetypeMatcher | PreferenceMatcher | None
) -> Iterator[Cause]:
    if old is None or new is None or not new.revision_name:
        return
    if old.name != new.name and old.revision_name == new.revision_name:
        yield invalid(field, "the Matcher Name has been updated without updating the RevisionName")


def _volume_requests(vm: VirtualMachine, vmi: VirtualMachineInstance | None) -> Iterator[Cause]:
    migration = vmi.status.migration_state if vmi is not None else None
    if migration is not None and not migration.completed:
        yield invalid("spec", "Cannot handle volume requests while VMI migration is in progress")
    added: set[str] = set()
    removed: set[str] = set()
    for request in vm.status.volume_requests:
        adding, removing = request.add_volume_options, request.remove_volume_options
        if adding is not None and removing is not None:
            fault = "require either addVolumeOptions or removeVolumeOptions to be set, not both"
            yield invalid(REQUESTS, f"VolumeRequests {fault}")
        elif adding is not None:
            yield from _added(request, vm, vmi, added)
        elif removing is not None:
            if removing.name in removed:
                yield invalid(REQUESTS, f"RemoveVolume request for [{shown(removing.name)}] already exists")
            removed.add(removing.name)
        else:
            fault = "require one of either addVolumeOptions or removeVolumeOptions to be set"
            yield invalid(REQUESTS, f"VolumeRequests {fault}")


def _added(
    request: VirtualMachineVolumeRequest, vm: VirtualMachine, vmi: VirtualMachineInstance | None, seen: set[str]
) -> Iterator[Cause]:
    options = request.add_volume_options
    if options is None:
        return
    name = options.name
    if name in seen:
        yield invalid(REQUESTS, f"AddVolume request for [{shown(name)}] already exists")
    seen.add(name)
    conflict = f"AddVolume request for [{shown(name)}] conflicts with an existing volume of the same name on"
    source = options.volume_source
    for volumes, where in (
        (vm.spec.template.spec.volumes, "the vmi template."),
        (vmi.spec.volumes if vmi is not None else [], "currently running vmi"),
    ):
        other = next((volume for volume in volumes if volume.name == name), None)
        wanted = source.data_volume, source.persistent_volume_claim
        if other is not None and (other.data_volume, other.persistent_volume_claim) != wanted:
            yield invalid(REQUESTS, f"{conflict} {where}")
    yield from _bus(options.disk, name, "AddVolume request", REQUESTS)


def vmi_hotplug(old: VirtualMachineInstance, new: VirtualMachineInstance) -> list[Cause]:
    """Why a controller may not give a guest the new spec: only what can be plugged may differ."""
    gate = "UtilityVolumes feature gate is not enabled"
    closed = [invalid("spec.utilityVolumes", gate)] if new.spec.utility_volumes else []
    return [*_sizes(old, new), *closed, *_permanent(old, new), *_plugged(old, new)]


def _sizes(old: VirtualMachineInstance, new: VirtualMachineInstance) -> Iterator[Cause]:
    was, now = old.spec.domain, new.spec.domain
    if was.cpu is not None and now.cpu is not None and was.cpu.max_sockets != now.cpu.max_sockets:
        yield invalid("spec.domain.cpu.maxSockets", "CPU topology maxSockets changed")
    most = [number(domain.memory.max_guest) if domain.memory is not None else None for domain in (was, now)]
    if None not in most and most[0] != most[1]:
        yield invalid("spec.domain.memory.maxGuest", "Memory maxGuest changed")


def pluggable(volume: Volume) -> bool:
    """Whether the volume came, or may go, while the guest runs."""
    claims = (volume.persistent_volume_claim, volume.data_volume)
    return volume.memory_dump is not None or any(claim is not None and claim.hotpluggable for claim in claims)


def _split(vmi: VirtualMachineInstance) -> tuple[dict[str, Volume], dict[str, Volume]]:
    """Permanent and plugged volumes by name."""
    permanent = {volume.name: volume for volume in vmi.spec.volumes if not pluggable(volume)}
    return permanent, {volume.name: volume for volume in vmi.spec.volumes if pluggable(volume)}


def _disks(vmi: VirtualMachineInstance) -> dict[str, Disk]:
    return {disk.name: disk for disk in vmi.spec.domain.devices.disks}


def _permanent(old: VirtualMachineInstance, new: VirtualMachineInstance) -> Iterator[Cause]:
    was, plugged = _split(old)
    now = {name: volume for name, volume in _split(new)[0].items() if name not in plugged}
    old_disks, new_disks = _disks(old), _disks(new)
    foreign = [name for name in now if name not in was and not _on_a_claim(now[name])]
    if len(was) != len(now) - len(foreign):
        yield invalid(VOLUMES, "Number of permanent volumes has changed")
    for name in foreign:
        yield invalid(VOLUMES, f"volume {shown(name)} is not a PVC or DataVolume")
    for name, volume in was.items():
        if name not in now:
            yield invalid(VOLUMES, f"permanent volume {shown(name)}, not found")
        elif volume != now[name]:
            yield invalid(VOLUMES, f"permanent volume {shown(name)}, changed")
        if name in now and old_disks.get(name) != new_disks.get(name):
            yield invalid(DISKS, f"permanent disk {shown(name)}, changed")


def _on_a_claim(volume: Volume) -> bool:
    return volume.persistent_volume_claim is not None or volume.data_volume is not None


def _plugged(old: VirtualMachineInstance, new: VirtualMachineInstance) -> Iterator[Cause]:
    was, now = _split(old)[1], _split(new)[1]
    old_disks, new_disks = _disks(old), _disks(new)
    named = {volume.name for volume in new.spec.volumes}
    for name, volume in now.items():
        disk = new_disks.get(name)
        if disk is None:
            if volume.memory_dump is None:
                yield required(DISKS, f"volume {shown(name)} doesn't have a matching disk")
        elif name not in was:
            if name not in old_disks:  # else it is put into a drive that is there
                yield from _bus(disk, name, "Hotplug configuration", DISKS)
        else:
            if volume != was[name]:
                yield invalid(VOLUMES, f"hotplug volume {shown(name)}, changed")
            if disk != old_disks.get(name):
                yield invalid(DISKS, f"hotplug disk {shown(name)}, changed")
    for name, disk in new_disks.items():
        if name not in named and disk.cdrom is None:
            yield invalid(DISKS, f"disk {shown(name)} does not exist")


def _bus(disk: Disk, name: str, prefix: str, field: str) -> Iterator[Cause]:
    if disk.disk is not None:
        bus = disk.disk.bus or ""
        if bus not in DISK_BUSES:
            need = "requires bus to be 'scsi' or 'virtio'."
            yield invalid(field, f"{prefix} for disk [{shown(name)}] {need} [{shown(bus)}] is not permitted.")
    elif disk.lun is not None:
        bus = disk.lun.bus or ""
        if bus != "scsi":
            yield invalid(
                field, f"{prefix} for LUN [{shown(name)}] requires bus to be 'scsi'. [{shown(bus)}] is not permitted."
            )
    else:
        bus, need = "", "requires diskDevice of type 'disk' or 'lun' to be used."
        yield invalid(field, f"{prefix} for [{shown(name)}] {need}")
    if disk.dedicated_io_thread and bus not in {"", "virtio"}:
        yield invalid(field, f"{prefix} for [{shown(name)}] requires virtio bus for IOThreads.")
    if disk.boot_order is not None and disk.boot_order < 1:
        yield invalid(field, f"{prefix} for [{shown(name)}] must have a boot order > 0, if supplied")


def migration_update(old: VirtualMachineInstanceMigration, new: VirtualMachineInstanceMigration) -> list[Cause]:
    """A migration is what it was created as; the label that finds it stays while it is under way."""
    causes = []
    if old.spec != new.spec:
        causes.append(Cause("FieldValueNotSupported", "update of Migration object's spec is restricted", ""))
    label = labels.VMI_NAME
    unfinished = old.status.phase not in FINAL_PHASES
    if unfinished and label in old.metadata.labels and old.metadata.labels[label] != new.metadata.labels.get(label):
        message = "selector label can't be modified on an in-flight migration"
        causes.append(Cause("FieldValueNotSupported", message, ""))
    return causes


def pool_update(old: VirtualMachinePool, new: VirtualMachinePool) -> list[Cause]:
    same = old.spec.selector == new.spec.selector
    return [] if same else [invalid("spec.selector", "selector is immutable after creation.")]


def data_volume_update(old: DataVolume, new: DataVolume) -> list[Cause]:
    return [] if old.spec == new.spec else [invalid("spec", "Cannot update DataVolume Spec")]
