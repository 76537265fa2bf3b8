"""What may change of an object that exists: each rule of specification 5.5, and 14 to 18 of 5.4, with its words."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from virt_types.cdi.objects import DataVolume
from virt_types.codec import from_builtins
from virt_types.pool.v1beta1 import VirtualMachinePool
from virt_types.running import run_strategy
from virt_types.v1 import VirtualMachine, VirtualMachineInstance, VirtualMachineInstanceMigration
from virt_types.validation.update import (
    data_volume_update,
    migration_update,
    pool_update,
    vm_update,
    vmi_hotplug,
)

Json = dict[str, Any]
CLAIM = {"claimName": "c", "hotpluggable": True}
PLUGGED = {"name": "p", "persistentVolumeClaim": CLAIM}
SCSI = {"name": "p", "disk": {"bus": "scsi"}}
ROOT, ROOT_DISK = {"name": "root", "containerDisk": {"image": "i"}}, {"name": "root", "disk": {"bus": "virtio"}}


def spec(volumes: list[Json], disks: list[Json], **domain: Any) -> Json:
    return {"domain": {"devices": {"disks": disks}} | domain, "volumes": volumes}


DRIVE = {"name": "p", "cdrom": {"bus": "sata"}}
BARE = spec([ROOT], [ROOT_DISK])
FULL = spec([ROOT, PLUGGED], [ROOT_DISK, SCSI])


def machine(inner: Json | None = None, status: Json | None = None, **fields: Any) -> VirtualMachine:
    whole = {"runStrategy": "Halted", "template": {"spec": inner or BARE}} | fields
    return from_builtins({"spec": copy.deepcopy(whole), "status": status or {}}, VirtualMachine)


def instance(inner: Json, status: Json | None = None) -> VirtualMachineInstance:
    return from_builtins({"spec": copy.deepcopy(inner), "status": status or {}}, VirtualMachineInstance)


RESTORING, SNAPSHOT = {"restoreInProgress": "r"}, {"snapshotInProgress": "s"}


@pytest.mark.parametrize(
    ("old", "new", "messages"),
    [
        (machine(), machine(runStrategy="Always"), []),
        (
            machine(status=RESTORING),
            machine(runStrategy="Always"),
            ['Cannot update VM runStrategy until restore "r" completes'],
        ),
        (
            machine(status=RESTORING, runStrategy="Always"),
            machine(),
            ['Cannot update VM runStrategy until restore "r" completes'],
        ),
        (machine(status=RESTORING, runStrategy="Manual"), machine(FULL, runStrategy="Manual"), []),
        (
            machine(status=SNAPSHOT),
            machine(FULL),
            ['Cannot update vm disks or volumes until snapshot "s" completes'],
        ),
        (
            machine(status=SNAPSHOT),
            machine(runStrategy=None, running=True),
            ['Cannot update vm running state until snapshot "s" completes'],
        ),
        (machine(status=SNAPSHOT), machine(runStrategy=None, running=False), []),
        (
            machine(instancetype={"name": "a", "revisionName": "r"}),
            machine(instancetype={"name": "b", "revisionName": "r"}),
            ["the Matcher Name has been updated without updating the RevisionName"],
        ),
        (machine(preference={"name": "a"}), machine(preference={"name": "b"}), []),
    ],
)
def test_machine(old: VirtualMachine, new: VirtualMachine, messages: list[str]) -> None:
    assert [cause.message for cause in vm_update(old, new)] == messages


def add(name: str = "n", claim: str = "c", bus: str = "scsi", **device: Any) -> Json:
    disk = {"name": name, **(device or {"disk": {"bus": bus}})}
    source = {"persistentVolumeClaim": {"claimName": claim}}
    return {"addVolumeOptions": {"name": name, "disk": disk, "volumeSource": source}}


NEITHER = "requires diskDevice of type 'disk' or 'lun' to be used."
REMOVE = {"removeVolumeOptions": {"name": "n"}}
EITHER = "VolumeRequests require either addVolumeOptions or removeVolumeOptions"
TAKEN = "AddVolume request for [root] conflicts with an existing volume of the same name on"


@pytest.mark.parametrize(
    ("requests", "messages"),
    [
        ([add()], []),
        ([add("n"), REMOVE], []),
        ([add() | REMOVE], [f"{EITHER} to be set, not both"]),
        ([{}], ["VolumeRequests require one of either addVolumeOptions or removeVolumeOptions to be set"]),
        ([add(), add()], ["AddVolume request for [n] already exists"]),
        ([REMOVE, REMOVE], ["RemoveVolume request for [n] already exists"]),
        ([add("root")], [f"{TAKEN} the vmi template.", f"{TAKEN} currently running vmi"]),
        (
            [add(bus="sata")],
            [
                "AddVolume request for disk [n] requires bus to be 'scsi' or 'virtio'. [sata] is not permitted.",
            ],
        ),
        (
            [add(lun={"bus": "virtio"})],
            ["AddVolume request for LUN [n] requires bus to be 'scsi'. [virtio] is not permitted."],
        ),
        ([add(cdrom={"bus": "sata"})], [f"AddVolume request for [n] {NEITHER}"]),
        (
            [add(disk={"bus": "scsi"}, dedicatedIOThread=True)],
            ["AddVolume request for [n] requires virtio bus for IOThreads."],
        ),
        (
            [add(disk={"bus": "scsi"}, bootOrder=0)],
            ["AddVolume request for [n] must have a boot order > 0, if supplied"],
        ),
        ([add(bootOrder=1)], ["AddVolume request for [n] requires diskDevice of type 'disk' or 'lun' to be used."]),
    ],
)  # fmt: skip
def test_volume_requests(requests: list[Json], messages: list[str]) -> None:
    causes = vm_update(machine(), machine(status={"volumeRequests": requests}), vmi=instance(BARE))
    assert [cause.message for cause in causes] == messages
    assert {cause.field for cause in causes} <= {"status.volumeRequests"}


def test_no_volume_requests_during_a_migration() -> None:
    asked = machine(status={"volumeRequests": [add()]})
    for state, refused in (({"migrationUid": "u"}, True), ({"migrationUid": "u", "completed": True}, False)):
        vmi = instance(BARE, {"migrationState": state})
        text = ["Cannot handle volume requests while VMI migration is in progress"] if refused else []
        assert [cause.message for cause in vm_update(machine(), asked, vmi=vmi)] == text


@pytest.mark.parametrize(
    ("old", "new", "messages"),
    [
        (BARE, FULL, []),
        (FULL, BARE, []),
        (FULL, FULL, []),
        (
            spec([], [], cpu={"maxSockets": 4}),
            spec([], [], cpu={"maxSockets": 8}),
            ["CPU topology maxSockets changed"],
        ),
        (
            spec([], [], memory={"maxGuest": "1Gi"}),
            spec([], [], memory={"maxGuest": "2Gi"}),
            ["Memory maxGuest changed"],
        ),
        # The same amount in other words, and one that was not there before.
        (spec([], [], memory={"maxGuest": "1Gi"}), spec([], [], memory={"maxGuest": "1024Mi"}), []),
        (spec([], [], memory={}), spec([], [], memory={"maxGuest": "1Gi"}), []),
        # Into an empty drive goes what could not be plugged with a drive of its own.
        (spec([ROOT], [ROOT_DISK, DRIVE]), spec([ROOT, PLUGGED], [ROOT_DISK, DRIVE]), []),
        (BARE, spec([ROOT, PLUGGED], [ROOT_DISK, DRIVE]), [f"Hotplug configuration for [p] {NEITHER}"]),
        (BARE, BARE | {"utilityVolumes": [{"name": "u"}]}, ["UtilityVolumes feature gate is not enabled"]),
        (FULL, spec([ROOT, PLUGGED], [ROOT_DISK, SCSI | {"serial": "x"}]), ["hotplug disk p, changed"]),
        (
            FULL,
            spec([ROOT, {"name": "p", "persistentVolumeClaim": CLAIM | {"claimName": "d"}}], [ROOT_DISK, SCSI]),
            ["hotplug volume p, changed"],
        ),
        (
            BARE,
            spec([ROOT, {"name": "x", "emptyDisk": {"capacity": "1Gi"}}], [ROOT_DISK, {"name": "x", "disk": {}}]),
            ["volume x is not a PVC or DataVolume"],
        ),
        (
            BARE,
            spec([ROOT, {"name": "x", "dataVolume": {"name": "d"}}], [ROOT_DISK, {"name": "x", "disk": {}}]),
            ["Number of permanent volumes has changed"],
        ),
        (BARE, spec([ROOT, PLUGGED], [ROOT_DISK]), ["volume p doesn't have a matching disk"]),
        (BARE, spec([ROOT], [ROOT_DISK, SCSI]), ["disk p does not exist"]),
        (
            BARE,
            spec([], []),
            ["Number of permanent volumes has changed", "permanent volume root, not found"],
        ),
        (
            BARE,
            spec([ROOT | {"containerDisk": {"image": "j"}}], [ROOT_DISK]),
            ["permanent volume root, changed"],
        ),
        (BARE, spec([ROOT], [ROOT_DISK | {"cache": "none"}]), ["permanent disk root, changed"]),
        (
            BARE,
            spec([ROOT, PLUGGED], [ROOT_DISK, {"name": "p", "disk": {"bus": "usb"}}]),
            ["Hotplug configuration for disk [p] requires bus to be 'scsi' or 'virtio'. [usb] is not permitted."],
        ),
    ],
)
def test_hotplug(old: Json, new: Json, messages: list[str]) -> None:
    assert [cause.message for cause in vmi_hotplug(instance(old), instance(new))] == messages


def test_migration() -> None:
    def migration(name: str = "a", phase: str = "Running", label: str = "a") -> VirtualMachineInstanceMigration:
        obj = {"metadata": {"labels": {"kubevirt.io/vmi-name": label}}, "spec": {"vmiName": name}}
        return from_builtins(obj | {"status": {"phase": phase}}, VirtualMachineInstanceMigration)

    assert migration_update(migration(), migration()) == []
    (cause,) = migration_update(migration(), migration("b"))
    assert cause.message == "update of Migration object's spec is restricted"
    (cause,) = migration_update(migration(), migration(label="b"))
    assert cause.message == "selector label can't be modified on an in-flight migration"
    assert migration_update(migration(phase="Failed"), migration(label="b")) == []


def test_selector_of_a_pool_and_spec_of_a_data_volume() -> None:
    def pool(label: str) -> VirtualMachinePool:
        return from_builtins({"spec": {"selector": {"matchLabels": {"a": label}}}}, VirtualMachinePool)

    def volume(name: str) -> DataVolume:
        return from_builtins({"spec": {"sourceRef": {"kind": "DataSource", "name": name}}}, DataVolume)

    assert (pool_update(pool("a"), pool("a")), data_volume_update(volume("a"), volume("a"))) == ([], [])
    assert [c.message for c in pool_update(pool("a"), pool("b"))] == ["selector is immutable after creation."]
    assert [c.message for c in data_volume_update(volume("a"), volume("b"))] == ["Cannot update DataVolume Spec"]


@pytest.mark.parametrize(
    ("fields", "strategy"),
    [
        ({"runStrategy": "Manual"}, "Manual"),
        ({"runStrategy": None, "running": True}, "Always"),
        ({"runStrategy": None, "running": False}, "Halted"),
        ({"runStrategy": None}, "Halted"),
    ],
)
def test_strategy(fields: Json, strategy: str) -> None:
    assert run_strategy(machine(**fields).spec) == strategy
