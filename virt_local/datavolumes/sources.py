"""DataSources: what each stands for now, and whether that can be copied (spec 7.3)."""

from __future__ import annotations

from collections.abc import Callable

from virt_kube.api import KubeClient, NotFound
from virt_kube.clock import Clock
from virt_kube.informer import Key, key_of
from virt_kube.patch import diff_status, guard
from virt_kube.resources import DATA_SOURCES
from virt_kube.runner import Verdict
from virt_kube.workqueue import WorkQueue
from virt_local.datavolumes.caches import Caches
from virt_local.datavolumes.origin import NOT_HERE, ClaimOf, DataSourceOf, Problem, followed
from virt_local.datavolumes.phases import SUCCEEDED
from virt_local.datavolumes.status import Told, timed
from virt_types.cdi.claims import awaits_filling
from virt_types.cdi.objects import DataSource, DataSourceSource, DataSourceStatus, DataVolume
from virt_types.codec import to_builtins

DEFAULTS_PREFIX = "instancetype.kubevirt.io/default-"
PhaseOf = Callable[[Key], str]
READY = Problem("Ready", "DataSource is ready to be consumed")
NO_SOURCE = Problem("NoSource", "No source PVC set")


def status_of(
    found: DataSource, data_source_of: DataSourceOf, claim_of: ClaimOf, phase_of: PhaseOf, now: float
) -> DataSourceStatus:
    """The whole status; `phase_of` gives the phase of the DataVolume that fills a claim."""
    meant = followed(found, data_source_of)
    if isinstance(meant, Problem):
        ready, source = meant, None
    else:
        ready, source = _ready(meant, found.metadata.namespace, claim_of, phase_of), meant
    is_ready = ready is READY
    wanted = (
        Told("Ready", "True" if is_ready else "False", ready.reason, ready.message),
        Told("Running", "False", ready.reason, ready.message),
    )
    return DataSourceStatus(
        source=source if source is not None and to_builtins(source) else None,
        conditions=[timed(condition, found.status.conditions, now) for condition in wanted],
    )


def _ready(meant: DataSourceSource, namespace: str, claim_of: ClaimOf, phase_of: PhaseOf) -> Problem:
    if meant.snapshot is not None:
        return Problem("NotSupported", f"spec.source.snapshot: {NOT_HERE}")
    if meant.http is not None or meant.registry is not None:
        return READY
    if meant.pvc is None:
        return NO_SOURCE
    key = Key(meant.pvc.namespace or namespace, meant.pvc.name)
    claim = claim_of(key)
    if claim is None:
        return Problem("NotFound", f"PVC {key} not found")
    if claim.status.phase == "Bound" and not awaits_filling(claim.metadata.annotations):
        return READY
    phase = phase_of(key)
    return Problem(phase if phase not in {"", SUCCEEDED} else "Pending", f"PVC {key} is not filled yet")


def defaults(status: DataSourceStatus, namespace: str, claim_of: ClaimOf) -> dict[str, str]:
    """The labels by which the claim says what size and preference suit it."""
    reference = status.source.pvc if status.source is not None else None
    claim = claim_of(Key(reference.namespace or namespace, reference.name)) if reference is not None else None
    labels = claim.metadata.labels if claim is not None else {}
    return {name: value for name, value in labels.items() if name.startswith(DEFAULTS_PREFIX)}


class DataSourceController:
    """The loop of all DataSources; any change of a claim or another DataSource may concern each."""

    def __init__(self, client: KubeClient, caches: Caches, *, clock: Clock) -> None:
        self.queue: WorkQueue[Key] = WorkQueue()
        self._client, self._caches, self._clock = client, caches, clock
        caches.data_sources.add_handler(self._on_any)
        caches.claims.add_handler(self._on_any)
        caches.data_volumes.add_handler(self._on_data_volume)

    async def reconcile(self, key: Key) -> Verdict:
        found = self._caches.data_sources.get(*key)
        if found is None or found.metadata.deletion_timestamp:
            return None
        status = status_of(found, self._caches.data_source, self._caches.claim, self._phase, self._clock())
        patch = diff_status(found.metadata, to_builtins(found.status), to_builtins(status))
        taken = defaults(status, found.metadata.namespace, self._caches.claim)
        if not taken.items() <= found.metadata.labels.items():
            labels = {**found.metadata.labels, **taken}
            patch = [*(patch or guard(found.metadata)), {"op": "add", "path": "/metadata/labels", "value": labels}]
        if patch:
            try:
                answer = await self._client.patch(DATA_SOURCES, *key, patch)
            except NotFound:
                return None
            self._caches.data_sources.absorb(answer)
        return None

    def _phase(self, key: Key) -> str:
        dv = self._caches.data_volumes.get(*key)
        return (dv.status.phase or "") if dv is not None else ""

    def _on_any(self, _old: object, _new: object) -> None:
        for source in self._caches.data_sources.list():
            self.queue.add(key_of(source))

    def _on_data_volume(self, old: DataVolume | None, new: DataVolume | None) -> None:
        if old is None or new is None or old.status.phase != new.status.phase:
            self._on_any(old, new)
