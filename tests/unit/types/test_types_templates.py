"""What a template carries besides its spec: metadata, references to a size, disks to be made."""

from __future__ import annotations

from typing import Any

import pytest

from virt_types.check import judge
from virt_types.codec import from_builtins
from virt_types.defaults import default_vm
from virt_types.v1 import VirtualMachine
from virt_types.validation import validate_vm

Json = dict[str, Any]
GUEST: Json = {"domain": {"devices": {}, "memory": {"guest": "64Mi"}}}
DISK: Json = {"metadata": {"name": "d"}, "spec": {"source": {"blank": {}}, "storage": {}}}
POOLED: Json = {"labels": {"app": "a"}}


def machine(metadata: Json | None = None, **spec: Any) -> Json:
    template = {"spec": GUEST} | ({} if metadata is None else {"metadata": metadata})
    return {"runStrategy": "Halted", "template": template} | spec


def disk(**storage: Any) -> Json:
    return DISK | {"spec": {"source": {"blank": {}}, "storage": storage}}


def of_kind(kind: str, spec: Json) -> Json:
    group = "pool.kubevirt.io/v1beta1" if kind == "VirtualMachinePool" else "kubevirt.io/v1"
    return {"apiVersion": group, "kind": kind, "metadata": {"name": "a"}, "spec": spec}


def pool(spec: Json, metadata: Json = POOLED) -> Json:
    template = {"metadata": metadata, "spec": spec}
    return {"selector": {"matchLabels": {"app": "a"}}, "virtualMachineTemplate": template}


def replicas(metadata: Json) -> Json:
    return {"selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": metadata, "spec": GUEST}}


POOL = "spec.virtualMachineTemplate"
RESERVED = "creation of the following reserved kubevirt.io/ labels on a VMI object is prohibited"
NODE = {"labels": {"kubevirt.io/nodeName": "n"}}
HOOK = {"annotations": {"hooks.kubevirt.io/hookSidecars": "[]"}}
TYPO = POOLED | {"lables": {}}
UNKNOWN = "lables in body is a forbidden property, use labels"


@pytest.mark.parametrize(
    ("kind", "spec", "field", "said"),
    [
        ("VirtualMachine", machine(NODE), "spec.template.metadata.labels", RESERVED),
        ("VirtualMachine", machine(HOOK), "spec.template.metadata.annotations", "sidecar feature gate is not enabled"),
        ("VirtualMachinePool", pool(machine(NODE)), f"{POOL}.spec.template.metadata.labels", RESERVED),
        ("VirtualMachine", machine(TYPO), "spec.template.metadata.lables", f"spec.template.metadata.{UNKNOWN}"),
        ("VirtualMachineInstanceReplicaSet", replicas(TYPO), "spec.template.metadata.lables", UNKNOWN),
        (
            "VirtualMachine",
            machine(dataVolumeTemplates=[DISK | {"metadata": {"name": "d", "lable": {}}}]),
            "spec.dataVolumeTemplates[0].metadata.lable",
            "lable in body is a forbidden property",
        ),
        (
            "VirtualMachinePool",
            pool(machine(TYPO)),
            f"{POOL}.spec.template.metadata.lables",
            UNKNOWN,
        ),
        ("VirtualMachinePool", pool(machine(), TYPO), f"{POOL}.metadata.lables", UNKNOWN),
        (
            "VirtualMachine",
            machine(instancetype={"name": "a", "inferFromVolume": "v"}),
            "spec.instancetype.name",
            "Name already set, should be cleared before setting inferFromVolume",
        ),
        (
            "VirtualMachine",
            machine(preference={"name": "a", "inferFromVolumeFailurePolicy": "Cry"}),
            "spec.preference.inferFromVolumeFailurePolicy",
            "Invalid value 'Cry' for InferFromVolumeFailurePolicy",
        ),
        (
            "VirtualMachine",
            machine(dataVolumeTemplates=[{"spec": DISK["spec"]}]),
            "spec.dataVolumeTemplates[0].name",
            "'name' field must not be empty for DataVolumeTemplate entry spec.dataVolumeTemplates[0].name.",
        ),
        (
            "VirtualMachine",
            machine(dataVolumeTemplates=[disk(accessModes=["x"])]),
            "spec.dataVolumeTemplates[0].spec.storage.accessModes",
            "accessModes should be one of [ReadOnlyMany ReadWriteMany ReadWriteOnce ReadWriteOncePod]",
        ),
        (
            "VirtualMachine",
            machine(dataVolumeTemplates=[disk(volumeMode="x")]),
            "spec.dataVolumeTemplates[0].spec.storage.volumeMode",
            "volumeMode should be one of [Block Filesystem FromStorageProfile]",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(kind: str, spec: Json, field: str, said: str) -> None:
    found = judge(of_kind(kind, spec)).causes
    assert [cause.field for cause in found if said in cause.message] == [field]


def test_components_may_write_reserved_labels() -> None:
    vm = from_builtins(of_kind("VirtualMachine", machine(NODE)), VirtualMachine)
    assert [cause.message for cause in validate_vm(vm)] == [RESERVED]
    assert validate_vm(vm, trusted=True) == []


def test_what_everything_has_is_known_in_templates() -> None:
    known = POOLED | {"annotations": {"a": "b"}, "name": "n", "creationTimestamp": None, "ownerReferences": []}
    assert judge(of_kind("VirtualMachinePool", pool(machine(known), known))).causes == []


def test_sizes_of_disks_are_stored_as_kubernetes_writes_them() -> None:
    asked = disk(resources={"requests": {"storage": "1.5Gi"}})
    vm = from_builtins(of_kind("VirtualMachine", machine(dataVolumeTemplates=[asked])), VirtualMachine)
    default_vm(vm, new_uuid=lambda: "", new_mac=lambda: "")
    storage = vm.spec.data_volume_templates[0].spec.storage
    assert storage is not None
    assert storage.resources.requests == {"storage": "1536Mi"}
