"""Whether a node takes a VMI for what the node is: cordon, selector, node affinity, taints. What does not fit is named.

Used by `placement`, and by `nodes` for guests that a taint drives out.
"""

from __future__ import annotations

from collections.abc import Iterator

from virt_controller.objects import Node, Taint
from virt_types import labels
from virt_types.k8s.scheduling import NodeSelectorRequirement, NodeSelectorTerm, Toleration
from virt_types.v1 import VirtualMachineInstance

NO_EXECUTE = "NoExecute"
BLOCKING_EFFECTS = ("NoSchedule", NO_EXECUTE)


def refusals(vmi: VirtualMachineInstance, node: Node) -> Iterator[str]:
    """Each rule of the node or the VMI that keeps them apart."""
    closed = _closed(node)
    if closed:
        yield closed
    yield from selector_refusals(vmi, node)
    yield from taint_refusals(vmi, node)


def selector_refusals(vmi: VirtualMachineInstance, node: Node) -> Iterator[str]:
    """What the VMI's own nodeSelector and required node affinity say against the node."""
    for key, value in sorted(vmi.spec.node_selector.items()):
        if node.metadata.labels.get(key) != value:
            yield f"nodeSelector {key}={value} not matched"
    if not _affine(vmi, node):
        yield "required node affinity not matched"


def taint_refusals(vmi: VirtualMachineInstance, node: Node) -> Iterator[str]:
    for taint in node.spec.taints:
        if taint.effect in BLOCKING_EFFECTS and not any(_tolerates(each, taint) for each in vmi.spec.tolerations):
            yield f"taint {name_of(taint)} not tolerated"


def name_of(taint: Taint) -> str:
    return f"{taint.key}{'=' + taint.value if taint.value else ''}:{taint.effect}"


def tolerated_for(vmi: VirtualMachineInstance, taint: Taint) -> float | None:
    """Seconds a guest may stay on a node with the taint: None for ever, 0 when it is not tolerated at all."""
    spans = [each.toleration_seconds for each in vmi.spec.tolerations if _tolerates(each, taint)]
    if not spans:
        return 0.0
    limited = [max(0, span) for span in spans if span is not None]
    return float(min(limited)) if limited else None


def _closed(node: Node) -> str:
    if node.metadata.deletion_timestamp:
        return "being deleted"
    if node.spec.unschedulable:
        return "cordoned"
    schedulable = node.metadata.labels.get(labels.NODE_SCHEDULABLE)
    if schedulable != "true":
        return "virt-handler not ready" if schedulable is None else f"{labels.NODE_SCHEDULABLE}={schedulable}"
    return ""


def _affine(vmi: VirtualMachineInstance, node: Node) -> bool:
    affinity = vmi.spec.affinity and vmi.spec.affinity.node_affinity
    required = affinity and affinity.required_during_scheduling_ignored_during_execution
    if not required:
        return True
    return any(_matches(term, node) for term in required.node_selector_terms)


def preference(vmi: VirtualMachineInstance, node: Node) -> int:
    """The weight of the preferred node affinities the node meets."""
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
