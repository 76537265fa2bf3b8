"""What `decide` may ask for, one small type per effect; `actions` carries them out in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from virt_controller import decisions
from virt_types.pool.v1beta1 import VirtualMachinePoolStatus


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Make sure the pool stays until its VMs have been let go."""


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    """Let the deleted pool go."""


@dataclass(frozen=True, slots=True)
class StoreRevision:
    """Store what VMs are made from now."""

    name: str


@dataclass(frozen=True, slots=True)
class PruneRevisions:
    """Delete the stored revisions that no VM is made from."""

    keep: frozenset[str]


@dataclass(frozen=True, slots=True)
class Disown:
    """Let go of a VM that the selector does not match any more; it lives on."""

    uid: str


@dataclass(frozen=True, slots=True)
class LetGo:
    """Take our finalizer off a VM; with `keep_disks`, its disks are made nobody's first, so that they outlive it."""

    uid: str
    keep_disks: bool = False


@dataclass(frozen=True, slots=True)
class Create:
    ordinals: tuple[int, ...]
    revision: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete VMs; what becomes of their disks is decided when they are let go."""

    uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recreate:
    """Delete a VM with its disks, so that it is made anew under its name. `why` is told."""

    uid: str
    why: str
    heals: bool = False


@dataclass(frozen=True, slots=True)
class UpdateMachine:
    """Give a VM the spec, labels and annotations of the template."""

    uid: str
    revision: str


@dataclass(frozen=True, slots=True)
class Restart:
    """Have a VM's instance replaced by one of its new spec."""

    uid: str


@dataclass(frozen=True, slots=True)
class Relabel:
    """Give an instance, whose spec is as it should be, the labels of the new template."""

    uid: str


@dataclass(frozen=True, slots=True)
class WriteStatus:
    status: VirtualMachinePoolStatus


Effect = (
    AddFinalizer
    | RemoveFinalizer
    | StoreRevision
    | PruneRevisions
    | Disown
    | LetGo
    | Create
    | Delete
    | Recreate
    | UpdateMachine
    | Restart
    | Relabel
    | WriteStatus
)

Decision: TypeAlias = decisions.Decision[Effect]
