"""Domains that `render` made really boot, and the guest finds the hardware its manifest asked for.

Each machine carries several things at once, because a boot under emulation takes seconds. The guest is the demo's, with
more drivers; its cloud-init script writes what it finds in /sys to the serial console.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import full_guest
import pytest

from virt_handler.domain import render
from virt_handler.instances import instance_of
from virt_handler.model import DiskSource, Guest, GuestFiles, Host, NicSource
from virt_handler.volumes import cloudinit, iso

libvirt = pytest.importorskip("libvirt")
pytestmark = [pytest.mark.libvirt, pytest.mark.guest, pytest.mark.slow]

BOOT_SECONDS = 90
PROBE = """#!/bin/sh
exec > /dev/ttyS0 2>&1
up() { d=$1; while [ "$d" != / ]; do [ -s "$d/$2" ] && cat "$d/$2" && return; d=${d%/*}; [ -z "$d" ] && return; done; }
i=0
while [ "$(ls -d /sys/block/[sv]d* | wc -l)" -lt "$DISKS" ] && [ $i -lt 40 ]; do usleep 250000; i=$((i + 1)); done
echo
echo PROBE BEGINS
for b in /sys/block/[sv][dr]*; do
    n=${b##*/}; d=$(readlink -f $b/device)
    serial=$(cat $b/serial 2>/dev/null || tail -c +5 $b/device/vpd_pg80 2>/dev/null)
    echo "disk $n $(cat $b/size) ${serial:-$(up $d serial)}"
done
for f in /sys/class/dmi/id/*; do [ -f $f ] && echo "dmi ${f##*/} $(cat $f)"; done
for n in /sys/class/net/*; do echo "nic ${n##*/} $(cat $n/address) $(cat $n/operstate)"; done
for p in /sys/bus/pci/devices/*; do echo "pci ${p##*/} $(cat $p/vendor) $(cat $p/device)"; done
for u in /sys/bus/usb/devices/*; do [ -f $u/product ] && echo "usb $(cat $u/product)"; done
echo "cpus $(cat /sys/devices/system/cpu/online)"
echo "efi $(ls -d /sys/firmware/efi 2>/dev/null)"
echo "memory $(sed -n 's/MemTotal: *//p' /proc/meminfo)"
echo "clock $(date -u +%s)"
echo "tpm $(cat /sys/class/tpm/tpm0/tpm_version_major 2>/dev/null)"
echo "queues $(ls -d /sys/block/vda/mq/* 2>/dev/null | wc -l)"
echo "model $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)"
echo PROBE ENDS
i=0
while [ $i -lt 200 ]; do
    for c in /sys/devices/system/cpu/cpu[0-9]*/online; do [ "$(cat $c)" = 0 ] && echo 1 > $c && echo HOTPLUG $c; done
    usleep 250000; i=$((i + 1))
done
"""


class Machine(NamedTuple):
    """A manifest's parts. The first disk boots; `seed` has the script that looks around."""

    disks: list[dict[str, Any]]
    domain: dict[str, Any]
    devices: Mapping[str, Any] = MappingProxyType({})
    nics: tuple[dict[str, Any], ...] = ()
    annotations: Mapping[str, str] = MappingProxyType({})


def on(name: str, bus: str, device: str = "disk", **more: Any) -> dict[str, Any]:
    return {"name": name, device: {"bus": bus}, **more}


