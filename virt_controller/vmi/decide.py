"""What virt-controller has to do for one VMI; from Scheduled on the node agent does the rest (spec 3.1).

unplaced, wanted            Place
unplaced, a disk failed     Fail: it will never have what it waits for
unplaced, being deleted     End: nothing was ever started, so nobody else can let it go
ended or ending, VM gone    ReleaseOrphan: the VM loop would do it, but there is no VM any more
"""

from __future__ import annotations

from dataclasses import dataclass

from virt_controller.phase import is_final, is_going, is_placed
from virt_types import labels
from virt_types.v1 import VirtualMachineInstance


@dataclass(frozen=True, slots=True)
class Place:
    """Find a node, or say what is missing."""


@dataclass(frozen=True, slots=True)
class Fail:
    """Make the VMI Failed, for a reason that won't go away."""

    message: str


@dataclass(frozen=True, slots=True)
class End:
    """Make the VMI Failed and take the node agent's finalizer off it."""


@dataclass(frozen=True, slots=True)
class ReleaseOrphan:
    """Take the VM loop's finalizer off, once an uncached look shows that the VM is gone."""


Effect = Place | Fail | End | ReleaseOrphan | None


def decide(vmi: VirtualMachineInstance, *, owner_known: bool, failed_disk: str = "") -> Effect:
    """The next effect. `owner_known`: the cache has the very VM that controls this VMI; `failed_disk`: what to tell."""
    finalizers = vmi.metadata.finalizers
    if not is_placed(vmi) or (is_final(vmi) and not vmi.status.node_name):
        if is_going(vmi) and labels.VMI_FINALIZER in finalizers:
            return End()
        if not is_going(vmi) and not is_final(vmi):
            return Fail(failed_disk) if failed_disk else Place()
    ending = is_going(vmi) or is_final(vmi)
    if ending and labels.VM_FINALIZER in finalizers and not owner_known:
        return ReleaseOrphan()
    return None
