"""The guest's memory and the resources its launcher asks for.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Quantity


class Hugepages(Base, kw_only=True):
    """Backs the memory by huge pages."""

    page_size: str | None = None


class ReservedOverhead(Base, kw_only=True):
    """Memory that is reserved beyond the guest's own."""

    added_overhead: Quantity | None = None
    mem_lock: str | None = None


class Memory(Base, kw_only=True):
    """The guest's memory."""

    guest: Quantity | None = None
    hugepages: Hugepages | None = None
    max_guest: Quantity | None = None
    reserved_overhead: ReservedOverhead | None = None


class MemoryStatus(Base, kw_only=True):
    """The guest's memory at start, now, and as asked for."""

    guest_at_boot: Quantity | None = None
    guest_current: Quantity | None = None
    guest_requested: Quantity | None = None
    memory_overhead: Quantity | None = None


class ResourceRequirements(Base, kw_only=True):
    """CPU and memory asked for (requests) and allowed (limits)."""

    limits: dict[str, Quantity] = field(default_factory=dict)
    overcommit_guest_overhead: bool | None = None
    requests: dict[str, Quantity] = field(default_factory=dict)
