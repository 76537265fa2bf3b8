"""Processors that one guest has for itself (`cpu.dedicatedCpuPlacement`): which of the host's it is given.

Whole cores first, in one NUMA cell where one has room. The machine's first core is never given away: the agent, libvirt
and QEMU's own threads live there. Called by `launch`, which keeps the answer on record as long as the guest is there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from virt_handler.errors import ProcessorsTaken
from virt_handler.model import NumaCell

FIELD = "spec.domain.cpu.dedicatedCpuPlacement"


def allot(cells: Sequence[NumaCell], wanted: int, taken: Collection[int], node: str) -> tuple[int, ...]:
    """Ids of `wanted` processors that nobody in `taken` has; raises ProcessorsTaken."""
    free = [_free(cell, taken, first=number == 0) for number, cell in enumerate(cells)]
    counts = [sum(map(len, cores)) for cores in free]
    if sum(counts) < wanted:
        raise ProcessorsTaken(
            f"{FIELD}: {wanted} processors wanted, node {node} has {sum(counts)} that no other guest has for itself",
            hint="ask for fewer, stop a guest that has some, or remove dedicatedCpuPlacement",
        )
    roomy = sorted((count, number) for number, count in enumerate(counts) if count >= wanted)
    order = [roomy[0][1]] if roomy else sorted(range(len(cells)), key=lambda number: -counts[number])
    cores = [core for number in order for core in sorted(free[number], key=len, reverse=True)]
    return tuple(thread for core in cores for thread in core)[:wanted]


def _free(cell: NumaCell, taken: Collection[int], *, first: bool) -> list[tuple[int, ...]]:
    cores = cell.cores[1:] if first else cell.cores
    return [left for core in cores if (left := tuple(thread for thread in core if thread not in taken))]
