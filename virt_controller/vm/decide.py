"""What has to happen for one VM: every rule of the VirtualMachine loop, and nothing else.

`decide` names effects in order; `controller` carries them out and asks again, until only waiting is left. What must not
be lost in a crash is written to the VM's status *before* the effect that makes it unknowable: a failed instance is
counted, and a rerun queued, before the instance is deleted, and its finalizer stays until that is done.
"""

from __future__ import annotations

from typing import NamedTuple

from virt_controller.phase import FAILED, RUNNING, is_final, is_going, phase
from virt_controller.vm import volumes
from virt_controller.vm.changes import UNKNOWN, Changes, changes
from virt_controller.vm.effects import (
    AddFinalizer,
    Adopt,
    BackfillIdentity,
    Create,
    Decision,
    Delete,
    Effect,
    KeepSpec,
    Pin,
    Refresh,
    Release,
    RemoveFinalizer,
    TurnOn,
    WriteStatus,
)
from virt_controller.vm.failures import rest, start_failure, until_forgiven
from virt_controller.vm.observed import Observed
from virt_controller.vm.pins import unpinned
from virt_controller.vm.plugged import plugged
from virt_controller.vm.requests import Requests, settled_requests
from virt_controller.vm.status import made_from, status_of
from virt_controller.vm.strategy import (
    RETRYING,
    START,
    STOPPED_BY_REQUEST,
    is_paused_start,
    is_stop_for,
    queued_start,
    strategy,
)
from virt_kube.clock import parse_time
from virt_types import labels
from virt_types.v1 import VirtualMachineInstance, VirtualMachineStartFailure, VirtualMachineStateChangeRequest

UNSERVED_RECHECK = 60.0
START_SECONDS = 3.0  # how long a start may take before what it began with is stored all the same


def decide(observed: Observed, now: float) -> Decision:
    """The next effects for `observed`; none when the VM is as it should be. `now` is Unix seconds."""
    vm = observed.vm
    if vm.metadata.deletion_timestamp:
        return _decide_deleted(observed, now)
    if labels.VM_FINALIZER not in vm.metadata.finalizers:
        return Decision((AddFinalizer(),))
    if observed.vmi is not None and observed.owned is None and not is_going(observed.vmi):
        return Decision((Adopt(observed.vmi.metadata.uid),))
    changed = _changes(observed)
    requests = settled_requests(observed)
    failure = start_failure(observed, now)
    step = _next_step(observed, requests, failure, now)
    if unpinned(vm) and (observed.failure is None or isinstance(step.effect, Create)):
        step = step._replace(effect=Pin())
    if step.effect is None:
        step = step._replace(effect=volumes.wanted(observed, starts=step.starts) or _refresh(observed, changed))
    if step.effect is None and not observed.spec_kept:
        step = _keep_spec(observed, step, now)
    if step.rerun:
        requests = [VirtualMachineStateChangeRequest(action=START)]
    status = status_of(observed, requests, failure, start_withheld=step.starts, changed=changed, now=now)
    unrecorded = status != vm.status
    pending = step.effect is not None
    again = _soonest(step.again_after, until_forgiven(observed, failure, now))
    if step.effect is not None and not (unrecorded and (step.after_record or _failure_is_news(observed))):
        return Decision((step.effect,), again, pending)
    return Decision((WriteStatus(status),) if unrecorded else (), again, pending)


class _Step(NamedTuple):
    """One move. `after_record`: only when the status says what the move makes unknowable. `rerun`: a start is due."""

    effect: Effect | None = None
    after_record: bool = False
    starts: bool = False
    rerun: bool = False
    again_after: float | None = None


_WAIT = _Step()


def _decide_deleted(observed: Observed, now: float) -> Decision:
    vm, vmi = observed.vm, observed.owned
    status = status_of(
        observed,
        vm.status.state_change_requests,
        vm.status.start_failure,
        start_withheld=False,
        changed=_changes(observed),
        now=now,
    )
    record = (WriteStatus(status),) if status != vm.status else ()
    if labels.VM_FINALIZER not in vm.metadata.finalizers:
        return Decision()
    if labels.ORPHAN_FINALIZER in vm.metadata.finalizers or vmi is None:
        return Decision((RemoveFinalizer(),))
    if not is_going(vmi) and not observed.going:
        return Decision((Delete(vmi.metadata.uid),))
    if _has_ended(vmi) and labels.VM_FINALIZER in vmi.metadata.finalizers:
        return Decision((*record, Release(vmi.metadata.uid)))
    return Decision(record)


def _next_step(observed: Observed, requests: Requests, failure: VirtualMachineStartFailure | None, now: float) -> _Step:
    vmi = observed.owned
    if vmi is None:
        return _step_without_instance(observed, requests, failure, now)
    if is_going(vmi) or observed.going:
        return _release(vmi)
    return _step_with_instance(observed, vmi, requests)


def _release(vmi: VirtualMachineInstance) -> _Step:
    if labels.VM_FINALIZER in vmi.metadata.finalizers and _has_ended(vmi):
        return _Step(Release(vmi.metadata.uid), after_record=True)
    return _WAIT


