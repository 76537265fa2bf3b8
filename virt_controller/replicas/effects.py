"""What `decide` may ask for, one small type per effect; `actions` carries them out in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from virt_controller import decisions
from virt_types.v1 import VirtualMachineInstanceReplicaSetStatus


@dataclass(frozen=True, slots=True)
class Adopt:
    """Make an ownerless VMI that the selector matches the set's own, once an uncached look shows that the set stays."""

    uid: str


@dataclass(frozen=True, slots=True)
class Disown:
    """Let go of a VMI that the selector does not match any more; it lives on."""

    uid: str


@dataclass(frozen=True, slots=True)
class Create:
    """Create as many VMIs as there are numbers; each says how often in a row its predecessors failed to last."""

    failures: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete VMIs that are too many."""

    uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeleteFinished:
    """Delete VMIs that ended and have been replaced, or need not be."""

    uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WriteStatus:
    status: VirtualMachineInstanceReplicaSetStatus


Effect = Adopt | Disown | Create | Delete | DeleteFinished | WriteStatus

Decision: TypeAlias = decisions.Decision[Effect]
