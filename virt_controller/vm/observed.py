"""What the VirtualMachine loop knows of one VM at one moment. `controller` builds it, `decide` and `status` read it."""

from __future__ import annotations

from typing import NamedTuple

from virt_controller.decisions import Failure
from virt_types.cdi.objects import DataVolume
from virt_types.v1 import VirtualMachine, VirtualMachineInstance, VirtualMachineSpec


class Observed(NamedTuple):
    """`vmi` is the VMI of the VM's name that it controls or may adopt, `rival` one that somebody else controls."""

    vm: VirtualMachine
    vmi: VirtualMachineInstance | None = None
    rival: VirtualMachineInstance | None = None
    going: bool = False  # the deletion of `vmi` was asked for, even if the cache does not show it yet
    failure: Failure | None = None
    unbound_claims: tuple[str, ...] = ()
    data_volumes: tuple[DataVolume, ...] = ()  # those the VM's templates or volumes name, as far as they exist
    serves_data_volumes: bool = True
    started_from: VirtualMachineSpec | None = None  # looked up when the VM has changed since `vmi` was made
    spec_kept: bool = True  # whether the revision `vmi` names is stored
    jitter: float = 0.0  # 0 up to 1, chosen anew for each pass

    @property
    def owned(self) -> VirtualMachineInstance | None:
        """The VMI if it is controlled by this VM already."""
        vmi = self.vmi
        owner = vmi.metadata.controller if vmi is not None else None
        return vmi if owner is not None and owner.uid == self.vm.metadata.uid else None
