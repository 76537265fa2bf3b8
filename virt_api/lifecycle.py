"""What start, stop and restart mean for a VirtualMachine, decided without I/O.

`virt_api.verbs` reads the VM and its VMI, asks here, and carries the answer out. The matrix is the one of KubeVirt
(run strategy x VMI phase x body). Where KubeVirt leaves a half-done or undone request behind, this differs:
a grace period is part of the decision, so a refusal changes nothing; stop drops every queued start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from msgspec import Meta, Struct, to_builtins

from virt_kube.api import Json
from virt_types import labels
from virt_types.running import FINAL_PHASES, run_strategy, strategy_to_start
from virt_types.v1 import (
    VirtualMachine,
    VirtualMachineInstance,
    VirtualMachineStateChangeRequest,
)

DEFAULT_GRACE_PERIOD = 30
FORCED_RESTART_GRACE_PERIOD = 1

ALREADY_RUNNING = "VM is already running"
NOT_RUNNING = "VM is not running"
NOT_RUNNING_RESTART = "VM is not running: Halted"
UNDERWAY = "unable to complete request: stop/start already underway"
SHORTER_GRACE_ONLY = "Halted only supports manual stop requests with a shorter graceperiod"
NO_START_FROM_FAILED = "RerunOnFailure does not support starting VM from failed state"
NO_MANUAL_START = "{strategy} does not support manual start requests"
NO_MANUAL_RESTART = "RunStategy {strategy} does not support manual restart requests"  # spelled as clients know it
RECOVERY_REQUIRED = (
    "VM recovery required: Volume migration failed, leaving some volumes pointing to non-consistent targets; "
    "manual intervention is needed to reassign them to their original volumes."
)
NEGATIVE_GRACE = "gracePeriod has to be greater or equal to 0"
ONLY_GRACE_ZERO = "For force restart, only gracePeriod=0 is supported for now"


Seconds = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]  # what the field of a VMI holds


class Options(Struct, rename="camel", kw_only=True):
    """The body of a verb; unknown fields are ignored."""

    dry_run: list[str] | None = None


class StartOptions(Options, rename="camel", kw_only=True):
    paused: bool = False


class StopOptions(Options, rename="camel", kw_only=True):
    grace_period: Seconds | None = None


class RestartOptions(Options, rename="camel", kw_only=True):
    grace_period_seconds: Seconds | None = None


class Refusal(NamedTuple):
    message: str
    code: Literal[400, 409] = 409


class Accept(NamedTuple):
    """What to write: merge patches of the VM's spec, status and annotations; the VMI's new grace period in seconds."""

    spec: Json
    status: Json
    grace_period: int | None = None
    annotations: Json | None = None


Decision = Accept | Refusal
OptionsT = TypeVar("OptionsT", bound=Options)
Decide = Callable[[VirtualMachine, VirtualMachineInstance | None, OptionsT], Decision]


def is_live(vmi: VirtualMachineInstance | None) -> bool:
    return vmi is not None and vmi.status.phase not in FINAL_PHASES


def decide_start(vm: VirtualMachine, vmi: VirtualMachineInstance | None, options: StartOptions) -> Decision:
    if vmi is not None and is_live(vmi) and vmi.status.phase not in {None, "", "Unknown"}:
        return Refusal(ALREADY_RUNNING)
    if _condition(vm, "ManualRecoveryRequired"):
        return Refusal(RECOVERY_REQUIRED)
    strategy = run_strategy(vm.spec)
    if strategy == "WaitAsReceiver":
        return Accept({}, {})
    if strategy == "Halted":
        return _request(vm, _start(options)) if options.paused else _set_running(vm, True)
    if strategy in {"Manual", "RerunOnFailure"}:
        return _start_on_request(vm, vmi, options)
    return Refusal(NO_MANUAL_START.format(strategy=strategy))


def _start_on_request(vm: VirtualMachine, vmi: VirtualMachineInstance | None, options: StartOptions) -> Decision:
    if vmi is None or is_live(vmi):
        return _request(vm, _start(options))
    if run_strategy(vm.spec) == "RerunOnFailure" and vmi.status.phase == "Failed":
        return Refusal(NO_START_FROM_FAILED)
    return _request(vm, _stop(vmi), _start(options))


def decide_stop(vm: VirtualMachine, vmi: VirtualMachineInstance | None, options: StopOptions) -> Decision:
    strategy, grace = run_strategy(vm.spec), options.grace_period
    if grace is not None and grace < 0:
        return Refusal(NEGATIVE_GRACE, 400)
    if strategy in {"Always", "Once"}:
        return _set_running(vm, False)._replace(grace_period=grace if is_live(vmi) else None)
    if strategy == "WaitAsReceiver":
        return Accept({}, {}, grace if is_live(vmi) else None)
    if vmi is None or not is_live(vmi):
        return _cancel_start(vm)
    if strategy == "Halted" and (grace is None or grace >= _grace_period(vmi)):
        return Refusal(SHORTER_GRACE_ONLY)
    return Accept({}, _queue(vm, _stop(vmi)), grace)


def _cancel_start(vm: VirtualMachine) -> Decision:
    """Nothing runs; a start that is still queued can be taken back."""
    if any(request.action == "Start" for request in vm.status.state_change_requests):
        return Accept({}, {"stateChangeRequests": None})
    return Refusal(NOT_RUNNING)


def decide_restart(vm: VirtualMachine, vmi: VirtualMachineInstance | None, options: RestartOptions) -> Decision:
    strategy = run_strategy(vm.spec)
    refused = restart_grace_refusal(options)
    if refused:
        return refused
    if _condition(vm, "VolumesChange"):
        return Refusal(RECOVERY_REQUIRED)
    if strategy in {"Halted", "Once"}:
        return Refusal(NO_MANUAL_RESTART.format(strategy=strategy))
    if vmi is None:
        return Refusal(NOT_RUNNING_RESTART)
    decision = _request(vm, _stop(vmi), VirtualMachineStateChangeRequest(action="Start"))
    if isinstance(decision, Accept) and options.grace_period_seconds == 0 and is_live(vmi):
        return decision._replace(grace_period=FORCED_RESTART_GRACE_PERIOD)
    return decision


def restart_grace_refusal(options: RestartOptions) -> Refusal | None:
    """Restart's grace period is 0 (forced) or absent."""
    grace = options.grace_period_seconds
    if not grace:
        return None
    return Refusal(ONLY_GRACE_ZERO if grace > 0 else NEGATIVE_GRACE, 400)


