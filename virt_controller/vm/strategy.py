"""A VM's run strategy and its queued start and stop requests, as `decide` and `status` read them."""

from __future__ import annotations

from typing import Literal

from virt_types.running import run_strategy
from virt_types.v1 import VirtualMachine, VirtualMachineStateChangeRequest

Strategy = Literal["Always", "Halted", "Manual", "RerunOnFailure", "Once"]

START = "Start"
STOP = "Stop"
# Strategies under which failed starts are counted and delayed (spec 2.3).
BACKING_OFF = frozenset({"Always", "RerunOnFailure", "Once"})
# Of these, those that start again by themselves. A Once VM does when somebody deletes its VMI, and is not kept waiting.
RETRYING = BACKING_OFF - {"Once"}
# Strategies whose VMI a queued stop ends. With the others it is left over from a former strategy.
STOPPED_BY_REQUEST = frozenset({"Always", "RerunOnFailure", "Manual"})


def strategy(vm: VirtualMachine) -> str:
    """What the VM declares; nothing declared is Halted."""
    return run_strategy(vm.spec)


def is_paused_start(request: VirtualMachineStateChangeRequest) -> bool:
    return request.action == START and request.data.get("paused") == "true"


def queued_start(requests: list[VirtualMachineStateChangeRequest]) -> VirtualMachineStateChangeRequest | None:
    """The start to carry out now: only the first request counts."""
    return requests[0] if requests and requests[0].action == START else None


def is_stop_for(requests: list[VirtualMachineStateChangeRequest], uid: str) -> bool:
    """Whether the request to carry out now is to stop this very instance."""
    return bool(requests) and requests[0].action == STOP and requests[0].uid == uid
