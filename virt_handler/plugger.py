"""Carries the steps of `plugging` out: prepares a volume, renders its one disk, and has libvirt plug it.

Used by `keeper`, one guest's steps one after another, beside the reconcile loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

import libvirt
from msgspec import structs

from virt_handler.domains import Domain
from virt_handler.errors import GuestStateError, NotEnoughMemory, RenderError
from virt_handler.host import free_memory
from virt_handler.launch import Owner, VolumeSource
from virt_handler.layout import Layout
from virt_handler.libvirt_host import LibvirtHost
from virt_handler.model import Guest, Host
from virt_handler.plugging import AddProcessors, Attach, Detach, Eject, Insert, SetMemory, Step
from virt_types.v1 import (
    CPU,
    Devices,
    Disk,
    DomainSpec,
    Firmware,
    VirtualMachineInstance,
    VirtualMachineInstanceSpec,
    VirtualMachineInstanceStatus,
    VolumeStatus,
)

log = logging.getLogger("virt_handler.plugger")

BOTH = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG
DEADLINE = 60.0
# The parts of a disk that are its medium.
MEDIUM = frozenset({"source", "backingStore"})
# What libvirt has no code for.
ASKED_ALREADY, NO_DEVICE = "in the process of unplug", "no device found with alias"


class Plugger:
    """Plugs disks, processors and memory on one host."""

    def __init__(
        self,
        *,
        libvirt_host: LibvirtHost,
        volumes: VolumeSource,
        layout: Layout,
        render: Callable[[Guest], str],
        host: Host,
        owner: Owner,
    ) -> None:
        self._libvirt = libvirt_host
        self._volumes = volumes
        self._layout = layout
        self._render = render
        self._host = host
        self._owner = owner

    async def carry_out(self, vmi: VirtualMachineInstance, domain: Domain, step: Step) -> None:
        """One step; may be repeated. Raises HandlerError."""
        match step:
            case Attach(name):
                xml = await self._disk(vmi, domain, name)
                await self._on(domain, f"attach volume {name}", lambda guest: guest.attachDeviceFlags(xml, BOTH))
            case Insert(name):
                xml = await self._disk(vmi, domain, name)
                await self._on(domain, f"insert volume {name}", lambda guest: _change_medium(guest, name, xml))
            case Eject(name):
                await self._on(domain, f"eject volume {name}", lambda guest: _change_medium(guest, name))
            case Detach(name):
                await self._on(domain, f"detach volume {name}", lambda guest: _detach(guest, f"ua-{name}"))
            case AddProcessors(total):
                await self._on(
                    domain, f"give the guest {total} processors", lambda guest: guest.setVcpusFlags(total, BOTH)
                )
            case SetMemory():
                if vmi.spec.domain.memory is not None and vmi.spec.domain.memory.hugepages is None:
                    await asyncio.to_thread(self._room, step, domain)
                await self._on(domain, "change the guest's memory", lambda guest: _set_memory(guest, step))
        log.info("plugged domain=%s step=%s", domain.name, step)

    def _room(self, step: SetMemory, domain: Domain) -> None:
        """Raises NotEnoughMemory: a machine that runs out of it ends guests, and not only this one."""
        more = step.held - (domain.virtio_mem.current if domain.virtio_mem else 0)
        free = free_memory()
        if more > free:
            raise NotEnoughMemory(
                f"{more >> 20}Mi more memory wanted, node {self._host.name} has {free >> 20}Mi available",
                hint="stop or shrink other guests",
            )

    async def _disk(self, vmi: VirtualMachineInstance, domain: Domain, name: str) -> str:
        """The one disk, rendered and proved in a domain that has nothing else."""
        lone = alone(vmi, domain, name)
        sources = await self._volumes.prepare(lone, self._owner)
        guest = Guest(lone, self._host, self._layout.files(lone.metadata.uid), sources, {})
        disk = ET.fromstring(self._render(guest)).find("devices/disk")  # noqa: S314  rendered and proved here
        if disk is None:
            raise RenderError(f"volume {lone.spec.domain.devices.disks[0].name!r} makes no disk")
        return ET.tostring(disk, encoding="unicode")

    async def _on(self, domain: Domain, doing: str, function: Callable[[Any], object]) -> None:
        await self._libvirt.on_domain(domain.uuid, doing, function, deadline=DEADLINE)


def alone(vmi: VirtualMachineInstance, domain: Domain, name: str) -> VirtualMachineInstance:
    """A VMI with this one disk. The targets that the guest's other disks have are taken."""
    spec, disk = vmi.spec, _disk_of(vmi, name)
    cpu = spec.domain.cpu or CPU()
    machine = DomainSpec(
        cpu=CPU(sockets=cpu.sockets, cores=cpu.cores, threads=cpu.threads),
        memory=spec.domain.memory,
        resources=spec.domain.resources,
        machine=spec.domain.machine,
        firmware=Firmware(uuid=domain.uuid),
        io_threads_policy=spec.domain.io_threads_policy,
        io_threads=spec.domain.io_threads,
        launch_security=None,
        devices=Devices(
            disks=[structs.replace(disk, boot_order=None)],
            block_multi_queue=spec.domain.devices.block_multi_queue,
        ),
    )
    return VirtualMachineInstance(
        metadata=vmi.metadata,
        spec=VirtualMachineInstanceSpec(
            architecture=spec.architecture,
            domain=machine,
            volumes=[volume for volume in spec.volumes if volume.name == name],
        ),
        status=VirtualMachineInstanceStatus(
            volume_status=[VolumeStatus(name=each.alias, target=each.target) for each in domain.disks]
        ),
    )


