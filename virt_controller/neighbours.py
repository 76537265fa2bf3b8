"""Placement by who is where already: affinity and anti-affinity between VMIs, and spread over topology domains.

The rules are Kubernetes' for pods, with the VMI's labels, which its pod would carry. Namespaces are known by their name
only: a namespaceSelector sees the label `kubernetes.io/metadata.name` of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from virt_controller.node_rules import selector_refusals, taint_refusals
from virt_controller.objects import Node
from virt_types.k8s.scheduling import PodAffinityTerm, TopologySpreadConstraint, WeightedPodAffinityTerm
from virt_types.meta import LabelSelector
from virt_types.selectors import EVERYTHING, Requirement, Selector, SelectorError, from_struct
from virt_types.v1 import VirtualMachineInstance

NAMESPACE_NAME = "kubernetes.io/metadata.name"
SPREAD_WEIGHT = 10  # of a constraint that is only a wish, per VMI too many

Vmis = Iterable[VirtualMachineInstance]


class Neighbours(NamedTuple):
    """The VMIs that have a node: all of them, and those whose anti-affinity may refuse others."""

    placed: Callable[[], Vmis]
    repelling: Callable[[], Vmis]


ALONE = Neighbours(tuple, tuple)


class Neighbourhood:
    """What a VMI's neighbours mean for each node; computed once for one placement."""

    def __init__(self, vmi: VirtualMachineInstance, nodes: Sequence[Node], neighbours: Neighbours) -> None:
        self._vmi = vmi
        self._nodes = {node.metadata.name: node for node in nodes}
        rules = _rules_of(vmi)
        placed = [each for each in neighbours.placed() if each.status.node_name in self._nodes] if rules else []
        self._near = [_Nearness(vmi, term, placed, self._nodes) for term in rules.near]
        self._apart = [_Nearness(vmi, term, placed, self._nodes) for term in rules.apart]
        self._wishes = [
            (sign * wish.weight, _Nearness(vmi, wish.pod_affinity_term, placed, self._nodes))
            for sign, wishes in ((1, rules.near_wishes), (-1, rules.apart_wishes))
            for wish in wishes
        ]
        self._spreads = [_Spread(vmi, constraint, placed, nodes) for constraint in rules.spreads]
        self._repelled = _repelled_from(vmi, neighbours.repelling(), self._nodes)

    def refusals(self, node: Node) -> Iterator[str]:
        """Each rule about neighbours that keeps the VMI off the node."""
        for term in self._near:
            yield from term.too_far(node)
        for term in self._apart:
            yield from term.too_close(node)
        for key, value, name in self._repelled:
            if node.metadata.labels.get(key) == value:
                yield f"anti-affinity of VMI {name} (same {key})"
        for spread in self._spreads:
            yield from spread.refusals(node)

    def preference(self, node: Node) -> int:
        """How much the wishes about neighbours speak for the node."""
        wishes = sum(weight for weight, term in self._wishes if term.count(node))
        return wishes - sum(SPREAD_WEIGHT * spread.excess(node) for spread in self._spreads if not spread.hard)


class _Rules(NamedTuple):
    near: list[PodAffinityTerm]
    apart: list[PodAffinityTerm]
    near_wishes: list[WeightedPodAffinityTerm]
    apart_wishes: list[WeightedPodAffinityTerm]
    spreads: list[TopologySpreadConstraint]

    def __bool__(self) -> bool:
        return any(len(each) > 0 for each in self)


def _rules_of(vmi: VirtualMachineInstance) -> _Rules:
    affinity = vmi.spec.affinity
    near = affinity.pod_affinity if affinity else None
    apart = affinity.pod_anti_affinity if affinity else None
    return _Rules(
        near.required_during_scheduling_ignored_during_execution if near else [],
        apart.required_during_scheduling_ignored_during_execution if apart else [],
        near.preferred_during_scheduling_ignored_during_execution if near else [],
        apart.preferred_during_scheduling_ignored_during_execution if apart else [],
        vmi.spec.topology_spread_constraints,
    )


def looks_around(vmi: VirtualMachineInstance) -> bool:
    """Whether where the VMI may go depends on where others are."""
    return bool(_rules_of(vmi))


def repels(vmi: VirtualMachineInstance) -> bool:
    """Whether the VMI's required anti-affinity may keep others away."""
    return bool(_rules_of(vmi).apart)


class _Nearness:
    """One affinity term: the VMIs it means, counted by topology domain."""

    def __init__(
        self, vmi: VirtualMachineInstance, term: PodAffinityTerm, placed: Vmis, nodes: dict[str, Node]
    ) -> None:
        self._key = term.topology_key
        self._selector = _selector(term.label_selector, term.match_label_keys, vmi, term.mismatch_label_keys)
        meant = [each for each in placed if _means(term, self._selector, vmi, each)]
        domains = (nodes[each.status.node_name or ""].metadata.labels.get(self._key) for each in meant)
        self._counts = Counter(domain for domain in domains if domain is not None)
        self._is_first = not self._counts and _means(term, self._selector, vmi, vmi)

    def count(self, node: Node) -> int:
        domain = node.metadata.labels.get(self._key)
        return self._counts[domain] if domain is not None else 0

    def too_far(self, node: Node) -> Iterator[str]:
        """Why the node is not near enough. The first of a group that wants to be together may go anywhere."""
        if self._key not in node.metadata.labels:
            yield f"pod affinity: the node has no label {self._key}"
        elif not self.count(node) and not self._is_first:
            yield f"pod affinity: no VMI with {self._words} in the same {self._key}"

    def too_close(self, node: Node) -> Iterator[str]:
        count = self.count(node)
        if count:
            yield f"pod anti-affinity: {count} VMI with {self._words} in the same {self._key}"

    @property
    def _words(self) -> str:
        return str(self._selector) or "any labels"


