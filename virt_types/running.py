"""Whether a machine is to run, and whether an instance's run is over: said once for all who act on it."""

from __future__ import annotations

from virt_types import labels
from virt_types.v1 import VirtualMachine, VirtualMachineSpec

FINAL_PHASES = frozenset({"Succeeded", "Failed"})


def run_strategy(spec: VirtualMachineSpec) -> str:
    """The strategy in force; `running` is its older spelling, and neither means Halted."""
    if spec.running is not None:
        return "Always" if spec.running else "Halted"
    return spec.run_strategy or "Halted"


def strategy_to_start(vm: VirtualMachine) -> str:
    """What a halted VM is to be when it is started: what it was declared as before it was stopped."""
    return "Once" if vm.metadata.annotations.get(labels.STOPPED_STRATEGY) == "Once" else "Always"