def _disk_of(vmi: VirtualMachineInstance, name: str) -> Disk:
    found = next((disk for disk in vmi.spec.domain.devices.disks if disk.name == name), None)
    if found is None:
        raise RenderError(f"no disk named {name!r} in spec.domain.devices.disks")
    return found


def _change_medium(guest: Any, name: str, rendered: str = "") -> None:
    """Give the drive the rendered disk's source, or none. libvirt lets nothing else of a drive change."""
    root = ET.fromstring(guest.XMLDesc())  # noqa: S314  written by libvirt
    drive = root.find(f"devices/disk/alias[@name='ua-{name}']/..")
    if drive is None:
        raise GuestStateError(f"the guest has no drive {name!r}")
    for gone in [item for item in drive if item.tag in MEDIUM]:
        drive.remove(gone)
    if rendered:
        disk = ET.fromstring(rendered)  # noqa: S314  rendered and proved here
        drive.set("type", disk.get("type", "file"))
        drive.extend(item for item in disk if item.tag in MEDIUM)
        for old, new in zip(drive.iterfind("driver"), disk.iterfind("driver"), strict=False):
            old.set("type", new.get("type", "raw"))
    guest.updateDeviceFlags(ET.tostring(drive, encoding="unicode"), BOTH)


def _set_memory(guest: Any, step: SetMemory) -> None:
    """Change what the guest's virtio-mem device shall hold; the first time, attach it."""
    root = ET.fromstring(guest.XMLDesc())  # noqa: S314  written by libvirt
    device = root.find("devices/memory[@model='virtio-mem']")
    if device is None:
        guest.attachDeviceFlags(_virtio_mem(step), libvirt.VIR_DOMAIN_AFFECT_LIVE)
        return
    requested = device.find("target/requested")
    if requested is None:
        raise GuestStateError("the guest's memory device tells nothing of its size")
    requested.text = str(step.held)
    requested.set("unit", "bytes")
    guest.updateDeviceFlags(ET.tostring(device, encoding="unicode"), libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _virtio_mem(step: SetMemory) -> str:
    device = ET.Element("memory", model="virtio-mem")
    target = ET.SubElement(device, "target")
    ET.SubElement(target, "size", unit="bytes").text = str(step.most)
    ET.SubElement(target, "node").text = "0"
    ET.SubElement(target, "block", unit="bytes").text = str(step.block)
    ET.SubElement(target, "requested", unit="bytes").text = str(step.held)
    return ET.tostring(device, encoding="unicode")


def _detach(guest: Any, alias: str) -> None:
    """Ask the guest to let go; asking while it already was asked is fine."""
    flags = BOTH
    for _ in range(2):
        try:
            guest.detachDeviceAlias(alias, flags)
        except libvirt.libvirtError as error:
            if ASKED_ALREADY in str(error):
                return
            missing = error.get_error_code() == libvirt.VIR_ERR_DEVICE_MISSING or NO_DEVICE in str(error)
            if not missing or flags != BOTH:
                raise
            flags = libvirt.VIR_DOMAIN_AFFECT_LIVE  # the definition has forgotten it already
        else:
            return
