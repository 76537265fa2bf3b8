"""The guest's memory and the resources its launcher asks for.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Quantity


class Hugepages(Base, kw_only=True):
    """Backs the memory by huge pages."""

    page_size: str | None = None
    """2Mi or 1Gi; the guest's memory must be a multiple."""


class ReservedOverhead(Base, kw_only=True):
    """Memory that is reserved beyond the guest's own."""

    added_overhead: Quantity | None = None
    """How much, such as 512Mi."""
    mem_lock: str | None = None
    """Required (all of it locked, for devices with DMA) or NotRequired (default)."""


class Memory(Base, kw_only=True):
    """The guest's memory."""

    guest: Quantity | None = None
    """What the guest sees, such as 2Gi; default is resources.requests.memory."""
    hugepages: Hugepages | None = None
    max_guest: Quantity | None = None
    """How much can be there after plugging in; default four times as much."""
    reserved_overhead: ReservedOverhead | None = None


class MemoryStatus(Base, kw_only=True):
    """The guest's memory at start, now, and as asked for."""

    guest_at_boot: Quantity | None = None
    """What the guest started with."""
    guest_current: Quantity | None = None
    """What the guest has now."""
    guest_requested: Quantity | None = None
    """What was asked for by plugging in."""
    memory_overhead: Quantity | None = None
    """What QEMU and its launcher need beyond that."""


class ResourceRequirements(Base, kw_only=True):
    """CPU and memory asked for (requests) and allowed (limits)."""

    limits: dict[str, Quantity] = field(default_factory=dict)
    """The most the guest's launcher may take; keys cpu and memory."""
    overcommit_guest_overhead: bool | None = None
    """Leaves QEMU's own memory out of what is asked of the node; default false."""
    requests: dict[str, Quantity] = field(default_factory=dict)
    """What is reserved on the node; keys cpu and memory."""
