"""Every validation rule: what breaks it, and the field and words it answers with (specification 5.4)."""

from __future__ import annotations

import copy
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from virt_types.codec import from_builtins
from virt_types.defaults import default_vm, default_vmi
from virt_types.errors import VirtError
from virt_types.settings import DEFAULT, GATES
from virt_types.v1 import VirtualMachine, VirtualMachineInstance
from virt_types.validation import SPEC_RULES, validate_vm, validate_vmi
from virt_types.validation.scope import Scope

TABLE = Path(__file__).with_name("rules.yaml")
UUID = "5d307ca9-b3ef-428c-8861-06e72d69f223"
SPEC = {
    "domain": {
        "memory": {"guest": "64Mi"},
        "devices": {
            "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
            "interfaces": [{"name": "default", "masquerade": {}}],
        },
    },
    "networks": [{"name": "default", "pod": {}}],
    "volumes": [{"name": "root", "containerDisk": {"image": "registry.invalid/disk:1"}}],
}
DISK = "domain.devices.disks[0]"
NIC = "domain.devices.interfaces[0]"
VOLUME = "volumes[0]"


def put(obj: Any, path: str, value: Any) -> None:
    """Sets `a.b[0].c`; `[+]` appends; None removes."""
    keys: list[Any] = [
        int(k[1:-1]) if k[1:-1].isdigit() else k.strip("[]") for k in re.findall(r"\[[^\]]*\]|[^.\[]+", path)
    ]
    for key, after in pairwise(keys):
        if isinstance(obj, dict):
            obj = obj.setdefault(key, [] if isinstance(after, int) or after == "+" else {})
        else:
            obj = obj[key]
    if keys[-1] == "+":
        obj.append(value)
    elif value is None:
        del obj[keys[-1]]
    else:
        obj[keys[-1]] = value


def instance(changes: dict[str, Any], metadata: dict[str, Any] | None = None) -> VirtualMachineInstance:
    spec = copy.deepcopy(SPEC)
    for path, value in changes.items():
        put(spec, path, value)
    obj = {"kind": "VirtualMachineInstance", "metadata": {"name": "a", **(metadata or {})}, "spec": spec}
    vmi = from_builtins(obj, VirtualMachineInstance)
    default_vmi(vmi, new_uuid=lambda: UUID)
    return vmi


# Rule number, what is changed in a good instance, the field (after spec.) and how the message begins.
RULES: list[tuple[str, dict[str, Any], str, str]] = [
    *((row["rule"], row["change"], row["field"], row["says"]) for row in yaml.safe_load(TABLE.read_text())),
    ("57", {f"{DISK}.serial": "a" * 257}, f"{DISK}.serial", f"spec.{DISK} must be less than or equal to 256 in length"),
    (
        "85",
        {"domain.devices.filesystems": [{"name": "x", "virtiofs": {}}]},
        "domain.devices.filesystems[0].name",
        "spec.domain.devices.filesystems[0].name 'x' not found.",
    ),
    ("61", {f"{DISK}.name": "a" * 64}, f"{DISK}.name", "must be no more than 63 characters"),
    (
        "79",
        {VOLUME: {"name": "root", "cloudInitNoCloud": {"userData": "ü" * 1025}}},
        f"{VOLUME}.cloudInitNoCloud",
        f"spec.{VOLUME}.cloudInitNoCloud userdata exceeds 2048 byte limit. Should use UserDataSecretRef",
    ),
]


def test_a_good_instance_and_machine_break_no_rule() -> None:
    assert validate_vmi(instance({})) == []
    assert validate_vm(machine({})) == []


@pytest.mark.parametrize(
    ("rule", "changes", "field", "message"), RULES, ids=[f"{r[0]}-{r[2]}-{i}" for i, r in enumerate(RULES)]
)
def test_rule(rule: str, changes: dict[str, Any], field: str, message: str) -> None:
    causes = validate_vmi(instance(changes))
    assert [cause for cause in causes if cause.field == f"spec.{field}" and cause.message.startswith(message)], causes


