"""Making VMs anew that do not start, where the pool wants that (spec 4.2): only the pool's own, and not in a storm.

KubeVirt looks at every VM of the namespace, and makes a VM that never starts anew every two seconds. Here each time in
a row rests longer: a VM is left alone for 10·n² s (at most 300) after it was made the n-th time.
"""

from __future__ import annotations

from virt_controller.backoff import backoff
from virt_controller.members import created_at
from virt_controller.pool.effects import Effect, Recreate
from virt_controller.pool.observed import Member, Observed
from virt_kube.clock import parse_time
from virt_types import labels
from virt_types.durations import seconds
from virt_types.pool.v1beta1 import VirtualMachinePoolAutohealingStrategy
from virt_types.v1 import VirtualMachine

FAILED_STARTS = 3
FAILING_SECONDS = 300.0
FAILING_STATUSES = frozenset(
    {
        "CrashLoopBackOff",
        "ErrorUnschedulable",
        "DataVolumeError",
        "ErrorPvcNotFound",
        "ErrImagePull",
        "ImagePullBackOff",
    }
)
STARTS_FAILED = "its start failed {count}x in a row"
FORGIVEN_SECONDS = 3600.0  # who lasted this long is not counted as one more in a row
LONG_IN = "it has been {status} for {seconds:.0f} s"


def heal(observed: Observed, now: float) -> tuple[tuple[Effect, ...], float | None]:
    """VMs to make anew now, and in how many seconds the next one may be due."""
    rules = observed.pool.spec.autohealing
    if rules is None:
        return (), None
    effects: list[Effect] = []
    waits: list[float] = []
    for member in observed.members:
        if member.leaving:
            continue
        wait, why = _verdict(member, rules, now)
        if why and wait <= 0:
            effects.append(Recreate(member.uid, why, heals=True))
        elif wait > 0:
            waits.append(wait)
    return tuple(effects), min(waits, default=None)


def _verdict(member: Member, rules: VirtualMachinePoolAutohealingStrategy, now: float) -> tuple[float, str]:
    """In how many seconds the VM may be made anew, and why ("": nothing is wrong with it yet)."""
    vm = member.vm
    threshold = FAILED_STARTS if rules.start_up_failure_threshold is None else rules.start_up_failure_threshold
    failure = vm.status.start_failure
    count = (failure.consecutive_fail_count or 0) if failure is not None else 0
    rest = max(0.0, created_at(vm) + backoff(healed_before(vm), 0.0) - now)
    if count >= max(1, threshold):
        return rest, STARTS_FAILED.format(count=count)
    if (since := _failing_since(vm)) is None:
        return 0.0, ""
    most = seconds(rules.min_failing_to_start_duration or "")
    lasting = now - since
    left = (FAILING_SECONDS if most is None else most) - lasting
    if left > 0:
        return max(left, rest), ""
    return rest, LONG_IN.format(status=vm.status.printable_status, seconds=lasting)


def _failing_since(vm: VirtualMachine) -> float | None:
    if vm.status.printable_status not in FAILING_STATUSES:
        return None
    ready = next((each for each in vm.status.conditions if each.type == "Ready"), None)
    return parse_time(ready.last_transition_time) if ready is not None and ready.status == "False" else None


def healed_before(vm: VirtualMachine) -> int:
    """How often in a row it was made anew; a text that is no number counts as never."""
    text = vm.metadata.annotations.get(labels.POOL_HEALINGS, "")
    return int(text) if text.isdecimal() and len(text) < 7 else 0


def times_in_a_row(vm: VirtualMachine, now: float) -> int:
    """How often VMs of this name have been made anew in a row when this one is."""
    return 1 if now - created_at(vm) >= FORGIVEN_SECONDS else healed_before(vm) + 1
