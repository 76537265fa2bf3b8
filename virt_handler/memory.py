"""Memory of a running guest: what its virtio-mem device shall hold, and how far the guest is with it. Pure.

A guest has what it booted with, and beside that a device that grows up to `maxGuest`; the guest takes what the device
offers, and gives back what it can. `plugging` asks for the step, `status` shows the progress.
"""

from __future__ import annotations

from typing import NamedTuple

from virt_handler.domains import Domain
from virt_types import quantity
from virt_types.defaults import canonical_like, memory_alignment
from virt_types.v1 import Memory, VirtualMachineInstance

FIELD = "domain.memory.guest"
FAILED = "MemoryHotplugFailed"
NOT_SUPPORTED = "NotSupported"
PENDING = "MemoryChanging"
RESTART = "restart the VM to give it {wanted}"
NO_ROOM = f"the guest was started without room for other memory than it has; {RESTART}"
TOO_LITTLE = f"the guest can't give back what it booted with, {{boot}}; {RESTART}"
TOO_MUCH = f"the guest was started with room for {{most}}; {RESTART}"
UNALIGNED = f"memory is plugged in in steps of {{block}}; {RESTART}, or choose another amount"
ON_ITS_WAY = "the guest has {current} of {wanted}; its system takes and gives back memory with the driver virtio-mem"


class MemoryProgress(NamedTuple):
    """What `status.memory` and the condition HotMemoryChange say; no `value`: all is as it was asked for."""

    current: str
    requested: str | None  # None: as it was told last
    value: str = ""  # True: on its way; False: it can't be
    reason: str = ""
    message: str = ""


def block_of(vmi: VirtualMachineInstance) -> int:
    """Bytes of the device's unit."""
    return memory_alignment(vmi.spec.domain.memory or Memory())


def pluggable(vmi: VirtualMachineInstance, domain: Domain) -> int | None:
    """The bytes that the guest's virtio-mem device shall hold; None where a running guest can't have what is asked."""
    asked = _asked(vmi)
    return None if asked is None or _refused(vmi, domain, asked) else asked.wanted - asked.booted


def progress(
    vmi: VirtualMachineInstance, domain: Domain, failure: tuple[str, str] | None = None
) -> MemoryProgress | None:
    """How far the guest is; None where nothing is known. `failure`: why the device could not be changed."""
    asked, device = _asked(vmi), domain.virtio_mem
    if asked is None:
        return None
    current = asked.booted + (device.current if device else 0)
    there = MemoryProgress(_shown(vmi, current), None)
    if refused := _refused(vmi, domain, asked):
        return there._replace(value="False", reason=NOT_SUPPORTED, message=refused)
    if (device.requested if device else 0) == asked.wanted - asked.booted:
        there = there._replace(requested=_shown(vmi, asked.wanted))
    elif failure is not None:
        reason, message = failure
        return there._replace(value="False", reason=FAILED, message=f"{reason}: {message}")
    if current == asked.wanted:
        return there
    message = ON_ITS_WAY.format(current=there.current, wanted=_shown(vmi, asked.wanted))
    return there._replace(value="True", reason=PENDING, message=message)


class _Asked(NamedTuple):
    """Bytes: what the VMI asks for now, and what it asked for when its guest booted."""

    wanted: int
    booted: int


def _asked(vmi: VirtualMachineInstance) -> _Asked | None:
    memory, began = vmi.spec.domain.memory, vmi.status.memory
    if memory is None or began is None or not memory.guest or not began.guest_at_boot:
        return None
    return _Asked(quantity.to_bytes(memory.guest), quantity.to_bytes(began.guest_at_boot))


def _refused(vmi: VirtualMachineInstance, domain: Domain, asked: _Asked) -> str:
    """Why the running guest can't have so many bytes, "" when it can."""
    shown, block = _shown(vmi, asked.wanted), block_of(vmi)
    if asked.wanted == asked.booted:
        return ""
    if domain.max_memory <= asked.booted:
        return NO_ROOM.format(wanted=shown)
    if asked.wanted < asked.booted:
        return TOO_LITTLE.format(boot=_shown(vmi, asked.booted), wanted=shown)
    if asked.wanted > domain.max_memory:
        return TOO_MUCH.format(most=_shown(vmi, domain.max_memory), wanted=shown)
    if (asked.wanted - asked.booted) % block:
        return UNALIGNED.format(block=quantity.canonical(f"{block >> 20}Mi"), wanted=shown)
    return ""


def _shown(vmi: VirtualMachineInstance, amount: int) -> str:
    """Bytes in the family of suffixes that the manifest uses."""
    memory = vmi.spec.domain.memory
    return canonical_like(memory.guest if memory is not None else None, quantity.parse(amount))
