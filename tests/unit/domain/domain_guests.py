"""Guests of the domain tests: manifests put on a small, made-up node like the one this project runs on."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from virt_handler.instances import instance_of
from virt_handler.model import (
    BootFiles,
    DiskSource,
    Guest,
    GuestFiles,
    Host,
    HostDeviceSource,
    NicSource,
    NumaCell,
)
from virt_types import manifest
from virt_types.v1 import Interface, VirtualMachineInstance, Volume

GOLDEN = Path(__file__).parent / "golden"
UID = "5f5d0d4e-0000-4000-8000-000000000001"
STATE = f"/var/lib/virtctl/node/vmis/{UID}"
RUN = f"/run/virtctl/vmis/{UID}"
FILES = GuestFiles(f"{RUN}/serial0", f"{STATE}/serial0.log", f"{RUN}/vnc", f"{STATE}/nvram.fd")
NODE = Host(
    name="node1",
    cells=(NumaCell(0, ((0, 4), (1, 5)), ((0, 10), (1, 20))), NumaCell(1, ((2, 6), (3, 7)), ((0, 20), (1, 10)))),
)


def vmi_of(obj: Mapping[str, Any]) -> VirtualMachineInstance:
    """Completed as admission would; gates and rules are admission's own tests."""
    vmi = instance_of(dict(obj), validate=False)
    vmi.metadata.uid = UID
    return vmi


def minimal(devices: Mapping[str, Any] | None = None, **domain: Any) -> dict[str, Any]:
    """A manifest with nothing but what is given."""
    inside = {"memory": {"guest": "64Mi"}, "devices": {"autoattachPodInterface": False, **(devices or {})}, **domain}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "guest", "namespace": "default"},
        "spec": {"domain": inside},
    }


def with_disks(*disks: Mapping[str, Any], **domain: Any) -> dict[str, Any]:
    """A manifest with these disks, each on an empty disk of its name."""
    obj = minimal({"disks": list(disks)}, **domain)
    obj["spec"]["volumes"] = [{"name": disk["name"], "emptyDisk": {"capacity": "1Gi"}} for disk in disks]
    return obj


def guest_of(obj: Mapping[str, Any], **changes: Any) -> Guest:
    """The manifest's guest on NODE; `changes` replace fields of the Guest."""
    vmi = vmi_of(obj)
    guest = Guest(
        vmi=vmi,
        host=NODE,
        files=FILES,
        disks={volume.name: _source(volume) for volume in vmi.spec.volumes},
        nics={it.name: _nic(it) for it in vmi.spec.domain.devices.interfaces if it.sriov is None},
        host_devices={
            "card": (HostDeviceSource("pci", "0000:81:00.0"),),
            "vf": (HostDeviceSource("pci", "0000:65:00.1"),),
            "gpu": (HostDeviceSource("mdev", "aa618089-8b16-4d01-a136-000000000001"),),
        },
        cpuset=(0, 4, 2, 6, 1, 5, 3),
        boot=BootFiles(
            f"{STATE}/vmlinuz",
            f"{STATE}/initrd",
            (("slic", f"{STATE}/slic"), ("msdm", f"{STATE}/msdm")),
            f"{STATE}/data.ign",
        ),
    )
    return guest._replace(**changes)


def golden_manifest(name: str) -> Mapping[str, Any]:
    return manifest.load((GOLDEN / f"{name}.yaml").read_bytes(), name)[0].obj


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - our own output


def _nic(interface: Interface) -> NicSource:
    if interface.passt_binding:
        return NicSource("user")
    return NicSource("bridge", "br-lab", mtu=9000) if interface.bridge else NicSource("network", "virtctl")


def _source(volume: Volume) -> DiskSource:
    overlay, claims = (
        DiskSource(f"{STATE}/{volume.name}.qcow2", "qcow2", direct_io=False),
        "/var/lib/virtctl/volumes/default",
    )
    if volume.container_disk:
        image = DiskSource("/var/lib/virtctl/images/sha256-0123/disk.qcow2", "qcow2", readonly=True)
        return overlay._replace(backing=image, direct_io=True)
    if volume.ephemeral:
        return overlay._replace(backing=DiskSource(f"{claims}/{volume.name}/disk.img", readonly=True))
    if volume.empty_disk:
        return overlay
    if volume.host_disk:
        return DiskSource(volume.host_disk.path, direct_io=True, keep_owner=True, block_sizes=(4096, 4096, 4096))
    if volume.cloud_init_no_cloud:
        return DiskSource(f"{STATE}/{volume.name}.iso", readonly=True, discard=False)
    path = "/dev/vg/raw" if volume.name == "raw" else f"{claims}/{volume.name}/disk.img"
    return DiskSource(path, block=volume.name == "raw", direct_io=True, preallocated=True)
