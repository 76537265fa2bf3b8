"""Defaults that any clone can check; every recorded instance is in test_types_defaults_recorded.py."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from virt_types.codec import from_builtins, to_builtins
from virt_types.defaults import carry_identity, default_vm, default_vmi, image_pull_policy
from virt_types.settings import DEFAULT
from virt_types.v1 import VirtualMachine, VirtualMachineInstance


def counter(prefix: str) -> Any:
    numbers = itertools.count(1)
    return lambda: f"{prefix}{next(numbers)}"


def vmi(spec: dict[str, Any], **options: Any) -> dict[str, Any]:
    obj = from_builtins({"metadata": {"name": "a"}, "spec": spec}, VirtualMachineInstance)
    default_vmi(obj, new_uuid=counter("uuid-"), **options)
    return to_builtins(obj)


def vm(spec: dict[str, Any]) -> VirtualMachine:
    return from_builtins({"metadata": {"name": "a"}, "spec": {"template": {"spec": spec}}}, VirtualMachine)


@pytest.mark.parametrize(
    ("domain", "section", "expected"),
    [
        # What hot-plug can reach is written in binary units, whatever the guest's size is written in.
        ({"memory": {"guest": "2097152k"}}, "memory", {"guest": "2097152k", "maxGuest": "8000Mi"}),
        # An amount of 0 is none.
        (
            {"resources": {"requests": {"cpu": "0", "memory": "0"}, "limits": {"cpu": "2", "memory": "64Mi"}}},
            "resources",
            {"requests": {"cpu": "2", "memory": "0"}, "limits": {"cpu": "2", "memory": "64Mi"}},
        ),
        ({"resources": {"requests": {"memory": "0"}, "limits": {"memory": "64Mi"}}}, "memory", {"guest": "64Mi"}),
    ],
)
def test_amounts(domain: dict[str, Any], section: str, expected: dict[str, Any]) -> None:
    assert vmi({"domain": domain})["spec"]["domain"][section] == expected


def test_a_bare_instance() -> None:
    made = vmi(
        {"domain": {"memory": {"guest": "1.5Gi"}}}, now="2026-01-01T00:00:00Z", new_mac=counter("52:54:00:00:00:0")
    )
    assert made == {
        "metadata": {
            "name": "a",
            "annotations": {"kubevirt.io/pci-topology-version": "v3"},
            "finalizers": ["kubevirt.io/foregroundDeleteVirtualMachine"],
        },
        "spec": {
            "architecture": "amd64",
            "domain": {
                "cpu": {"cores": 1, "sockets": 1, "threads": 1, "maxSockets": 4, "model": "host-model"},
                "devices": {"interfaces": [{"name": "default", "bridge": {}, "macAddress": "52:54:00:00:00:01"}]},
                "features": {"acpi": {"enabled": True}},
                "firmware": {"uuid": "uuid-1"},
                "machine": {"type": "q35"},
                "memory": {"guest": "1536Mi", "maxGuest": "6Gi"},
                "resources": {},
            },
            "evictionStrategy": "None",
            "networks": [{"name": "default", "pod": {}}],
        },
        "status": {
            "currentCPUTopology": {"cores": 1, "sockets": 1, "threads": 1},
            "guestOSInfo": {},
            "memory": {"guestAtBoot": "1536Mi", "guestCurrent": "1536Mi", "guestRequested": "1536Mi"},
            "phase": "Pending",
            "phaseTransitionTimestamps": [{"phase": "Pending", "phaseTransitionTimestamp": "2026-01-01T00:00:00Z"}],
            "runtimeUser": 107,
        },
    }


def test_a_second_time_changes_nothing() -> None:
    once = vmi({"domain": {"resources": {"limits": {"cpu": "1500m", "memory": "1G"}}}, "readinessProbe": {"exec": {}}})
    again = from_builtins(once, VirtualMachineInstance)
    default_vmi(again, new_uuid=counter("other-"))
    assert to_builtins(again) == once


@pytest.mark.parametrize(
    ("resources", "guest", "sockets"),
    [
        ({"requests": {"memory": "64M"}}, "64M", 1),
        ({"limits": {"memory": "1Gi", "cpu": "1500m"}}, "1Gi", 2),
        ({"requests": {"memory": "2Gi", "cpu": 3}, "limits": {"memory": "4Gi"}}, "2Gi", 3),
    ],
)
def test_memory_and_cpus_from_resources(resources: Any, guest: str, sockets: int) -> None:
    domain = vmi({"domain": {"resources": resources}})["spec"]["domain"]
    assert (domain["memory"]["guest"], domain["cpu"]["sockets"]) == (guest, sockets)
    if "cpu" in resources.get("limits", {}):
        assert domain["resources"]["requests"]["cpu"] == resources["limits"]["cpu"]


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("a", "Always"),
        ("a:latest", "Always"),
        ("a:1", "IfNotPresent"),
        ("host:5000/a", "Always"),
        ("host:5000/a:1", "IfNotPresent"),
        ("a@sha256:00", "IfNotPresent"),
        ("a:latest@sha256:00", "Always"),
    ],
)
def test_image_pull_policy(image: str, policy: str) -> None:
    assert image_pull_policy(image) == policy


def test_disks_of_bare_volumes_and_bare_disks() -> None:
    volumes = [{"name": "a", "emptyDisk": {"capacity": "1G"}}, {"name": "b", "emptyDisk": {"capacity": "1G"}}]
    devices = {"disks": [{"name": "b", "cdrom": {}}]}
    disks = vmi({"domain": {"devices": devices}, "volumes": volumes})["spec"]["domain"]["devices"]["disks"]
    assert disks == [
        {"name": "b", "cdrom": {"bus": "sata", "readonly": True, "tray": "closed"}},
        {"name": "a", "disk": {"bus": "sata"}},
    ]


@pytest.mark.parametrize(
    "spec",
    [
        {"domain": {"devices": {"autoattachPodInterface": False}}},
        {"domain": {"devices": {"interfaces": [{"name": "n", "bridge": {}}]}}, "networks": [{"name": "n", "pod": {}}]},
    ],
)
def test_no_default_network(spec: Any) -> None:
    assert "default" not in str(vmi(spec)["spec"]["domain"]["devices"])


def test_masquerade_where_the_cluster_says_so() -> None:
    made = vmi({"domain": {}}, settings=DEFAULT._replace(interface_binding="masquerade"))
    assert made["spec"]["domain"]["devices"]["interfaces"] == [{"name": "default", "masquerade": {}}]


@pytest.mark.parametrize(
    ("cpu", "most"),
    [({"sockets": 2}, 8), ({"sockets": 100, "cores": 2}, 256), ({"sockets": 600}, 600), ({"cores": 4}, None)],
)
def test_room_for_more_sockets(cpu: Any, most: int | None) -> None:
    assert vmi({"domain": {"cpu": cpu}})["spec"]["domain"]["cpu"].get("maxSockets") == most


@pytest.mark.parametrize(
    ("memory", "cpu"),
    [
        ({"guest": "1023Mi"}, {}),
        ({"guest": "1073741825"}, {}),
        ({"guest": "2Gi"}, {"realtime": {}}),
        ({"guest": "1536Mi", "hugepages": {"pageSize": "1Gi"}}, {}),
    ],
)
def test_no_room_for_more_memory(memory: Any, cpu: Any) -> None:
    assert "maxGuest" not in vmi({"domain": {"memory": memory, "cpu": cpu}})["spec"]["domain"]["memory"]


def test_hyperv_needs_bring_what_they_need() -> None:
    features = vmi({"domain": {"features": {"hyperv": {"synictimer": {"direct": {}}, "evmcs": {}}}}})["spec"]["domain"]
    on = {"enabled": True}
    assert features["features"]["hyperv"] == {
        "synictimer": {"enabled": True, "direct": on},
        "synic": on,
        "vpindex": on,
        "evmcs": on,
        "vapic": on,
    }
    assert features["cpu"]["features"] == [{"name": "vmx", "policy": "require"}]


def test_a_machine_gets_its_identity_once() -> None:
    machine = vm({"domain": {}})
    default_vm(machine, new_uuid=counter("uuid-"), new_mac=counter("52:54:00:00:00:0"))
    domain = machine.spec.template.spec.domain
    assert domain.firmware is not None
    assert (domain.firmware.uuid, domain.firmware.serial) == ("uuid-1", "uuid-2")
    assert [nic.mac_address for nic in domain.devices.interfaces] == ["52:54:00:00:00:01"]
    before = to_builtins(machine)
    default_vm(machine, new_uuid=counter("other-"), new_mac=counter("other-"))
    assert to_builtins(machine) == before


def test_a_replaced_machine_keeps_its_identity() -> None:
    old, new = vm({"domain": {}}), vm({"domain": {"devices": {"interfaces": [{"name": "default"}, {"name": "more"}]}}})
    default_vm(old, new_uuid=counter("uuid-"), new_mac=counter("mac-"))
    carry_identity(old.spec.template.spec, new.spec.template.spec)
    domain = new.spec.template.spec.domain
    assert domain.firmware is not None
    assert (domain.firmware.uuid, domain.firmware.serial) == ("uuid-1", "uuid-2")
    assert [nic.mac_address for nic in domain.devices.interfaces] == ["mac-1", None]
    new.spec.template.spec.domain.devices.interfaces[0].mac_address = "mine"
    carry_identity(old.spec.template.spec, new.spec.template.spec)
    assert domain.devices.interfaces[0].mac_address == "mine"


def test_a_machine_replaced_by_its_first_manifest_keeps_its_network() -> None:
    old, new = vm({"domain": {}}), vm({"domain": {}})
    default_vm(old, new_uuid=counter("uuid-"), new_mac=counter("mac-"))
    carry_identity(old.spec.template.spec, new.spec.template.spec, new_mac=counter("other-"))
    assert new.spec.template.spec.domain.devices.interfaces == old.spec.template.spec.domain.devices.interfaces
    assert new.spec.template.spec.networks == old.spec.template.spec.networks


def test_a_new_interface_gets_a_lasting_mac() -> None:
    old, new = vm({"domain": {}}), vm({"domain": {"devices": {"interfaces": [{"name": "default"}, {"name": "more"}]}}})
    default_vm(old, new_uuid=counter("uuid-"), new_mac=counter("mac-"))
    carry_identity(old.spec.template.spec, new.spec.template.spec, new_mac=counter("fresh-"))
    assert [nic.mac_address for nic in new.spec.template.spec.domain.devices.interfaces] == ["mac-1", "fresh-1"]
