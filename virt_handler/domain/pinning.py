"""Which thread of the host each vCPU of a guest with dedicated processors runs on. Specification: domain-xml §4."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from virt_handler.domain.context import Pin
from virt_handler.domain.traits import Traits
from virt_handler.errors import RenderError
from virt_handler.model import Guest
from virt_types.v1 import CPU


class Placement(NamedTuple):
    """vCPU pins, and the host processors still free, in the order in which they are to be given away."""

    vcpus: tuple[Pin, ...]
    free: tuple[int, ...]


def pin_vcpus(guest: Guest, traits: Traits) -> Placement:
    """A thread for each vCPU: siblings for the threads of a guest's core, else of one cell, at last of several."""
    cpu = guest.vmi.spec.domain.cpu or CPU()
    if len(guest.cpuset) < traits.vcpus:
        raise RenderError(
            f"spec.domain.cpu.dedicatedCpuPlacement: {traits.vcpus} processors wanted, "
            f"this node gives {len(guest.cpuset)}",
            hint="remove dedicatedCpuPlacement, or run the guest on a node with a CPU manager",
        )
    cells = tuple(_cells(guest, cpu.threads or 1))
    mirrored = bool(cpu.numa and cpu.numa.guest_mapping_passthrough)
    taken = _take(cells, traits.vcpus, across_cells=not mirrored)
    if len(taken) < traits.vcpus:
        raise RenderError(
            "spec.domain.cpu.numa.guestMappingPassthrough: the threads of one core would be in two NUMA cells",
            hint="use threads: 1, or run the guest on a node with more free processors",
        )
    pins = tuple(Pin(vcpu, str(thread)) for vcpu, thread in enumerate(taken))
    return Placement(pins, tuple(chain.from_iterable(cell.rest() for cell in cells)))


class _Cell:
    """Free processors of one NUMA cell: cores with `size` or more of them, and loose ones."""

    def __init__(self, cores: Sequence[Sequence[int]], size: int) -> None:
        self._size = size
        self._cores = deque(core for core in cores if len(core) >= size)
        self._loose = deque(chain.from_iterable(core for core in cores if len(core) < size))

    def siblings(self) -> Iterator[Sequence[int]]:
        """Takes `size` threads of one core at a time; what is left of a core is another, or becomes loose."""
        while self._cores:
            core = self._cores.popleft()
            rest = core[self._size :]
            if len(rest) >= self._size:
                self._cores.appendleft(rest)
            else:
                self._loose.extend(rest)
            yield core[: self._size]

    def neighbours(self) -> Iterator[Sequence[int]]:
        """Takes `size` loose threads at a time."""
        while len(self._loose) >= self._size:
            yield [self._loose.popleft() for _ in range(self._size)]

    def strays(self) -> Iterator[Sequence[int]]:
        """Takes loose threads one by one."""
        while self._loose:
            yield [self._loose.popleft()]

    def rest(self) -> Iterator[int]:
        return chain(self._loose, *self._cores)


def _take(cells: Sequence[_Cell], count: int, *, across_cells: bool) -> list[int]:
    taken: list[int] = []
    ways = (_Cell.siblings, _Cell.neighbours, _Cell.strays) if across_cells else (_Cell.siblings, _Cell.neighbours)
    for way in ways:
        for cell in cells:
            groups = way(cell)
            while len(taken) < count and (group := next(groups, None)):
                taken += group
    return taken


def _cells(guest: Guest, size: int) -> Iterator[_Cell]:
    """The guest's processors by cell and core; those of no cell the node knows come last, one core each."""
    free = set(guest.cpuset)
    for cell in guest.host.cells:
        yield _Cell([[thread for thread in core if thread in free] for core in cell.cores], size)
    known = {thread for cell in guest.host.cells for core in cell.cores for thread in core}
    yield _Cell([[thread] for thread in guest.cpuset if thread not in known], size)
