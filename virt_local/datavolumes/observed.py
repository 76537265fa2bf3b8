"""What is known of one DataVolume at one moment. `controller` builds it, `decide` and `status` read it."""

from __future__ import annotations

from typing import NamedTuple

from virt_local.claims import Claim, StorageClass
from virt_local.datavolumes.origin import Origin
from virt_local.datavolumes.workers import Work
from virt_types.cdi.claims import awaits_filling
from virt_types.cdi.objects import DataVolume


class Observed(NamedTuple):
    """`storage_class` is the one the claim has or would get; `used`: a machine refers to the claim."""

    dv: DataVolume
    claim: Claim | None = None
    storage_class: StorageClass | None = None
    origin: Origin = Origin()
    used: bool = False
    work: Work | None = None

    @property
    def owned(self) -> Claim | None:
        """The claim if this DataVolume controls it."""
        owner = self.claim.metadata.controller if self.claim is not None else None
        return self.claim if owner is not None and owner.uid == self.dv.metadata.uid else None

    @property
    def filled(self) -> bool:
        """Whether the claim is ours and a guest may have it."""
        claim = self.owned
        return claim is not None and not awaits_filling(claim.metadata.annotations)
