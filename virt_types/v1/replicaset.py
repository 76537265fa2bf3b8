"""VirtualMachineInstanceReplicaSet: a number of interchangeable guests.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Int32, LabelSelector, ObjectMeta, Time
from virt_types.v1.instance import VirtualMachineInstanceTemplateSpec


class VirtualMachineInstanceReplicaSetCondition(Base, kw_only=True):
    """One aspect of a replica set's state."""

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


class VirtualMachineInstanceReplicaSetSpec(Base, kw_only=True):
    """How many guests, and what they look like."""

    paused: bool | None = None
    """While true, nothing is created or deleted; default false."""
    replicas: Int32 | None = None
    """How many guests; default 1."""
    selector: LabelSelector = field(default_factory=LabelSelector)
    """Matches the template's labels."""
    template: VirtualMachineInstanceTemplateSpec = field(default_factory=VirtualMachineInstanceTemplateSpec)


class VirtualMachineInstanceReplicaSetStatus(Base, kw_only=True):
    """How many guests there are."""

    conditions: list[VirtualMachineInstanceReplicaSetCondition] = field(default_factory=list)
    """ReplicaPaused and ReplicaFailure, each with a reason and a message."""
    label_selector: str | None = None
    """The selector as a text, for autoscalers."""
    ready_replicas: Int32 | None = None
    """How many guests are ready."""
    replicas: Int32 | None = None
    """How many guests there are that have not ended."""


class VirtualMachineInstanceReplicaSet(Base, kw_only=True):
    """A number of interchangeable guests."""

    api_version: str | None = None
    """The API's group and version, such as kubevirt.io/v1."""
    kind: str | None = None
    """The kind of object."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachineInstanceReplicaSetSpec = field(default_factory=VirtualMachineInstanceReplicaSetSpec)
    status: VirtualMachineInstanceReplicaSetStatus = field(default_factory=VirtualMachineInstanceReplicaSetStatus)
