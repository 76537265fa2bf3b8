"""The claim a DataVolume asks for: names, sizes and modes (spec 7.1, 7.2). Pure. Called by `decide`."""

from __future__ import annotations

from virt_kube.api import Json
from virt_local.claims import StorageClass
from virt_local.datavolumes.origin import AUTHORIZED, Origin, Problem
from virt_local.datavolumes.plan import ARCHIVE, inflated
from virt_types import labels
from virt_types.cdi.objects import DataVolume
from virt_types.cdi.v1beta1 import DataVolumeSourceUpload
from virt_types.codec import to_builtins
from virt_types.quantity import to_bytes

API_VERSION, KIND = "cdi.kubevirt.io/v1beta1", "DataVolume"
MINIMUM_SIZE = "cdi.kubevirt.io/minimumSupportedPvcSize"
DEFAULT_ACCESS = "ReadWriteOnce"
FILESYSTEM = "Filesystem"
NOT_COPIED = frozenset({labels.LAST_APPLIED, AUTHORIZED})


def wanted_class(dv: DataVolume) -> str | None:
    """The class the DataVolume names, if any."""
    target = dv.spec.pvc or dv.spec.storage
    return target.storage_class_name if target is not None else None


def refused(dv: DataVolume, storage_class: StorageClass | None) -> Problem | None:
    """Why there can't be such a claim here."""
    field, target = ("pvc", dv.spec.pvc) if dv.spec.pvc is not None else ("storage", dv.spec.storage)
    if target is None:
        return Problem("ErrClaimNotValid", "spec.storage and spec.pvc are missing", fatal=True)
    if storage_class is None:
        name = target.storage_class_name
        why = f"there is no storage class {name!r}" if name else "there is no default storage class: name one"
        return Problem("ErrClaimNotValid", f"spec.{field}.storageClassName: {why}")
    if storage_class.is_local and target.volume_mode not in {None, FILESYSTEM}:
        text = f"spec.{field}.volumeMode: {target.volume_mode} is not supported by storage class"
        return Problem("ErrClaimNotValid", f"{text} {storage_class.metadata.name}: use Filesystem", fatal=True)
    if target.data_source is not None or target.data_source_ref is not None:
        text = f"spec.{field}.dataSourceRef: volume populators are not supported on this machine"
        return Problem("ErrClaimNotValid", text, fatal=True)
    return None


def build(dv: DataVolume, storage_class: StorageClass, origin: Origin) -> Json:
    """The PersistentVolumeClaim; call `refused` first."""
    meta = dv.metadata
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": meta.name,
            "namespace": meta.namespace,
            "labels": {**meta.labels},
            "annotations": _annotations(dv, origin),
            "ownerReferences": [owner_reference(dv)],
        },
        "spec": _spec(dv, storage_class, origin),
    }


def owner_reference(dv: DataVolume) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": dv.metadata.name,
        "uid": dv.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _annotations(dv: DataVolume, origin: Origin) -> dict[str, str]:
    copied = {name: value for name, value in dv.metadata.annotations.items() if name not in NOT_COPIED}
    return {
        **copied,
        labels.CLAIM_CONTENT_TYPE: dv.spec.content_type or "kubevirt",
        labels.CLAIM_FILL_RESTARTS: "0",
        labels.CLAIM_PREALLOCATION: str(bool(dv.spec.preallocation)).lower(),
        labels.CLAIM_CREATED_FOR: dv.metadata.uid,
        **({labels.UPLOAD_TARGET: ""} if isinstance(origin.source, DataVolumeSourceUpload) else {}),
    }


def _spec(dv: DataVolume, storage_class: StorageClass, origin: Origin) -> Json:
    name = storage_class.metadata.name
    if dv.spec.pvc is not None:
        return to_builtins(dv.spec.pvc) | {"storageClassName": dv.spec.pvc.storage_class_name or name}
    storage = dv.spec.storage
    if storage is None:
        raise ValueError("a DataVolume without storage and pvc has no claim")
    spec = to_builtins(storage)
    asked = to_bytes(storage.resources.requests.get("storage", 0))
    least = to_bytes(storage_class.metadata.annotations.get(MINIMUM_SIZE, 0))
    size = max(inflated(asked) if asked else origin.size, least)
    spec["accessModes"] = storage.access_modes or [DEFAULT_ACCESS]
    spec["volumeMode"] = storage.volume_mode or FILESYSTEM
    spec["storageClassName"] = name
    spec["resources"] = to_builtins(storage.resources) | {
        "requests": {**storage.resources.requests, "storage": str(size)}
    }
    return spec


def is_archive(dv: DataVolume) -> bool:
    return dv.spec.content_type == ARCHIVE
