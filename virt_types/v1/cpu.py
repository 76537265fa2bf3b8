"""The guest's processors: topology, model, pinning, NUMA.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Int64


class CPUFeature(Base, kw_only=True):
    name: str = field(default_factory=str)
    policy: str | None = None


class CPUTopology(Base, kw_only=True):
    cores: Int64 | None = None
    sockets: Int64 | None = None
    threads: Int64 | None = None


class NUMAGuestMappingPassthrough(Base, kw_only=True):
    """An empty object: being there is what it says."""


class NUMA(Base, kw_only=True):
    guest_mapping_passthrough: NUMAGuestMappingPassthrough | None = None


class Realtime(Base, kw_only=True):
    mask: str | None = None


class CPU(Base, kw_only=True):
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
