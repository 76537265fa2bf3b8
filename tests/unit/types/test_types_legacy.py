"""Old manifests become today's; the user's own documents do, all the way through defaults and validation."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virt_types.codec import encode, from_builtins, to_builtins
from virt_types.crds import custom_resource_definitions
from virt_types.defaults import default_vm, default_vmi
from virt_types.legacy import CHANGES, CURRENT, GROUP, KINDS_OF_V1ALPHA1, MOVED, OLD_KINDS, OLD_VERSIONS, convert
from virt_types.manifest import load
from virt_types.structural import compile_schema
from virt_types.v1 import VirtualMachine, VirtualMachineInstance
from virt_types.validation import validate_vm, validate_vmi

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
UUID = "5d307ca9-b3ef-428c-8861-06e72d69f223"
WALKERS = {
    definition["spec"]["names"]["kind"]: compile_schema(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    for definition in custom_resource_definitions()
}


def accepted(obj: dict[str, Any]) -> dict[str, Any]:
    """The object as it would be stored; asserts that schema and rules have nothing against it."""
    result = WALKERS[obj["kind"]](obj)
    assert (result.causes, result.unknown) == ([], [])
    if obj["kind"] == "VirtualMachine":
        vm = from_builtins(obj, VirtualMachine)
        default_vm(vm, new_uuid=lambda: UUID, new_mac=lambda: "52:54:00:01:02:03")
        assert validate_vm(vm) == []
        return to_builtins(vm)
    vmi = from_builtins(obj, VirtualMachineInstance)
    default_vmi(vmi, new_uuid=lambda: UUID)
    assert validate_vmi(vmi) == []
    return to_builtins(vmi)


def example(name: str) -> dict[str, Any]:
    (document,) = load((EXAMPLES / name).read_bytes(), name)
    return document.obj


def test_the_users_virtual_machine() -> None:
    obj, notes = convert(example("vm-cirros.yaml"))
    assert notes == [
        "apiVersion: kubevirt.io/v1alpha2 is kubevirt.io/v1 today",
        "spec.template.spec.domain.devices.disks[0]: volumeName is gone; "
        "disk 'containerdisk' takes its volume's name, 'registryvolume'",
        "spec.template.spec.domain.devices.disks[1]: volumeName is gone; "
        "disk 'cloudinitdisk' takes its volume's name, 'cloudinitvolume'",
    ]
    stored = accepted(obj)["spec"]
    domain = stored["template"]["spec"]["domain"]
    assert stored["running"] is False
    assert domain["machine"] == {"type": "q35"}
    assert domain["firmware"] == {"uuid": UUID, "serial": UUID}
    assert [disk["name"] for disk in domain["devices"]["disks"]] == ["registryvolume", "cloudinitvolume"]
    assert domain["devices"]["interfaces"] == [{"name": "default", "bridge": {}, "macAddress": "52:54:00:01:02:03"}]


def test_the_users_instance() -> None:
    obj, notes = convert(example("testvmi-nocloud.yaml"))
    assert notes == ["apiVersion: kubevirt.io/v1alpha3 is kubevirt.io/v1 today"]
    spec = accepted(obj)["spec"]
    assert spec["terminationGracePeriodSeconds"] == 30
    assert spec["volumes"][1] == {"name": "emptydisk", "emptyDisk": {"capacity": "2Gi"}}
    assert spec["domain"]["memory"]["guest"] == "1024M"


def test_examples_are_the_users_own_words(shared_seeds: Path) -> None:
    told = re.sub(r"(?m)^ +|^> ?", "", "\n".join(path.read_text() for path in sorted(shared_seeds.glob("*.txt"))))
    for path in ("vm-cirros.yaml", "testvmi-nocloud.yaml"):
        assert re.sub(r"(?m)^ +", "", (EXAMPLES / path).read_text()).strip() in told


SPEC = {"domain": {"devices": {}}}


@pytest.mark.parametrize(
    ("version", "kind", "today"),
    [
        ("v1alpha1", "VirtualMachine", "VirtualMachineInstance"),
        ("v1alpha1", "OfflineVirtualMachine", "VirtualMachine"),
        ("v1alpha1", "VirtualMachineReplicaSet", "VirtualMachineInstanceReplicaSet"),
        ("v1alpha1", "VirtualMachinePreset", "VirtualMachineInstancePreset"),
        ("v1alpha2", "OfflineVirtualMachine", "VirtualMachine"),
        ("v1alpha2", "VirtualMachine", "VirtualMachine"),
        ("v1alpha3", "VirtualMachineInstance", "VirtualMachineInstance"),
        ("v1", "VirtualMachine", "VirtualMachine"),
    ],
)
def test_kinds(version: str, kind: str, today: str) -> None:
    new, notes = convert({"apiVersion": f"kubevirt.io/{version}", "kind": kind, "spec": SPEC})
    assert (new["apiVersion"], new["kind"]) == ("kubevirt.io/v1", today)
    assert len(notes) == (version != "v1") + (kind != today)


def test_registry_disk_in_a_template_and_in_an_instance() -> None:
    volumes = [{"name": "r", "registryDisk": {"image": "i"}}]
    for kind, spec in (
        ("VirtualMachineInstance", {"volumes": volumes}),
        ("VirtualMachine", {"template": {"spec": {"volumes": volumes}}}),
    ):
        new, notes = convert({"apiVersion": "kubevirt.io/v1alpha2", "kind": kind, "spec": copy.deepcopy(spec)})
        assert "containerDisk" in encode(new).decode()
        assert "registryDisk" not in encode(new).decode()
        assert len(notes) == 2


def test_a_pool_in_the_wrong_group() -> None:
    machine = {"template": {"spec": {"volumes": [{"name": "r", "registryDisk": {"image": "i"}}]}}}
    for written in ("kubevirt.io/v1alpha1", "kubevirt.io/v1", "pool.kubevirt.io/v1alpha1"):
        obj = {"apiVersion": written, "kind": "VirtualMachinePool"}
        obj["spec"] = {"virtualMachineTemplate": {"spec": copy.deepcopy(machine)}}  # type: ignore[assignment]
        new, notes = convert(obj)
        assert new["apiVersion"] == "pool.kubevirt.io/v1beta1"
        assert notes == [
            f"apiVersion: VirtualMachinePool is of pool.kubevirt.io/v1beta1, not of {written}",
            "spec.virtualMachineTemplate.spec.template.spec.volumes[0]: registryDisk is containerDisk today",
        ]
    assert convert({"kind": "VirtualMachinePool"}) == ({"kind": "VirtualMachinePool"}, [])


def test_an_old_preset_has_no_devices() -> None:
    preset = {"apiVersion": "kubevirt.io/v1alpha1", "kind": "VirtualMachinePreset", "metadata": {"name": "small"}}
    new, notes = convert(preset | {"spec": {"selector": {}, "domain": {"cpu": {"cores": 1}}}})
    assert new["spec"]["domain"] == {"cpu": {"cores": 1}, "devices": {}}
    assert notes[-1] == "spec.domain: devices must be there today, even if empty"


def test_others_are_left_alone() -> None:
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "spec": {"volumes": [{"registryDisk": 1}]}}
    assert convert(obj) == (obj, [])


ANYTHING = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["spec", "template", "domain", "devices", "disks", "volumes", "volumeName", "registryDisk", "name"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(
    st.sampled_from(["v1", "v1alpha1", "v1alpha2", "v1alpha3"]),
    st.sampled_from(["VirtualMachine", "VirtualMachineInstance", "OfflineVirtualMachine", "VirtualMachinePool"]),
    ANYTHING,
)
def test_idempotent_and_harmless(version: str, kind: str, spec: Any) -> None:
    obj = {"apiVersion": f"kubevirt.io/{version}", "kind": kind, "spec": spec}
    before = copy.deepcopy(obj)
    new, _ = convert(obj)
    assert obj == before
    assert convert(new) == (new, [])


def test_the_documentation_lists_every_old_spelling() -> None:
    """Table "Older spellings" of docs/manifests.md: every old version, kind and field, and what is there today."""
    text = (Path(__file__).resolve().parents[3] / "docs/manifests.md").read_text()
    table = text.partition("## Older spellings\n")[2].partition("\n\n`virtctl`")[0]
    words = set(re.findall(r"[A-Za-z0-9./]+", table))
    kinds = {*OLD_KINDS, *OLD_KINDS.values(), *KINDS_OF_V1ALPHA1, *KINDS_OF_V1ALPHA1.values(), *MOVED}
    spelled = {*OLD_VERSIONS, *kinds, *MOVED.values(), CURRENT, "registryDisk", "volumeName", "dev", "devices"}
    assert {word for word in spelled if word not in words and f"{GROUP}/{word}" not in words} == set()
    assert len(CHANGES) == len({"registryDisk", "volumeName", "dev"}), "a new change needs a row there"