TPM = shutil.which("swtpm") is not None
MACHINES = {
    "q35-bios": Machine(
        disks=[
            on("root", "virtio", serial="ROOT-1", bootOrder=1),
            on("sata", "sata", serial="SATA-2"),
            on("scsi", "scsi", serial="SCSI-3"),
            on("usb", "usb", serial="USB-4"),
            on("seed", "sata", "cdrom"),
        ],
        domain={
            "machine": {"type": "q35"},
            "cpu": {"sockets": 1, "cores": 1, "threads": 1, "maxSockets": 2},
            "clock": {"utc": {"offsetSeconds": 7200}, "timer": {"hpet": {"present": False}}},
            "firmware": {"serial": "SN <&> 47", "uuid": "5d307ca9-b3ef-428c-8861-06e72d69f223"},
            "chassis": {"manufacturer": 'Example "Ltd"', "asset": "A-4711"},
        },
        devices={
            "rng": {},
            "watchdog": {"name": "dog", "i6300esb": {"action": "reset"}},
            "inputs": [{"name": "t", "type": "tablet"}],
        },
        nics=(
            {"name": "a", "masquerade": {}, "macAddress": "52:54:00:47:11:01"},
            {"name": "b", "bridge": {}, "macAddress": "52-54-00-47-11-02", "model": "e1000e"},
        ),
    ),
    "pc-transitional": Machine(
        disks=[on("root", "virtio", serial="ROOT-1"), on("scsi", "scsi", serial="SCSI-2"), on("seed", "virtio")],
        domain={"machine": {"type": "pc"}, "cpu": {"cores": 2}, "clock": {"timezone": "Etc/GMT-3"}},
        devices={"useVirtioTransitional": True, "blockMultiQueue": True},
        nics=({"name": "a", "masquerade": {}, "macAddress": "52:54:00:47:11:03", "model": "rtl8139"},),
    ),
    "q35-efi": Machine(
        disks=[on("root", "sata", serial="ROOT-1", bootOrder=1), on("seed", "scsi", "cdrom")],
        domain={"firmware": {"bootloader": {"efi": {"secureBoot": False}}}, "memory": {"guest": "256Mi"}},
        devices={"autoattachGraphicsDevice": False, **({"tpm": {}} if TPM else {})},
    ),
    "q35-secure": Machine(
        disks=[on("root", "sata", serial="ROOT-1", bootOrder=1), on("seed", "scsi", "cdrom")],
        domain={"firmware": {"bootloader": {"efi": {"secureBoot": True}}}, "features": {"smm": {"enabled": True}}},
    ),
    "q35-rootcomplex": Machine(
        disks=[
            on("root", "scsi", serial="ROOT-1", bootOrder=1),
            on("fast", "virtio", serial="FAST-2", dedicatedIOThread=True),
            on("seed", "sata", "cdrom"),
        ],
        domain={"ioThreadsPolicy": "auto", "cpu": {"sockets": 2, "model": "Nehalem"}, "features": {"apic": {}}},
        devices={"networkInterfaceMultiqueue": True, "autoattachMemBalloon": False},
        nics=({"name": "a", "masquerade": {}, "macAddress": "52:54:00:47:11:05"},),
        annotations={"kubevirt.io/placePCIDevicesOnRootComplex": "true"},
    ),
    "q35-usb-boot": Machine(
        disks=[on("root", "usb", serial="ROOT-1", bootOrder=1), on("seed", "virtio")],
        domain={"cpu": {"model": "host-passthrough"}},
    ),
}


def manifest(name: str, machine: Machine) -> dict[str, Any]:
    domain = {"memory": {"guest": "128Mi"}, **machine.domain}
    devices = {"disks": machine.disks, "interfaces": list(machine.nics), **machine.devices}
    devices |= {} if machine.nics else {"autoattachPodInterface": False}
    volumes: list[dict[str, Any]] = [
        {"name": disk["name"], "emptyDisk": {"capacity": "16Mi"}} for disk in machine.disks if disk["name"] != "seed"
    ]
    count = sum("cdrom" not in disk for disk in machine.disks)
    volumes.append({"name": "seed", "cloudInitNoCloud": {"userData": PROBE.replace("$DISKS", str(count))}})
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": f"test-boot-{name}", "namespace": "default", "annotations": dict(machine.annotations)},
        "spec": {
            "domain": {**domain, "devices": devices},
            "networks": [
                {"name": nic["name"], **({"multus": {"networkName": "lab"}} if "bridge" in nic else {"pod": {}})}
                for nic in machine.nics
            ],
            "volumes": volumes,
        },
    }


