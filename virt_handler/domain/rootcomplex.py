"""PCI devices placed on the root complex, not behind root ports, for guests that need it. See domain-xml §12."""

from __future__ import annotations

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
    def __init__(self) -> None:
        self._next = FIRST_SLOT

    def give(self, device: Placed) -> Placed:
        """The device with the next free slot; an address the user chose stays."""
        if device.address is not None:
            return device
        while self._next in RESERVED_SLOTS:
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
    slots = _Slots()
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
