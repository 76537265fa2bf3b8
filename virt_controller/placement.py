"""Which node a VMI runs on: one pure function, used when a VM's instance is created and for those that wait.

Selectors, required affinities, taints, spread and capacity are hard; among the nodes that fit, preferences and then
free memory choose. What does not fit is said in words and numbers, every requirement of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from virt_controller.neighbours import ALONE, Neighbourhood, Neighbours, looks_around
from virt_controller.node_rules import preference, refusals
from virt_controller.objects import Node
from virt_controller.phase import is_final
from virt_types.quantity import QuantityError, parse, to_bytes
from virt_types.v1 import VirtualMachineInstance

CPU_ALLOCATION_RATIO = 10  # vCPUs per host CPU when nothing is requested (spec 3.5)
MIB = 1 << 20
QEMU_OVERHEAD = 50 * MIB
VCPU_OVERHEAD = 8 * MIB
GRAPHICS_OVERHEAD = 32 * MIB
PAGE_TABLE_SHARE = 512
QUANTITIES = 4096  # texts remembered with what they mean: nodes and VMIs have few different sizes


class Demand(NamedTuple):
    """What a VMI takes of a node: millicores and bytes."""

    cpu: int
    memory: int

    def __add__(self, other: object) -> Demand:
        assert isinstance(other, Demand)  # noqa: S101  for the type checker: tuple's + takes any tuple
        return Demand(self.cpu + other.cpu, self.memory + other.memory)

    def __sub__(self, other: Demand) -> Demand:
        return Demand(self.cpu - other.cpu, self.memory - other.memory)


class Placed(NamedTuple):
    node: str


class Unschedulable(NamedTuple):
    """No node fits; `message` says for each kind of reason how many nodes, and what is missing by how much."""

    message: str


def place(
    vmi: VirtualMachineInstance,
    nodes: Iterable[Node],
    taken: Mapping[str, Demand],
    neighbours: Neighbours = ALONE,
    *,
    by_room: bool = False,
) -> Placed | Unschedulable:
    """The node for `vmi`; `taken` is what other VMIs take of each node already (`taken_by` counts it).

    `neighbours` are asked only for VMIs that affinities or spread constraints speak of. `by_room`: the nodes come with
    the most free memory first, and by name where that is the same; then the first that fits a VMI without wishes is it.
    """
    wanted = demand(vmi)
    if by_room and not _has_wishes(vmi):
        return _first_fit(vmi, nodes, taken, neighbours, wanted)
    candidates = sorted(nodes, key=lambda node: node.metadata.name)
    around = Neighbourhood(vmi, candidates, neighbours)
    fitting: list[tuple[int, int, str]] = []
    refused: list[str] = []
    for node in candidates:
        used = taken.get(node.metadata.name, Demand(0, 0))
        reasons = [*refusals(vmi, node), *around.refusals(node), *_lacks(node, wanted, used)]
        if reasons:
            refused.append(", ".join(reasons))
        else:
            free = allocatable(node).memory - used.memory
            liking = preference(vmi, node) + around.preference(node)
            fitting.append((-liking, -free, node.metadata.name))
    if fitting:
        return Placed(min(fitting)[2])
    return Unschedulable(_explain(refused))


def _first_fit(
    vmi: VirtualMachineInstance,
    nodes: Iterable[Node],
    taken: Mapping[str, Demand],
    neighbours: Neighbours,
    wanted: Demand,
) -> Placed | Unschedulable:
    """Looks no further than it has to; only others' anti-affinity makes it look at every node before."""
    around = None
    if any(True for _ in neighbours.repelling()):
        nodes = list(nodes)
        around = Neighbourhood(vmi, nodes, neighbours)
    refused: list[str] = []
    for node in nodes:
        others = around.refusals(node) if around is not None else ()
        used = taken.get(node.metadata.name, Demand(0, 0))
        reasons = [*refusals(vmi, node), *others, *_lacks(node, wanted, used)]
        if not reasons:
            return Placed(node.metadata.name)
        refused.append(", ".join(reasons))
    return Unschedulable(_explain(refused))


