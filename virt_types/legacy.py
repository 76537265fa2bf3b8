"""Manifests of KubeVirt's early versions, turned into today's.

`convert` is asked by the command line before it sends a manifest and by the API server for old versions; what it
changes it tells, one note per change. Only spellings that once were valid are touched; anything else is left for
validation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Notes = list[str]

GROUP = "kubevirt.io"
CURRENT = "kubevirt.io/v1"
OLD_VERSIONS = frozenset(("v1alpha1", "v1alpha2", "v1alpha3"))
# The kinds of v1alpha1. Its VirtualMachine is today's instance.
KINDS_OF_V1ALPHA1 = {
    "VirtualMachine": "VirtualMachineInstance",
    "VirtualMachineReplicaSet": "VirtualMachineInstanceReplicaSet",
    "VirtualMachinePreset": "VirtualMachineInstancePreset",
}
# Kinds that are unmistakable whatever version they are written with.
OLD_KINDS = {
    "OfflineVirtualMachine": "VirtualMachine",
    "VirtualMachineReplicaSet": "VirtualMachineInstanceReplicaSet",
    "VirtualMachinePreset": "VirtualMachineInstancePreset",
}
# Kinds that live in a group of their own; documents still show them in kubevirt.io, or in that group's first version.
POOL = "VirtualMachinePool"
MOVED = {POOL: "pool.kubevirt.io/v1beta1"}
# Kind -> the way to the instance's spec below `spec`.
TEMPLATES = {
    "VirtualMachine": ("template", "spec"),
    "VirtualMachineInstanceReplicaSet": ("template", "spec"),
    POOL: ("virtualMachineTemplate", "spec", "template", "spec"),
}


def convert(obj: Json) -> tuple[Json, Notes]:
    """A current copy of `obj` and a note per change; objects of other groups come back as they are. Idempotent."""
    new = copy.deepcopy(obj)
    notes: Notes = []
    kind = new.get("kind")
    group, _, version = str(new.get("apiVersion", "")).partition("/")
    if not isinstance(kind, str) or (group != GROUP and kind not in MOVED):
        return new, notes
    if kind in MOVED:
        _group(new, group, notes)
    else:
        _kind(new, version, notes)
        if version in OLD_VERSIONS:
            new["apiVersion"] = CURRENT
            notes.append(f"apiVersion: {GROUP}/{version} is {CURRENT} today")
            _devices(new, notes)
    for path, spec in _instance_specs(new):
        for change in CHANGES:
            change(spec, path, notes)
    return new, notes


def _group(obj: Json, group: str, notes: Notes) -> None:
    today, written = MOVED[obj["kind"]], obj.get("apiVersion")
    if written != today and group in {GROUP, today.partition("/")[0]}:
        notes.append(f"apiVersion: {obj['kind']} is of {today}, not of {written}")
        obj["apiVersion"] = today


def _kind(obj: Json, version: str, notes: Notes) -> None:
    kind = obj["kind"]
    new = (KINDS_OF_V1ALPHA1 if version == "v1alpha1" else {}).get(kind) or OLD_KINDS.get(kind)
    if new is not None:
        obj["kind"] = new
        notes.append(f"kind: {kind} is {new} today")


def _devices(obj: Json, notes: Notes) -> None:
    """A domain could do without devices, as presets mostly did."""
    for path, spec in _instance_specs(obj):
        domain = spec.get("domain")
        if isinstance(domain, dict) and "devices" not in domain:
            domain["devices"] = {}
            notes.append(f"{path}.domain: devices must be there today, even if empty")


def _instance_specs(obj: Json) -> list[tuple[str, Json]]:
    """The instance's spec of a VirtualMachineInstance, or of the template in other kinds, with its path."""
    inner, path = obj.get("spec"), "spec"
    for step in TEMPLATES.get(obj["kind"], ()):
        inner = inner.get(step) if isinstance(inner, dict) else None
        path = f"{path}.{step}"
    return [(path, inner)] if isinstance(inner, dict) else []


def _dicts(value: Any) -> list[tuple[int, Json]]:
    return [(i, item) for i, item in enumerate(value) if isinstance(item, dict)] if isinstance(value, list) else []


def _disks(spec: Json) -> list[tuple[int, Json]]:
    domain = spec.get("domain")
    devices = domain.get("devices") if isinstance(domain, dict) else None
    return _dicts(devices.get("disks")) if isinstance(devices, dict) else []


def registry_disks(spec: Json, path: str, notes: Notes) -> None:
    """`registryDisk` was renamed to `containerDisk`."""
    for index, volume in _dicts(spec.get("volumes")):
        if "registryDisk" in volume and "containerDisk" not in volume:
            volume["containerDisk"] = volume.pop("registryDisk")
            notes.append(f"{path}.volumes[{index}]: registryDisk is containerDisk today")


def volume_names(spec: Json, path: str, notes: Notes) -> None:
    """A disk used to name its volume; today a disk and its volume have one name, the volume's."""
    for index, disk in _disks(spec):
        if "volumeName" not in disk:
            continue
        volume = disk.pop("volumeName")
        field = f"{path}.domain.devices.disks[{index}]"
        if isinstance(volume, str) and volume and volume != disk.get("name"):
            notes.append(f"{field}: volumeName is gone; disk {disk.get('name')!r} takes its volume's name, {volume!r}")
            disk["name"] = volume
        else:
            notes.append(f"{field}: volumeName is gone; a disk and its volume have one name")


def disk_devices(spec: Json, path: str, notes: Notes) -> None:
    """The guest's device name could be written; it never was a promise."""
    for index, disk in _disks(spec):
        for kind in ("disk", "cdrom", "lun", "floppy"):
            target = disk.get(kind)
            if isinstance(target, dict) and "dev" in target:
                notes.append(f"{path}.domain.devices.disks[{index}].{kind}: dev {target.pop('dev')!r} is gone")


CHANGES: tuple[Callable[[Json, str, Notes], None], ...] = (registry_disks, volume_names, disk_devices)
