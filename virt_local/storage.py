"""The storage class `local`: a claim is a directory below STATE/volumes with one sparse disk image.

Binds PersistentVolumeClaims, keeps them while a guest uses them, and removes the files with the claim. The node agent
finds the image by its path, STATE/volumes/NAMESPACE/CLAIM/disk.img. Run by the supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from msgspec import field

from virt_kube.api import AlreadyExists, Json, KubeClient, NotFound, Resource
from virt_kube.events import EventRecorder
from virt_kube.informer import Informer, Key, key_of
from virt_kube.resources import PERSISTENT_VOLUME_CLAIMS, VIRTUAL_MACHINE_INSTANCES
from virt_kube.runner import Fatal, Retry, Runner, Verdict
from virt_kube.workqueue import WorkQueue
from virt_types import codec
from virt_types.meta import Base, ObjectMeta, Quantity
from virt_types.quantity import to_bytes

log = logging.getLogger("virt_local.storage")

STORAGE_CLASSES = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)
PERSISTENT_VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)

CLASS = "local"
PROVISIONER = "virtctl.local/directory"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
IN_USE_FINALIZER = "kubernetes.io/pvc-protection"
IMAGE = "disk.img"
OWNER = "claim-uid"
FINAL_PHASES = frozenset({"Succeeded", "Failed"})
# QEMU runs as another user and must reach the image it was given, not list what else there is.
DIRECTORY_MODE = 0o711


class ResourceRequests(Base, kw_only=True):
    requests: dict[str, Quantity] = field(default_factory=dict)


class ClaimSpec(Base, kw_only=True):
    access_modes: list[str] = field(default_factory=list)
    resources: ResourceRequests = field(default_factory=ResourceRequests)
    storage_class_name: str | None = None
    volume_mode: str = "Filesystem"
    volume_name: str = ""


class ClaimStatus(Base, kw_only=True):
    phase: str = ""


class Claim(Base, kw_only=True):
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: ClaimSpec = field(default_factory=ClaimSpec)
    status: ClaimStatus = field(default_factory=ClaimStatus)


class _ClaimName(Base, kw_only=True):
    claim_name: str = ""


class _DataVolumeName(Base, kw_only=True):
    name: str = ""


class _Ephemeral(Base, kw_only=True):
    persistent_volume_claim: _ClaimName | None = None


class _Volume(Base, kw_only=True):
    persistent_volume_claim: _ClaimName | None = None
    data_volume: _DataVolumeName | None = None
    ephemeral: _Ephemeral | None = None


class _UserSpec(Base, kw_only=True):
    volumes: list[_Volume] = field(default_factory=list)


class _UserStatus(Base, kw_only=True):
    phase: str = ""


class User(Base, kw_only=True):
    """What storage needs to know of a VMI."""

    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: _UserSpec = field(default_factory=_UserSpec)
    status: _UserStatus = field(default_factory=_UserStatus)


def claims_of(user: User) -> list[str]:
    """The claims a VMI holds, as index keys; none once it has ended."""
    if user.status.phase in FINAL_PHASES:
        return []
    names = [
        volume.persistent_volume_claim.claim_name for volume in user.spec.volumes if volume.persistent_volume_claim
    ]
    names += [volume.data_volume.name for volume in user.spec.volumes if volume.data_volume]
    below = [volume.ephemeral.persistent_volume_claim for volume in user.spec.volumes if volume.ephemeral]
    names += [claim.claim_name for claim in below if claim]
    return [f"{user.metadata.namespace}/{name}" for name in names]


class LocalStorage:
    """Provisions claims of class `local` below `volumes` until cancelled."""

    def __init__(self, client: KubeClient, volumes: Path, events: EventRecorder) -> None:
        self._client, self._volumes, self._events = client, volumes, events
        self._queue: WorkQueue[Key] = WorkQueue()
        self._claims = Informer(client, PERSISTENT_VOLUME_CLAIMS, lambda data: codec.decode(data, Claim))
        self._users = Informer(
            client,
            VIRTUAL_MACHINE_INSTANCES,
            lambda data: codec.decode(data, User),
            indexers={"claim": claims_of},
        )
        self._claims.add_handler(self._claim_changed)
        self._users.add_handler(self._user_changed)

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        async with asyncio.TaskGroup() as tasks:
            await self._ensure_class()
            tasks.create_task(self._claims.run())
            tasks.create_task(self._users.run())
            await self._claims.synced.wait()
            await self._users.synced.wait()
            ready()
            tasks.create_task(Runner("storage", self._queue, self.reconcile, workers=2).run())

    async def _ensure_class(self) -> None:
        with contextlib.suppress(AlreadyExists):
            await self._client.create(
                STORAGE_CLASSES,
                "",
                {
                    "apiVersion": "storage.k8s.io/v1",
                    "kind": "StorageClass",
                    "metadata": {"name": CLASS, "annotations": {DEFAULT_CLASS: "true"}},
                    "provisioner": PROVISIONER,
                    "reclaimPolicy": "Delete",
                    "volumeBindingMode": "Immediate",
                },
            )

    def _claim_changed(self, old: Claim | None, new: Claim | None) -> None:
        claim = new or old
        if claim is not None:
            self._queue.add(key_of(claim))

    def _user_changed(self, old: User | None, new: User | None) -> None:
        before = set(claims_of(old)) if old else set()
        after = set(claims_of(new)) if new else set()
        for released in before - after:
            namespace, _, name = released.partition("/")
            self._queue.add(Key(namespace, name))

    async def reconcile(self, key: Key) -> Verdict:
        claim = self._claims.get(*key)
        if claim is None or claim.spec.storage_class_name not in {None, CLASS}:
            return None
        if claim.metadata.deletion_timestamp:
            return await self._release(claim)
        if claim.status.phase == "Bound":
            return None
        return await self._bind(claim)

    async def _bind(self, claim: Claim) -> Verdict:
        problem = _unsupported(claim)
        if problem:
            self._events.event(claim, "Warning", "ProvisioningFailed", problem)
            return Fatal("ProvisioningFailed", problem)
        size = to_bytes(claim.spec.resources.requests["storage"])
        directory = self._directory(claim)
        try:
            await asyncio.to_thread(_provision, directory, claim.metadata.uid, size)
        except OSError as err:
            message = f"can't create {directory}: {err.strerror or err}"
            self._events.event(claim, "Warning", "ProvisioningFailed", message)
            return Retry(reason="ProvisioningFailed", message=message)
        volume = f"pvc-{claim.metadata.uid}"
        with contextlib.suppress(AlreadyExists):
            await self._client.create(PERSISTENT_VOLUMES, "", _volume(claim, volume, directory))
        await self._claim_patch(claim, _bound_spec(claim, volume))
        await self._claim_patch(claim, {"status": _bound_status(claim)}, subresource="status")
        self._events.event(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {volume}")
        log.info("claim bound namespace=%s name=%s bytes=%d", claim.metadata.namespace, claim.metadata.name, size)
        return None

    async def _release(self, claim: Claim) -> Verdict:
        """Remove the files, the volume and at last the claim, once no guest uses it."""
        meta = claim.metadata
        if IN_USE_FINALIZER not in meta.finalizers or self._users.by_index("claim", f"{meta.namespace}/{meta.name}"):
            return None
        await asyncio.to_thread(_remove, self._directory(claim), meta.uid)
        with contextlib.suppress(NotFound):
            await self._client.delete(PERSISTENT_VOLUMES, "", f"pvc-{meta.uid}")
        finalizers = [each for each in meta.finalizers if each != IN_USE_FINALIZER]
        await self._claim_patch(claim, {"metadata": {"finalizers": finalizers}})
        log.info("claim removed namespace=%s name=%s", meta.namespace, meta.name)
        return None

    async def _claim_patch(self, claim: Claim, patch: Json, *, subresource: str = "") -> None:
        guarded = {**patch, "metadata": {"uid": claim.metadata.uid, **patch.get("metadata", {})}}
        meta = claim.metadata
        with contextlib.suppress(NotFound):
            await self._client.patch(
                PERSISTENT_VOLUME_CLAIMS, meta.namespace, meta.name, guarded, kind="merge", subresource=subresource
            )

    def _directory(self, claim: Claim) -> Path:
        # Both are DNS names, checked by the API server: no slashes, no leading dots.
        return self._volumes / claim.metadata.namespace / claim.metadata.name


def _unsupported(claim: Claim) -> str:
    if claim.spec.volume_mode != "Filesystem":
        return f"volumeMode {claim.spec.volume_mode} is not supported by storage class {CLASS}: use Filesystem"
    if "storage" not in claim.spec.resources.requests:
        return "spec.resources.requests.storage is missing"
    return ""


def _bound_spec(claim: Claim, volume: str) -> Json:
    finalizers = [*claim.metadata.finalizers]
    if IN_USE_FINALIZER not in finalizers:
        finalizers.append(IN_USE_FINALIZER)
    return {"metadata": {"finalizers": finalizers}, "spec": {"volumeName": volume, "storageClassName": CLASS}}


def _bound_status(claim: Claim) -> Json:
    capacity = {"storage": claim.spec.resources.requests["storage"]}
    return {"phase": "Bound", "accessModes": claim.spec.access_modes, "capacity": capacity}


def _volume(claim: Claim, name: str, directory: Path) -> Json:
    meta = claim.metadata
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": claim.spec.resources.requests["storage"]},
            "accessModes": claim.spec.access_modes,
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": CLASS,
            "volumeMode": "Filesystem",
            "hostPath": {"path": str(directory), "type": "Directory"},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": meta.namespace,
                "name": meta.name,
                "uid": meta.uid,
            },
        },
        "status": {"phase": "Bound"},
    }


def _provision(directory: Path, uid: str, size: int) -> None:
    """Make the directory and its image; done before, it only checks that they are this claim's."""
    directory.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    owner = directory / OWNER
    if owner.exists() and owner.read_text() != uid:
        raise FileExistsError(0, "it holds the volume of another claim that was not removed; move it away")
    owner.write_text(uid)
    image = directory / IMAGE
    if image.exists():
        return
    partial = directory / f".{IMAGE}"
    with partial.open("wb") as file:
        file.truncate(size)
        os.fsync(file.fileno())
    partial.chmod(0o600)
    partial.rename(image)


def _remove(directory: Path, uid: str) -> None:
    """Remove the directory if it is this claim's; nothing there means done already."""
    try:
        if (directory / OWNER).read_text() != uid:
            return
    except FileNotFoundError:
        return
    shutil.rmtree(directory)
    with contextlib.suppress(OSError):
        directory.parent.rmdir()