def demand(vmi: VirtualMachineInstance) -> Demand:
    """What `vmi` asks for: its requests if it has any, else its guest's size; plus what QEMU needs beside the guest."""
    requests = vmi.spec.domain.resources.requests
    vcpus = _vcpus(vmi)
    memory = vmi.spec.domain.memory
    guest = _quantity(memory.guest if memory else None, _whole_bytes)
    asked = _quantity(requests.get("memory"), _whole_bytes) or guest
    graphics = vmi.spec.domain.devices.autoattach_graphics_device is not False
    overhead = (
        QEMU_OVERHEAD + VCPU_OVERHEAD * vcpus + (guest or asked) // PAGE_TABLE_SHARE + GRAPHICS_OVERHEAD * graphics
    )
    dedicated = vmi.spec.domain.cpu is not None and vmi.spec.domain.cpu.dedicated_cpu_placement
    default = vcpus * 1000 if dedicated else vcpus * 1000 // CPU_ALLOCATION_RATIO
    cpu = _quantity(requests.get("cpu"), _millis)
    return Demand(cpu or default, asked + overhead)


def _vcpus(vmi: VirtualMachineInstance) -> int:
    cpu = vmi.spec.domain.cpu
    if cpu is None:
        return 1
    return max(1, (cpu.sockets or 1) * (cpu.cores or 1) * (cpu.threads or 1))


@lru_cache(maxsize=QUANTITIES)
def _millis(value: str | int | float) -> int:
    return int(parse(value) * Decimal(1000))


_whole_bytes = lru_cache(maxsize=QUANTITIES)(to_bytes)


def _quantity(value: str | int | float | None, read: Callable[[str | int | float], int]) -> int:
    """0 for what is absent or unreadable; admission has refused the latter."""
    if value is None:
        return 0
    try:
        return read(value)
    except QuantityError:
        return 0


def taken_by(vmis: Iterable[VirtualMachineInstance]) -> dict[str, Demand]:
    """What VMIs take of each node: those that have one and are not final."""
    taken: dict[str, Demand] = {}
    for vmi in vmis:
        if (node := vmi.status.node_name) and not is_final(vmi):
            taken[node] = taken.get(node, Demand(0, 0)) + demand(vmi)
    return taken


def _has_wishes(vmi: VirtualMachineInstance) -> bool:
    affinity = vmi.spec.affinity.node_affinity if vmi.spec.affinity else None
    return looks_around(vmi) or bool(affinity and affinity.preferred_during_scheduling_ignored_during_execution)


def allocatable(node: Node) -> Demand:
    """What a node has for VMIs."""
    resources = node.status.allocatable
    return Demand(_quantity(resources.get("cpu"), _millis), _quantity(resources.get("memory"), _whole_bytes))


def _lacks(node: Node, wanted: Demand, used: Demand) -> Iterator[str]:
    size = allocatable(node)
    missing = wanted.memory - (size.memory - used.memory)
    if missing > 0:
        yield (
            f"{_bytes(missing)} memory missing (needs {_bytes(wanted.memory)}, "
            f"{_bytes(max(0, size.memory - used.memory))} of {_bytes(size.memory)} free)"
        )
    missing = wanted.cpu - (size.cpu - used.cpu)
    if missing > 0:
        yield f"{missing}m cpu missing (needs {wanted.cpu}m, {max(0, size.cpu - used.cpu)}m of {size.cpu}m free)"


def _bytes(count: int) -> str:
    return f"{-(-count // MIB)}Mi"


def _explain(refusals: list[str]) -> str:
    if not refusals:
        return "no node is known: is virt-handler running?"
    counts = Counter(refusals)
    kinds = sorted(counts.items(), key=lambda kind: (-kind[1], kind[0]))
    counted = "; ".join(f"{count} {text}" for text, count in kinds)
    return f"0/{len(refusals)} nodes are available: {counted}."
