"""Memory: size, hot-plug maximum, backing. Specification: domain-xml §3 and §5."""

from __future__ import annotations

from decimal import ROUND_FLOOR

from virt_handler.domain.context import Backing, GuestCell, Memory, Page
from virt_handler.domain.traits import Traits
from virt_handler.model import Guest
from virt_types import quantity

# libvirt 9.0: "both maximum memory size and memory slot count must be specified", and a NUMA cell. The slot stays free:
# what is plugged in is virtio-mem, which takes none.
LIBVIRT_ZERO_SLOTS = 10_000_000
# Such a libvirt leaves QEMU's processors at 40 bits of address, and devices need some of that.
ADDRESSABLE = 960 << 30
MEMFD_ANNOTATION = "kubevirt.io/memfd"


def size_of(guest: Guest) -> int:
    """Bytes the guest starts with, whole ones only."""
    memory = guest.vmi.spec.domain.memory
    return _bytes(memory.guest) if memory else 0


def page_of(guest: Guest) -> int:
    """Bytes of a hugepage; 0: none asked for."""
    memory = guest.vmi.spec.domain.memory
    pages = memory.hugepages if memory else None
    return _bytes(pages.page_size) if pages else 0


def memory_of(guest: Guest, traits: Traits, size: int, cells: tuple[GuestCell, ...]) -> Memory:
    slots = 0 if guest.host.libvirt_version >= LIBVIRT_ZERO_SLOTS else 1
    return Memory(size, room_of(guest), slots, _backing(guest, traits, page_of(guest), cells))


def room_of(guest: Guest) -> int:
    """Bytes the guest can have in all; 0 when it has no room for more than it starts with."""
    memory = guest.vmi.spec.domain.memory
    most = _bytes(memory.max_guest) if memory else 0
    if most == size_of(guest) or (guest.host.libvirt_version < LIBVIRT_ZERO_SLOTS and most > ADDRESSABLE):
        return 0
    return most


def needs_cell(guest: Guest, traits: Traits) -> bool:
    """Whether the guest's memory must sit in a NUMA cell: shared, or with room for more under a libvirt before 10."""
    old = guest.host.libvirt_version < LIBVIRT_ZERO_SLOTS
    return uses_memfd(guest, traits) or (old and room_of(guest) > 0)


def uses_memfd(guest: Guest, traits: Traits) -> bool:
    wanted = guest.vmi.metadata.annotations.get(MEMFD_ANNOTATION) != "false"
    return traits.arch.memfd and ((traits.hugepages and wanted) or _shared(guest))


def _shared(guest: Guest) -> bool:
    devices = guest.vmi.spec.domain.devices
    return bool(devices.filesystems) or any(interface.passt_binding for interface in devices.interfaces)


def _backing(guest: Guest, traits: Traits, page: int, cells: tuple[GuestCell, ...]) -> Backing | None:
    mapped = [cell for cell in cells if cell.host_cell is not None]
    memfd = uses_memfd(guest, traits)
    nosharepages = bool(mapped) and traits.realtime
    if not (traits.hugepages or _shared(guest) or nosharepages):
        return None
    return Backing(
        hugepages=traits.hugepages,
        pages=tuple(Page(page, str(cell.id)) for cell in mapped),
        memfd=memfd,
        shared=_shared(guest),
        nosharepages=nosharepages,
        immediate=bool(mapped),
    )


def _bytes(value: str | int | float | None) -> int:
    return int(quantity.parse(value).to_integral_value(rounding=ROUND_FLOOR)) if value is not None else 0
