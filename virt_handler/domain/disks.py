"""Disks, CD-ROM drives and LUNs: target names, driver attributes, addresses. Specification: domain-xml §10."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

from virt_handler.domain.context import BackingFile, BlockIo, Disk, PciAddress
from virt_handler.domain.iothreads import Threads, bus_of
from virt_handler.domain.traits import Traits, pci_address
from virt_handler.errors import RenderError
from virt_handler.model import DiskSource, Guest
from virt_types.v1 import Disk as DiskSpec
from virt_types.v1 import Volume

TARGET_PREFIXES = {"virtio": "vd", "sata": "sd", "scsi": "sd", "usb": "sd"}
ERROR_POLICIES = ("stop", "ignore", "report", "enospace")
LARGEST_CCW_BLOCK = 4096  # bytes, of a disk of s390x
RESERVATION_SOCKET = "/run/qemu-pr-helper.sock"
# libvirt 9.0 does not know discard_granularity and several IO threads for one disk.
LIBVIRT_DISCARD_GRANULARITY = 11_000_000
LIBVIRT_DISK_IOTHREADS = 10_000_000


class Attachment(NamedTuple):
    """A disk of the spec with what it is attached to; `source` is None for an empty drive."""

    spec: DiskSpec
    field: str
    device: str
    bus: str
    volume: Volume | None
    source: DiskSource | None


def attachments_of(guest: Guest, traits: Traits) -> tuple[Attachment, ...]:
    """The disks to attach, in spec order. Hot-plugged volumes that are not there yet are left out."""
    volumes = {volume.name: volume for volume in guest.vmi.spec.volumes}
    found = []
    for number, spec in enumerate(guest.vmi.spec.domain.devices.disks):
        field = f"spec.domain.devices.disks[{number}]"
        device = "lun" if spec.lun else "cdrom" if spec.cdrom else "disk"
        volume = volumes.get(spec.name)
        bus = bus_of(spec) or traits.arch.disk_bus
        if bus not in TARGET_PREFIXES:
            raise RenderError(
                f"{field}.{device}.bus {bus!r} is unknown", hint=f"use one of {', '.join(TARGET_PREFIXES)}"
            )
        if volume is None and device != "cdrom":
            raise RenderError(
                f"{field}: no volume named {spec.name!r} in spec.volumes", hint="add the volume or remove the disk"
            )
        source = guest.disks.get(spec.name)
        if source is None and volume is not None:
            if _comes_later(volume):
                continue
            raise RenderError(f"{field}: volume {spec.name!r} was not prepared on this node")
        found.append(Attachment(spec, field, device, bus, volume, source))
    return tuple(found)


def _comes_later(volume: Volume) -> bool:
    plugged = volume.persistent_volume_claim or volume.data_volume
    return volume.memory_dump is not None or bool(plugged and plugged.hotpluggable)


def disks_of(guest: Guest, traits: Traits, threads: Threads, attachments: tuple[Attachment, ...]) -> tuple[Disk, ...]:
    targets = _targets(guest, attachments)
    return tuple(_disk(guest, traits, threads, it, target) for it, target in zip(attachments, targets, strict=True))


def _targets(guest: Guest, attachments: tuple[Attachment, ...]) -> Iterator[str]:
    """vda, vdb … and sda, sdb …, in spec order; a name the status already gave to a volume stays with it."""
    given = {status.name: status.target for status in guest.vmi.status.volume_status if status.target}
    taken = set(given.values())
    counters = {prefix: count() for prefix in TARGET_PREFIXES.values()}
    for it in attachments:
        prefix = TARGET_PREFIXES[it.bus]
        if (name := given.get(it.spec.name, "")).startswith(prefix):
            yield name
            continue
        yield next(name for number in counters[prefix] if (name := prefix + letters(number)) not in taken)


def letters(number: int) -> str:
    """0 is a, 25 is z, 26 is aa."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("a") + rest) + text
    return text


def letter_number(target: str) -> int:
    """The number of `sdaa`: 26."""
    number = 0
    for char in target[2:]:
        number = number * 26 + ord(char) - ord("a") + 1
    return number - 1


