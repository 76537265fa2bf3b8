"""Where a pod may run: affinity, tolerations, topology spread.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Int32, Int64, LabelSelector


class NodeSelectorRequirement(Base, kw_only=True):
    """A label, an operator, and values."""

    key: str = field(default_factory=str)
    operator: str = field(default_factory=str)
    values: list[str] = field(default_factory=list)


class NodeSelectorTerm(Base, kw_only=True):
    """Requirements that must all hold."""

    match_expressions: list[NodeSelectorRequirement] = field(default_factory=list)
    match_fields: list[NodeSelectorRequirement] = field(default_factory=list)


class NodeSelector(Base, kw_only=True):
    """Node terms of which one must hold."""

    node_selector_terms: list[NodeSelectorTerm]


class PreferredSchedulingTerm(Base, kw_only=True):
    """A node term and its weight."""

    preference: NodeSelectorTerm = field(default_factory=NodeSelectorTerm)
    weight: Int32 = field(default_factory=int)


class NodeAffinity(Base, kw_only=True):
    """Which nodes are wanted."""

    preferred_during_scheduling_ignored_during_execution: list[PreferredSchedulingTerm] = field(default_factory=list)
    required_during_scheduling_ignored_during_execution: NodeSelector | None = None


class PodAffinityTerm(Base, kw_only=True):
    """Neighbours, and what counts as near."""

    label_selector: LabelSelector | None = None
    match_label_keys: list[str] = field(default_factory=list)
    mismatch_label_keys: list[str] = field(default_factory=list)
    namespace_selector: LabelSelector | None = None
    namespaces: list[str] = field(default_factory=list)
    topology_key: str = field(default_factory=str)


class WeightedPodAffinityTerm(Base, kw_only=True):
    """A neighbour term and its weight."""

    pod_affinity_term: PodAffinityTerm = field(default_factory=PodAffinityTerm)
    weight: Int32 = field(default_factory=int)


class PodAffinity(Base, kw_only=True):
    """Which neighbours are wanted."""

    preferred_during_scheduling_ignored_during_execution: list[WeightedPodAffinityTerm] = field(default_factory=list)
    required_during_scheduling_ignored_during_execution: list[PodAffinityTerm] = field(default_factory=list)


class PodAntiAffinity(Base, kw_only=True):
    """Which neighbours are not wanted."""

    preferred_during_scheduling_ignored_during_execution: list[WeightedPodAffinityTerm] = field(default_factory=list)
    required_during_scheduling_ignored_during_execution: list[PodAffinityTerm] = field(default_factory=list)


class Affinity(Base, kw_only=True):
    """Preferences and demands about nodes and neighbours."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAntiAffinity | None = None


class Toleration(Base, kw_only=True):
    """A taint of nodes that does not matter."""

    effect: str | None = None
    key: str | None = None
    operator: str | None = None
    toleration_seconds: Int64 | None = None
    value: str | None = None


class TopologySpreadConstraint(Base, kw_only=True):
    """How evenly guests are spread."""

    label_selector: LabelSelector | None = None
    match_label_keys: list[str] = field(default_factory=list)
    max_skew: Int32 = field(default_factory=int)
    min_domains: Int32 | None = None
    node_affinity_policy: str | None = None
    node_taints_policy: str | None = None
    topology_key: str = field(default_factory=str)
    when_unsatisfiable: str = field(default_factory=str)
