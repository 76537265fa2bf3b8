"""Queued start and stop requests: which of them still mean something (spec 2.3, FINDINGS 1)."""

from __future__ import annotations

from virt_controller.phase import FAILED, is_final, is_going, phase
from virt_controller.vm.observed import Observed
from virt_controller.vm.strategy import START, STOP, is_paused_start, strategy
from virt_types.v1 import VirtualMachine, VirtualMachineInstance, VirtualMachineStateChangeRequest

Requests = list[VirtualMachineStateChangeRequest]


def settled_requests(observed: Observed) -> Requests:
    """The queued requests without those that are done or can't mean anything any more.

    A stop is done when its instance is gone. A start is done when an instance lives. A start left behind by a restart
    must not turn on a VM that was halted since (the declared strategy is the later word), nor outlive the restart of an
    Always VM, which starts anyway.
    """
    requests = [*observed.vm.status.state_change_requests]
    wanted = strategy(observed.vm)
    if wanted in ("Halted", "Always"):
        behind_stop = False
        kept: Requests = []
        for request in requests:
            if request.action == STOP or (is_paused_start(request) and not (behind_stop and wanted == "Halted")):
                kept.append(request)
            behind_stop |= request.action == STOP
        requests = kept
    vmi = observed.owned
    while requests and _is_settled(requests[0], vmi, observed, wanted):
        del requests[0]
    return requests


def stops_unseen(vm: VirtualMachine) -> bool:
    """Whether somebody saw an instance to stop where this loop has seen none yet: it may be too new for a cache."""
    requests = vm.status.state_change_requests
    return bool(requests) and requests[0].action == STOP and not vm.status.created


def _is_settled(
    request: VirtualMachineStateChangeRequest, vmi: VirtualMachineInstance | None, observed: Observed, wanted: str
) -> bool:
    if request.action == STOP:
        return vmi is None or request.uid != vmi.metadata.uid
    if request.action != START:
        return True
    if vmi is None or is_going(vmi) or observed.going:
        return False
    return not (is_final(vmi) and wanted == "RerunOnFailure" and phase(vmi) == FAILED)
