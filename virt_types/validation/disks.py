"""Rules about disks (specification 5.4, rules 46 to 66)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from virt_types.errors import Cause
from virt_types.v1 import CDRomTarget, CustomBlockSize, Disk, DiskTarget, LunTarget, Volume
from virt_types.validation.scope import (
    Rule,
    Scope,
    dns_label_faults,
    duplicate,
    invalid,
    required,
    shown,
    unsupported,
)

PCI_ADDRESS = re.compile(r"[\da-fA-F]{4}:[\da-fA-F]{2}:[01][\da-fA-F]\.[0-7]", re.ASCII)
SERIAL = re.compile(r"[A-Za-z0-9_.+-]+", re.ASCII)
BUSES = ("virtio", "scsi", "sata", "usb")
CACHES = frozenset(("none", "writethrough", "writeback"))
IO_MODES = frozenset(("native", "threads"))
ERROR_POLICIES = frozenset(("stop", "ignore", "report", "enospace"))
IO_THREAD_POLICIES = frozenset(("shared", "auto", "supplementalPool"))
TRAYS = frozenset(("open", "closed"))
SMALLEST_BLOCK, LARGEST_BLOCK = 512, 2 * 2**20

Target = DiskTarget | CDRomTarget | LunTarget


def _targets(disk: Disk) -> list[tuple[str, Target]]:
    if disk.disk is not None and disk.lun is None and disk.cdrom is None:  # nearly always
        return [("disk", disk.disk)]
    found: tuple[tuple[str, Target | None], ...] = (("disk", disk.disk), ("lun", disk.lun), ("cdrom", disk.cdrom))
    return [(kind, target) for kind, target in found if target is not None]


def names(scope: Scope) -> Iterator[Cause]:
    seen: dict[str, str] = {}
    for path, disk in scope.disks:
        for fault in dns_label_faults(disk.name):
            yield invalid(f"{path}.name", fault)
        if disk.name in seen:
            yield duplicate(f"{path}.name", f"{path} and {seen[disk.name]} must not have the same Name.")
        seen.setdefault(disk.name, path)


def volumes_of_disks(scope: Scope) -> Iterator[Cause]:
    volumes: dict[str, Volume] = {volume.name: volume for volume in scope.spec.volumes}
    for path, disk in scope.disks:
        volume = volumes.get(disk.name)
        if volume is None and disk.cdrom is None:
            yield invalid(f"{path}.name", f"{path}.Name '{shown(disk.name)}' not found.")
        if volume is None and disk.cdrom is not None and not scope.settings.enabled("DeclarativeHotplugVolumes"):
            message = "DeclarativeHotplugVolumes feature gate not enabled, cannot define an empty CD-ROM disk"
            yield invalid(f"{path}.name", message)
        if disk.lun is not None and volume is not None and not (volume.data_volume or volume.persistent_volume_claim):
            message = f"{path}.lun can only be mapped to a DataVolume or PersistentVolumeClaim volume."
            yield invalid(f"{path}.lun", message)
        if volume is not None and volume.downward_metrics is not None:
            yield from _metrics_disk(path, disk)


def _metrics_disk(path: str, disk: Disk) -> Iterator[Cause]:
    must = "DownwardMetrics volume must be mapped to"
    if disk.disk is None:
        yield required(f"{path}.disk", f"{must} a disk, but disk is not set on {path}.disk.")
    elif disk.disk.bus not in (None, "", "virtio"):
        field = f"{path}.disk.bus"
        yield invalid(field, f"{must} virtio bus, but {field} is set to {shown(disk.disk.bus)}")


def boot_orders(scope: Scope) -> Iterator[Cause]:
    """One order for disks and interfaces together."""
    taken: set[int] = set()
    devices = [(path, disk.boot_order) for path, disk in scope.disks]
    devices += [(path, interface.boot_order) for path, interface in scope.interfaces]
    for path, order in devices:
        field = f"{path}.bootOrder"
        if order is None:
            continue
        if order < 1:
            yield invalid(field, f"{path} must have a boot order > 0, if supplied")
        elif order in taken:
            yield invalid(field, f"Boot order for {field} already set for a different device.")
        taken.add(order)


def targets(scope: Scope) -> Iterator[Cause]:
    for path, disk in scope.disks:
        kinds = _targets(disk)
        if len(kinds) > 1:
            yield invalid(path, f"{path} can only have a single target type defined")
        for kind, target in kinds:
            if target.bus and (target.bus != "virtio" or kind == "cdrom"):
                yield from _bus(path, kind, target)
        if disk.cdrom is not None and disk.cdrom.tray not in (None, "", *TRAYS):
            field = f"{path}.cdrom.tray"
            yield unsupported(field, f"{field} has invalid value {shown(disk.cdrom.tray)}")


def _bus(path: str, kind: str, target: Target) -> Iterator[Cause]:
    bus = target.bus or ""
    field = f"{path}.{kind}.bus"
    if bus == "ide":
        yield invalid(field, "IDE bus is not supported")
    elif bus not in BUSES:
        listed = " ".join(BUSES)
        yield invalid(field, f"{path} is set with an unrecognized bus {shown(bus)}, must be one of: [{listed}]")
    elif kind == "cdrom" and bus == "virtio":
        yield invalid(field, f"Bus type {bus} is invalid for CD-ROM device")
    elif kind == "disk" and bus == "sata" and target.readonly:
        yield invalid(field, f"{bus} hard-disks do not support read-only.")


def io_threads(scope: Scope) -> Iterator[Cause]:
    domain = scope.spec.domain
    if domain.io_threads_policy is not None and domain.io_threads_policy not in IO_THREAD_POLICIES:
        message = f"Invalid IOThreadsPolicy ({shown(domain.io_threads_policy)})"
        yield invalid(scope.at("domain.ioThreadsPolicy"), message)
    count = domain.io_threads.supplemental_pool_thread_count if domain.io_threads else None
    wanted = domain.io_threads_policy == "supplementalPool"
    if (count is None and wanted) or (count is not None and count < wanted):
        message = "the number of iothreads needs to be set and positive for the dedicated policy"
        yield invalid(scope.at("domain.ioThreads.count"), message)
    for path, disk in scope.disks:
        for _, target in _targets(disk) if disk.dedicated_io_thread else ():
            if target.bus not in (None, "", "virtio"):
                yield unsupported(path, f"IOThreads are not supported for disks on a {shown(target.bus)} bus")


def serials(scope: Scope) -> Iterator[Cause]:
    for path, disk in scope.disks:
        if not disk.serial:
            continue
        if SERIAL.fullmatch(disk.serial) is None:
            message = f"{path} must be made up of the following characters [A-Za-z0-9_.+-], if specified"
            yield invalid(f"{path}.serial", message)
        if len(disk.serial) > 256:
            yield invalid(f"{path}.serial", f"{path} must be less than or equal to 256 in length, if specified")


def drivers(scope: Scope) -> Iterator[Cause]:
    for path, disk in scope.disks:
        if disk.cache and disk.cache not in CACHES:
            yield invalid(f"{path}.cache", f"{path}.cache has invalid value {shown(disk.cache)}")
        if disk.io and disk.io not in IO_MODES:
            disks = scope.at("domain.devices.disks")
            message = f"Disk IO mode for {disks} is not supported. Supported modes are: native, threads."
            yield unsupported(f"{path}.io", message)
        if disk.error_policy is not None and disk.error_policy not in ERROR_POLICIES:
            message = f'{path}.errorPolicy has invalid value "{shown(disk.error_policy)}"'
            yield invalid(f"{path}.errorPolicy", message)
        if disk.shareable and disk.cache not in (None, "", "none"):
            yield invalid(f"{path}.cache", f"{path} is shareable and needs cache none, not {shown(disk.cache)}")


def pci_addresses(scope: Scope) -> Iterator[Cause]:
    for path, disk in scope.disks:
        target = disk.disk
        if target is None or not target.pci_address:
            continue
        field = f"{path}.disk.pciAddress"
        if target.bus not in (None, "", "virtio"):
            yield invalid(field, f"disk {path} - setting a PCI address is only possible with bus type virtio.")
        if PCI_ADDRESS.fullmatch(target.pci_address) is None:
            yield invalid(field, f"disk {path} has malformed PCI address ({shown(target.pci_address)}).")


def block_sizes(scope: Scope) -> Iterator[Cause]:
    for path, disk in scope.disks:
        size = disk.block_size
        if size is None:
            continue
        field = f"{path}.blockSize"
        matching = size.match_volume is not None and size.match_volume.enabled is not False
        if size.custom is not None and matching:
            yield invalid(field, "Block size matching can't be enabled together with a custom value")
        elif size.custom is not None:
            sata = any(target.bus == "sata" for _, target in _targets(disk))
            yield from _custom_block_size(f"{field}.custom", size.custom, sata=sata)


def _custom_block_size(field: str, size: CustomBlockSize, *, sata: bool) -> Iterator[Cause]:
    """How the numbers go together; if they do, each by itself."""
    logical, physical = size.logical or 0, size.physical or 0
    granularity = size.discard_granularity
    if logical > physical:
        message = f"Logical size {logical} must be the same or less than the physical size of {physical}"
        yield invalid(f"{field}.logical", message)
    elif sata and logical != SMALLEST_BLOCK:
        yield invalid(f"{field}.logical", f"Logical size {logical} must be {SMALLEST_BLOCK} for SATA devices")
    elif granularity and logical and granularity % logical:
        message = f"Discard granularity {granularity} must be multiples of logical size {logical}"
        yield invalid(f"{field}.discardGranularity", message)
    else:
        for name, value in (("logical", logical), ("physical", physical)):
            yield from (invalid(f"{field}.{name}", fault) for fault in _block_faults(value))


def _block_faults(value: int) -> Iterator[str]:
    if value < SMALLEST_BLOCK:
        yield f"Provided size of {value} is less than the supported minimum size of {SMALLEST_BLOCK}"
    elif value > LARGEST_BLOCK:
        yield f"Provided size of {value} is greater than the supported maximum size of {LARGEST_BLOCK}"
    elif value & (value - 1):
        yield f"Provided size of {value} is not a power of 2"


def reservations(scope: Scope) -> Iterator[Cause]:
    for path, disk in scope.disks:
        if disk.lun is not None and disk.lun.reservation and not scope.settings.enabled("PersistentReservation"):
            yield invalid(f"{path}.lun.reservation", "persistent reservation is not enabled in kubevirt config")


def filesystems(scope: Scope) -> Iterator[Cause]:
    claims = {volume.name for _, volume in scope.volumes if volume.persistent_volume_claim or volume.data_volume}
    shared = {filesystem.name for filesystem in scope.spec.domain.devices.filesystems}
    if claims & shared and not scope.settings.enabled("VirtioFs"):
        field = scope.at("domain.devices.filesystems")
        yield invalid(field, "virtiofs is not allowed: virtiofs feature gate is not enabled for PVC")
    taken = {disk.name: path for path, disk in scope.disks}
    volumes = {volume.name for volume in scope.spec.volumes}
    for index, filesystem in enumerate(scope.spec.domain.devices.filesystems):
        path = scope.at(f"domain.devices.filesystems[{index}]")
        if filesystem.name in taken:
            yield duplicate(f"{path}.name", f"{path} and {taken[filesystem.name]} must not have the same Name.")
        if filesystem.name not in volumes:
            yield required(f"{path}.name", f"{path}.name '{shown(filesystem.name)}' not found.")
        taken.setdefault(filesystem.name, path)


RULES: tuple[Rule, ...] = (
    names,
    volumes_of_disks,
    boot_orders,
    targets,
    io_threads,
    serials,
    drivers,
    pci_addresses,
    block_sizes,
    reservations,
    filesystems,
)
