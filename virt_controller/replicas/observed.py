"""What the replica set loop knows of one set at one moment. `controller` builds it, `decide` and `status` read it."""

from __future__ import annotations

from typing import NamedTuple

from virt_controller.decisions import Failure
from virt_controller.members import selector_of, selects
from virt_controller.phase import RUNNING, condition, is_final, is_going, phase
from virt_types.selectors import Selector
from virt_types.v1 import VirtualMachineInstance, VirtualMachineInstanceReplicaSet

GOING_REASON = "PodTerminating"


class Observed(NamedTuple):
    """`instances` are controlled by the set, `strays` by nobody; `creating` are asked for and not in the cache yet."""

    replica_set: VirtualMachineInstanceReplicaSet
    instances: tuple[VirtualMachineInstance, ...] = ()
    strays: tuple[VirtualMachineInstance, ...] = ()
    going: frozenset[str] = frozenset()  # uids whose deletion was asked for, even if the cache does not show it yet
    creating: int = 0
    failure: Failure | None = None

    @property
    def selector(self) -> Selector | None:
        return selector_of(self.replica_set.spec.selector)

    @property
    def wanted(self) -> int:
        replicas = self.replica_set.spec.replicas
        return 1 if replicas is None else replicas

    @property
    def paused(self) -> bool:
        return bool(self.replica_set.spec.paused)

    @property
    def deleted(self) -> bool:
        return self.replica_set.metadata.deletion_timestamp is not None

    @property
    def active(self) -> list[VirtualMachineInstance]:
        """Those that count: alive, staying, and still matching."""
        selector = self.selector
        return [
            each
            for each in self.instances
            if selects(selector, each.metadata.labels) and not is_final(each) and not self.is_leaving(each)
        ]

    @property
    def finished(self) -> list[VirtualMachineInstance]:
        """Those that ended by themselves and are still there."""
        return [each for each in self.instances if is_final(each) and not self.is_leaving(each)]

    def is_leaving(self, vmi: VirtualMachineInstance) -> bool:
        ready = condition(vmi, "Ready")
        terminating = ready is not None and ready.status == "False" and ready.reason == GOING_REASON
        return is_going(vmi) or vmi.metadata.uid in self.going or (terminating and not is_final(vmi))


def is_ready(vmi: VirtualMachineInstance) -> bool:
    ready = condition(vmi, "Ready")
    return phase(vmi) == RUNNING and ready is not None and ready.status == "True"
