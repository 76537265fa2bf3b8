"""What is plugged into a running guest, decided from its VMI and its domain."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from pytest_mock import MockerFixture

from virt_handler import memory, plugging
from virt_handler.domain import render
from virt_handler.domains import Disk, Domain, VirtioMem, read_domain
from virt_handler.errors import NotEnoughMemory
from virt_handler.model import DiskSource, Guest, GuestFiles, Host
from virt_handler.plugger import Plugger, alone
from virt_handler.plugging import AddProcessors, Attach, Detach, Eject, Insert, SetMemory, steps
from virt_types.codec import from_builtins
from virt_types.v1 import VirtualMachineInstance

ROOT = {"name": "root", "containerDisk": {"image": "x"}}
DATA = {"name": "data", "persistentVolumeClaim": {"claimName": "c", "hotpluggable": True}}
ROOT_DISK, DATA_DISK = {"name": "root", "disk": {"bus": "virtio"}}, {"name": "data", "disk": {"bus": "scsi"}}
DRIVE = {"name": "data", "cdrom": {"bus": "sata"}}
PLUGGED = Disk("data", "sda", "/c/disk.img")


def vmi(volumes: list[Any], disks: list[Any], **more: Any) -> VirtualMachineInstance:
    domain = {"devices": {"disks": disks}, **more.pop("domain", {})}
    return from_builtins(
        {"metadata": {"name": "vm", "uid": "1"}, "spec": {"volumes": volumes, "domain": domain}, **more},
        VirtualMachineInstance,
    )


def domain(*disks: Disk, **more: Any) -> Domain:
    return Domain("11111111-1111-1111-1111-111111111111", "default_vm", "1", "running", "booted", disks=disks, **more)


HERE = Disk("root", "vda", "/o.qcow2")


@pytest.mark.parametrize(
    ("volumes", "disks", "there", "expected"),
    [
        ([ROOT], [ROOT_DISK], [HERE], []),
        ([ROOT, DATA], [ROOT_DISK, DATA_DISK], [HERE], [Attach("data")]),
        ([ROOT, DATA], [ROOT_DISK, DATA_DISK], [HERE, PLUGGED], []),
        ([ROOT], [ROOT_DISK], [HERE, PLUGGED], [Detach("data")]),
        ([ROOT, DATA], [ROOT_DISK, DRIVE], [HERE, Disk("data", "sda", "", "cdrom")], [Insert("data")]),
        ([ROOT], [ROOT_DISK, DRIVE], [HERE, Disk("data", "sda", "/c/disk.img", "cdrom")], [Eject("data")]),
        ([ROOT], [ROOT_DISK, DRIVE], [HERE, Disk("data", "sda", "", "cdrom")], []),
        ([ROOT, DATA], [ROOT_DISK], [HERE], []),  # a volume without a disk is nothing to plug
        ([ROOT], [ROOT_DISK], [], []),  # a permanent disk is not plugged, whatever happened to it
        ([DATA | {"name": "new"}], [DATA_DISK | {"name": "new"}], [PLUGGED], [Detach("data"), Attach("new")]),
    ],
)
def test_steps(volumes: list[Any], disks: list[Any], there: list[Disk], expected: list[Any]) -> None:
    assert steps(vmi(volumes, disks), domain(*there)) == expected


@pytest.mark.parametrize(
    ("sockets", "now", "most", "expected"),
    [(2, 2, 8, []), (4, 4, 8, [AddProcessors(8)]), (1, 4, 8, []), (9, 2, 8, []), (4, 0, 0, [])],
)
def test_processors_only_grow_and_only_to_what_the_domain_was_made_for(
    sockets: int, now: int, most: int, expected: list[Any]
) -> None:
    cpu = {"cpu": {"sockets": sockets, "cores": 2 if expected else 1, "threads": 1}}
    assert steps(vmi([], [], domain=cpu), domain(vcpus=now, max_vcpus=most)) == expected


def test_progress_is_told_in_volume_statuses_words_and_news_only_once() -> None:
    wanted = vmi([ROOT, DATA], [ROOT_DISK, DATA_DISK])
    pending = plugging.progress(wanted, domain(HERE), {"data": ("FailedPvcNotFound", "no claim")})
    assert pending == {"data": plugging.VolumeProgress("Pending", "FailedPvcNotFound", "no claim")}
    ready = plugging.progress(wanted, domain(HERE, PLUGGED), {})
    assert ready["data"].phase == "Ready"
    assert [reason for reason, _ in plugging.news(wanted, ready)] == ["VolumeReady"]
    told = vmi([ROOT, DATA], [ROOT_DISK, DATA_DISK], status={"volumeStatus": [{"name": "data", "phase": "Ready"}]})
    assert list(plugging.news(told, ready)) == []
    leaving = vmi([ROOT], [ROOT_DISK], status={"volumeStatus": [{"name": "data", "phase": "Detaching"}]})
    assert plugging.progress(leaving, domain(HERE, PLUGGED), {})["data"].phase == "Detaching"
    assert [reason for reason, _ in plugging.news(leaving, {})] == ["VolumeUnplugged"]


GIB = 1 << 30
ROOM = {"memory": GIB, "max_memory": 4 * GIB}


def grown(requested: int, current: int) -> VirtioMem:
    return VirtioMem(3 * GIB, requested, current)


def memory_vmi(asked: str, began: str | None = "1Gi") -> VirtualMachineInstance:
    status = {"memory": {"guestAtBoot": began}} if began else {}
    return vmi([], [], domain={"memory": {"guest": asked}}, status=status)


@pytest.mark.parametrize(
    ("asked", "device", "expected"),
    [
        ("1Gi", None, []),
        ("1024Mi", None, []),
        ("2Gi", None, [SetMemory(GIB, 3 * GIB, 2 << 20)]),
        ("2Gi", grown(GIB, 0), []),  # asked for already; the guest has still to take it
        ("4Gi", grown(GIB, GIB), [SetMemory(3 * GIB, 3 * GIB, 2 << 20)]),
        ("1Gi", grown(GIB, GIB), [SetMemory(0, 3 * GIB, 2 << 20)]),
        ("5Gi", None, []),
        ("512Mi", grown(GIB, GIB), []),
        ("1025Mi", None, []),
    ],
)
def test_memory_is_plugged_between_what_was_booted_with_and_the_room_made(
    asked: str, device: VirtioMem | None, expected: list[Any]
) -> None:
    assert steps(memory_vmi(asked), domain(virtio_mem=device, **ROOM)) == expected
    assert steps(memory_vmi(asked, None), domain(virtio_mem=device, **ROOM)) == []


@pytest.mark.parametrize(
    ("asked", "device", "current", "requested", "value", "words"),
    [
        ("1Gi", None, "1Gi", "1Gi", "", ""),
        ("2Gi", None, "1Gi", None, "True", "the guest has 1Gi of 2Gi"),
        ("2Gi", grown(GIB, GIB // 2), "1536Mi", "2Gi", "True", "the guest has 1536Mi of 2Gi"),
        ("2Gi", grown(GIB, GIB), "2Gi", "2Gi", "", ""),
        ("1Gi", grown(0, 4 << 20), "1028Mi", "1Gi", "True", "the guest has 1028Mi of 1Gi"),
        ("5Gi", None, "1Gi", None, "False", "was started with room for 4Gi; restart the VM to give it 5Gi"),
        ("1025Mi", None, "1Gi", None, "False", "in steps of 2Mi"),
        ("512Mi", grown(GIB, GIB), "2Gi", None, "False", "can't give back what it booted with, 1Gi"),
    ],
)
def test_progress_of_memory(  # noqa: PLR0917  a row of the table
    asked: str, device: VirtioMem | None, current: str, requested: str | None, value: str, words: str
) -> None:
    found = memory.progress(memory_vmi(asked), domain(virtio_mem=device, **ROOM))
    assert found is not None
    assert (found.current, found.requested, found.value) == (current, requested, value)
    assert words in found.message
    assert memory.progress(memory_vmi(asked, None), domain(**ROOM)) is None


def test_memory_without_room_and_memory_that_could_not_be_plugged() -> None:
    small = memory.progress(memory_vmi("2Gi"), domain(memory=GIB))
    assert small is not None
    assert (small.value, small.reason) == ("False", "NotSupported")
    assert small.message.startswith("the guest was started without room")
    failed = memory.progress(memory_vmi("2Gi"), domain(**ROOM), ("HypervisorError", "no PCI slot is free"))
    assert failed is not None
    assert (failed.value, failed.reason) == ("False", "MemoryHotplugFailed")
    assert "no PCI slot is free" in failed.message


@pytest.mark.parametrize(("free", "plugged"), [("2097152 kB", True), ("1048575 kB", False)])
async def test_memory_that_the_machine_has_not_is_not_plugged(
    mocker: MockerFixture, tmp_path: Path, free: str, plugged: bool
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: 9 kB\nMemAvailable:    {free}\n")
    mocker.patch("virt_handler.host.MEMINFO", meminfo)
    hypervisor = mocker.Mock(on_domain=mocker.AsyncMock())
    node = Host("node")
    plugger = Plugger(
        libvirt_host=hypervisor, volumes=mocker.Mock(), layout=mocker.Mock(), render=render, host=node, owner=None
    )
    machine, there = memory_vmi("2Gi"), domain(**ROOM)
    (step,) = steps(machine, there)
    if plugged:
        await plugger.carry_out(machine, there, step)
    else:
        with pytest.raises(NotEnoughMemory, match="1024Mi more memory wanted, node node has 1023Mi available"):
            await plugger.carry_out(machine, there, step)
    assert hypervisor.on_domain.await_count == int(plugged)


def test_memory_is_read_from_the_domain() -> None:
    text = """<domain><maxMemory slots='1' unit='KiB'>4194304</maxMemory><memory unit='KiB'>4194304</memory><devices>
      <memory model='virtio-mem'><target><size unit='KiB'>3145728</size><node>0</node><block unit='KiB'>2048</block>
      <requested unit='KiB'>524288</requested><current unit='KiB'>4096</current></target></memory></devices></domain>"""
    found = read_domain(text, 1, 1)
    assert (found.memory, found.max_memory) == (GIB, 4 * GIB)
    assert found.virtio_mem == VirtioMem(3 * GIB, GIB // 2, 4 << 20)
    assert read_domain("<domain/>", 1, 1).virtio_mem is None


def test_a_plugged_disk_is_rendered_alone_beside_the_targets_that_are_taken() -> None:
    full = vmi([ROOT, DATA], [ROOT_DISK, DATA_DISK], domain={"memory": {"guest": "64Mi"}})
    lone = alone(full, domain(HERE, Disk("other", "sda", "/x")), "data")
    files = GuestFiles("/s", "/l", "/v", "/n")
    text = render(Guest(lone, Host("node"), files, {"data": DiskSource("/c/disk.img")}, {}))
    (disk,) = ET.fromstring(text).iterfind("devices/disk")  # noqa: S314  rendered here
    target, address = disk.find("target"), disk.find("address")
    assert target is not None
    assert (target.get("dev"), target.get("bus")) == ("sdb", "scsi")
    assert address is not None
    assert address.get("unit") == "1"


def test_processors_and_sources_are_read_from_the_domain() -> None:
    text = """<domain><vcpu current='2'>8</vcpu><devices>
      <disk type='file' device='cdrom'><target dev='sda'/><alias name='ua-cd'/></disk>
      <disk type='block' device='disk'><source dev='/dev/x'/><target dev='vda'/><alias name='ua-b'/></disk>
    </devices></domain>"""
    found = read_domain(text, 1, 1)
    assert (found.vcpus, found.max_vcpus) == (2, 8)
    assert found.disks == (Disk("cd", "sda", "", "cdrom"), Disk("b", "vda", "/dev/x", "disk"))
    assert read_domain("<domain><vcpu>3</vcpu></domain>", 1, 1).vcpus == 3
