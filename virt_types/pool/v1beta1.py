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


class VirtualMachinePoolAutohealingStrategy(Base, kw_only=True):
    """When a machine that does not start is made anew."""

    min_failing_to_start_duration: str | None = None
    start_up_failure_threshold: Int64 | None = None


class VirtualMachinePoolCondition(Base, kw_only=True):
    """One aspect of a pool's state."""

    status: str = field(default_factory=str)
    last_probe_time: Time | None = None
    last_transition_time: Time | None = None
    message: str | None = None
    reason: str | None = None
    type: str = field(default_factory=str)


class VirtualMachinePoolNameGeneration(Base, kw_only=True):
    """Whether ConfigMaps and Secrets get the machine's number too."""

    append_index_to_config_map_refs: bool | None = None
    append_index_to_secret_refs: bool | None = None


class VirtualMachinePoolSelectors(Base, kw_only=True):
    """Only these machines are chosen."""

    label_selector: LabelSelector | None = None
    node_selector_requirement_matcher: list[NodeSelectorRequirement] = field(default_factory=list)


class VirtualMachinePoolSelectionPolicy(Base, kw_only=True):
    """Which machines are chosen first."""

    selectors: VirtualMachinePoolSelectors | None = None
    sort_policy: str | None = None


class VirtualMachinePoolOpportunisticScaleInStrategy(Base, kw_only=True):
    """Somebody else deletes; the pool keeps what is to stay."""

    state_preservation: str | None = None


class VirtualMachinePoolProactiveScaleInStrategy(Base, kw_only=True):
    """The pool chooses and deletes."""

    selection_policy: VirtualMachinePoolSelectionPolicy | None = None
    state_preservation: str | None = None


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
    name_generation: VirtualMachinePoolNameGeneration | None = None
    paused: bool | None = None
    replicas: Int32 | None = None
    scale_in_strategy: VirtualMachinePoolScaleInStrategy | None = None
    selector: LabelSelector = field(default_factory=LabelSelector)
    update_strategy: VirtualMachinePoolUpdateStrategy | None = None
    virtual_machine_template: VirtualMachineTemplateSpec = field(default_factory=VirtualMachineTemplateSpec)


class VirtualMachinePoolStatus(Base, kw_only=True):
    """How many machines there are."""

    conditions: list[VirtualMachinePoolCondition] = field(default_factory=list)
    label_selector: str | None = None
    ready_replicas: Int32 | None = None
    replicas: Int32 | None = None


class VirtualMachinePool(Base, kw_only=True):
    """A number of machines NAME-0, NAME-1, ... with disks of their own."""

    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachinePoolSpec = field(default_factory=VirtualMachinePoolSpec)
    status: VirtualMachinePoolStatus = field(default_factory=VirtualMachinePoolStatus)
