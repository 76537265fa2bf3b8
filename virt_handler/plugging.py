"""What has to be plugged into a running guest or pulled out of it: pure, from its VMI and its domain.

Nothing is remembered: what is wanted stands in the VMI's spec, what is there in the domain, so a restart of the agent
changes nothing. `plugger` carries the steps out, `status` shows the progress.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from virt_handler import memory
from virt_handler.domains import Domain
from virt_types.v1 import VirtualMachineInstance
from virt_types.validation.update import pluggable

READY_REASON, READY_MESSAGE = "VolumeReady", "Successfully attach hotplugged volume {name} to VM"
PENDING_REASON, PENDING_MESSAGE = "VolumeAttaching", "the volume is being attached"
DETACHING_REASON, DETACHING_MESSAGE = "VolumeDetaching", "the guest was asked to give the disk up"
UNPLUGGED_REASON, UNPLUGGED_MESSAGE = "VolumeUnplugged", "Volume {name} has been unplugged from the guest"


class Attach(NamedTuple):
    """Plug the disk of a volume in."""

    name: str


class Detach(NamedTuple):
    """Pull out a disk that the VMI has no more; the guest has to agree."""

    name: str


class Insert(NamedTuple):
    """Put a volume into its CD-ROM drive."""

    name: str


class Eject(NamedTuple):
    """Take out what is in a CD-ROM drive that has no volume any more."""

    name: str


class AddProcessors(NamedTuple):
    """Bring the number of processors to `total`."""

    total: int
    name: str = "domain.cpu.sockets"


class SetMemory(NamedTuple):
    """Have the virtio-mem device hold so many bytes; made with room for `most` where the guest has none yet."""

    held: int
    most: int
    block: int
    name: str = memory.FIELD


Step = Attach | Detach | Insert | Eject | AddProcessors | SetMemory


class VolumeProgress(NamedTuple):
    """How far a plugged volume is, in the words of volumeStatus."""

    phase: str
    reason: str
    message: str


def steps(vmi: VirtualMachineInstance, domain: Domain) -> list[Step]:
    """What brings the guest to its VMI, pulling out before plugging in: the room may be needed."""
    return [*_leaving(vmi, domain), *_coming(vmi, domain), *_processors(vmi, domain), *_memory(vmi, domain)]


def _coming(vmi: VirtualMachineInstance, domain: Domain) -> Iterator[Step]:
    disks = {disk.name: disk for disk in vmi.spec.domain.devices.disks}
    here = {disk.alias: disk for disk in domain.disks}
    for volume in vmi.spec.volumes:
        disk = disks.get(volume.name)
        if disk is None or volume.memory_dump is not None or not pluggable(volume):
            continue
        found = here.get(volume.name)
        if found is None:
            yield Attach(volume.name)
        elif disk.cdrom is not None and not found.source:
            yield Insert(volume.name)


def _leaving(vmi: VirtualMachineInstance, domain: Domain) -> Iterator[Step]:
    """Permanent volumes never leave a VMI's spec (admission), so whatever is not there was plugged."""
    drives = {disk.name for disk in vmi.spec.domain.devices.disks if disk.cdrom is not None}
    named = {volume.name for volume in vmi.spec.volumes}
    for disk in domain.disks:
        if disk.alias in named:
            continue
        if disk.alias not in drives:
            yield Detach(disk.alias)
        elif disk.source:
            yield Eject(disk.alias)


def _processors(vmi: VirtualMachineInstance, domain: Domain) -> Iterator[Step]:
    """More sockets, up to what the domain was made for; a guest that must give some back needs a restart."""
    cpu = vmi.spec.domain.cpu
    if cpu is None or not domain.vcpus:
        return
    wanted = (cpu.sockets or 1) * (cpu.cores or 1) * (cpu.threads or 1)
    if domain.vcpus < wanted <= domain.max_vcpus:
        yield AddProcessors(wanted)


def _memory(vmi: VirtualMachineInstance, domain: Domain) -> Iterator[Step]:
    held, device = memory.pluggable(vmi, domain), domain.virtio_mem
    if held is not None and held != (device.requested if device else 0):
        yield SetMemory(held, domain.max_memory - domain.memory, memory.block_of(vmi))


def progress(
    vmi: VirtualMachineInstance, domain: Domain, failures: Mapping[str, tuple[str, str]]
) -> dict[str, VolumeProgress]:
    """Every plugged volume, by name; `failures` are (reason, message) of those that could not be attached."""
    here = {disk.alias for disk in domain.disks if disk.source}
    disks = {disk.name for disk in vmi.spec.domain.devices.disks}
    found = {}
    for volume in vmi.spec.volumes:
        name = volume.name
        if volume.memory_dump is not None or not pluggable(volume) or name not in disks:
            continue
        if name in here:
            found[name] = VolumeProgress("Ready", READY_REASON, READY_MESSAGE.format(name=name))
        else:
            found[name] = VolumeProgress("Pending", *failures.get(name, (PENDING_REASON, PENDING_MESSAGE)))
    for step in _leaving(vmi, domain):
        if isinstance(step, Detach):
            found[step.name] = VolumeProgress(
                "Detaching", *failures.get(step.name, (DETACHING_REASON, DETACHING_MESSAGE))
            )
    return found


def news(vmi: VirtualMachineInstance, now: Mapping[str, VolumeProgress]) -> Iterator[tuple[str, str]]:
    """(reason, message) of events: what the last published status did not say yet."""
    before = {entry.name: entry for entry in vmi.status.volume_status}
    for name, found in now.items():
        if found.phase == "Ready" and (name not in before or before[name].phase != "Ready"):
            yield found.reason, found.message
    for name, entry in before.items():
        if entry.phase == "Detaching" and name not in now:
            yield UNPLUGGED_REASON, UNPLUGGED_MESSAGE.format(name=name)
