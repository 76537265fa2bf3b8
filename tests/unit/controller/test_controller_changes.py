"""What an edit of a running VM means: taken at once, waiting for a restart and why, or nothing at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.fake_kube import FakeKube
from test_controller_budget import controllers, settle, status, vm_object

from virt_controller.vm.changes import changes
from virt_kube.api import Json
from virt_kube.resources import CONTROLLER_REVISIONS, VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from virt_types.codec import from_builtins
from virt_types.v1 import VirtualMachineInstanceSpec, VirtualMachineSpec

OTHER = "a non-live-updatable field was changed in the template spec: spec.template.spec."
BASE: Json = {
    "domain": {
        "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]},
        "memory": {"guest": "1Gi"},
    },
    "volumes": [{"name": "root", "containerDisk": {"image": "a"}}],
}


def merged(base: Any, change: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    return {**base, **{key: merged(base.get(key), value) for key, value in change.items()}}


def spec_of(change: Json, **vm: Any) -> VirtualMachineSpec:
    return from_builtins({"template": {"spec": merged(BASE, change)}, **vm}, VirtualMachineSpec)


RUNNING = from_builtins(BASE, VirtualMachineInstanceSpec)
HOT = [
    {"name": "root", "containerDisk": {"image": "a"}},
    {"name": "more", "persistentVolumeClaim": {"claimName": "c", "hotpluggable": True}},
]
DISKS = [{"name": "root", "disk": {"bus": "virtio"}}, {"name": "more", "disk": {"bus": "scsi"}}]

RESTARTS = [
    ({}, ""),
    ({"nodeSelector": {"zone": "x"}}, ""),
    ({"tolerations": [{"key": "a", "operator": "Exists"}]}, ""),
    ({"affinity": {"nodeAffinity": {}}}, ""),
    ({"domain": {"cpu": {"sockets": 1}}}, ""),
    ({"domain": {"cpu": {"cores": 2}}}, OTHER + "domain.cpu.cores"),
    ({"volumes": [{"name": "root", "containerDisk": {"image": "b"}}]}, OTHER + "volumes[0].containerDisk.image"),
    ({"volumes": []}, OTHER + "volumes[0]"),
    ({"volumes": HOT, "domain": {"devices": {"disks": DISKS}}}, ""),
    ({"domain": {"devices": {"disks": DISKS}}}, OTHER + "domain.devices.disks[1]"),
    ({"domain": {"devices": {"rng": {}}}}, OTHER + "domain.devices.rng"),
    ({"hostname": "h", "domain": {"cpu": {"cores": 2}}}, OTHER + "domain.cpu.cores, spec.template.spec.hostname"),
    (
        {"domain": {"cpu": {"sockets": 2}}},
        "CPU sockets updated in template spec to a value higher than what's available: "
        "spec.template.spec.domain.cpu.sockets",
    ),
    (
        {"domain": {"memory": {"guest": "2Gi"}}},
        "memory updated in template spec. Memory-hotplug is not available for this VM configuration: "
        "spec.template.spec.domain.memory.guest",
    ),
    (
        {"domain": {"memory": {"guest": "512Mi"}}},
        "memory updated in template spec to a value lower than what the VM started with: "
        "spec.template.spec.domain.memory.guest",
    ),
]


@pytest.mark.parametrize(("change", "expected"), RESTARTS)
def test_what_waits_for_a_restart_is_named(change: Json, expected: str) -> None:
    assert changes(spec_of({}), spec_of(change), RUNNING).restart == expected


@pytest.mark.parametrize(
    ("guest", "expected"),
    [
        ("4Gi", ""),
        ("1Gi", ""),
        ("5Gi", "memory updated in template spec to a value higher than what's available: "),
        ("512Mi", "memory updated in template spec to a value lower than what the VM started with: "),
        ("1025Mi", "memory hotplug not supported, Guest memory must be 2Mi aligned: "),
    ],
)
def test_memory_that_a_guest_has_room_for_needs_no_restart(guest: str, expected: str) -> None:
    roomy = from_builtins(merged(BASE, {"domain": {"memory": {"maxGuest": "4Gi"}}}), VirtualMachineInstanceSpec)
    edited = spec_of({"domain": {"memory": {"guest": guest}}})
    path = "spec.template.spec.domain.memory.guest" if expected else ""
    assert changes(spec_of({}), edited, roomy).restart == expected + path
    failed = changes(spec_of({}), edited, roomy, memory_failed=True)
    assert failed.restart.startswith("memory updated in template spec. Memory-hotplug failed")


def test_fewer_sockets_say_so() -> None:
    two = spec_of({"domain": {"cpu": {"sockets": 2}}})
    assert changes(two, spec_of({}), RUNNING).restart.startswith("Reduction of CPU socket count requires a restart: ")


def test_sockets_that_were_plugged_are_given_back_by_a_restart() -> None:
    """The template is what the guest was started from again, and yet it has more."""
    one = spec_of({"domain": {"cpu": {"sockets": 1}}})
    plugged = from_builtins(merged(BASE, {"domain": {"cpu": {"sockets": 2}}}), VirtualMachineInstanceSpec)
    found = changes(one, one, plugged)
    assert found.restart.startswith("Reduction of CPU socket count requires a restart: ")
    assert not found.same_template


@pytest.mark.parametrize(
    ("disk", "restart"),
    [
        ({"name": "more", "disk": {"bus": "scsi"}}, ""),
        ({"name": "more", "lun": {"bus": "scsi"}}, ""),
        ({"name": "more", "disk": {"bus": "sata"}}, OTHER + "volumes[name=more]"),
        ({"name": "more", "cdrom": {"bus": "sata"}}, OTHER + "volumes[name=more]"),
        ({"name": "other"}, OTHER + "domain.devices.disks[1], spec.template.spec.volumes[name=more]"),
    ],
)
def test_a_volume_that_no_plug_takes_waits_for_a_restart(disk: Json, restart: str) -> None:
    now = spec_of({"volumes": HOT, "domain": {"devices": {"disks": [DISKS[0], disk]}}})
    assert changes(spec_of({}), now, RUNNING).restart == restart


def test_the_first_fields_are_named_and_the_rest_counted() -> None:
    many = spec_of(
        {
            "domain": {"devices": {f"autoattach{name}": True for name in ("PodInterface", "SerialConsole")}},
            "hostname": "h",
            "subdomain": "s",
            "evictionStrategy": "None",
            "startStrategy": "Paused",
        }
    )
    assert changes(spec_of({}), many, RUNNING).restart.endswith("spec.template.spec.startStrategy and 1 more")


def test_another_instancetype_waits_for_a_restart_but_its_stored_revision_does_not() -> None:
    small = spec_of({}, instancetype={"name": "small"})
    large = spec_of({}, instancetype={"name": "large"})
    stored = spec_of({}, instancetype={"name": "small", "revisionName": "r"})
    assert changes(small, large, RUNNING).restart.endswith(": spec.instancetype.name")
    assert changes(small, stored, RUNNING).restart == ""


@pytest.mark.parametrize(
    ("started", "now", "running", "expected"),
    [
        ({}, {"nodeSelector": {"a": "b"}}, {}, ("node_selector",)),
        ({}, {"nodeSelector": {"a": "b"}}, {"nodeSelector": {"a": "b"}}, ()),
        ({}, {}, {"nodeSelector": {"a": "b"}}, ("node_selector",)),
        ({"tolerations": [{"key": "a"}]}, {}, {"tolerations": [{"key": "a"}]}, ("tolerations",)),
        ({}, {"affinity": {"nodeAffinity": {}}, "nodeSelector": {"a": "b"}}, {}, ("node_selector", "affinity")),
    ],
)
def test_what_a_running_guest_takes_at_once(started: Json, now: Json, running: Json, expected: tuple[str, ...]) -> None:
    vmi = from_builtins(merged(BASE, running), VirtualMachineInstanceSpec)
    assert changes(spec_of(started), spec_of(now), vmi).live == expected


def test_a_node_selector_that_the_instancetype_gave_stays() -> None:
    vmi = from_builtins({**BASE, "nodeSelector": {"from": "type"}}, VirtualMachineInstanceSpec)
    spec = spec_of({}, instancetype={"name": "it"})
    assert changes(spec, spec, vmi).live == ()


async def edit(kube: FakeKube, change: Json) -> None:
    await kube.patch(VIRTUAL_MACHINES, "default", "vm1", {"spec": change}, kind="merge")
    await settle()


def instance(kube: FakeKube) -> Json:
    vmi = kube.find(VIRTUAL_MACHINE_INSTANCES, "default", "vm1")
    assert vmi is not None
    return vmi


def restart_required(kube: FakeKube) -> str | None:
    found = [each for each in status(kube)["conditions"] if each["type"] == "RestartRequired"]
    return found[0]["message"] if found else None


@pytest.mark.looptime
async def test_the_life_of_an_edit() -> None:
    """Told while it waits, forgotten when it is taken back, applied by the next start."""
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINES, "default", vm_object(runStrategy="Always"))
        await settle()
        uid = kube.find(VIRTUAL_MACHINES, "default", "vm1")["metadata"]["uid"]  # type: ignore[index]
        first = f"revision-start-vm-{uid}-1"
        assert instance(kube)["status"]["virtualMachineRevisionName"] == first
        stored = kube.find(CONTROLLER_REVISIONS, "default", first)
        assert stored is not None
        assert stored["data"]["spec"]["template"]["spec"]["domain"]["memory"] == {"guest": "64Mi"}

        await edit(kube, {"template": {"spec": {"domain": {"cpu": {"cores": 2}}}}})
        assert restart_required(kube) == OTHER + "domain.cpu.cores"
        assert (status(kube)["observedGeneration"], status(kube)["desiredGeneration"]) == (1, 2)

        await edit(kube, {"template": {"spec": {"domain": {"cpu": None}}}})
        assert restart_required(kube) is None
        assert instance(kube)["metadata"]["annotations"]["kubevirt.io/vm-generation"] == "3"
        assert (status(kube)["observedGeneration"], status(kube)["desiredGeneration"]) == (3, 3)

        await edit(kube, {"template": {"spec": {"domain": {"cpu": {"cores": 4}}}}})
        await kube.delete(VIRTUAL_MACHINE_INSTANCES, "default", "vm1")
        await settle()
        assert instance(kube)["spec"]["domain"]["cpu"] == {"cores": 4}
        assert restart_required(kube) is None
        revisions = [each["metadata"]["name"] for each in kube.objects("controllerrevisions")]
        assert revisions == [f"revision-start-vm-{uid}-4"]


@pytest.mark.looptime
async def test_a_vmi_that_fits_nowhere_is_placed_by_an_edit_of_its_vm() -> None:
    kube = FakeKube()
    async with controllers(kube):
        vm = vm_object(runStrategy="Always")
        vm["spec"]["template"]["spec"]["nodeSelector"] = {"zone": "nowhere"}
        await kube.create(VIRTUAL_MACHINES, "default", vm)
        await settle()
        assert status(kube)["printableStatus"] == "ErrorUnschedulable"
        await edit(kube, {"template": {"spec": {"nodeSelector": None}}})
        await asyncio.sleep(1)
        assert status(kube)["printableStatus"] == "Running"
        assert "nodeSelector" not in instance(kube)["spec"]


@pytest.mark.looptime
async def test_a_restart_with_the_same_spec_reuses_its_revision() -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINES, "default", vm_object(runStrategy="Always"))
        await settle()
        kube.requests.clear()
        await kube.delete(VIRTUAL_MACHINE_INSTANCES, "default", "vm1")
        await settle()
        assert status(kube)["printableStatus"] == "Running"
    assert [each for each in kube.writes() if each.plural == "controllerrevisions"] == []


@pytest.mark.looptime
async def test_an_adopted_guest_is_held_against_what_it_was_started_from() -> None:
    """Its generation is another VM's, so the same number says nothing."""
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINES, "default", vm_object(runStrategy="Always"))
        await settle()
        await kube.delete(VIRTUAL_MACHINES, "default", "vm1", propagation="Orphan")
        await settle()
        other = vm_object(runStrategy="Always")
        other["spec"]["template"]["spec"]["domain"]["cpu"] = {"cores": 2}
        await kube.create(VIRTUAL_MACHINES, "default", other)
        await settle()
        assert restart_required(kube) == OTHER + "domain.cpu.cores"
        revisions = kube.objects("controllerrevisions")
        vm = kube.find(VIRTUAL_MACHINES, "default", "vm1")
        assert vm is not None
        assert [each["metadata"]["ownerReferences"][0]["uid"] for each in revisions] == [vm["metadata"]["uid"]]
        await kube.delete(VIRTUAL_MACHINE_INSTANCES, "default", "vm1")
        await settle()
        assert restart_required(kube) is None
        assert len(kube.objects("controllerrevisions")) == 1


@pytest.mark.looptime
async def test_an_edit_before_the_revision_is_stored_is_told_without_its_field() -> None:
    kube = FakeKube()
    async with controllers(kube):
        await kube.create(VIRTUAL_MACHINES, "default", vm_object(runStrategy="Always"))
        await settle()
        for each in kube.objects("controllerrevisions"):
            await kube.delete(CONTROLLER_REVISIONS, "default", each["metadata"]["name"])
        await edit(kube, {"template": {"spec": {"domain": {"cpu": {"cores": 2}}}}})
        told = "spec was changed before it was stored what the guest was started from"
        assert restart_required(kube) == told
        await kube.delete(VIRTUAL_MACHINE_INSTANCES, "default", "vm1")
        await settle()
        assert restart_required(kube) is None
        assert len(kube.objects("controllerrevisions")) == 1