# Rules that an instance with its defaults, or with the gates of this product, can't break: tests of their own, below.
APART = {24, 29, 36, 50, 51, 74, 75, 97, 98}


def test_every_rule_of_instances_has_a_row_or_a_test() -> None:
    assert set(range(19, 114)) - {int(rule.rstrip("+")) for rule, *_ in RULES} == APART


def test_rules_29_and_36_where_nothing_was_filled_in() -> None:
    bare = {"domain.memory": None, "domain.cpu": {"dedicatedCpuPlacement": True}}
    requests, limits = "domain.resources.requests", "domain.resources.limits"
    path = "spec.template.spec"
    said = {(cause.field, cause.message) for cause in validate_vm(machine({}, bare))}
    cores = f"{path}.{requests}.cpu or {path}.{limits}.cpu or {path}.domain.cpu.cores"
    memory = f"{path}.{requests}.memory, {path}.{limits}.memory, {path}.domain.memory.hugepages"
    assert said >= {
        (
            f"{path}.domain.cpu.dedicatedCpuPlacement",
            f"either {cores} must be provided when DedicatedCPUPlacement is true",
        ),
        (f"{path}.{limits}.memory", f"{memory} or {path}.domain.memory.guest should be provided"),
    }


def test_rule_74_where_the_gate_is_closed() -> None:
    vmi = instance({"domain.rebootPolicy": "Terminate"})
    assert validate_vmi(vmi) == []
    (cause,) = validate_vmi(vmi, DEFAULT._replace(gates=dict.fromkeys(GATES, False)))
    assert cause.message == "RebootPolicy is specified but the RebootPolicy feature gate is not enabled"


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ("kubevirt.io/ignitiondata", "ExperimentalIgnitionSupport feature gate is not enabled in kubevirt-config"),
        ("hooks.kubevirt.io/hookSidecars", "sidecar feature gate is not enabled in kubevirt-config"),
    ],
)
def test_rule_98_of_annotations(annotation: str, message: str) -> None:
    vmi = instance({}, {"annotations": {annotation: "x"}})
    (cause,) = validate_vmi(vmi)
    assert cause.field == "metadata.annotations"
    assert cause.message == f"{message}, invalid entry metadata.annotations.{annotation}"
    assert validate_vmi(vmi, DEFAULT._replace(gates=dict.fromkeys(GATES, True))) == []


def test_no_rule_is_untested() -> None:
    silent = set(SPEC_RULES)
    for _, changes, _, _ in RULES:
        vmi = instance(changes)
        scope = Scope(vmi.spec, "spec", DEFAULT)
        silent -= {rule for rule in silent if any(rule(scope))}
    by_name = {f"{rule.__module__.rpartition('.')[2]}.{rule.__name__}" for rule in silent}
    assert by_name == {
        "compute.max_guest",
        "guest.reserved_overhead",
        "guest.arm",
    }


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"domain.memory": {"guest": "2Gi", "maxGuest": "1Gi"}}, "domain.memory.guest"),
        ({"domain.devices.filesystems": [{"name": "root", "virtiofs": {}}]}, "domain.devices.filesystems[0].name"),
        ({"domain.memory.reservedOverhead": {}}, "domain.memory.reservedOverhead"),
        ({"architecture": "arm64"}, ""),
        ({"architecture": "arm64", f"{DISK}.disk.bus": "sata"}, f"{DISK}.disk.bus"),
    ],
)
def test_rules_of_other_machines(changes: dict[str, Any], field: str) -> None:
    fields = [cause.field for cause in validate_vmi(instance(changes))]
    assert (f"spec.{field}" in fields) if field else fields == []


def test_a_volume_without_disk_is_told_where_defaulting_did_not_run() -> None:
    vmi = instance({})
    vmi.spec.domain.devices.disks.clear()
    assert [(c.field, c.message) for c in validate_vmi(vmi)] == [
        ("spec.volumes[0].name", "spec.volumes[0].name 'root' not found.")
    ]


