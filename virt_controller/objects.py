"""The built-in kinds the controllers read, with the few fields they need of them."""

from __future__ import annotations

from msgspec import Raw, field

from virt_types.meta import Base, ObjectMeta, Quantity


class Taint(Base, kw_only=True):
    key: str
    effect: str
    value: str = ""
    time_added: str | None = None


class NodeSpec(Base, kw_only=True):
    taints: list[Taint] = field(default_factory=list)
    unschedulable: bool = False


class NodeStatus(Base, kw_only=True):
    allocatable: dict[str, Quantity] = field(default_factory=dict)


class Node(Base, kw_only=True):
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: NodeSpec = field(default_factory=NodeSpec)
    status: NodeStatus = field(default_factory=NodeStatus)


class PersistentVolumeClaimStatus(Base, kw_only=True):
    phase: str | None = None


class PersistentVolumeClaim(Base, kw_only=True):
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    status: PersistentVolumeClaimStatus = field(default_factory=PersistentVolumeClaimStatus)


class ControllerRevision(Base, kw_only=True):
    """`data` is JSON as stored; see `virt_controller.revisions`."""

    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    data: Raw = field(default_factory=lambda: Raw(b"null"))
    revision: int = 0
