"""PersistentVolumeClaims and storage classes, as far as the one-machine cluster's storage reads them.

Pure. Read by `storage`, which provisions claims, and by `datavolumes`, which makes and fills them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import field

from virt_kube.api import Resource
from virt_types import labels
from virt_types.meta import Base, ObjectMeta, Quantity
from virt_types.running import FINAL_PHASES

STORAGE_CLASSES = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)
PERSISTENT_VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)

CLASS = "local"
PROVISIONER = "virtctl.local/directory"
WAIT = "WaitForFirstConsumer"

IMAGE = "disk.img"
OWNER = "claim-uid"
# QEMU runs as another user and must reach the image it was given, not list what else there is.


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
    capacity: dict[str, Quantity] = field(default_factory=dict)


class Claim(Base, kw_only=True):
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: ClaimSpec = field(default_factory=ClaimSpec)
    status: ClaimStatus = field(default_factory=ClaimStatus)


class StorageClass(Base, kw_only=True):
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    provisioner: str = ""
    volume_binding_mode: str = "Immediate"
    allow_volume_expansion: bool = False

    @property
    def is_local(self) -> bool:
        return self.provisioner == PROVISIONER

    @property
    def waits(self) -> bool:
        """Whether its claims are bound only when somebody uses them."""
        return self.volume_binding_mode == WAIT


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


def default_class(classes: Iterable[StorageClass], *, machines: bool = False) -> StorageClass | None:
    """The class of who names none: with `machines` the default for them first; of several the newest (spec 7.2)."""
    newest = sorted(classes, key=lambda each: (each.metadata.creation_timestamp or "", each.metadata.name))[::-1]
    for annotation in (*((labels.DEFAULT_VIRT_CLASS,) if machines else ()), labels.DEFAULT_CLASS):
        for each in newest:
            if each.metadata.annotations.get(annotation) == "true":
                return each
    return None


def directory_of(volumes: Path, namespace: str, name: str) -> Path:
    """Where a claim lies. Both are DNS names, checked by the API server: no slashes, no leading dots."""
    return volumes / namespace / name
