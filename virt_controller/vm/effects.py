"""What `decide` may ask for, one small type per effect; `controller` carries them out in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from virt_controller import decisions
from virt_types.v1 import VirtualMachineStatus


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Make sure the VM stays until its instance is gone."""


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    """Let the deleted VM go."""


@dataclass(frozen=True, slots=True)
class BackfillIdentity:
    """Store the firmware uuid in a VM that was made without one."""


@dataclass(frozen=True, slots=True)
class Pin:
    """Store what the VM refers to, its instancetype and preference, so that later edits of them don't change it."""


@dataclass(frozen=True, slots=True)
class CreateDataVolume:
    """Create the DataVolume of the VM's template of this name."""

    name: str


@dataclass(frozen=True, slots=True)
class AdoptDataVolume:
    """Make an ownerless DataVolume of a template's name the VM's own."""

    name: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """Make an ownerless VMI of the VM's name the VM's own."""

    uid: str


@dataclass(frozen=True, slots=True)
class Create:
    paused: bool


@dataclass(frozen=True, slots=True)
class Delete:
    uid: str


@dataclass(frozen=True, slots=True)
class Release:
    """Take our finalizer off an instance whose end is recorded."""

    uid: str


@dataclass(frozen=True, slots=True)
class Refresh:
    """Give the living instance what may change under it: fields of its spec, and the generation it agrees with.

    `fields` are attributes of the VMI's spec to take from the template, `plug` says that volumes or sockets are to be
    plugged; `generation` is 0 when the template differs.
    """

    uid: str
    fields: tuple[str, ...] = ()
    generation: int = 0
    plug: bool = False


@dataclass(frozen=True, slots=True)
class KeepSpec:
    """Store the spec the instance was made from, as the revision it names."""


@dataclass(frozen=True, slots=True)
class TurnOn:
    """Write the run strategy a start request of a halted VM asks for."""


@dataclass(frozen=True, slots=True)
class WriteStatus:
    status: VirtualMachineStatus


Effect = (
    AddFinalizer
    | RemoveFinalizer
    | BackfillIdentity
    | Pin
    | CreateDataVolume
    | AdoptDataVolume
    | Adopt
    | Create
    | Delete
    | Release
    | Refresh
    | KeepSpec
    | TurnOn
    | WriteStatus
)

Decision: TypeAlias = decisions.Decision[Effect]