def _has_ended(vmi: VirtualMachineInstance) -> bool:
    """Final, or let go by the node agent without a last word: a delete must end either way."""
    return is_final(vmi) or (is_going(vmi) and labels.VMI_FINALIZER not in vmi.metadata.finalizers)


def _step_without_instance(
    observed: Observed, requests: Requests, failure: VirtualMachineStartFailure | None, now: float
) -> _Step:
    vm = observed.vm
    start = queued_start(requests)
    wanted = strategy(vm)
    if wanted == "Halted":
        return _Step(TurnOn()) if start is not None else _WAIT
    if not _wants_instance(wanted, start is not None, switched=vm.status.run_strategy != wanted):
        return _WAIT
    if _name_is_taken(observed) or volumes.needs_recovery(vm) or volumes.awaited(observed):
        # What is waited for wakes us, but for a kind that may be served some day.
        return _Step(starts=True, again_after=None if observed.serves_data_volumes else UNSERVED_RECHECK)
    if _identity_is_missing(observed):
        return _Step(BackfillIdentity(), starts=True)
    pause = rest(failure, now) if wanted in RETRYING else 0.0
    if pause > 0:
        return _Step(starts=True, again_after=pause)
    return _Step(
        Create(start is not None and is_paused_start(start)),
        after_record=failure != vm.status.start_failure,
        starts=True,
    )


def _name_is_taken(observed: Observed) -> bool:
    return observed.rival is not None or (observed.vmi is not None and is_going(observed.vmi))


def _wants_instance(wanted: str, start: bool, *, switched: bool) -> bool:
    match wanted:
        case "Always" | "Once":
            return True
        case "RerunOnFailure":
            return start or switched
        case "Manual":
            return start
        case _:
            return False


def _step_with_instance(observed: Observed, vmi: VirtualMachineInstance, requests: Requests) -> _Step:
    wanted = strategy(observed.vm)
    delete = Delete(vmi.metadata.uid)
    stopped = wanted in STOPPED_BY_REQUEST and is_stop_for(requests, vmi.metadata.uid)
    if wanted == "Halted" or stopped:
        # Else the strategy would look like a new one when the instance is gone, and start another.
        unrecorded = wanted == "RerunOnFailure" and observed.vm.status.run_strategy != wanted
        return _Step(delete, after_record=unrecorded)
    if is_final(vmi):
        if wanted == "RerunOnFailure" and phase(vmi) == FAILED:
            return _Step(delete, after_record=True, rerun=True)
        if wanted in ("Always", "RerunOnFailure"):
            return _Step(delete, after_record=True)
        return _release(vmi)
    return _WAIT


def _changes(observed: Observed) -> Changes | None:
    """What changed since the guest was started; None when nothing did, or for a guest that names no revision."""
    vmi, started = observed.owned, observed.started_from
    if vmi is None:
        return None
    if started is None:
        lost = not observed.spec_kept and made_from(vmi) != observed.vm.metadata.generation
        return Changes(restart=UNKNOWN) if lost else None
    failed = any((each.type, each.status) == ("HotMemoryChange", "False") for each in vmi.status.conditions)
    return changes(started, observed.vm.spec, vmi.spec, memory_failed=failed)


def _keep_spec(observed: Observed, step: _Step, now: float) -> _Step:
    """Store what the guest was made from, but off the way of its start: nobody waits for it."""
    vmi = observed.owned
    if vmi is None or is_final(vmi) or is_going(vmi) or made_from(vmi) != observed.vm.metadata.generation:
        return step
    left = (parse_time(vmi.metadata.creation_timestamp) or 0.0) + START_SECONDS - now
    starting = vmi.status.node_name and phase(vmi) != RUNNING
    if starting and left > 0:
        return step._replace(again_after=_soonest(step.again_after, left))
    return step._replace(effect=KeepSpec(), after_record=True)


def _refresh(observed: Observed, changed: Changes | None) -> Refresh | None:
    """Bring a living instance up to what may change under it."""
    vmi = observed.owned
    if changed is None or vmi is None or is_final(vmi) or is_going(vmi) or observed.going:
        return None
    generation = observed.vm.metadata.generation or 0
    agreed = generation if changed.same_template and made_from(vmi) != generation else 0
    plug = phase(vmi) == RUNNING and plugged(observed.vm.spec.template.spec, vmi) != vmi.spec
    return Refresh(vmi.metadata.uid, changed.live, agreed, plug) if changed.live or agreed or plug else None


def _failure_is_news(observed: Observed) -> bool:
    """Whether the last sync failed and the VM does not say so yet."""
    if observed.failure is None:
        return False
    told = next((each for each in observed.vm.status.conditions if each.type == "Failure"), None)
    return told is None or (told.reason, told.message) != tuple(observed.failure)


def _identity_is_missing(observed: Observed) -> bool:
    firmware = observed.vm.spec.template.spec.domain.firmware
    return firmware is None or not firmware.uuid


def _soonest(*waits: float | None) -> float | None:
    return min((each for each in waits if each is not None), default=None)
