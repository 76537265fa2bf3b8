"""VirtualMachinePool: a number of numbered machines (group pool.kubevirt.io).

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.k8s.scheduling import NodeSelectorRequirement
from virt_types.meta import Base, Int32, Int64, IntOrString, LabelSelector, ObjectMeta, Time
from virt_types.v1.machine import VirtualMachineSpec


class VirtualMachineTemplateSpec(Base, kw_only=True):
    """The VirtualMachine that a pool makes many times."""

    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachineSpec = field(default_factory=VirtualMachineSpec)
    """A VirtualMachine's spec: the guest is below template.spec."""


class VirtualMachinePoolAutohealingStrategy(Base, kw_only=True):
    """When a machine that does not start is made anew."""

    min_failing_to_start_duration: str | None = None
    """How long it has been failing; default 5m."""
    start_up_failure_threshold: Int64 | None = None
    """Failed starts in a row; default 3."""


class VirtualMachinePoolCondition(Base, kw_only=True):
    """One aspect of a pool's state."""

    status: str = field(default_factory=str)
    """True, False or Unknown."""
    last_probe_time: Time | None = None
    """When it was last looked at."""
    last_transition_time: Time | None = None
    """When its status last changed."""
    message: str | None = None
    """Why, in a sentence."""
    reason: str | None = None
    """Why, in one word."""
    type: str = field(default_factory=str)
    """What is judged."""


class VirtualMachinePoolNameGeneration(Base, kw_only=True):
    """Whether ConfigMaps and Secrets get the machine's number too."""

    append_index_to_config_map_refs: bool | None = None
    """Machine 3 uses ConfigMap NAME-3 where the template says NAME; default false."""
    append_index_to_secret_refs: bool | None = None
    """Machine 3 uses Secret NAME-3 where the template says NAME; default false."""


class VirtualMachinePoolSelectors(Base, kw_only=True):
    """Only these machines are chosen."""

    label_selector: LabelSelector | None = None
    node_selector_requirement_matcher: list[NodeSelectorRequirement] = field(default_factory=list)
    """Requirements on the nodes the machines are on."""


class VirtualMachinePoolSelectionPolicy(Base, kw_only=True):
    """Which machines are chosen first."""

    selectors: VirtualMachinePoolSelectors | None = None
    sort_policy: str | None = None
    """Random, AscendingOrder, DescendingOrder, Newest or Oldest."""


class VirtualMachinePoolOpportunisticScaleInStrategy(Base, kw_only=True):
    """Somebody else deletes; the pool keeps what is to stay."""

    state_preservation: str | None = None
    """Disabled (default: disks go too), Offline (they stay) or Online."""


class VirtualMachinePoolProactiveScaleInStrategy(Base, kw_only=True):
    """The pool chooses and deletes."""

    selection_policy: VirtualMachinePoolSelectionPolicy | None = None
    state_preservation: str | None = None
    """Disabled (default: disks go too), Offline (they stay) or Online."""


class VirtualMachinePoolUnmanagedStrategy(Base, kw_only=True):
    """The pool does nothing by itself."""


class VirtualMachinePoolScaleInStrategy(Base, kw_only=True):
    """How a pool becomes smaller: exactly one of the three."""

    opportunistic: VirtualMachinePoolOpportunisticScaleInStrategy | None = None
    proactive: VirtualMachinePoolProactiveScaleInStrategy | None = None
    unmanaged: VirtualMachinePoolUnmanagedStrategy | None = None


class VirtualMachineOpportunisticUpdateStrategy(Base, kw_only=True):
    """Machines change when they next start."""


class VirtualMachinePoolProactiveUpdateStrategy(Base, kw_only=True):
    """Machines that run on the old template are restarted."""

    selection_policy: VirtualMachinePoolSelectionPolicy | None = None


class VirtualMachinePoolUpdateStrategy(Base, kw_only=True):
    """How a changed template reaches the machines: exactly one of the three."""

    opportunistic: VirtualMachineOpportunisticUpdateStrategy | None = None
    proactive: VirtualMachinePoolProactiveUpdateStrategy | None = None
    unmanaged: VirtualMachinePoolUnmanagedStrategy | None = None


class VirtualMachinePoolSpec(Base, kw_only=True):
    """How many machines, what they look like, and how changes reach them."""

    autohealing: VirtualMachinePoolAutohealingStrategy | None = None
    max_unavailable: IntOrString | None = None
    """How many machines an update may take away at once: number or percentage."""
    name_generation: VirtualMachinePoolNameGeneration | None = None
    paused: bool | None = None
    """While true, nothing is created, updated or deleted."""
    replicas: Int32 | None = None
    """How many machines; default 1."""
    scale_in_strategy: VirtualMachinePoolScaleInStrategy | None = None
    """Which machines go first, and what stays of them: one of the three."""
    selector: LabelSelector = field(default_factory=LabelSelector)
    """Matches the template's labels; fixed once the pool is created."""
    update_strategy: VirtualMachinePoolUpdateStrategy | None = None
    """How a changed template reaches the machines: one of the three."""
    virtual_machine_template: VirtualMachineTemplateSpec = field(default_factory=VirtualMachineTemplateSpec)
    """The VirtualMachine to make; its guest is at spec.template.spec."""


class VirtualMachinePoolStatus(Base, kw_only=True):
    """How many machines there are."""

    conditions: list[VirtualMachinePoolCondition] = field(default_factory=list)
    """ReplicaPaused and ReplicaFailure, each with a reason and a message."""
    label_selector: str | None = None
    """The selector as a text, for autoscalers."""
    ready_replicas: Int32 | None = None
    """How many machines are ready."""
    replicas: Int32 | None = None
    """How many machines there are."""


class VirtualMachinePool(Base, kw_only=True):
    """A number of machines NAME-0, NAME-1, ... with disks of their own."""

    api_version: str | None = None
    """The API's group and version, such as kubevirt.io/v1."""
    kind: str | None = None
    """The kind of object."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachinePoolSpec = field(default_factory=VirtualMachinePoolSpec)
    """How many machines, what they look like, and how changes reach them."""
    status: VirtualMachinePoolStatus = field(default_factory=VirtualMachinePoolStatus)