class _Spread:
    """One topology spread constraint: how full each domain is."""

    def __init__(
        self, vmi: VirtualMachineInstance, constraint: TopologySpreadConstraint, placed: Vmis, nodes: Sequence[Node]
    ) -> None:
        self.hard = constraint.when_unsatisfiable != "ScheduleAnyway"
        self._limit = constraint.max_skew
        self._key = constraint.topology_key
        selector = _selector(constraint.label_selector, constraint.match_label_keys, vmi)
        domains = {
            node.metadata.name: node.metadata.labels[self._key]
            for node in nodes
            if self._key in node.metadata.labels and _is_eligible(vmi, constraint, node)
        }
        self._counts = Counter(dict.fromkeys(domains.values(), 0))
        self._counts.update(
            domains[each.status.node_name or ""]
            for each in placed
            if each.status.node_name in domains and _is_like(selector, vmi.metadata.namespace, each)
        )
        self._own = 1 if selector is not None and selector.matches(vmi.metadata.labels) else 0
        enough = len(self._counts) >= (constraint.min_domains or 1)
        self._least = min(self._counts.values(), default=0) if enough else 0

    def excess(self, node: Node) -> int:
        """By how many VMIs the node's domain would be fuller than allowed."""
        domain = node.metadata.labels.get(self._key, "")
        return max(0, self._counts.get(domain, 0) + self._own - self._least - self._limit)

    def refusals(self, node: Node) -> Iterator[str]:
        if not self.hard:
            return
        domain = node.metadata.labels.get(self._key)
        if domain is None:
            yield f"topology spread: the node has no label {self._key}"
        elif self.excess(node):
            skew = self._limit + self.excess(node)
            yield f"topology spread: skew {skew} in {self._key}={domain}, at most {self._limit} allowed"


def _is_eligible(vmi: VirtualMachineInstance, constraint: TopologySpreadConstraint, node: Node) -> bool:
    """Whether the node's domain counts: by default the VMI's own selectors are honoured, and taints ignored."""
    if constraint.node_taints_policy == "Honor" and any(taint_refusals(vmi, node)):
        return False
    return constraint.node_affinity_policy == "Ignore" or not any(selector_refusals(vmi, node))


def _repelled_from(vmi: VirtualMachineInstance, repelling: Vmis, nodes: dict[str, Node]) -> list[tuple[str, str, str]]:
    """Topology key, domain and name of each VMI whose anti-affinity means this one."""
    found = []
    for each in repelling:
        host = nodes.get(each.status.node_name or "")
        for term in _rules_of(each).apart if host is not None else ():
            selector = _selector(term.label_selector, term.match_label_keys, each, term.mismatch_label_keys)
            domain = host.metadata.labels.get(term.topology_key) if host is not None else None
            if domain is not None and _means(term, selector, each, vmi):
                found.append((term.topology_key, domain, f"{each.metadata.namespace}/{each.metadata.name}"))
    return found


def _means(
    term: PodAffinityTerm, selector: Selector | None, owner: VirtualMachineInstance, other: VirtualMachineInstance
) -> bool:
    """Whether `owner`'s term speaks of `other`."""
    namespace = other.metadata.namespace
    here = namespace in term.namespaces or (
        term.namespace_selector is not None and _namespaces(term.namespace_selector, namespace)
    )
    if not term.namespaces and term.namespace_selector is None:
        here = namespace == owner.metadata.namespace
    return here and selector is not None and selector.matches(other.metadata.labels)


def _namespaces(selector: LabelSelector, namespace: str) -> bool:
    try:
        return from_struct(selector).matches({NAMESPACE_NAME: namespace})
    except SelectorError:
        return False


def _is_like(selector: Selector | None, namespace: str, other: VirtualMachineInstance) -> bool:
    same = other.metadata.namespace == namespace and not other.metadata.deletion_timestamp
    return same and selector is not None and selector.matches(other.metadata.labels)


def _selector(
    wanted: LabelSelector | None, same: Sequence[str], vmi: VirtualMachineInstance, other: Sequence[str] = ()
) -> Selector | None:
    """The labels a rule means; None, which matches nothing, for a rule without selector or one that can't be read."""
    if wanted is None:
        return None
    try:
        found = from_struct(wanted) if wanted.match_labels or wanted.match_expressions else EVERYTHING
    except SelectorError:
        return None
    own = vmi.metadata.labels
    extra = [Requirement(key, "in", (own[key],)) for key in same if key in own]
    extra += [Requirement(key, "notin", (own[key],)) for key in other if key in own]
    return Selector((*found.requirements, *extra))
