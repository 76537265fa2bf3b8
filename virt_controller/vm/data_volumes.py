"""Makes the DataVolumes of a VM's `dataVolumeTemplates`, and takes over those that nobody owns (spec 2.5).

A `sourceRef` is resolved when the DataVolume is made, so that what the name means later changes no disk. To copy a
claim of another namespace, the VM's service account needs the right to.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import msgspec

from virt_controller.caches import Caches
from virt_controller.decisions import EffectFailed, Failure
from virt_controller.vm.instance import owner_reference
from virt_kube.api import AlreadyExists, ApiError, Conflict, Json, KubeClient, NotFound, Unreachable
from virt_kube.events import EventRecorder
from virt_kube.informer import key_of
from virt_kube.patch import guard
from virt_kube.resources import (
    DATA_SOURCES,
    DATA_VOLUMES,
    PERSISTENT_VOLUME_CLAIMS,
    SUBJECT_ACCESS_REVIEWS,
    VIRTUAL_MACHINES,
)
from virt_types import labels
from virt_types.cdi.objects import DataSource, DataSourceSource
from virt_types.codec import decode, to_builtins
from virt_types.v1 import DataVolumeTemplateSpec, VirtualMachine

log = logging.getLogger("virt_controller.vm")

# Texts of spec 2.10, the reason's spelling included.
CREATED = "Created DataVolume {name}"
CREATE_FAILED = "Error creating DataVolume {name}: {error}"
UNAUTHORIZED = "Not authorized to create DataVolume {name}: {error}"
SOURCE_MISSING = "SourcePVCNotAvailabe"
SOURCE_MISSING_TEXT = (
    "Source PVC {source} not available: Target PVC {target} will remain unpopulated until source is created"
)
NO_RIGHT = "User {user} has insufficient permissions in clone source namespace {namespace}"


class _Source(NamedTuple):
    """The claim or snapshot a DataVolume copies."""

    kind: str
    namespace: str
    name: str


class DataVolumes:
    """What the VM loop does to DataVolumes."""

    def __init__(self, client: KubeClient, caches: Caches, recorder: EventRecorder) -> None:
        self._client = client
        self._caches = caches
        self._recorder = recorder

    async def create(self, vm: VirtualMachine, name: str) -> None:
        """Make the DataVolume of a template; raises EffectFailed with what the user should hear."""
        template = next(each for each in vm.spec.data_volume_templates if each.metadata.name == name)
        namespace = vm.metadata.namespace
        try:
            body = build(vm, template, await self._resolved(template, namespace))
            await self._check_source(vm, name, _source_of(body["spec"], namespace))
            answer = await self._client.create(DATA_VOLUMES, namespace, body)
        except AlreadyExists:
            self._caches.data_volumes.absorb(await self._client.get(DATA_VOLUMES, namespace, name))
            return
        except Unreachable:
            raise
        except ApiError as error:
            text = CREATE_FAILED.format(name=name, error=error.message)
            raise EffectFailed(Failure("FailedDataVolumeCreate", text)) from error
        self._caches.data_volumes.absorb(answer)
        log.info("data volume created namespace=%s vm=%s name=%s", *key_of(vm), name)
        self._recorder.event(vm, "Normal", "SuccessfulDataVolumeCreate", CREATED.format(name=name))

    async def adopt(self, vm: VirtualMachine, name: str) -> None:
        """Take over an ownerless DataVolume, once an uncached look shows that the VM still exists and stays.

        Looked at before that: a pool that keeps the disk of a VM it lets go changes it, and this fails then.
        """
        volume = self._caches.data_volumes.get(vm.metadata.namespace, name)
        fresh = decode(await self._client.get(VIRTUAL_MACHINES, *key_of(vm)), VirtualMachine)
        if fresh.metadata.uid != vm.metadata.uid or fresh.metadata.deletion_timestamp:
            raise Conflict(f"{key_of(vm)} was deleted meanwhile")
        if volume is None:
            return
        owners = [to_builtins(owner) for owner in (*volume.metadata.owner_references, owner_reference(vm))]
        patch = [*guard(volume.metadata), {"op": "add", "path": "/metadata/ownerReferences", "value": owners}]
        self._caches.data_volumes.absorb(await self._client.patch(DATA_VOLUMES, vm.metadata.namespace, name, patch))

    async def _resolved(self, template: DataVolumeTemplateSpec, namespace: str) -> Json:
        """The template's spec with its `sourceRef` replaced by what it stands for now."""
        spec = to_builtins(template.spec)
        reference = template.spec.source_ref
        if reference is None:
            return spec
        where = reference.namespace or namespace
        found = decode(await self._client.get(DATA_SOURCES, where, reference.name), DataSource)
        source = found.status.source or found.spec.source
        if source.data_source is not None:  # one step, as CDI allows
            where = source.data_source.namespace or where
            found = decode(await self._client.get(DATA_SOURCES, where, source.data_source.name), DataSource)
            source = found.status.source or found.spec.source
        meaning = _meaning(source, where)
        # What published DataSources name besides, which the one-machine cluster reads.
        plain = {kind: getattr(source, kind) for kind in ("http", "registry") if getattr(source, kind) is not None}
        if meaning is None and not plain:
            raise NotFound(f"DataSource {where}/{found.metadata.name} has no source yet")
        del spec["sourceRef"]
        if meaning is None:
            return {**spec, "source": to_builtins(plain)}
        return {**spec, "source": {meaning.kind: {"namespace": meaning.namespace, "name": meaning.name}}}

    async def _check_source(self, vm: VirtualMachine, name: str, source: _Source | None) -> None:
        if source is None:
            return
        namespace = vm.metadata.namespace
        if source.namespace != namespace:
            await self._check_right(vm, name, source.namespace)
        if source.kind == "pvc" and not await self._exists(source):
            text = SOURCE_MISSING_TEXT.format(source=f"{source.namespace}/{source.name}", target=name)
            self._recorder.event(vm, "Warning", SOURCE_MISSING, text)

    async def _check_right(self, vm: VirtualMachine, name: str, namespace: str) -> None:
        """The VM's service account must be allowed to create `datavolumes/source` where the source is."""
        user = f"system:serviceaccount:{vm.metadata.namespace}:{_service_account(vm)}"
        attributes = {
            "verb": "create",
            "group": DATA_VOLUMES.group,
            "resource": DATA_VOLUMES.plural,
            "subresource": "source",
            "namespace": namespace,
        }
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{vm.metadata.namespace}", "system:authenticated"]
        review: Json = {
            "apiVersion": SUBJECT_ACCESS_REVIEWS.api_version,
            "kind": SUBJECT_ACCESS_REVIEWS.kind,
            "spec": {"user": user, "groups": groups, "resourceAttributes": attributes},
        }
        answer = msgspec.json.decode(await self._client.create(SUBJECT_ACCESS_REVIEWS, "", review))
        if not (answer.get("status") or {}).get("allowed"):
            text = UNAUTHORIZED.format(name=name, error=NO_RIGHT.format(user=user, namespace=namespace))
            raise EffectFailed(Failure("UnauthorizedDataVolumeCreate", text))

    async def _exists(self, source: _Source) -> bool:
        if self._caches.claims.get(source.namespace, source.name) is not None:
            return True
        try:
            await self._client.get(PERSISTENT_VOLUME_CLAIMS, source.namespace, source.name)
        except NotFound:
            return False
        return True


