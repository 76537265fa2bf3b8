"""The guest's processors: topology, model, pinning, NUMA.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Int64


class CPUFeature(Base, kw_only=True):
    """A CPU flag and whether the guest gets it."""

    name: str = field(default_factory=str)
    policy: str | None = None


class CPUTopology(Base, kw_only=True):
    """Sockets, cores per socket, threads per core."""

    cores: Int64 | None = None
    sockets: Int64 | None = None
    threads: Int64 | None = None


class NUMAGuestMappingPassthrough(Base, kw_only=True):
    """Shows the guest the node's NUMA cells its CPUs are on."""


class NUMA(Base, kw_only=True):
    """How the guest's memory follows the node's NUMA cells."""

    guest_mapping_passthrough: NUMAGuestMappingPassthrough | None = None


class Realtime(Base, kw_only=True):
    """Runs the virtual CPUs with a real-time scheduler."""

    mask: str | None = None


class CPU(Base, kw_only=True):
    """The guest's processors. Their number is sockets x cores x threads; what is left out counts as 1."""

    cores: Int64 | None = None
    dedicated_cpu_placement: bool | None = None
    features: list[CPUFeature] = field(default_factory=list)
    isolate_emulator_thread: bool | None = None
    max_sockets: Int64 | None = None
    model: str | None = None
    numa: NUMA | None = None
    realtime: Realtime | None = None
    sockets: Int64 | None = None
    threads: Int64 | None = None
