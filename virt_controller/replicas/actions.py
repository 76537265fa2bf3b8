"""Carries out what `decide` says for a replica set, and tells the user what was done."""

from __future__ import annotations

import logging
import secrets
from functools import partial

from virt_controller.caches import Caches
from virt_controller.decisions import EffectFailed, Failure
from virt_controller.lasting import is_lasting, look_again
from virt_controller.members import adoption, all_of, disowning, in_growing_batches, owner_reference
from virt_controller.placer import Placer
from virt_controller.replicas.effects import Adopt, Create, Delete, DeleteFinished, Disown, Effect, WriteStatus
from virt_controller.replicas.observed import Observed
from virt_kube.api import AlreadyExists, ApiError, Conflict, KubeClient, NotFound, Unreachable
from virt_kube.clock import Clock
from virt_kube.events import EventRecorder
from virt_kube.expectations import Expectations
from virt_kube.informer import key_of
from virt_kube.patch import diff_status
from virt_kube.resources import REPLICA_SETS, VIRTUAL_MACHINE_INSTANCES
from virt_types import labels
from virt_types.codec import decode, encode, to_builtins
from virt_types.meta import ObjectMeta
from virt_types.v1 import (
    VirtualMachineInstance,
    VirtualMachineInstanceReplicaSet,
    VirtualMachineInstanceStatus,
)

log = logging.getLogger("virt_controller.replicas")

# Texts of spec 4.1.
CREATED = "Started the virtual machine by creating the new virtual machine instance {name}"
CREATE_FAILED = "Error creating virtual machine instance: {error}"
DELETED = "Stopped the virtual machine by deleting the virtual machine instance {uid}"
DELETE_FAILED = "Error deleting virtual machine instance {name}: {error}"
CLEARED = "Deleted finished virtual machine: {uid}"
CLEAR_FAILED = "Error deleting finished virtual machine {name}: {error}"
DELETE_TEXTS = {Delete: (DELETED, DELETE_FAILED), DeleteFinished: (CLEARED, CLEAR_FAILED)}

SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # Kubernetes' own: no word comes of them
SUFFIX_LENGTH = 5
LONGEST_NAME = 63


