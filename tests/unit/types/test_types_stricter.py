"""What KubeVirt takes though it is wrong, or crashes on (../shared/data/oracle/FINDINGS.md, 21 to 28): refused here.

docs/manifests.md, "Stricter than KubeVirt", tells people.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

from virt_types.check import judge

Json = dict[str, Any]
GUEST: Json = {
    "domain": {
        "memory": {"guest": "64Mi"},
        "devices": {
            "disks": [{"name": "root", "disk": {"bus": "virtio"}}],
            "interfaces": [{"name": "default", "masquerade": {}}],
        },
    },
    "networks": [{"name": "default", "pod": {}}],
    "volumes": [{"name": "root", "containerDisk": {"image": "i"}}],
}
NIC = {"name": "default", "masquerade": {}}
SEED = {"userData": "a"}


def manifest(kind: str, spec: Json, name: str = "a") -> Json:
    return {"apiVersion": "kubevirt.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def machine(guest: Json, **spec: Any) -> Json:
    template = {"metadata": spec.pop("labelled", {}), "spec": guest}
    return manifest("VirtualMachine", {"runStrategy": "Halted", "template": template} | spec)


def changed(path: str, value: Any) -> Json:
    """The guest with another value at `a.b`, or without it."""
    guest = copy.deepcopy(GUEST)
    *parents, last = path.split(".")
    inner = guest
    for parent in parents:
        inner = inner.setdefault(parent, {})
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return guest


def nic(**fields: Any) -> Json:
    return changed("domain.devices.interfaces", [NIC | fields])


def volume(**source: Any) -> Json:
    return changed("volumes", [{"name": "root"} | source])


# Number of the finding: what is wrong in a guest, the field that is told (below its spec).
GUESTS = [
    (21, changed("domain.memory.hugepages", {"pageSize": "0"}), "domain.memory.hugepages.pageSize"),
    (22, changed("domain.memory.guest", "0"), "domain.memory.guest"),
    (22, changed("domain.memory.guest", "-64Mi"), "domain.memory.guest"),
    (22, changed("terminationGracePeriodSeconds", -1), "terminationGracePeriodSeconds"),
    (22, volume(emptyDisk={"capacity": "0"}), "volumes[0].emptyDisk.capacity"),
    (22, volume(emptyDisk={"capacity": "-1Gi"}), "volumes[0].emptyDisk.capacity"),
    (22, changed("domain.firmware", {"uuid": "not-a-uuid"}), "domain.firmware.uuid"),
    (22, nic(macAddress="01:00:5e:00:00:01"), "domain.devices.interfaces[0].macAddress"),
    (22, nic(macAddress="ff:ff:ff:ff:ff:ff"), "domain.devices.interfaces[0].macAddress"),
    (22, nic(macAddress="00:00:00:00:00:00"), "domain.devices.interfaces[0].macAddress"),
    (22, changed("networks", [{"name": "default", "pod": {"vmNetworkCIDR": "x"}}]), "networks[0].pod.vmNetworkCIDR"),
    (22, changed("domain.clock", {"timer": {"pit": {"tickPolicy": "merge"}}}), "domain.clock.timer.pit.tickPolicy"),
    (
        22,
        changed("domain.devices.watchdog", {"name": "w", "i6300esb": {"action": "explode"}}),
        "domain.devices.watchdog.i6300esb.action",
    ),
    (
        22,
        changed("volumes", [{"name": "root", "cloudInitNoCloud": SEED}, {"name": "b", "cloudInitConfigDrive": SEED}]),
        "volumes",
    ),
    (22, volume(cloudInitNoCloud=SEED, cloudInitConfigDrive=SEED), "volumes[0]"),
    (22, volume(persistentVolumeClaim={}), "volumes[0].persistentVolumeClaim.claimName"),
    (22, changed("domain.cpu", {"cores": 0}), "domain.cpu.cores"),
    (22, changed("domain.cpu", {"sockets": 0}), "domain.cpu.sockets"),
    (22, changed("readinessProbe", {"tcpSocket": {"port": 700000}}), "readinessProbe.tcpSocket.port"),
    (22, changed("livenessProbe", {"tcpSocket": {"port": 7}, "periodSeconds": -1}), "livenessProbe.periodSeconds"),
    (23, changed("domain.memory", None), "domain.memory.guest"),
    (23, changed("domain.devices.watchdog", {"name": "w", "diag288": {}}), "domain.devices.watchdog"),
    (23, changed("domain.devices.video", {"type": "xx"}), "domain.devices.video.type"),
    (
        23,
        changed("domain.features", {"hyperv": {}, "hypervPassthrough": {"enabled": True}}),
        "domain.features.hyperv",
    ),
    (23, changed("architecture", "vax"), "architecture"),
    (23, changed("domain.memory", {"guest": "2Gi", "maxGuest": "1Gi"}), "domain.memory.guest"),
    (25, changed("domain.resources", {"requests": {"cpu": "-1"}}), "domain.resources.requests.cpu"),
    (25, changed("domain.cpu", {"cores": -1}), "domain.cpu.cores"),
    (25, changed("domain.cpu", {"cores": 2**33}), "domain.cpu.cores"),
    (
        25,
        changed("domain.devices.disks", [{"name": "root", "disk": {}, "bootOrder": -1}]),
        "domain.devices.disks[0].bootOrder",
    ),
    (26, nic(bootOrder=0), "domain.devices.interfaces[0].bootOrder"),
]


@pytest.mark.parametrize(("finding", "guest", "field"), GUESTS, ids=lambda value: value if value != "" else None)
@pytest.mark.parametrize("template", [False, True])
def test_guests(finding: int, guest: Json, field: str, template: bool) -> None:
    obj = machine(guest) if template else manifest("VirtualMachineInstance", guest)
    path = f"spec.template.spec.{field}" if template else f"spec.{field}"
    causes = judge(obj).causes
    assert [cause for cause in causes if path in (cause.field, cause.message.rpartition(" in ")[2])], causes
    assert len(causes) == len(set(causes)), "finding 26: nothing is told twice"


@pytest.mark.parametrize(
    ("obj", "field"),
    [
        (machine(GUEST, instancetype={}), "spec.instancetype"),
        (machine(GUEST, updateVolumesStrategy="x"), "spec.updateVolumesStrategy"),
        (machine(GUEST, labelled={"labels": {"a": "b c"}}), "spec.template.metadata.labels"),
        (manifest("VirtualMachine", machine(GUEST)["spec"], "a" * 64), "metadata.name"),
        (manifest("VirtualMachine", machine(GUEST)["spec"], "a." * 40 + "a"), "metadata.name"),
    ],
)
def test_machines(obj: Json, field: str) -> None:
    assert [cause.field for cause in judge(obj).causes] == [field]


def test_the_same_mac_twice() -> None:
    interfaces = [{"name": name, "bridge": {}, "macAddress": "02:00:00:00:00:01"} for name in ("default", "b")]
    guest = changed("domain.devices.interfaces", interfaces)
    guest["networks"].append({"name": "b", "multus": {"networkName": "n"}})
    (cause,) = judge(machine(guest)).causes
    assert cause.field == "spec.template.spec.domain.devices.interfaces[1].macAddress"


def test_many_interfaces_are_no_mistake() -> None:
    """Among KubeVirt's oddities, but libvirt has room for them."""
    guest = changed("domain.devices.interfaces", [{"name": f"n{n}", "bridge": {}} for n in range(33)])
    others = [{"name": f"n{n}", "multus": {"networkName": "x"}} for n in range(1, 33)]
    guest["networks"] = [{"name": "n0", "pod": {}}, *others]
    assert judge(machine(guest)).causes == []
