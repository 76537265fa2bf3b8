"""What a running instance takes from its VM's template: volumes and sockets."""

from __future__ import annotations

from typing import Any

import pytest

from virt_controller.vm.changes import changes
from virt_controller.vm.plugged import plugged
from virt_types.codec import from_builtins, to_builtins
from virt_types.v1 import MemoryStatus, VirtualMachineInstance, VirtualMachineInstanceSpec, VirtualMachineSpec

ROOT, ROOT_DISK = {"name": "root", "containerDisk": {"image": "a"}}, {"name": "root", "disk": {"bus": "virtio"}}
HOT = {"name": "hot", "persistentVolumeClaim": {"claimName": "c", "hotpluggable": True}}
OTHER = {"name": "hot", "persistentVolumeClaim": {"claimName": "d", "hotpluggable": True}}
HOT_DISK, DRIVE = {"name": "hot", "disk": {"bus": "scsi"}}, {"name": "hot", "cdrom": {"bus": "sata"}}


def spec(volumes: list[Any], disks: list[Any], **domain: Any) -> VirtualMachineInstanceSpec:
    found = {"volumes": volumes, "domain": {"devices": {"disks": disks}, **domain}}
    return from_builtins(found, VirtualMachineInstanceSpec)


def instance(running: VirtualMachineInstanceSpec, *told: str) -> VirtualMachineInstance:
    vmi = from_builtins({"status": {"volumeStatus": [{"name": name} for name in told]}}, VirtualMachineInstance)
    vmi.spec = running
    return vmi


@pytest.mark.parametrize(
    ("template", "running", "told", "volumes", "disks"),
    [
        (([ROOT], [ROOT_DISK]), ([ROOT], [ROOT_DISK]), (), [ROOT], [ROOT_DISK]),
        (([ROOT, HOT], [ROOT_DISK, HOT_DISK]), ([ROOT], [ROOT_DISK]), (), [ROOT, HOT], [ROOT_DISK, HOT_DISK]),
        (([ROOT], [ROOT_DISK]), ([ROOT, HOT], [ROOT_DISK, HOT_DISK]), (), [ROOT], [ROOT_DISK]),
        (([HOT], [DRIVE]), ([], [DRIVE]), (), [HOT], [DRIVE]),
        (([], [DRIVE]), ([HOT], [DRIVE]), (), [], [DRIVE]),
        # Another volume of the name: the first leaves, and has to be gone before the second comes.
        (([OTHER], [HOT_DISK]), ([HOT], [HOT_DISK]), ("hot",), [], []),
        (([OTHER], [HOT_DISK]), ([], []), ("hot",), [], []),
        (([OTHER], [HOT_DISK]), ([], []), (), [OTHER], [HOT_DISK]),
        # What is permanent waits for a restart.
        (([], []), ([ROOT], [ROOT_DISK]), (), [ROOT], [ROOT_DISK]),
        (([ROOT], [ROOT_DISK]), ([], []), (), [], []),
    ],
)
def test_volumes(template: Any, running: Any, told: tuple[str, ...], volumes: list[Any], disks: list[Any]) -> None:
    found = to_builtins(plugged(spec(*template), instance(spec(*running), *told)))
    assert found.get("volumes", []) == volumes
    assert found["domain"].get("devices", {}).get("disks", []) == disks


@pytest.mark.parametrize(("asked", "most", "given"), [(2, 4, 2), (4, 4, 4), (5, 4, 1), (1, 4, 1), (2, None, 1)])
def test_sockets_come_up_to_what_the_guest_was_made_for(asked: int, most: int | None, given: int) -> None:
    running = spec([], [], cpu={"sockets": 1, "cores": 1, "threads": 1} | ({"maxSockets": most} if most else {}))
    template = spec([], [], cpu={"sockets": asked})
    cpu = plugged(template, instance(running)).domain.cpu
    assert cpu is not None
    assert cpu.sockets == given
    started = from_builtins({"template": {"spec": {"domain": {"cpu": {"sockets": 1}}}}}, VirtualMachineSpec)
    now = from_builtins({"template": {"spec": to_builtins(template)}}, VirtualMachineSpec)
    assert bool(changes(started, now, running).restart) is (given != asked)


MEMORY = {"guest": "2Gi", "maxGuest": "4Gi"}
RESOURCES = {"requests": {"memory": "2Gi", "cpu": "1"}, "limits": {"memory": "3G"}}


@pytest.mark.parametrize(
    ("asked", "running", "given", "requests", "limits"),
    [
        ("4Gi", MEMORY, "4Gi", "4Gi", "5147483648"),
        ("2Gi", MEMORY, "2Gi", "2Gi", "3G"),
        ("1Gi", MEMORY, "1Gi", "1Gi", "1926258176"),  # given back, as far as what was booted with
        ("512Mi", MEMORY, "2Gi", "2Gi", "3G"),
        ("5Gi", MEMORY, "2Gi", "2Gi", "3G"),
        ("2049Mi", MEMORY, "2Gi", "2Gi", "3G"),
        ("3Gi", {"guest": "2Gi"}, "2Gi", "2Gi", "3G"),
    ],
)
def test_memory_changes_between_what_was_booted_with_and_the_room_made(
    asked: str, running: Any, given: str, requests: str, limits: str
) -> None:
    there = instance(spec([], [], memory=running, resources=RESOURCES))
    there.status.memory = MemoryStatus(guest_at_boot="1Gi")
    template = spec([], [], memory={"guest": asked})
    domain = plugged(template, there).domain
    assert domain.memory is not None
    assert domain.memory.guest == given
    assert (domain.resources.requests, domain.resources.limits) == (
        {"memory": requests, "cpu": "1"},
        {"memory": limits},
    )
    started = from_builtins({"template": {"spec": {"domain": {"memory": {"guest": "1Gi"}}}}}, VirtualMachineSpec)
    now = from_builtins({"template": {"spec": to_builtins(template)}}, VirtualMachineSpec)
    assert bool(changes(started, now, there.spec).restart) is (given != asked)
