"""What holds a VM to the instancetype and preference it began with, though both may be edited later (spec 2.4).

Each is copied into a ControllerRevision that the VM's status names. Pure: `decide` asks `unpinned`, `Expander` makes
the rest true.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from virt_kube.api import Json
from virt_kube.instancetypes import REFERENCES, Found, NotFindable, Reference
from virt_types.v1 import ControllerRevisionRef, InstancetypeStatusRef, VirtualMachine, VirtualMachineStatus

LABEL_PREFIX = "instancetype.kubevirt.io/object-"
KIND_LABEL = f"{LABEL_PREFIX}kind"
LONGEST_NAME, LONGEST_LABEL = 253, 63


def unpinned(vm: VirtualMachine) -> tuple[Reference, ...]:
    """The references whose entry in the status is missing, or stands for something else."""
    return tuple(reference for reference in REFERENCES if not _is_pinned(vm, reference))


def _is_pinned(vm: VirtualMachine, reference: Reference) -> bool:
    matcher, status = reference.matcher_of(vm), reference.status_of(vm)
    if matcher is None or status is None:
        return matcher is None and status is None
    revision = status.controller_revision_ref.name if status.controller_revision_ref is not None else None
    if not revision or (matcher.revision_name and matcher.revision_name != revision):
        return False
    try:
        return status.name == matcher.name and status.kind == reference.resource_of(matcher.kind).kind
    except NotFindable:
        return False


def status_ref(vm: VirtualMachine, reference: Reference, revision: str) -> InstancetypeStatusRef | None:
    """What the status says of a reference that `revision` holds; None for no reference. Raises NotFindable."""
    matcher = reference.matcher_of(vm)
    if matcher is None:
        return None
    kind = reference.resource_of(matcher.kind).kind
    return InstancetypeStatusRef(
        name=matcher.name, kind=kind, controller_revision_ref=ControllerRevisionRef(name=revision)
    )


def with_ref(
    status: VirtualMachineStatus, reference: Reference, ref: InstancetypeStatusRef | None
) -> VirtualMachineStatus:
    return replace(status, **{f"{reference.word}_ref": ref})


class Copy(msgspec.Struct):
    """A ControllerRevision's name, labels and data."""

    name: str
    marks: dict[str, str]
    data: Json


def copy_of(vm: VirtualMachine, found: Found[Any]) -> Copy:
    """What to store of an instancetype or preference, by its identity and generation."""
    data: Json = msgspec.json.decode(found.body)
    meta = data["metadata"] = {key: value for key, value in data["metadata"].items() if key != "managedFields"}
    version = str(data["apiVersion"]).rpartition("/")[2]
    identity = f"{version}-{meta['uid']}-{meta['generation']}"
    room = LONGEST_NAME - len(vm.metadata.name) - len(identity) - 2
    marks = {
        "generation": str(meta["generation"]),
        "kind": str(data["kind"]),
        "name": str(meta["name"]),
        "uid": str(meta["uid"]),
        "version": version,
    }
    return Copy(f"{vm.metadata.name}-{meta['name'][:room]}-{identity}", dict(_labels(marks)), data)


def _labels(marks: dict[str, str]) -> Iterator[tuple[str, str]]:
    """A longer name is no label's value; the data has it."""
    return ((LABEL_PREFIX + key, value) for key, value in marks.items() if len(value) <= LONGEST_LABEL)


def revisions_in_use(status: VirtualMachineStatus) -> set[str]:
    refs = (status.instancetype_ref, status.preference_ref)
    used = (ref.controller_revision_ref.name for ref in refs if ref is not None and ref.controller_revision_ref)
    return {name for name in used if name}
