"""addvolume and removevolume, decided without I/O: the merge patch of a VMI's spec or a VM's template, or why not.

Declarative hot-plug (spec/control-plane 2.9): the spec itself is what changes; the VM controller carries a template's
volumes to the running VMI, and the node agent plugs whatever its VMI has and the guest has not. Called by
`virt_api.volumes`.
"""

from __future__ import annotations

from msgspec import UNSET, UnsetType, structs

from virt_api.lifecycle import Options, Refusal
from virt_kube.api import Json
from virt_types.codec import to_builtins
from virt_types.v1 import Disk, HotplugVolumeSource, VirtualMachineInstanceSpec, Volume
from virt_types.validation.update import pluggable

ADD_NEEDS_NAME = "AddVolumeOptions requires name to be set"
ADD_NEEDS_DISK = "AddVolumeOptions requires disk to not be nil"
ADD_NEEDS_SOURCE = "AddVolumeOptions requires VolumeSource to not be nil"
REMOVE_NEEDS_NAME = "RemoveVolumeOptions requires name to be set"
NAME_EXISTS = "Unable to add volume [{name}] because volume with that name already exists"
SOURCE_EXISTS = "Unable to add volume source [{name}] because it already exists"
UNKNOWN = "Unable to remove volume [{name}] because it does not exist"
PERMANENT = "Unable to remove volume [{name}] because it is not hotpluggable"
NO_DEVICE = "AddVolume request for [{name}] requires diskDevice of type 'disk' or 'lun' to be used."
DISK_BUS = "AddVolume request for disk [{name}] requires bus to be 'scsi' or 'virtio'. [{bus}] is not permitted."
LUN_BUS = "AddVolume request for LUN [{name}] requires bus to be 'scsi'. [{bus}] is not permitted."


class AddOptions(Options, rename="camel", kw_only=True):
    """The body of addvolume; an absent part is told from an empty one."""

    name: str = ""
    disk: Disk | UnsetType = UNSET
    volume_source: HotplugVolumeSource | UnsetType = UNSET


class RemoveOptions(Options, rename="camel", kw_only=True):
    """The body of removevolume."""

    name: str = ""


def read_addition(options: AddOptions) -> tuple[Volume, Disk] | Refusal:
    """The volume and the disk that are asked for; refused when the body leaves one out."""
    if not options.name:
        return Refusal(ADD_NEEDS_NAME, 400)
    if isinstance(options.disk, UnsetType):
        return Refusal(ADD_NEEDS_DISK, 400)
    if isinstance(options.volume_source, UnsetType):
        return Refusal(ADD_NEEDS_SOURCE, 400)
    claim, data = options.volume_source.persistent_volume_claim, options.volume_source.data_volume
    if claim is None and data is None:
        return Refusal(ADD_NEEDS_SOURCE, 400)
    volume = Volume(
        name=options.name,
        persistent_volume_claim=structs.replace(claim, hotpluggable=True) if claim is not None else None,
        data_volume=structs.replace(data, hotpluggable=True) if data is not None and claim is None else None,
    )
    return volume, structs.replace(options.disk, name=options.name)


def add(spec: VirtualMachineInstanceSpec, volume: Volume, disk: Disk) -> Json | Refusal:
    """The merge patch of the spec. A volume named like an empty CD-ROM drive goes into that drive."""
    source = source_name(volume)
    for each in spec.volumes:
        if each.name == volume.name:
            return Refusal(NAME_EXISTS.format(name=volume.name))
        if source_name(each) == source:
            return Refusal(SOURCE_EXISTS.format(name=source))
    drive = next((each for each in spec.domain.devices.disks if each.name == volume.name), None)
    if drive is not None and drive.cdrom is not None:
        return _patch([*spec.volumes, volume])
    if fault := bus_fault(disk):
        return Refusal(fault, 400)
    return _patch([*spec.volumes, volume], [*spec.domain.devices.disks, disk])


def remove(spec: VirtualMachineInstanceSpec, name: str) -> Json | Refusal:
    """The merge patch of the spec, without the volume of that name or with that source. A CD-ROM drive stays, empty."""
    found = next((each for each in spec.volumes if name in (each.name, source_name(each))), None)
    if found is None:
        return Refusal(UNKNOWN.format(name=name))
    if not pluggable(found):
        return Refusal(PERMANENT.format(name=found.name))
    disks = spec.domain.devices.disks
    left = [disk for disk in disks if disk.name != found.name or disk.cdrom is not None]
    return _patch([each for each in spec.volumes if each.name != found.name], left if left != disks else None)


def source_name(volume: Volume) -> str:
    """The claim that has the volume's bytes, which a DataVolume names too; what no claim is called if there is none."""
    if volume.persistent_volume_claim is not None:
        return volume.persistent_volume_claim.claim_name
    return volume.data_volume.name if volume.data_volume is not None else f"\0{volume.name}"


def bus_fault(disk: Disk) -> str:
    """Why a running guest can't take the disk, "" when it can."""
    if disk.lun is not None:
        bus = disk.lun.bus or ""
        return "" if bus == "scsi" else LUN_BUS.format(name=disk.name, bus=bus)
    if disk.disk is not None:
        bus = disk.disk.bus or ""
        return "" if bus in {"scsi", "virtio"} else DISK_BUS.format(name=disk.name, bus=bus)
    return NO_DEVICE.format(name=disk.name)


def _patch(volumes: list[Volume], disks: list[Disk] | None = None) -> Json:
    """Lists are replaced whole by a merge patch, and maps that are not there yet are made."""
    patch: Json = {"volumes": [to_builtins(volume) for volume in volumes]}
    if disks is not None:
        patch["domain"] = {"devices": {"disks": [to_builtins(disk) for disk in disks]}}
    return patch