def test_closed_gates_close() -> None:
    closed = DEFAULT._replace(gates=dict.fromkeys(GATES, False))
    host_disk = {VOLUME: {"name": "root", "hostDisk": {"path": "/a", "type": "Disk"}}}
    assert validate_vmi(instance(host_disk)) == []
    assert [cause.message for cause in validate_vmi(instance(host_disk), closed)] == [
        "HostDisk feature gate is not enabled"
    ]
    shared = {
        "domain.devices.disks": [],
        "domain.devices.filesystems": [{"name": "root", "virtiofs": {}}],
        VOLUME: {"name": "root", "persistentVolumeClaim": {"claimName": "c"}},
    }
    assert validate_vmi(instance(shared)) == []
    assert [cause.message for cause in validate_vmi(instance(shared), closed)] == [
        "virtiofs is not allowed: virtiofs feature gate is not enabled for PVC"
    ]
    empty_drive = {"domain.devices.disks[+]": {"name": "cd", "cdrom": {}}}
    assert validate_vmi(instance(empty_drive)) == []
    assert "DeclarativeHotplugVolumes" in validate_vmi(instance(empty_drive), closed)[0].message


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({}, ["SEV requires OVMF (UEFI)"]),
        ({"domain.firmware.bootloader.efi.secureBoot": False}, []),
        (
            {"domain.firmware.bootloader.efi": {}, "domain.features": {"smm": {"enabled": True}}},
            ["SEV does not work along with SecureBoot"],
        ),
        (
            {"domain.firmware.bootloader.efi.secureBoot": False, f"{NIC}.bootOrder": 1},
            ["SEV does not work with bootable NICs: default"],
        ),
        ({"architecture": "s390x"}, []),  # needs no settings
    ],
)
def test_encrypted_guests_where_the_gate_is_open(changes: dict[str, Any], messages: list[str]) -> None:
    opened = DEFAULT._replace(gates=dict.fromkeys(GATES, True))
    vmi = instance(changes | {"domain.launchSecurity.sev": {}})
    assert [cause.message for cause in validate_vmi(vmi, opened)] == messages


def test_memory_over_its_limit_without_live_update() -> None:
    vmi = instance({"domain.memory.guest": "2Gi", "domain.resources.limits.memory": "1Gi"})
    assert validate_vmi(vmi) == []
    (cause,) = validate_vmi(vmi, DEFAULT._replace(live_update=False))
    assert cause.message == (
        "spec.domain.memory.guest '2Gi' must be equal to or less than the memory limit "
        "spec.domain.resources.limits.memory '1Gi'"
    )


def test_reserved_labels_are_the_components() -> None:
    vmi = instance({}, {"labels": {"kubevirt.io/nodeName": "n"}})
    assert [cause.field for cause in validate_vmi(vmi)] == ["metadata.labels"]
    assert validate_vmi(vmi, trusted=True) == []


@pytest.mark.parametrize("name", ["A", "a_b", 'a"b', "a/b", "../a", "a\nb", "a\x1b[0m", "a" * 64, "-a", "ä"])
def test_names_that_could_do_harm(name: str) -> None:
    causes = validate_vmi(instance({}, {"name": name}))
    assert [cause.field for cause in causes] == ["metadata.name"]
    assert causes[0].message.isprintable()


def machine(spec: dict[str, Any], changes: dict[str, Any] | None = None) -> VirtualMachine:
    inner = copy.deepcopy(SPEC)
    for path, value in (changes or {}).items():
        put(inner, path, value)
    obj = {
        "metadata": {"name": "a", "namespace": "ns"},
        "spec": {"runStrategy": "Halted", "template": {"spec": inner}, **spec},
    }
    vm = from_builtins(obj, VirtualMachine)
    default_vm(vm, new_uuid=lambda: UUID, new_mac=lambda: "52:54:00:00:00:01")
    return vm


def template(**spec: Any) -> dict[str, Any]:
    return {"dataVolumeTemplates": [{"metadata": {"name": "d"}, "spec": spec}]}


