"""Fields that this version's types don't know survive a read, a change and a write."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virt_types.codec import from_builtins, to_builtins
from virt_types.crds import TYPES
from virt_types.defaults import default_vmi
from virt_types.v1 import VirtualMachineInstance, Volume

NEWER = "fieldOfANewerVersion"
VMI: dict[str, Any] = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachineInstance",
    "metadata": {"name": "a", "labels": {"x": "y"}},
    "spec": {
        "domain": {
            "memory": {"guest": "1Gi"},
            "cpu": {"cores": 2, "features": [{"name": "vmx"}, {"name": "svm"}]},
            "features": {"acpi": {}, "hyperv": {"relaxed": {}}},
            "devices": {
                "disks": [{"name": "a", "disk": {"bus": "virtio"}}, {"name": "b", "cdrom": {}}],
                "interfaces": [{"name": "default", "masquerade": {}, "ports": [{"port": 22}, {"port": 80}]}],
            },
        },
        "networks": [{"name": "default", "pod": {}}],
        "volumes": [{"name": "a", "emptyDisk": {"capacity": "1Gi"}}, {"name": "b", "containerDisk": {"image": "i"}}],
    },
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}


def places(obj: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every object in `obj` that a Struct stands for."""
    if isinstance(obj, list):
        return [place for index, item in enumerate(obj) for place in places(item, (*path, index))]
    if not isinstance(obj, dict) or path[-1:] == ("labels",):
        return []
    return [path, *(place for key, value in obj.items() for place in places(value, (*path, key)))]


def at(obj: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        obj = obj[step]
    return obj


VALUES = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(places(VMI)), VALUES, min_size=1, max_size=6))
def test_wherever_they_are(unknown: dict[tuple[Any, ...], Any]) -> None:
    original = copy.deepcopy(VMI)
    for path, value in unknown.items():
        at(original, path)[NEWER] = value
    written = to_builtins(from_builtins(original, VirtualMachineInstance), keeping=original)
    for path, value in unknown.items():
        assert at(written, path)[NEWER] == value
        del at(written, path)[NEWER]
    assert written == to_builtins(from_builtins(VMI, VirtualMachineInstance))


def test_after_defaults_and_changes_of_lists() -> None:
    original = copy.deepcopy(VMI)
    spec = original["spec"]
    for element in (*spec["volumes"], spec["domain"]["devices"]["disks"][1], spec["domain"]):
        element[NEWER] = element.get("name", "domain")
    vmi = from_builtins(original, VirtualMachineInstance)
    default_vmi(vmi, new_uuid=lambda: "u")
    vmi.spec.volumes = [Volume(name="new"), vmi.spec.volumes[1]]
    written = to_builtins(vmi.spec, keeping=spec)
    assert written["domain"][NEWER] == "domain"
    assert [volume.get(NEWER) for volume in written["volumes"]] == [None, "b"]
    assert [disk.get(NEWER) for disk in written["domain"]["devices"]["disks"]] == [None, "b"]


@pytest.mark.parametrize("type_", TYPES.values(), ids=lambda type_: type_.__name__)
def test_in_every_kind(type_: type[msgspec.Struct]) -> None:
    original = {"kind": "X", "metadata": {NEWER: 1}, NEWER: {"a": [1]}}
    if type_.__name__.endswith("type"):
        original["spec"] = {"cpu": {"guest": 1}, "memory": {"guest": "1Gi", NEWER: 2}}
    written = to_builtins(from_builtins(original, type_), keeping=original)
    assert (written[NEWER], written["metadata"][NEWER]) == ({"a": [1]}, 1)
    assert written.get("spec", {}).get("memory", {NEWER: 2})[NEWER] == 2


def test_a_null_is_nothing() -> None:
    original = {"metadata": {"name": "a", NEWER: None}}
    assert NEWER not in to_builtins(from_builtins(original, VirtualMachineInstance), keeping=original)["metadata"]
