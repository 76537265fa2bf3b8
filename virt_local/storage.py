"""The storage class `local`: a claim is a directory below STATE/volumes with one sparse disk image.

Binds PersistentVolumeClaims of every class whose provisioner is ours, grows them, keeps them while a guest uses them,
and removes the files with the claim. The node agent finds the image by its path,
STATE/volumes/NAMESPACE/CLAIM/disk.img. A claim that a DataVolume or an upload fills gets no image here: `datavolumes`
puts it there when it is whole. Run by the supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from virt_kube.api import AlreadyExists, Json, KubeClient, NotFound
from virt_kube.directories import make_passable
from virt_kube.durable import write_durably
from virt_kube.events import EventRecorder
from virt_kube.informer import Informer, Key, key_of
from virt_kube.resources import PERSISTENT_VOLUME_CLAIMS, VIRTUAL_MACHINE_INSTANCES
from virt_kube.runner import Fatal, Retry, Runner, Verdict
from virt_kube.workqueue import WorkQueue
from virt_local.claims import (
    CLASS,
    IMAGE,
    OWNER,
    PERSISTENT_VOLUMES,
    PROVISIONER,
    STORAGE_CLASSES,
    WAIT,
    Claim,
    StorageClass,
    User,
    claims_of,
    default_class,
    directory_of,
)
from virt_types import codec, labels
from virt_types.cdi.claims import awaits_filling
from virt_types.quantity import to_bytes

log = logging.getLogger("virt_local.storage")

IN_USE_FINALIZER = "kubernetes.io/pvc-protection"
WAITING = "waiting for first consumer to be created before binding"
GROWS_LATER = "the claim grows when no machine uses it: stop those that do"


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
        self._classes = Informer(client, STORAGE_CLASSES, lambda data: codec.decode(data, StorageClass))
        self._claims.add_handler(self._claim_changed)
        self._users.add_handler(self._user_changed)

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        async with asyncio.TaskGroup() as tasks:
            await self._ensure_class()
            tasks.create_task(self._claims.run())
            tasks.create_task(self._users.run())
            tasks.create_task(self._classes.run())
            for cache in (self._claims, self._users, self._classes):
                await cache.synced.wait()
            self._classes.add_handler(self._class_changed)
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
                    "metadata": {"name": CLASS, "annotations": {labels.DEFAULT_CLASS: "true"}},
                    "provisioner": PROVISIONER,
                    "reclaimPolicy": "Delete",
                    "allowVolumeExpansion": True,
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
        for changed in before ^ after:
            namespace, _, name = changed.partition("/")
            self._queue.add(Key(namespace, name))

    def _class_changed(self, _old: StorageClass | None, _new: StorageClass | None) -> None:
        for claim in self._claims.list():
            if claim.status.phase != "Bound":
                self._queue.add(key_of(claim))

    async def reconcile(self, key: Key) -> Verdict:
        claim = self._claims.get(*key)
        storage_class = self._class_of(claim) if claim is not None else None
        if claim is None:
            return None
        if claim.metadata.deletion_timestamp:
            return await self._release(claim)  # of any class: nobody else here lets a claim go
        if storage_class is None or not storage_class.is_local:
            return None
        if claim.status.phase == "Bound":
            return await self._grow(claim, storage_class)
        if storage_class.waits and not self._is_wanted(claim):
            self._events.event(claim, "Normal", WAIT, WAITING)
            return None
        return await self._bind(claim, storage_class)

    def _class_of(self, claim: Claim) -> StorageClass | None:
        name = claim.spec.storage_class_name
        return default_class(self._classes.list()) if name is None else self._classes.get("", name)

    def _is_wanted(self, claim: Claim) -> bool:
        return labels.IMMEDIATE_BINDING in claim.metadata.annotations or self._is_used(claim)

    def _is_used(self, claim: Claim) -> bool:
        return bool(self._users.by_index("claim", str(key_of(claim))))

    async def _bind(self, claim: Claim, storage_class: StorageClass) -> Verdict:
        problem = _unsupported(claim, storage_class)
        if problem:
            self._events.event(claim, "Warning", "ProvisioningFailed", problem)
            return Fatal("ProvisioningFailed", problem)
        size = to_bytes(claim.spec.resources.requests["storage"])
        directory = self._directory(claim)
        empty = awaits_filling(claim.metadata.annotations)
        try:
            await asyncio.to_thread(_provision, directory, claim.metadata.uid, None if empty else size)
        except OSError as err:
            message = f"can't create {directory}: {err.strerror or err}"
            self._events.event(claim, "Warning", "ProvisioningFailed", message)
            return Retry(reason="ProvisioningFailed", message=message)
        volume = f"pvc-{claim.metadata.uid}"
        with contextlib.suppress(AlreadyExists):
            await self._client.create(PERSISTENT_VOLUMES, "", _volume(claim, volume, directory, storage_class))
        await self._claim_patch(claim, _bound_spec(claim, volume, storage_class))
        await self._claim_patch(claim, {"status": _bound_status(claim)}, subresource="status")
        self._events.event(claim, "Normal", "ProvisioningSucceeded", f"Successfully provisioned volume {volume}")
        log.info("claim bound namespace=%s name=%s bytes=%d", claim.metadata.namespace, claim.metadata.name, size)
        return None

    async def _grow(self, claim: Claim, storage_class: StorageClass) -> Verdict:
        """Bring the image to the size asked for, once nothing uses it and nothing fills it."""
        asked = to_bytes(claim.spec.resources.requests.get("storage", 0))
        if asked <= to_bytes(claim.status.capacity.get("storage", asked)) or not storage_class.allow_volume_expansion:
            return None
        if awaits_filling(claim.metadata.annotations):
            return None  # the end of the filling comes back here
        if self._is_used(claim):
            self._events.event(claim, "Normal", "FileSystemResizeRequired", GROWS_LATER)
            return None
        try:
            await asyncio.to_thread(_extend, self._directory(claim) / IMAGE, asked)
        except OSError as err:
            message = f"can't grow {self._directory(claim) / IMAGE}: {err.strerror or err}"
            self._events.event(claim, "Warning", "VolumeResizeFailed", message)
            return Retry(reason="VolumeResizeFailed", message=message)
        capacity = {"storage": claim.spec.resources.requests["storage"]}
        with contextlib.suppress(NotFound):
            change: Json = {"spec": {"capacity": capacity}}
            await self._client.patch(PERSISTENT_VOLUMES, "", claim.spec.volume_name, change, kind="merge")
        await self._claim_patch(claim, {"status": {"capacity": capacity}}, subresource="status")
        self._events.event(claim, "Normal", "VolumeResizeSuccessful", f"the claim has {asked} bytes now")
        log.info("claim grown namespace=%s name=%s bytes=%d", claim.metadata.namespace, claim.metadata.name, asked)
        return None

    async def _release(self, claim: Claim) -> Verdict:
        """Remove the files, the volume and at last the claim, once no guest uses it."""
        meta = claim.metadata
        if IN_USE_FINALIZER not in meta.finalizers or self._is_used(claim):
            return None
        await asyncio.to_thread(_remove, self._directory(claim), meta.uid)
        with contextlib.suppress(NotFound):
            await self._client.delete(PERSISTENT_VOLUMES, "", f"pvc-{meta.uid}")
            await self._client.patch(
                PERSISTENT_VOLUMES, "", f"pvc-{meta.uid}", {"metadata": {"finalizers": []}}, kind="merge"
            )
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
        return directory_of(self._volumes, claim.metadata.namespace, claim.metadata.name)


def _unsupported(claim: Claim, storage_class: StorageClass) -> str:
    if claim.spec.volume_mode != "Filesystem":
        mode, name = claim.spec.volume_mode, storage_class.metadata.name
        return f"volumeMode {mode} is not supported by storage class {name}: use Filesystem"
    if "storage" not in claim.spec.resources.requests:
        return "spec.resources.requests.storage is missing"
    return ""


def _bound_spec(claim: Claim, volume: str, storage_class: StorageClass) -> Json:
    finalizers = [*claim.metadata.finalizers]
    if IN_USE_FINALIZER not in finalizers:
        finalizers.append(IN_USE_FINALIZER)
    spec = {"volumeName": volume, "storageClassName": storage_class.metadata.name}
    return {"metadata": {"finalizers": finalizers}, "spec": spec}


def _bound_status(claim: Claim) -> Json:
    capacity = {"storage": claim.spec.resources.requests["storage"]}
    return {"phase": "Bound", "accessModes": claim.spec.access_modes, "capacity": capacity}


def _volume(claim: Claim, name: str, directory: Path, storage_class: StorageClass) -> Json:
    meta = claim.metadata
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": claim.spec.resources.requests["storage"]},
            "accessModes": claim.spec.access_modes,
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": storage_class.metadata.name,
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


def _provision(directory: Path, uid: str, size: int | None) -> None:
    """Make the directory and, with a size, its image; done before, it only checks that they are this claim's."""
    for each in (directory.parent, directory):
        make_passable(each)
    owner = directory / OWNER
    if not owner.exists():
        write_durably(owner, uid.encode())
    elif owner.read_text() != uid:
        raise FileExistsError(0, "it holds the volume of another claim that was not removed; move it away")
    image = directory / IMAGE
    if size is None or image.exists():
        return
    partial = directory / f".{IMAGE}"
    with partial.open("wb") as file:
        file.truncate(size)
        os.fsync(file.fileno())
    partial.chmod(0o600)
    partial.rename(image)


def _extend(image: Path, size: int) -> None:
    """Grow the image to `size` bytes; never shrink it. No image: the node agent makes one of the new size."""
    try:
        fd = os.open(image, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if os.fstat(fd).st_size < size:
            os.ftruncate(fd, size)
            os.fsync(fd)
    finally:
        os.close(fd)


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