DVT = "spec.dataVolumeTemplates[0]"
DV = {"storage": {}, "source": {"blank": {}}}
USED = {"volumes[+]": {"name": "d", "dataVolume": {"name": "d"}}}


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"running": True}, "spec.running", "Running and RunStrategy are mutually exclusive."),
        ({"runStrategy": None}, "spec.running", "RunStrategy must be specified"),
        ({"runStrategy": "Bogus"}, "spec.runStrategy", "Invalid RunStrategy (Bogus)"),
        ({"runStrategy": "WaitAsReceiver"}, "spec.runStrategy", "Invalid RunStrategy (WaitAsReceiver), Decentralized"),
        ({"dataVolumeTemplates": [{"spec": DV}]}, f"{DVT}.name", "'name' field must not be empty"),
        (template(source={"blank": {}}), f"{DVT}.spec", "Missing Data volume PVC or Storage"),
        (template(pvc={}, storage={}, source={"blank": {}}), f"{DVT}.spec", "Duplicate storage definition"),
        (template(storage={"dataSourceRef": {"kind": "k", "name": "n"}}, source={"blank": {}}),
         f"{DVT}.spec.source", "External population is incompatible"),
        (template(storage={}), f"{DVT}.spec.sourceRef", "Data volume should have either Source"),
        (template(storage={}, source={}), f"{DVT}.spec.source", "Missing dataVolume valid source"),
        (template(storage={}, source={"blank": {}, "upload": {}}), f"{DVT}.spec.source", "Multiple"),
        ({"dataVolumeTemplates": [{"metadata": {"name": "e"}, "spec": DV}]}, DVT,
         f"DataVolumeTemplate entry {DVT} must be referenced in the VMI template's 'volumes' list"),
        ({"dataVolumeTemplates": [{"metadata": {"name": "d", "namespace": "x"}, "spec": DV}]},
         DVT, "Embedded DataVolume namespace x differs from VM namespace ns"),
        ({"instancetype": {}}, "spec.instancetype", "Either Name or InferFromVolume should be provided"),
        ({"updateVolumesStrategy": "x"}, "spec.updateVolumesStrategy", "spec.updateVolumesStrategy has invalid"),
    ],
)  # fmt: skip
def test_rules_of_machines(spec: dict[str, Any], field: str, message: str) -> None:
    causes = validate_vm(machine(spec, USED))
    assert [(cause.field, cause.message.startswith(message)) for cause in causes] == [(field, True)]


def test_sockets_and_paths_of_the_template() -> None:
    causes = validate_vm(machine({}, {"domain.cpu": {"sockets": 4, "maxSockets": 2}, f"{DISK}.name": "x"}))
    assert {cause.field for cause in causes} == {
        "spec.template.spec.domain.cpu.sockets",
        "spec.template.spec.domain.devices.disks[0].name",
    }


def test_an_instancetype_brings_the_memory() -> None:
    assert validate_vm(machine({"instancetype": {"name": "small"}}, {"domain.memory": None})) == []
    assert [cause.field for cause in validate_vm(machine({}, {"domain.memory": None}))] == [
        "spec.template.spec.domain.memory.guest"
    ]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**33) | st.sampled_from(["", "x", "1Gi", "virtio", "root", "é\n"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "disk", "bus", "path", "guest", "pod", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = sorted({path for _, changes, _, _ in RULES for path in changes if "[+]" not in path})


@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_object_is_judged_or_refused(changes: dict[str, Any]) -> None:
    spec = copy.deepcopy(SPEC)
    for path, value in changes.items():
        try:
            put(spec, path, value)
        except (KeyError, IndexError, TypeError, AttributeError):
            continue  # an earlier change took the way away
    try:
        vmi = from_builtins({"metadata": {"name": "a"}, "spec": spec}, VirtualMachineInstance)
    except VirtError:
        return
    default_vmi(vmi, new_uuid=lambda: UUID)
    for cause in validate_vmi(vmi):
        assert cause.field
        assert cause.message.isprintable()
        assert len(cause.message) < 600
