"""Where a pod may run: affinity, tolerations, topology spread.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Int32, Int64, LabelSelector


class NodeSelectorRequirement(Base, kw_only=True):
    """A label, an operator, and values."""

    key: str = field(default_factory=str)
    """The node's label, or the node's field."""
    operator: str = field(default_factory=str)
    """In, NotIn, Exists, DoesNotExist, Gt or Lt."""
    values: list[str] = field(default_factory=list)
    """What the label is compared with: some for In and NotIn, one number for Gt and Lt, else none."""


class NodeSelectorTerm(Base, kw_only=True):
    """Requirements that must all hold."""

    match_expressions: list[NodeSelectorRequirement] = field(default_factory=list)
    """Requirements on the node's labels."""
    match_fields: list[NodeSelectorRequirement] = field(default_factory=list)
    """Requirements on the node's fields; metadata.name is the one there is."""


class NodeSelector(Base, kw_only=True):
    """Node terms of which one must hold."""

    node_selector_terms: list[NodeSelectorTerm]
    """Terms of which one must hold; at least one."""


class PreferredSchedulingTerm(Base, kw_only=True):
    """A node term and its weight."""

    preference: NodeSelectorTerm = field(default_factory=NodeSelectorTerm)
    weight: Int32 = field(default_factory=int)
    """1 to 100: added to a node's score when it fits."""


class NodeAffinity(Base, kw_only=True):
    """Which nodes are wanted."""

    preferred_during_scheduling_ignored_during_execution: list[PreferredSchedulingTerm] = field(default_factory=list)
    """Nodes to be preferred, by weight."""
    required_during_scheduling_ignored_during_execution: NodeSelector | None = None


class PodAffinityTerm(Base, kw_only=True):
    """Neighbours, and what counts as near."""

    label_selector: LabelSelector | None = None
    """The neighbours, by their labels."""
    match_label_keys: list[str] = field(default_factory=list)
    """Labels in which the neighbours must equal the guest."""
    mismatch_label_keys: list[str] = field(default_factory=list)
    """Labels in which the neighbours must differ from the guest."""
    namespace_selector: LabelSelector | None = None
    """Namespaces, by their labels, besides those named."""
    namespaces: list[str] = field(default_factory=list)
    """Where neighbours are looked for; default is the guest's namespace."""
    topology_key: str = field(default_factory=str)
    """Nodes are the same place when they agree in this label, such as kubernetes.io/hostname."""


class WeightedPodAffinityTerm(Base, kw_only=True):
    """A neighbour term and its weight."""

    pod_affinity_term: PodAffinityTerm = field(default_factory=PodAffinityTerm)
    weight: Int32 = field(default_factory=int)
    """1 to 100: added to a node's score when it fits."""


class PodAffinity(Base, kw_only=True):
    """Which neighbours are wanted."""

    preferred_during_scheduling_ignored_during_execution: list[WeightedPodAffinityTerm] = field(default_factory=list)
    """Neighbours to be near to if possible, by weight."""
    required_during_scheduling_ignored_during_execution: list[PodAffinityTerm] = field(default_factory=list)
    """Neighbours to be near to in any case."""


class PodAntiAffinity(Base, kw_only=True):
    """Which neighbours are not wanted."""

    preferred_during_scheduling_ignored_during_execution: list[WeightedPodAffinityTerm] = field(default_factory=list)
    """Neighbours to stay away from if possible, by weight."""
    required_during_scheduling_ignored_during_execution: list[PodAffinityTerm] = field(default_factory=list)
    """Neighbours to stay away from in any case."""


class Affinity(Base, kw_only=True):
    """Preferences and demands about nodes and neighbours."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAntiAffinity | None = None


class Toleration(Base, kw_only=True):
    """A taint of nodes that does not matter."""

    effect: str | None = None
    """NoSchedule, PreferNoSchedule or NoExecute; empty means all of them."""
    key: str | None = None
    """The taint's key; empty, with operator Exists, means every taint."""
    operator: str | None = None
    """Equal (default: key and value) or Exists (any value)."""
    toleration_seconds: Int64 | None = None
    """How long a NoExecute taint is borne; default is for ever."""
    value: str | None = None
    """The taint's value, for operator Equal."""


class TopologySpreadConstraint(Base, kw_only=True):
    """How evenly guests are spread."""

    label_selector: LabelSelector | None = None
    """The guests that are counted, by their labels."""
    match_label_keys: list[str] = field(default_factory=list)
    """Labels in which the counted guests must equal this one."""
    max_skew: Int32 = field(default_factory=int)
    """How many more guests one place may have than the emptiest; at least 1."""
    min_domains: Int32 | None = None
    """How many places there must be at least, for DoNotSchedule; default 1."""
    node_affinity_policy: str | None = None
    """Honor (default: only nodes that fit count) or Ignore."""
    node_taints_policy: str | None = None
    """Honor (only nodes whose taints are tolerated count) or Ignore (default)."""
    topology_key: str = field(default_factory=str)
    """Nodes are the same place when they agree in this label."""
    when_unsatisfiable: str = field(default_factory=str)
    """DoNotSchedule (default) or ScheduleAnyway."""
