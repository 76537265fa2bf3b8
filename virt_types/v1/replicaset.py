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
    last_probe_time: Time | None = None
    last_transition_time: Time | None = None
    message: str | None = None
    reason: str | None = None
    type: str = field(default_factory=str)


class VirtualMachineInstanceReplicaSetSpec(Base, kw_only=True):
    """How many guests, and what they look like."""

    paused: bool | None = None
    replicas: Int32 | None = None
    selector: LabelSelector = field(default_factory=LabelSelector)
    template: VirtualMachineInstanceTemplateSpec = field(default_factory=VirtualMachineInstanceTemplateSpec)


class VirtualMachineInstanceReplicaSetStatus(Base, kw_only=True):
    """How many guests there are."""

    conditions: list[VirtualMachineInstanceReplicaSetCondition] = field(default_factory=list)
    label_selector: str | None = None
    ready_replicas: Int32 | None = None
    replicas: Int32 | None = None


class VirtualMachineInstanceReplicaSet(Base, kw_only=True):
    """A number of interchangeable guests."""

    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachineInstanceReplicaSetSpec = field(default_factory=VirtualMachineInstanceReplicaSetSpec)
    status: VirtualMachineInstanceReplicaSetStatus = field(default_factory=VirtualMachineInstanceReplicaSetStatus)