def build(vm: VirtualMachine, template: DataVolumeTemplateSpec, spec: Json) -> Json:
    """The DataVolume of a template whose source is resolved already."""
    meta = template.metadata
    metadata: Json = {
        "name": meta.name,
        "namespace": vm.metadata.namespace,
        "labels": {**meta.labels, labels.CREATED_BY: vm.metadata.uid},
        "annotations": {**meta.annotations, labels.CLAIM_ADOPTION: "true"},
        "ownerReferences": [to_builtins(owner_reference(vm))],
    }
    priority = spec.get("priorityClassName") or vm.spec.template.spec.priority_class_name
    if priority:
        spec = {**spec, "priorityClassName": priority}
    return {"apiVersion": DATA_VOLUMES.api_version, "kind": DATA_VOLUMES.kind, "metadata": metadata, "spec": spec}


def _meaning(source: DataSourceSource, namespace: str) -> _Source | None:
    for kind in ("pvc", "snapshot"):
        reference = getattr(source, kind)
        if reference is not None:
            return _Source(kind, reference.namespace or namespace, reference.name)
    return None


def _source_of(spec: Json, namespace: str) -> _Source | None:
    for kind in ("pvc", "snapshot"):
        reference = (spec.get("source") or {}).get(kind)
        if reference:
            return _Source(kind, reference.get("namespace") or namespace, reference["name"])
    return None


def _service_account(vm: VirtualMachine) -> str:
    accounts = (volume.service_account for volume in vm.spec.template.spec.volumes)
    return next((each.service_account_name for each in accounts if each and each.service_account_name), "default")
