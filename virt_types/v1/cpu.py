"""The guest's processors: topology, model, pinning, NUMA.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Int64


class CPUFeature(Base, kw_only=True):
    """A CPU flag and whether the guest gets it."""

    name: str = field(default_factory=str)
    """The flag as libvirt spells it, such as vmx."""
    policy: str | None = None
    """force, require (default), optional, disable or forbid."""


class CPUTopology(Base, kw_only=True):
    """Sockets, cores per socket, threads per core."""

    cores: Int64 | None = None
    """Cores of each socket."""
    sockets: Int64 | None = None
    """Sockets."""
    threads: Int64 | None = None
    """Threads of each core."""


class NUMAGuestMappingPassthrough(Base, kw_only=True):
    """Shows the guest the node's NUMA cells its CPUs are on."""


class NUMA(Base, kw_only=True):
    """How the guest's memory follows the node's NUMA cells."""

    guest_mapping_passthrough: NUMAGuestMappingPassthrough | None = None


class Realtime(Base, kw_only=True):
    """Runs the virtual CPUs with a real-time scheduler."""

    mask: str | None = None
    """The virtual CPUs meant, as libvirt writes it: 0-3,^1; default is all."""


class CPU(Base, kw_only=True):
    """The guest's processors. Their number is sockets x cores x threads; what is left out counts as 1."""

    cores: Int64 | None = None
    """Cores of each socket; counts as 1 when left out."""
    dedicated_cpu_placement: bool | None = None
    """Pins each virtual CPU to a CPU of its own."""
    features: list[CPUFeature] = field(default_factory=list)
    """Flags that are added to the model or taken from it."""
    isolate_emulator_thread: bool | None = None
    """Gives QEMU itself one more CPU of its own; needs dedicatedCpuPlacement. Default false."""
    max_sockets: Int64 | None = None
    """How many sockets can be there after plugging in; default four times as many."""
    model: str | None = None
    """A model QEMU knows, host-model (default) or host-passthrough."""
    numa: NUMA | None = None
    realtime: Realtime | None = None
    sockets: Int64 | None = None
    """Sockets; counts as 1 when left out. Only these can be plugged into a running guest."""
    threads: Int64 | None = None
    """Threads of each core; counts as 1 when left out."""
