"""What a manifest asks for and an older libvirt does not know: left out of the domain, but never in silence.

The node agent shows these sentences in the guest's condition and log.
"""

from __future__ import annotations

from collections.abc import Iterator

from virt_handler.domain.disks import LIBVIRT_DISCARD_GRANULARITY, LIBVIRT_DISK_IOTHREADS
from virt_handler.domain.features import LIBVIRT_TLBFLUSH_MODES
from virt_handler.domain.memory import LIBVIRT_ZERO_SLOTS
from virt_handler.model import Guest
from virt_types.v1 import DomainSpec


def omissions(guest: Guest) -> tuple[str, ...]:
    """A sentence for each setting this guest goes without, in the order of the manifest."""
    version = guest.host.libvirt_version
    shown = f"{version // 1_000_000}.{version // 1_000 % 1_000}"
    return tuple(
        f"{field}: {effect} (libvirt {shown} on {guest.host.name} is too old)"
        for field, effect, since in _asked(guest.vmi.spec.domain)
        if version < since
    )


def _asked(domain: DomainSpec) -> Iterator[tuple[str, str, int]]:
    """Field, what happens without it, and the libvirt that has it."""
    for number, disk in enumerate(domain.devices.disks):
        custom = disk.block_size.custom if disk.block_size else None
        if custom and custom.discard_granularity is not None:
            field = f"spec.domain.devices.disks[{number}].blockSize.custom.discardGranularity"
            yield field, "the default is used", LIBVIRT_DISCARD_GRANULARITY
    hyperv = domain.features.hyperv if domain.features else None
    if hyperv and hyperv.tlbflush and (hyperv.tlbflush.direct or hyperv.tlbflush.extended):
        yield "spec.domain.features.hyperv.tlbflush", "direct and extended are left out", LIBVIRT_TLBFLUSH_MODES
    if domain.io_threads_policy == "supplementalPool":
        yield "spec.domain.ioThreads", "disks do not use the pool", LIBVIRT_DISK_IOTHREADS
    memory = domain.memory
    if memory and memory.max_guest is not None and memory.max_guest != memory.guest:
        yield "spec.domain.memory.maxGuest", "memory can't be added while the guest runs", LIBVIRT_ZERO_SLOTS
