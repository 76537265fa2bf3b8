"""Devices of the host handed to the guest: PCI, mediated, USB, SR-IOV functions. Specification: domain-xml §8."""

from __future__ import annotations

from collections.abc import Iterator

from virt_handler.domain.context import HostDevice
from virt_handler.domain.traits import pci_address
from virt_handler.errors import RenderError
from virt_handler.model import Guest, HostDeviceSource
from virt_types.v1 import GPU

KINDS = ("pci", "mdev", "usb")


def host_devices_of(guest: Guest) -> tuple[HostDevice, ...]:
    """Host devices by kind, then GPUs by kind, then network functions."""
    generic = list(_generic(guest))
    gpus = list(_gpus(guest))
    by_kind = [*sorted(generic, key=_kind), *sorted(gpus, key=_kind)]
    return (*by_kind, *_sriov(guest))


def _kind(device: HostDevice) -> int:
    return KINDS.index(device.kind)


def _sources(guest: Guest, name: str, field: str) -> tuple[HostDeviceSource, ...]:
    sources = guest.host_devices.get(name, ())
    if not sources:
        raise RenderError(
            f"{field}: no device of this node was assigned to {name!r}",
            hint=f"node {guest.host.name} must offer the device; check spec.nodeSelector",
        )
    return sources


def _device(alias: str, source: HostDeviceSource, field: str) -> HostDevice:
    if source.kind == "pci":
        return HostDevice(alias, "pci", source_pci=pci_address(source.address, field))
    if source.kind == "mdev":
        return HostDevice(alias, "mdev", source_uuid=source.address)
    bus, _, device = source.address.partition(":")
    return HostDevice(alias, "usb", source_usb=(int(bus), int(device)))


def _generic(guest: Guest) -> Iterator[HostDevice]:
    for number, spec in enumerate(guest.vmi.spec.domain.devices.host_devices):
        if spec.claim_name:
            continue  # handed over by dynamic resource allocation, which this node has not
        field = f"spec.domain.devices.hostDevices[{number}]"
        for nth, source in enumerate(_sources(guest, spec.name, field)):
            prefix = "usb-host" if source.kind == "usb" else "hostdevice"
            yield _device(f"{prefix}-{spec.name}" + (f"-{nth}" if nth else ""), source, field)


def _gpus(guest: Guest) -> Iterator[HostDevice]:
    gpus = guest.vmi.spec.domain.devices.gpus
    chosen = any(gpu.virtual_gpu_options and gpu.virtual_gpu_options.display for gpu in gpus)
    shown = False
    for number, spec in enumerate(gpus):
        if spec.claim_name:
            continue
        field = f"spec.domain.devices.gpus[{number}]"
        for source in _sources(guest, spec.name, field):
            device = _device(f"gpu-{spec.name}", source, field)
            if chosen:
                device = _with_display(device, spec)
            elif source.kind == "mdev" and not shown:
                shown = True
                device = device._replace(display=True, ramfb=True)
            yield device


def _with_display(device: HostDevice, gpu: GPU) -> HostDevice:
    options = gpu.virtual_gpu_options.display if gpu.virtual_gpu_options else None
    if options is None:
        return device
    on = options.enabled is True if device.kind == "pci" else options.enabled is not False
    ramfb = options.ram_fb is None or options.ram_fb.enabled is not False
    return device._replace(display=on, ramfb=on and ramfb)


def _sriov(guest: Guest) -> Iterator[HostDevice]:
    for number, spec in enumerate(guest.vmi.spec.domain.devices.interfaces):
        if spec.sriov is None or spec.state == "absent":
            continue
        field = f"spec.domain.devices.interfaces[{number}]"
        for source in _sources(guest, spec.name, field):
            device = _device(f"sriov-{spec.name}", source, field)
            address = pci_address(spec.pci_address, f"{field}.pciAddress") if spec.pci_address else None
            yield device._replace(boot_order=spec.boot_order or 0, address=address)
