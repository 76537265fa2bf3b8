"""VirtualMachineInstanceMigration: the wish to move one guest to another node, and what became of it.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, ObjectMeta, Time
from virt_types.v1.migration import VirtualMachineInstanceMigrationState


class VirtualMachineInstanceMigrationCondition(Base, kw_only=True):
    """One aspect of the move."""

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


class VirtualMachineInstanceMigrationPhaseTransitionTimestamp(Base, kw_only=True):
    """When a phase began."""

    phase: str | None = None
    """The phase."""
    phase_transition_timestamp: Time | None = None
    """When it began."""


class VirtualMachineInstanceMigrationSource(Base, kw_only=True):
    """Where a guest goes that leaves the cluster."""

    connect_url: str = field(default_factory=str, name="connectURL")
    """Where the other cluster listens."""
    migration_id: str = field(default_factory=str, name="migrationID")
    """A name for the move that both clusters use."""


class VirtualMachineInstanceMigrationTarget(Base, kw_only=True):
    """Which guest is expected from another cluster."""

    migration_id: str = field(default_factory=str, name="migrationID")
    """A name for the move that both clusters use."""


class VirtualMachineInstanceMigrationSpec(Base, kw_only=True):
    """Which guest moves."""

    added_node_selector: dict[str, str] = field(default_factory=dict)
    """Labels the target needs beyond those the guest asks for."""
    priority: str | None = None
    """system-critical, user-triggered or system-maintenance."""
    receive: VirtualMachineInstanceMigrationTarget | None = None
    """The guest comes from another cluster."""
    send_to: VirtualMachineInstanceMigrationSource | None = None
    """The guest leaves for another cluster."""
    vmi_name: str | None = None
    """The instance, in the same namespace."""


class VirtualMachineInstanceMigrationStatus(Base, kw_only=True):
    """How far the move is."""

    conditions: list[VirtualMachineInstanceMigrationCondition] = field(default_factory=list)
    """What else is known, each with a reason and a message."""
    migration_state: VirtualMachineInstanceMigrationState | None = None
    phase: str | None = None
    """Pending, Scheduling, Running, Succeeded, Failed and steps between."""
    phase_transition_timestamps: list[VirtualMachineInstanceMigrationPhaseTransitionTimestamp] = field(
        default_factory=list
    )
    """When each phase began."""
    synchronization_addresses: list[str] = field(default_factory=list)
    """Where the other cluster can connect, host and port; the first one is used."""


class VirtualMachineInstanceMigration(Base, kw_only=True):
    """The wish to move one guest to another node, and what became of it."""

    api_version: str | None = None
    """The API's group and version, such as kubevirt.io/v1."""
    kind: str | None = None
    """The kind of object."""
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachineInstanceMigrationSpec = field(default_factory=VirtualMachineInstanceMigrationSpec)
    """Which guest moves; fixed once it is created."""
    status: VirtualMachineInstanceMigrationStatus = field(default_factory=VirtualMachineInstanceMigrationStatus)