def _set_running(vm: VirtualMachine, running: bool) -> Accept:
    """Flip the field the user chose, forget failures, drop whatever is queued."""
    status = _forget_failures(vm)
    if vm.status.state_change_requests:
        status["stateChangeRequests"] = None
    if vm.spec.running is not None:
        return Accept({"running": running}, status)
    if running:
        forget = {labels.STOPPED_STRATEGY: None} if labels.STOPPED_STRATEGY in vm.metadata.annotations else None
        return Accept({"runStrategy": strategy_to_start(vm)}, status, annotations=forget)
    remember = {labels.STOPPED_STRATEGY: vm.spec.run_strategy} if vm.spec.run_strategy == "Once" else None
    return Accept({"runStrategy": "Halted"}, status, annotations=remember)


def _request(vm: VirtualMachine, *requests: VirtualMachineStateChangeRequest) -> Decision:
    """Queue requests for the controller; refused while others are queued."""
    if vm.status.state_change_requests:
        return Refusal(UNDERWAY)
    return Accept({}, _queue(vm, *requests))


def _queue(vm: VirtualMachine, *requests: VirtualMachineStateChangeRequest) -> Json:
    """The status patch that makes `requests` the whole queue; empty when it already is."""
    status = _forget_failures(vm)
    if list(requests) != vm.status.state_change_requests:
        status["stateChangeRequests"] = [to_builtins(request) for request in requests]
    return status


def _forget_failures(vm: VirtualMachine) -> dict[str, Any]:
    return {"startFailure": None} if vm.status.start_failure else {}


def _start(options: StartOptions) -> VirtualMachineStateChangeRequest:
    return VirtualMachineStateChangeRequest(action="Start", data={"paused": "true"} if options.paused else {})


def _stop(vmi: VirtualMachineInstance) -> VirtualMachineStateChangeRequest:
    return VirtualMachineStateChangeRequest(action="Stop", uid=vmi.metadata.uid)


def _grace_period(vmi: VirtualMachineInstance) -> int:
    seconds = vmi.spec.termination_grace_period_seconds
    return DEFAULT_GRACE_PERIOD if seconds is None else seconds


def _condition(vm: VirtualMachine, kind: str) -> bool:
    return any(condition.type == kind and condition.status == "True" for condition in vm.status.conditions)
