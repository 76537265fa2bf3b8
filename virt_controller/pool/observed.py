"""What the pool loop knows of one pool at one moment. `controller` builds it, `decide` and its kin read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from virt_controller.decisions import Failure
from virt_controller.members import selector_of
from virt_controller.phase import is_final, is_going
from virt_controller.replicas.observed import is_ready
from virt_controller.vm.strategy import strategy
from virt_types import labels
from virt_types.pool.v1beta1 import VirtualMachinePool, VirtualMachinePoolSpec
from virt_types.selectors import Selector
from virt_types.v1 import VirtualMachine, VirtualMachineInstance


class Member(NamedTuple):
    """A VM of the pool and its instance, if it has one. `node` are the labels of the node it runs on."""

    vm: VirtualMachine
    vmi: VirtualMachineInstance | None = None
    node: Mapping[str, str] | None = None
    going: bool = False  # the deletion of the VM was asked for, even if the cache does not show it yet
    stopping: bool = False  # the same of its instance

    @property
    def uid(self) -> str:
        return self.vm.metadata.uid

    @property
    def name(self) -> str:
        return self.vm.metadata.name

    @property
    def leaving(self) -> bool:
        return self.going or self.vm.metadata.deletion_timestamp is not None

    @property
    def revision(self) -> str:
        return self.vm.metadata.labels.get(labels.POOL_REVISION, "")

    @property
    def runs(self) -> bool:
        """Whether there is a guest that is meant to go on."""
        vmi = self.vmi
        asked = bool(self.vm.status.state_change_requests)
        return vmi is not None and not is_final(vmi) and not is_going(vmi) and not self.stopping and not asked

    @property
    def available(self) -> bool:
        return self.runs and self.vmi is not None and is_ready(self.vmi) and not self.leaving

    @property
    def missed(self) -> bool:
        """Whether it should be available and is not."""
        return not self.available and strategy(self.vm) != "Halted"


class Observed(NamedTuple):
    """`made_from` are the stored revisions by name; `current` is the one that equals today's template, "" for none."""

    pool: VirtualMachinePool
    members: tuple[Member, ...] = ()
    strays: tuple[VirtualMachine, ...] = ()  # VMs nobody controls any more that still have the pool's finalizer
    free: tuple[int, ...] = ()  # the lowest ordinals whose names nobody has, as many as may be needed
    current: str = ""
    made_from: Mapping[str, VirtualMachinePoolSpec] = {}
    failure: Failure | None = None

    @property
    def selector(self) -> Selector | None:
        return selector_of(self.pool.spec.selector)

    @property
    def wanted(self) -> int:
        replicas = self.pool.spec.replicas
        return 1 if replicas is None else replicas

    @property
    def paused(self) -> bool:
        return bool(self.pool.spec.paused)

    @property
    def deleted(self) -> bool:
        return self.pool.metadata.deletion_timestamp is not None