def _disk(guest: Guest, traits: Traits, threads: Threads, it: Attachment, target: str) -> Disk:
    spec, source, virtio = it.spec, it.source, it.bus == "virtio"
    metrics = bool(it.volume and it.volume.downward_metrics)
    backing = source.backing if source else None
    multi_queue = bool(guest.vmi.spec.domain.devices.block_multi_queue) and virtio and not metrics
    return Disk(
        name=spec.name,
        device=it.device,
        model=traits.virtio if metrics or (virtio and it.device == "disk") else "",
        path=source.path if source else "",
        block=source.block if source else False,
        format=source.format if source else "raw",
        keep_owner=bool(source and source.keep_owner),
        backing=BackingFile(backing.path, backing.format, backing.block) if backing else None,
        bus=it.bus,
        target=target,
        tray=(spec.cdrom.tray or "closed") if spec.cdrom else "",
        cache=_cache(it),
        io=_io(it),
        error_policy=_error_policy(it),
        discard=source is None or (source.discard and not source.preallocated and not metrics),
        queues=traits.vcpus if multi_queue else 0,
        iothread=threads.disks.get(spec.name, 0),
        iothreads=threads.pool if virtio and guest.host.libvirt_version >= LIBVIRT_DISK_IOTHREADS else (),
        iommu=traits.iommu and virtio,
        readonly=metrics or _readonly(it),
        shareable=bool(spec.shareable) and it.device == "disk",
        serial=(spec.serial or "") if it.device == "disk" else "",
        boot_order=spec.boot_order or 0,
        unit=letter_number(target) if it.bus == "scsi" and it.device != "cdrom" else None,
        address=_address(it),
        block_io=_block_io(it, traits, guest.host.libvirt_version),
        reservations=RESERVATION_SOCKET if spec.lun and spec.lun.reservation and not metrics else "",
    )


def _error_policy(it: Attachment) -> str:
    policy = it.spec.error_policy
    if policy is not None and policy not in ERROR_POLICIES:
        raise RenderError(
            f"{it.field}.errorPolicy {policy!r} is unknown", hint=f"use one of {', '.join(ERROR_POLICIES)}"
        )
    return policy or ERROR_POLICIES[0]


def _cache(it: Attachment) -> str:
    """Without O_DIRECT the page cache is used, but written through: a host crash loses nothing the guest was told."""
    spec, source = it.spec, it.source
    if spec.shareable and it.device == "disk":
        if spec.cache not in (None, "", "none"):
            raise RenderError(
                f"{it.field}.cache {spec.cache!r}: a shareable disk needs cache none", hint="set cache: none"
            )
        return "none"
    if spec.cache == "none" and source is not None and source.direct_io is False:
        raise RenderError(
            f"{it.field}.cache none: the storage of volume {spec.name!r} does not support O_DIRECT",
            hint="use cache: writethrough",
        )
    if spec.cache or source is None or source.direct_io is None:
        return spec.cache or ""
    return "none" if source.direct_io else "writethrough"


def _io(it: Attachment) -> str:
    if it.spec.io and it.spec.io != "default":
        return it.spec.io
    source = it.source
    if source is None or not (source.block or source.preallocated) or _cache(it) != "none":
        return ""
    return "native"


def _readonly(it: Attachment) -> bool:
    spec = it.spec
    if spec.cdrom:
        return spec.cdrom.readonly is not False
    target = spec.lun or spec.disk
    return bool(target and target.readonly) or bool(it.source and it.source.readonly)


def _address(it: Attachment) -> PciAddress | None:
    text = it.spec.disk.pci_address if it.spec.disk else None
    if not text:
        return None
    field = f"{it.field}.disk.pciAddress"
    if it.bus != "virtio":
        raise RenderError(f"{field}: a disk on bus {it.bus} has no PCI address", hint="set bus: virtio")
    return pci_address(text, field)


def _block_io(it: Attachment, traits: Traits, libvirt_version: int) -> BlockIo | None:
    size = it.spec.block_size
    if size is None:
        return None
    granularity: int | None
    if size.custom:
        logical, physical, granularity = size.custom.logical, size.custom.physical, size.custom.discard_granularity
        if not traits.arch.pci and max(logical or 0, physical or 0) > LARGEST_CCW_BLOCK:
            raise RenderError(
                f"{it.field}.blockSize.custom: {traits.arch.name} has blocks of {LARGEST_CCW_BLOCK} bytes at most"
            )
    elif size.match_volume and size.match_volume.enabled is not False and it.source and it.source.block_sizes:
        logical, physical, granularity = it.source.block_sizes
    else:
        return None
    known = libvirt_version >= LIBVIRT_DISCARD_GRANULARITY
    return BlockIo(logical or 0, physical or 0, granularity if known else None)
