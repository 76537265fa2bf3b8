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
    last_probe_time: Time | None = None
    last_transition_time: Time | None = None
    message: str | None = None
    reason: str | None = None
    type: str = field(default_factory=str)


class VirtualMachineInstanceMigrationPhaseTransitionTimestamp(Base, kw_only=True):
    """When a phase began."""

    phase: str | None = None
    phase_transition_timestamp: Time | None = None


class VirtualMachineInstanceMigrationSource(Base, kw_only=True):
    """Where a guest goes that leaves the cluster."""

    connect_url: str = field(default_factory=str, name="connectURL")
    migration_id: str = field(default_factory=str, name="migrationID")


class VirtualMachineInstanceMigrationTarget(Base, kw_only=True):
    """Which guest is expected from another cluster."""

    migration_id: str = field(default_factory=str, name="migrationID")


class VirtualMachineInstanceMigrationSpec(Base, kw_only=True):
    """Which guest moves."""

    added_node_selector: dict[str, str] = field(default_factory=dict)
    priority: str | None = None
    receive: VirtualMachineInstanceMigrationTarget | None = None
    send_to: VirtualMachineInstanceMigrationSource | None = None
    vmi_name: str | None = None


class VirtualMachineInstanceMigrationStatus(Base, kw_only=True):
    """How far the move is."""

    conditions: list[VirtualMachineInstanceMigrationCondition] = field(default_factory=list)
    migration_state: VirtualMachineInstanceMigrationState | None = None
    phase: str | None = None
    phase_transition_timestamps: list[VirtualMachineInstanceMigrationPhaseTransitionTimestamp] = field(
        default_factory=list
    )
    synchronization_addresses: list[str] = field(default_factory=list)


class VirtualMachineInstanceMigration(Base, kw_only=True):
    """The wish to move one guest to another node, and what became of it."""

    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: VirtualMachineInstanceMigrationSpec = field(default_factory=VirtualMachineInstanceMigrationSpec)
    status: VirtualMachineInstanceMigrationStatus = field(default_factory=VirtualMachineInstanceMigrationStatus)
