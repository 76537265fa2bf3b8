"""Carries out what `decide` says for each DataVolume and each upload's claim: reads caches, asks the API, tells."""

from __future__ import annotations

import logging

from virt_kube.api import AlreadyExists, ApiError, Conflict, KubeClient, NotFound, Unreachable
from virt_kube.clock import Clock
from virt_kube.events import EventRecorder
from virt_kube.informer import Key, key_of
from virt_kube.patch import diff_status, guard
from virt_kube.resources import DATA_VOLUMES, PERSISTENT_VOLUME_CLAIMS
from virt_kube.runner import Retry, Verdict
from virt_kube.workqueue import WorkQueue
from virt_local.claims import Claim, StorageClass, User, claims_of, default_class
from virt_local.datavolumes.caches import Caches
from virt_local.datavolumes.claim import is_archive, owner_reference, wanted_class
from virt_local.datavolumes.decide import (
    Adopt,
    CreateClaim,
    Effect,
    MarkClaim,
    Start,
    Stop,
    Tell,
    WriteStatus,
    decide,
    decide_upload,
)
from virt_local.datavolumes.observed import Observed
from virt_local.datavolumes.origin import origin_of
from virt_local.datavolumes.phases import FINAL
from virt_local.datavolumes.workers import Workers
from virt_types.cdi.objects import DataSource, DataVolume
from virt_types.cdi.v1beta1 import DataVolumeSourceUpload
from virt_types.codec import to_builtins

log = logging.getLogger("virt_local.datavolumes")

MAX_ROUNDS = 8


class DataVolumeController:
    """The loop of all DataVolumes. Keys are those of the claims, which have the DataVolumes' names."""

    def __init__(
        self,
        client: KubeClient,
        caches: Caches,
        workers: Workers,
        recorder: EventRecorder,
        queue: WorkQueue[Key],
        *,
        clock: Clock,
    ) -> None:
        self.queue = queue
        self._client, self._caches, self._workers = client, caches, workers
        self._recorder, self._clock = recorder, clock
        caches.data_volumes.add_handler(self._on_data_volume)
        caches.claims.add_handler(self._on_claim)
        caches.users.add_handler(self._on_user)
        caches.data_sources.add_handler(self._on_need)
        caches.classes.add_handler(self._on_need)

    async def reconcile(self, key: Key) -> Verdict:
        """Do what is needed now, each step on a fresh look at the caches."""
        for _ in range(MAX_ROUNDS):
            dv = self._caches.data_volumes.get(*key)
            claim = self._caches.claims.get(*key)
            effects = self._without(key, claim) if dv is None else decide(self._observe(dv, claim), self._clock())
            if not effects:
                return None
            for effect in effects:
                await self._carry_out(effect, key, dv, claim)
        return Retry(0.1, "Unsettled")

    def _without(self, key: Key, claim: Claim | None) -> tuple[Effect, ...]:
        if claim is None:
            self._workers.stop(key)
            return ()
        work = self._workers.get(key, claim.metadata.uid)
        if work is None:
            self._workers.stop(key)  # of a claim that had the name before
        return decide_upload(claim, work)

    def _observe(self, dv: DataVolume, claim: Claim | None) -> Observed:
        key = key_of(dv)
        return Observed(
            dv,
            claim,
            self._class_of(dv, claim),
            origin_of(dv, self._caches.data_source, self._caches.claim),
            used=bool(self._caches.user_of(key)),
            work=self._workers.get(key, claim.metadata.uid) if claim is not None else None,
        )

    def _class_of(self, dv: DataVolume, claim: Claim | None) -> StorageClass | None:
        name = claim.spec.storage_class_name if claim is not None else wanted_class(dv)
        if name:
            return self._caches.classes.get("", name)
        return default_class(self._caches.classes.list(), machines=not is_archive(dv))

    # Effects.

    async def _carry_out(self, effect: Effect, key: Key, dv: DataVolume | None, claim: Claim | None) -> None:
        match effect:
            case Stop():
                self._workers.stop(key)
            case Start(plan, restarts) if isinstance(plan.source, DataVolumeSourceUpload):
                self._workers.expect(plan, restarts)
            case Start(plan, restarts):
                self._workers.start(plan, restarts)
            case MarkClaim(annotations) if claim is not None:
                await self._patch_claim(claim, {"metadata": {"annotations": annotations}})
            case CreateClaim() if dv is not None:
                await self._create(dv, effect)
            case Adopt() if dv is not None and claim is not None:
                owners = [*(to_builtins(owner) for owner in claim.metadata.owner_references), owner_reference(dv)]
                await self._patch_claim(claim, {"metadata": {"ownerReferences": owners}})
                log.info("claim adopted namespace=%s name=%s", *key)
            case Tell(type_, reason, message) if dv is not None:
                self._recorder.event(dv, type_, reason, message)
            case WriteStatus(status) if dv is not None:
                await self._write_status(dv, to_builtins(status))

    async def _create(self, dv: DataVolume, effect: CreateClaim) -> None:
        namespace, name = key_of(dv)
        try:
            answer = await self._client.create(PERSISTENT_VOLUME_CLAIMS, namespace, effect.body)
        except AlreadyExists:
            answer = await self._client.get(PERSISTENT_VOLUME_CLAIMS, namespace, name)  # the cache is behind
        except (Unreachable, Conflict):
            raise
        except ApiError as error:
            self._recorder.event(dv, "Warning", "ErrClaimNotValid", f"can't create PVC {name}: {error.message}")
            raise
        self._caches.claims.absorb(answer)

    async def _patch_claim(self, claim: Claim, change: dict[str, dict[str, object]]) -> None:
        """Only this very claim; the answer is what the next look at the cache shows."""
        change["metadata"] |= {"uid": claim.metadata.uid, "resourceVersion": claim.metadata.resource_version}
        answer = await self._client.patch(PERSISTENT_VOLUME_CLAIMS, *key_of(claim), change, kind="merge")
        self._caches.claims.absorb(answer)

    async def _write_status(self, dv: DataVolume, status: dict[str, object]) -> None:
        patch = diff_status(dv.metadata, to_builtins(dv.status), status) or guard(dv.metadata)
        try:
            answer = await self._client.patch(DATA_VOLUMES, *key_of(dv), patch, subresource="status")
        except NotFound:
            return
        self._caches.data_volumes.absorb(answer)

    # What wakes a DataVolume.

    def _on_data_volume(self, old: DataVolume | None, new: DataVolume | None) -> None:
        obj = new or old
        if obj is not None:
            self.queue.add(key_of(obj))

    def _on_claim(self, old: Claim | None, new: Claim | None) -> None:
        obj = new or old
        if obj is not None:
            self.queue.add(key_of(obj))
            self._on_need(None, None)

    def _on_user(self, old: User | None, new: User | None) -> None:
        before, after = set(claims_of(old)) if old else set(), set(claims_of(new)) if new else set()
        for changed in before ^ after:
            namespace, _, name = changed.partition("/")
            self.queue.add(Key(namespace, name))

    def _on_need(self, _old: DataSource | StorageClass | None, _new: DataSource | StorageClass | None) -> None:
        """Something a DataVolume without a claim may have waited for."""
        for dv in self._caches.data_volumes.list():
            if dv.status.phase not in FINAL and key_of(dv) not in self._caches.claims:
                self.queue.add(key_of(dv))