class Actions:
    """The hands of the loop. What fails for a reason the user should hear raises EffectFailed.

    `expected` is kept by the sets' uids: a set made anew under the same name starts with nothing expected.
    """

    def __init__(
        self,
        client: KubeClient,
        caches: Caches,
        placer: Placer,
        recorder: EventRecorder,
        expected: Expectations[str],
        *,
        clock: Clock,
    ) -> None:
        self._client = client
        self._caches = caches
        self._placer = placer
        self._recorder = recorder
        self._expected = expected
        self._clock = clock
        self._unsure: dict[str, set[str]] = {}  # names asked for, by set, of which no answer came

    async def carry_out(self, effect: Effect, observed: Observed) -> None:
        replica_set = observed.replica_set
        match effect:
            case WriteStatus(status):
                meta = replica_set.metadata
                patch = diff_status(meta, to_builtins(replica_set.status), to_builtins(status))
                answer = await self._client.patch(REPLICA_SETS, *key_of(replica_set), patch, subresource="status")
                self._caches.replica_sets.absorb(answer)
            case Create(failures):
                await in_growing_batches(partial(self._create, replica_set, count) for count in failures)
            case Delete(uids) | DeleteFinished(uids):
                victims = (each for each in observed.instances if each.metadata.uid in uids)
                await all_of(self._delete(replica_set, vmi, effect) for vmi in victims)
            case Adopt(uid):
                await self._adopt(replica_set, next(each for each in observed.strays if each.metadata.uid == uid))
            case Disown(uid):
                vmi = next(each for each in observed.instances if each.metadata.uid == uid)
                await self._patch(vmi, disowning(vmi.metadata, replica_set.metadata.uid))
                log.info("replica released namespace=%s name=%s", *key_of(vmi))

    async def learn_unsure(self, replica_set: VirtualMachineInstanceReplicaSet) -> None:
        """Find out what became of creates that got no answer. Raises Unreachable when that gets none either."""
        uid, namespace = replica_set.metadata.uid, replica_set.metadata.namespace
        for name in [*self._unsure.get(uid, ())]:
            try:
                self._caches.vmis.absorb(await self._client.get(VIRTUAL_MACHINE_INSTANCES, namespace, name))
            except NotFound:
                self._expected.created(uid)
            self._unsure[uid].discard(name)

    def forget(self, uid: str) -> None:
        self._unsure.pop(uid, None)
        self._expected.forget(uid)

    async def _create(self, replica_set: VirtualMachineInstanceReplicaSet, failures: int) -> None:
        uid = replica_set.metadata.uid
        vmi = build_replica(replica_set, failures)
        namespace, name = key_of(vmi)
        wait = self._placer.apply(vmi, self._clock())
        self._expected.expect_creates(uid)
        try:
            with self._placer.assume(vmi):
                answer = await self._client.create(VIRTUAL_MACHINE_INSTANCES, namespace, encode(vmi))
                created = self._caches.vmis.absorb(answer)
        except Unreachable:
            self._unsure.setdefault(uid, set()).add(name)
            raise
        except AlreadyExists:  # by chance the same name: the next pass draws another
            self._expected.created(uid)
            raise
        except ApiError as error:
            self._expected.created(uid)
            failure = Failure("FailedCreate", CREATE_FAILED.format(error=error.message))
            raise EffectFailed(failure, permanent=is_lasting(error), again_after=look_again(error)) from error
        log.info("replica created namespace=%s name=%s node=%s", namespace, name, vmi.status.node_name or "-")
        self._recorder.event(replica_set, "Normal", "SuccessfulCreate", CREATED.format(name=name))
        if wait is not None and wait.event and created is not None:
            self._recorder.event(created, wait.event_type, wait.event, wait.message)

    async def _delete(
        self,
        replica_set: VirtualMachineInstanceReplicaSet,
        vmi: VirtualMachineInstance,
        effect: Delete | DeleteFinished,
    ) -> None:
        owner, uid = replica_set.metadata.uid, vmi.metadata.uid
        done, failed = DELETE_TEXTS[type(effect)]
        self._expected.expect_delete(owner, uid)
        try:
            await self._client.delete(VIRTUAL_MACHINE_INSTANCES, *key_of(vmi), uid=uid)
        except (NotFound, Conflict):
            return  # gone, or replaced: the cache will show it
        except ApiError as error:
            self._expected.deleted(owner, uid)
            if isinstance(error, Unreachable):
                raise
            message = failed.format(name=vmi.metadata.name, error=error.message)
            raise EffectFailed(Failure("FailedDelete", message)) from error
        log.info("replica deleted namespace=%s name=%s uid=%s", *key_of(vmi), uid)
        self._recorder.event(replica_set, "Normal", "SuccessfulDelete", done.format(uid=uid))

    async def _adopt(self, replica_set: VirtualMachineInstanceReplicaSet, vmi: VirtualMachineInstance) -> None:
        fresh = decode(await self._client.get(REPLICA_SETS, *key_of(replica_set)), VirtualMachineInstanceReplicaSet)
        if fresh.metadata.uid != replica_set.metadata.uid or fresh.metadata.deletion_timestamp:
            raise Conflict(f"{key_of(replica_set)} was deleted meanwhile")
        await self._patch(vmi, adoption(vmi.metadata, replica_set))
        log.info("replica adopted namespace=%s name=%s", *key_of(vmi))

    async def _patch(self, vmi: VirtualMachineInstance, patch: list[dict[str, object]]) -> None:
        self._caches.vmis.absorb(await self._client.patch(VIRTUAL_MACHINE_INSTANCES, *key_of(vmi), patch))


def build_replica(replica_set: VirtualMachineInstanceReplicaSet, failures: int = 0) -> VirtualMachineInstance:
    """A new VMI of the template; its name is drawn here, so that a create without answer can be looked up."""
    template, meta = replica_set.spec.template, replica_set.metadata
    prefix = template.metadata.name or template.metadata.generate_name or meta.name
    prefix = prefix[: LONGEST_NAME - SUFFIX_LENGTH]
    annotations = {**template.metadata.annotations}
    if failures:
        annotations[labels.REPLICA_FAILURES] = str(failures)
    return VirtualMachineInstance(
        api_version=VIRTUAL_MACHINE_INSTANCES.api_version,
        kind=VIRTUAL_MACHINE_INSTANCES.kind,
        metadata=ObjectMeta(
            name=prefix + "".join(secrets.choice(SUFFIX_LETTERS) for _ in range(SUFFIX_LENGTH)),
            generate_name=prefix,
            namespace=meta.namespace,
            labels={**template.metadata.labels},
            annotations=annotations,
            owner_references=[owner_reference(replica_set)],
            finalizers=[labels.VMI_FINALIZER],
        ),
        spec=template.spec,
        status=VirtualMachineInstanceStatus(),
    )
