"""What of a VM's template a running instance can take: volumes, more CPU sockets, other amounts of memory. Pure.

The instance's spec is changed to what comes out here; its node agent does the rest (spec 2.9). Called by `changes` to
see whether there is something, and by `actions` for the patch.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from msgspec import structs

from virt_types import quantity
from virt_types.defaults import canonical_like, memory_alignment
from virt_types.meta import Quantity
from virt_types.v1 import CPU, Disk, Memory, VirtualMachineInstance, VirtualMachineInstanceSpec, Volume
from virt_types.validation.update import DISK_BUSES, pluggable


def plugged(template: VirtualMachineInstanceSpec, vmi: VirtualMachineInstance) -> VirtualMachineInstanceSpec:
    """The instance's spec as it should be now; equal to what it is when nothing is to be plugged.

    A name that the node agent still has in its status comes back only when it is gone there: one volume of a name must
    have left the guest before another takes its place.
    """
    spec = vmi.spec
    leaving = {entry.name for entry in vmi.status.volume_status} - {volume.name for volume in spec.volumes}
    wanted = {volume.name: volume for volume in template.volumes if pluggable(volume)}
    kept = [volume for volume in spec.volumes if not pluggable(volume) or wanted.get(volume.name) == volume]
    gone = {volume.name for volume in spec.volumes} - {volume.name for volume in kept}
    there = {volume.name for volume in spec.volumes}
    refused = set(waiting(template, spec))
    coming = [volume for name, volume in wanted.items() if name not in there | leaving | refused]
    domain = structs.replace(
        spec.domain,
        cpu=_cpu(template.domain.cpu, spec.domain.cpu),
        **_memory(template, vmi),
        devices=structs.replace(
            spec.domain.devices, disks=_disks(spec.domain.devices.disks, template.domain.devices.disks, gone, coming)
        ),
    )
    return structs.replace(spec, volumes=[*kept, *coming], domain=domain)


def waiting(template: VirtualMachineInstanceSpec, running: VirtualMachineInstanceSpec) -> list[str]:
    """Names of the template's pluggable volumes that only a start can bring: no disk, or one of a bus without plugs."""
    disks = {disk.name: disk for disk in template.domain.devices.disks}
    drives = {disk.name for disk in running.domain.devices.disks if disk.cdrom is not None}
    there = {volume.name for volume in running.volumes}
    new = (volume.name for volume in template.volumes if pluggable(volume) and volume.name not in there)
    return [name for name in new if not _takes(disks.get(name), drives)]


def _takes(disk: Disk | None, drives: Collection[str]) -> bool:
    """Whether a running guest can be given the disk: on a bus that has plugs, or in a drive it has."""
    if disk is None:
        return False
    if disk.cdrom is not None:
        return disk.name in drives
    return (disk.disk is not None and disk.disk.bus in DISK_BUSES) or (disk.lun is not None and disk.lun.bus == "scsi")


def more_sockets(template: CPU | None, running: CPU | None) -> bool:
    """Whether the template asks for sockets that the running instance was made to take."""
    if template is None or running is None or not template.sockets or not running.max_sockets:
        return False
    return (running.sockets or 1) < template.sockets <= running.max_sockets


def _cpu(template: CPU | None, running: CPU | None) -> CPU | None:
    if template is None or running is None or not more_sockets(template, running):
        return running
    return structs.replace(running, sockets=template.sockets)


def takes_memory(wanted: int, booted: int, running: Memory | None) -> bool:
    """Whether an instance that booted with so many bytes can be brought to `wanted` while it runs."""
    most = _bytes(running.max_guest) if running is not None else 0
    return running is not None and 0 < booted <= wanted <= most and wanted % memory_alignment(running) == 0


def _memory(template: VirtualMachineInstanceSpec, vmi: VirtualMachineInstance) -> dict[str, Any]:
    """The domain's fields that change with its memory: what was requested and limited grows and shrinks with it."""
    domain, asked, began = vmi.spec.domain, template.domain.memory, vmi.status.memory
    if asked is None or domain.memory is None or began is None:
        return {}
    wanted, present = _bytes(asked.guest), _bytes(domain.memory.guest)
    if wanted == present or not takes_memory(wanted, _bytes(began.guest_at_boot), domain.memory):
        return {}
    resources = structs.replace(
        domain.resources,
        requests=_moved(domain.resources.requests, wanted - present),
        limits=_moved(domain.resources.limits, wanted - present),
    )
    return {"memory": structs.replace(domain.memory, guest=asked.guest), "resources": resources}


def _moved(amounts: dict[str, Quantity], by: int) -> dict[str, Quantity]:
    now = amounts.get("memory")
    if now is None:
        return amounts
    return {**amounts, "memory": canonical_like(now, quantity.parse(now) + by)}


def _bytes(amount: Quantity | None) -> int:
    try:
        return quantity.to_bytes(amount) if amount is not None else 0
    except quantity.QuantityError:
        return 0


def _disks(running: list[Disk], template: list[Disk], gone: Collection[str], coming: list[Volume]) -> list[Disk]:
    """A CD-ROM drive stays when its volume goes, and is there when one comes."""
    left = [disk for disk in running if disk.name not in gone or disk.cdrom is not None]
    names = {volume.name for volume in coming} - {disk.name for disk in left}
    return [*left, *(disk for disk in template if disk.name in names)]
