"""When a guest counts as ready and as alive: the rules of readiness and liveness probes, as a kubelet has them. Pure.

`prober` asks and counts by these rules; `keeper` and `agent` act on the verdict.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from virt_kube.clock import parse_time
from virt_types.v1 import Probe, VirtualMachineInstance

Role = Literal["readiness", "liveness"]

UNHEALTHY = "Unhealthy"
FAILED = {"readiness": "Readiness probe failed: {why}", "liveness": "Liveness probe failed: {why}"}
KILLING = "Killing"
KILLING_MESSAGE = "the guest failed its liveness probe {count} times and is shut down: {why}"
LIVENESS_REASON = "LivenessProbeFailed"
NOT_YET = "the readiness probe has not succeeded yet"


class Rule(NamedTuple):
    """How often is asked, and how many answers count. Seconds; Kubernetes' defaults."""

    role: Role
    delay: int = 0
    period: int = 10
    timeout: int = 1
    successes: int = 1
    failures: int = 3


class Count(NamedTuple):
    """Answers alike in a row, and what they have amounted to: None until either number was reached."""

    successes: int = 0
    failures: int = 0
    verdict: bool | None = None
    why: str = ""


def rules_of(vmi: VirtualMachineInstance) -> list[tuple[Rule, Probe]]:
    probes: tuple[tuple[Role, Probe | None], ...] = (
        ("readiness", vmi.spec.readiness_probe),
        ("liveness", vmi.spec.liveness_probe),
    )
    return [(rule_of(role, probe), probe) for role, probe in probes if probe is not None]


def rule_of(role: Role, probe: Probe) -> Rule:
    return Rule(
        role,
        max(probe.initial_delay_seconds or 0, 0),
        max(probe.period_seconds or 10, 1),
        max(probe.timeout_seconds or 1, 1),
        max(probe.success_threshold or 1, 1) if role == "readiness" else 1,
        max(probe.failure_threshold or 3, 1),
    )


def running_for(vmi: VirtualMachineInstance, now: float) -> float:
    """Seconds since the guest was first seen running: the delay is its own, not each agent's."""
    entered = (each for each in vmi.status.phase_transition_timestamps if each.phase == "Running")
    since = next((parse_time(each.phase_transition_timestamp) for each in entered), None)
    return max(0.0, now - since) if since is not None else 0.0


def counted(rule: Rule, before: Count, failure: str) -> Count:
    """The count after one more answer; `failure` is "" for a success."""
    if not failure:
        successes = before.successes + 1
        return Count(successes, 0, True if successes >= rule.successes else before.verdict, before.why)
    failures = before.failures + 1
    return Count(0, failures, False if failures >= rule.failures else before.verdict, failure)


def not_ready(count: Count | None) -> str | None:
    """Why a guest with a readiness probe is not ready; None when it is."""
    if count is None or count.verdict is None:
        return NOT_YET
    return None if count.verdict else count.why