@pytest.fixture(scope="module")
def disk() -> Path:
    return full_guest.build()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory with a short path in which QEMU's own user makes its sockets."""
    path = Path(tempfile.mkdtemp(prefix="virt-boot-", dir="/var/tmp"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


async def guest_of(obj: dict[str, Any], disk: Path, folder: Path) -> Guest:
    """The guest with its volumes made as the node agent makes them, its network in QEMU's user mode."""
    vmi = instance_of(obj, validate=False)  # a cluster's settings allow no machine type pc
    vmi.metadata.uid = vmi.spec.domain.firmware.uuid
    base = folder / "base.qcow2"
    shutil.copyfile(disk, base)
    sources = {}
    for volume in vmi.spec.volumes:
        path = folder / f"{volume.name}.qcow2"
        if volume.name == "seed":
            files = cloudinit.no_cloud(vmi, cloudinit.seed(volume.cloud_init_no_cloud, {}, "seed"))
            await iso.write(folder / "seed.iso", cloudinit.NO_CLOUD_LABEL, files, None)
            sources["seed"] = DiskSource(str(folder / "seed.iso"), readonly=True, discard=False)
        elif volume.name == "root":
            backing = DiskSource(str(base), "qcow2", readonly=True)
            run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(path))
            sources["root"] = DiskSource(str(path), "qcow2", backing=backing)
        else:
            run("qemu-img", "create", "-q", "-f", "qcow2", str(path), "16M")
            sources[volume.name] = DiskSource(str(path), "qcow2")
    files = GuestFiles(*(str(folder / name) for name in ("serial", "serial.log", "vnc", "nvram.fd")))
    nics = {nic.name: NicSource("user") for nic in vmi.spec.domain.devices.interfaces}
    return Guest(vmi, Host("here"), files, sources, nics)


def run(*command: str) -> None:
    subprocess.run(command, check=True)


def wait_for(log: Path, pattern: str, seconds: float = BOOT_SECONDS) -> str:
    """The console's text once it matches."""
    deadline = time.monotonic() + seconds
    while True:
        text = log.read_text(errors="replace").replace("\r", "") if log.exists() else ""
        if re.search(pattern, text, re.MULTILINE):
            return text
        if time.monotonic() > deadline:
            pytest.fail(f"no {pattern!r} on the console within {seconds} s:\n{text[-3000:]}")
        time.sleep(0.2)


class Booted(NamedTuple):
    """A running guest and what it said about itself, as lists of words by first word."""

    domain: Any
    log: Path
    said: dict[str, list[list[str]]]
    ended: float


@pytest.fixture
async def booted(request: pytest.FixtureRequest, connection: Any, disk: Path, folder: Path) -> Any:
    name = request.param
    guest = await guest_of(manifest(name, MACHINES[name]), disk, folder)
    domain = connection.createXML(render(guest), libvirt.VIR_DOMAIN_START_AUTODESTROY)
    try:
        text = wait_for(folder / "serial.log", "^PROBE ENDS")
        ended = time.time()
        said: dict[str, list[list[str]]] = {}
        for line in text.partition("PROBE BEGINS\n")[2].partition("PROBE ENDS")[0].splitlines():
            word, _, rest = line.partition(" ")
            said.setdefault(word, []).append(rest.split(" "))
        yield Booted(domain, folder / "serial.log", said, ended)
    finally:
        domain.destroy()


def machine(name: str) -> Any:
    return pytest.mark.parametrize("booted", [name], indirect=True)


E1000E, RTL8139, WATCHDOG = ("0x8086", "0x10d3"), ("0x10ec", "0x8139"), ("0x8086", "0x25ab")
SCREEN, RNG, BALLOON = ("0x1234", "0x1111"), ("0x1af4", "0x1044"), ("0x1af4", "0x1045")
MODERN = {("0x1af4", code) for code in ("0x1042", "0x1043", "0x1045", "0x1048")}  # block, serial, balloon, SCSI
TRANSITIONAL = {("0x1af4", code) for code in ("0x1001", "0x1003", "0x1002", "0x1004")}


def disks(booted: Booted) -> dict[str, str]:
    """Serial numbers by device name."""
    return {line[0]: " ".join(line[2:]).strip() for line in booted.said["disk"]}


def serials(booted: Booted) -> dict[str, str]:
    """The kind of device (`vd`, `sd`) that has each serial number."""
    return {serial: name[:2] for name, serial in disks(booted).items() if serial}


def macs(booted: Booted) -> set[str]:
    return {line[1] for line in booted.said["nic"] if line[0] != "lo"}


def ahead(booted: Booted) -> float:
    """Seconds the guest's clock was ahead of ours when it said so."""
    return int(booted.said["clock"][0][0]) - booted.ended


def dmi(booted: Booted) -> dict[str, str]:
    return {line[0]: " ".join(line[1:]) for line in booted.said["dmi"]}


def pci(booted: Booted) -> set[tuple[str, str]]:
    return {(line[1], line[2]) for line in booted.said["pci"]}


@machine("q35-bios")
async def test_q35_with_a_disk_on_every_bus_and_a_processor_plugged_in(booted: Booted) -> None:
    assert serials(booted) == {"ROOT-1": "vd", "SATA-2": "sd", "SCSI-3": "sd", "USB-4": "sd"}
    assert "sr0" in disks(booted)
    found = dmi(booted)
    assert found["product_serial"] == "SN <&> 47"
    assert found["product_uuid"] == "5d307ca9-b3ef-428c-8861-06e72d69f223"
    assert (found["chassis_vendor"], found["chassis_asset_tag"]) == ('Example "Ltd"', "A-4711")
    assert found["sys_vendor"] == "KubeVirt"
    assert macs(booted) == {"52:54:00:47:11:01", "52:54:00:47:11:02"}
    assert {E1000E, WATCHDOG, RNG, SCREEN, *MODERN} <= pci(booted)
    assert not TRANSITIONAL & pci(booted)
    assert {"QEMU USB Tablet", "QEMU USB HARDDRIVE"} <= {" ".join(line) for line in booted.said["usb"]}
    assert ahead(booted) == pytest.approx(7200, abs=60)
    assert booted.said["cpus"] == [["0"]]
    booted.domain.setVcpusFlags(2, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    wait_for(booted.log, "^HOTPLUG .*/cpu1/online", 30)


@machine("pc-transitional")
async def test_pc_with_transitional_virtio(booted: Booted) -> None:
    assert dmi(booted)["chassis_version"].startswith("pc-i440fx")
    assert serials(booted) == {"ROOT-1": "vd", "SCSI-2": "sd"}
    assert {RTL8139, *TRANSITIONAL} <= pci(booted)
    assert not MODERN & pci(booted)
    assert booted.said["cpus"] == [["0-1"]]
    assert booted.said["queues"] == [["2"]]
    assert ahead(booted) == pytest.approx(3 * 3600, abs=60)  # the hardware's clock shows local time


@machine("q35-efi")
async def test_efi_from_a_sata_disk_without_a_screen(booted: Booted) -> None:
    assert booted.said["efi"] == [["/sys/firmware/efi"]]
    assert "OVMF" in dmi(booted)["bios_vendor"]
    assert serials(booted) == {"ROOT-1": "sd"}
    assert SCREEN not in pci(booted)
    assert booted.said["tpm"] == [["2" if TPM else ""]]
    assert 190_000 < int(booted.said["memory"][0][0]) <= 256 * 1024


@machine("q35-rootcomplex")
async def test_devices_on_the_root_complex_and_io_threads(booted: Booted) -> None:
    assert serials(booted) == {"ROOT-1": "sd", "FAST-2": "vd"}
    virtio = {line[0].partition(":")[2][:2] for line in booted.said["pci"] if line[1] == "0x1af4"}
    assert virtio == {"00"}
    assert BALLOON not in pci(booted)
    assert booted.said["cpus"] == [["0-1"]]
    assert "Nehalem" in " ".join(booted.said["model"][0])
    assert len(booted.domain.ioThreadInfo()) == 2


@machine("q35-usb-boot")
async def test_boot_from_usb(booted: Booted) -> None:
    assert serials(booted) == {"ROOT-1": "sd"}
    assert booted.said["efi"] == [[""]]


async def test_secure_boot_starts_nothing_unsigned(connection: Any, disk: Path, folder: Path) -> None:
    """The demo's boot loader is signed by nobody: the firmware has its keys, and asks for them."""
    guest = await guest_of(manifest("q35-secure", MACHINES["q35-secure"]), disk, folder)
    domain = connection.createXML(render(guest), libvirt.VIR_DOMAIN_START_AUTODESTROY)
    try:
        text = wait_for(folder / "serial.log", "BdsDxe: .*(Access Denied|Security Violation)")
    finally:
        domain.destroy()
    assert "PROBE" not in text
