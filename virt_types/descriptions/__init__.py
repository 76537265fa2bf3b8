"""What the API's types and fields mean, in our words: meaning, unit, default, on one line.

Read by the CRDs' schemas, and so by `kubectl explain`, and by tools/generate_types.py for the docstrings of classes and
their fields. Nothing else imports it: who only reads objects does not pay for it. The modules beside have one table
each, `Type -> {wire name: text}`, the type's own text under "".
"""

from __future__ import annotations

from collections.abc import Iterable

from virt_types.descriptions import (
    borrowed,
    devices,
    hardware,
    imports,
    instances,
    machines,
    many,
    sizes,
    status,
    volumes,
)

TEXTS: dict[str, dict[str, str]] = (
    machines.TEXTS
    | instances.TEXTS
    | status.TEXTS
    | hardware.TEXTS
    | devices.TEXTS
    | volumes.TEXTS
    | many.TEXTS
    | sizes.TEXTS
    | imports.TEXTS
    | borrowed.TEXTS
)
# Fields that mean the same wherever neither their owner nor their type says anything.
EVERYWHERE = {
    "apiVersion": "The API's group and version, such as kubevirt.io/v1.",
    "kind": "The kind of object.",
    "metadata": "Name, namespace, labels, annotations and bookkeeping.",
    "namespace": "The object's namespace.",
    # of conditions
    "type": "What is judged.",
    "status": "True, False or Unknown.",
    "reason": "Why, in one word.",
    "message": "Why, in a sentence.",
    "lastProbeTime": "When it was last looked at.",
    "lastTransitionTime": "When its status last changed.",
    "lastHeartbeatTime": "When it was last written.",
    # of features and timers
    "enabled": "Whether it is on; default true.",
    "present": "Whether the guest has it; default true.",
    # of volumes
    "claimName": "The PersistentVolumeClaim, in the same namespace.",
    "hotpluggable": "Whether it can be pulled out while the guest runs; default false.",
    "readOnly": "Whether it is only read; default false.",
    "volumeLabel": "The label by which the guest finds the disk, such as cidata, config-2 or OEMDRV.",
    "checksum": "Deprecated: it is no longer computed.",
    # of what takes a while
    "startTimestamp": "When it began.",
    "endTimestamp": "When it ended.",
    "phaseTransitionTimestamp": "When it began.",
    # of either side of a migration
    "domainName": "The guest's libvirt domain on this side.",
    "domainNamespace": "The namespace in that domain's name.",
    "migrationUID": "The VirtualMachineInstanceMigration on this side.",
    "node": "The node on this side.",
    "pod": "The launcher on this side.",
    "persistentStatePVCName": "The claim with the firmware's state on this side.",
    "selinuxContext": "The launcher's SELinux context on this side.",
    "syncAddress": "Where this side listens for the other, host and port.",
    "virtualMachineInstanceUID": "The VirtualMachineInstance on this side.",
}
# Fields whose name says it; and every field that holds a type of ours, because that is described.
SELF_EVIDENT = frozenset(("name",))


def of_type(name: str) -> str:
    """What a type is, "" when nothing is said."""
    return TEXTS.get(name, {}).get("", "")


def of_field(owners: Iterable[str], wire: str) -> str:
    """What is said of a field by the first of `owners`, a type and those it extends; "" when nothing is said there."""
    return next(filter(None, (TEXTS.get(owner, {}).get(wire, "") for owner in owners)), "")
