"""Which node a VMI runs on: one pure function, used when a VM's instance is created and for those that wait.

Selectors, required affinity, taints and capacity are hard; among the nodes that fit, preferred affinity and then free
memory choose. What does not fit is said in words and numbers. Pod rules and topology spread are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from virt_controller.objects import Node, Taint
from virt_controller.phase import is_final
from virt_types import labels
from virt_types.k8s.scheduling import NodeSelectorRequirement, NodeSelectorTerm, Toleration
from virt_types.quantity import QuantityError, parse, to_bytes
from virt_types.v1 import VirtualMachineInstance

CPU_ALLOCATION_RATIO = 10  # vCPUs per host CPU when nothing is requested (spec 3.5)
MIB = 1 << 20
QEMU_OVERHEAD = 50 * MIB
VCPU_OVERHEAD = 8 * MIB
GRAPHICS_OVERHEAD = 32 * MIB
PAGE_TABLE_SHARE = 512
BLOCKING_EFFECTS = ("NoSchedule", "NoExecute")


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


def place(vmi: VirtualMachineInstance, nodes: Iterable[Node], taken: Mapping[str, Demand]) -> Placed | Unschedulable:
    """The node for `vmi`; `taken` is what other VMIs take of each node already (`taken_by` counts it)."""
    candidates = sorted(nodes, key=lambda node: node.metadata.name)
    wanted = demand(vmi)
    fitting: list[tuple[int, int, str]] = []
    refusals: list[str] = []
    for node in candidates:
        used = taken.get(node.metadata.name, Demand(0, 0))
        refusal = _refusal(vmi, node, wanted, used)
        if refusal:
            refusals.append(refusal)
        else:
            free = _allocatable(node).memory - used.memory
            fitting.append((-_preference(vmi, node), -free, node.metadata.name))
    if fitting:
        return Placed(min(fitting)[2])
    return Unschedulable(_explain(len(candidates), refusals))


def demand(vmi: VirtualMachineInstance) -> Demand:
    """What `vmi` asks for: its requests if it has any, else its guest's size; plus what QEMU needs beside the guest."""
    requests = vmi.spec.domain.resources.requests
    vcpus = _vcpus(vmi)
    memory = vmi.spec.domain.memory
    guest = _quantity(memory.guest if memory else None, to_bytes)
    asked = _quantity(requests.get("memory"), to_bytes) or guest
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


def _millis(value: str | int | float) -> int:
    return int(parse(value) * Decimal(1000))


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


def _allocatable(node: Node) -> Demand:
    resources = node.status.allocatable
    return Demand(_quantity(resources.get("cpu"), _millis), _quantity(resources.get("memory"), to_bytes))


def _refusal(vmi: VirtualMachineInstance, node: Node, wanted: Demand, used: Demand) -> str:
    """Why the node can't take the VMI; empty when it can."""
    return _closed(node) or _repelled(vmi, node) or _lack(node, wanted, used)


def _closed(node: Node) -> str:
    if node.metadata.deletion_timestamp:
        return "being deleted"
    if node.spec.unschedulable:
        return "cordoned"
    schedulable = node.metadata.labels.get(labels.NODE_SCHEDULABLE)
    if schedulable != "true":
        return "virt-handler not ready" if schedulable is None else f"{labels.NODE_SCHEDULABLE}={schedulable}"
    return ""


def _repelled(vmi: VirtualMachineInstance, node: Node) -> str:
    for key, value in sorted(vmi.spec.node_selector.items()):
        if node.metadata.labels.get(key) != value:
            return f"nodeSelector {key}={value} not matched"
    if not _affine(vmi, node):
        return "required node affinity not matched"
    for taint in node.spec.taints:
        if taint.effect in BLOCKING_EFFECTS and not any(_tolerates(each, taint) for each in vmi.spec.tolerations):
            return f"taint {taint.key}{'=' + taint.value if taint.value else ''}:{taint.effect} not tolerated"
    return ""


def _lack(node: Node, wanted: Demand, used: Demand) -> str:
    size = _allocatable(node)
    lacks = []
    missing = wanted.memory - (size.memory - used.memory)
    if missing > 0:
        lacks.append(
            f"{_bytes(missing)} memory missing (needs {_bytes(wanted.memory)}, "
            f"{_bytes(max(0, size.memory - used.memory))} of {_bytes(size.memory)} free)"
        )
    missing = wanted.cpu - (size.cpu - used.cpu)
    if missing > 0:
        lacks.append(
            f"{missing}m cpu missing (needs {wanted.cpu}m, {max(0, size.cpu - used.cpu)}m of {size.cpu}m free)"
        )
    return ", ".join(lacks)


def _bytes(count: int) -> str:
    return f"{-(-count // MIB)}Mi"


def _explain(total: int, refusals: list[str]) -> str:
    if not total:
        return "no node is known: is virt-handler running?"
    kinds = sorted(set(refusals), key=lambda text: (-refusals.count(text), text))
    counted = "; ".join(f"{refusals.count(text)} {text}" for text in kinds)
    return f"0/{total} nodes are available: {counted}."


def _affine(vmi: VirtualMachineInstance, node: Node) -> bool:
    affinity = vmi.spec.affinity and vmi.spec.affinity.node_affinity
    required = affinity and affinity.required_during_scheduling_ignored_during_execution
    if not required:
        return True
    return any(_matches(term, node) for term in required.node_selector_terms)


def _preference(vmi: VirtualMachineInstance, node: Node) -> int:
    affinity = vmi.spec.affinity and vmi.spec.affinity.node_affinity
    preferred = affinity.preferred_during_scheduling_ignored_during_execution if affinity else []
    return sum(term.weight for term in preferred if _matches(term.preference, node))


def _matches(term: NodeSelectorTerm, node: Node) -> bool:
    """All requirements hold; an empty term matches nothing, as in Kubernetes."""
    if not term.match_expressions and not term.match_fields:
        return False
    fields = {"metadata.name": node.metadata.name}
    return all(_holds(each, node.metadata.labels) for each in term.match_expressions) and all(
        _holds(each, fields) for each in term.match_fields
    )


def _holds(requirement: NodeSelectorRequirement, values: dict[str, str]) -> bool:
    actual = values.get(requirement.key)
    match requirement.operator:
        case "In":
            return actual in requirement.values
        case "NotIn":
            return actual not in requirement.values
        case "Exists":
            return actual is not None
        case "DoesNotExist":
            return actual is None
        case _:
            return _compares(requirement.operator, actual, requirement.values)


def _compares(operator: str, actual: str | None, values: list[str]) -> bool:
    try:
        left, right = int(actual or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return left > right if operator == "Gt" else left < right


def _tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and (toleration.value or "") == taint.value
