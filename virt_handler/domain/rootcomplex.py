"""PCI devices placed on the root complex, not behind root ports, for guests that need it. See domain-xml §12."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from virt_handler.domain.context import (
    Balloon,
    Controller,
    Disk,
    DomainContext,
    HostDevice,
    Input,
    Interface,
    PciAddress,
    Rng,
    Watchdog,
)
from virt_handler.errors import RenderError

FIRST_SLOT, LAST_SLOT = 0x02, 0x1F
RESERVED_SLOTS = frozenset({0x1B, 0x1F})  # sound and chipset functions of q35

Placed = TypeVar("Placed", Interface, HostDevice, Controller, Disk, Input, Watchdog, Rng, Balloon)


class _Slots:
    """The slots of bus 0 in order; those in `taken` are other devices' own choice."""

    def __init__(self, taken: frozenset[int]) -> None:
        self._taken = taken | RESERVED_SLOTS
        self._next = FIRST_SLOT

    def give(self, device: Placed) -> Placed:
        """The device with the next free slot; an address the user chose stays."""
        if device.address is not None:
            return device
        while self._next in self._taken:
            self._next += 1
        if self._next > LAST_SLOT:
            raise RenderError(
                "no slot is left on the PCI root bus for every device",
                hint="remove devices, or the annotation kubevirt.io/placePCIDevicesOnRootComplex",
            )
        address = PciAddress("0x0000", "0x00", f"0x{self._next:02x}", "0x0")
        self._next += 1
        return device._replace(address=address)


def place_on_root(domain: DomainContext) -> DomainContext:
    slots = _Slots(frozenset(_chosen(domain)))
    return domain._replace(
        interfaces=tuple(slots.give(it) for it in domain.interfaces),
        host_devices=tuple(slots.give(it) if it.kind == "pci" else it for it in domain.host_devices),
        controllers=tuple(slots.give(it) if it.type != "pci" else it for it in domain.controllers),
        disks=tuple(slots.give(it) if it.bus == "virtio" else it for it in domain.disks),
        inputs=tuple(slots.give(it) if it.bus == "virtio" else it for it in domain.inputs),
        watchdog=slots.give(domain.watchdog) if domain.watchdog else None,
        rng=slots.give(domain.rng) if domain.rng else None,
        balloon=slots.give(domain.balloon) if domain.balloon.stats_period else domain.balloon,
    )


def _chosen(domain: DomainContext) -> Iterator[int]:
    """Slots of bus 0 that the manifest gave away itself."""
    devices = (domain.interfaces, domain.host_devices, domain.disks)
    for address in (device.address for group in devices for device in group):
        if address is not None and int(address.domain, 16) == int(address.bus, 16) == 0:
            yield int(address.slot, 16)
