"""Network interfaces. How each is connected comes from the node (`NicSource`). Specification: domain-xml §9."""

from __future__ import annotations

import re

from virt_handler.domain.context import Interface, PortForward
from virt_handler.domain.traits import Traits, pci_address
from virt_handler.errors import RenderError
from virt_handler.model import Guest, NicSource
from virt_types.v1 import Interface as InterfaceSpec

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII)
MOST_QUEUES = 256  # what a tap device has


def interfaces_of(guest: Guest, traits: Traits) -> tuple[Interface, ...]:
    networks = {network.name for network in guest.vmi.spec.networks}
    found = []
    for number, spec in enumerate(guest.vmi.spec.domain.devices.interfaces):
        field = f"spec.domain.devices.interfaces[{number}]"
        if spec.name not in networks:
            raise RenderError(
                f"{field}: no network named {spec.name!r} in spec.networks",
                hint="add the network or remove the interface",
            )
        if spec.sriov or spec.state == "absent":
            continue
        nic = guest.nics.get(spec.name)
        if nic is not None:
            found.append(_interface(guest, traits, spec, nic, field))
        elif spec.binding is None:
            raise RenderError(f"{field}: network {spec.name!r} was not connected on this node")
    return tuple(found)


def _interface(guest: Guest, traits: Traits, spec: InterfaceSpec, nic: NicSource, field: str) -> Interface:
    model = spec.model or "virtio"
    virtio = model == "virtio"
    asked = bool(guest.vmi.spec.domain.devices.network_interface_multiqueue)
    multi_queue = asked and virtio and nic.kind != "user"  # QEMU's user mode has one queue
    iommu = traits.iommu and virtio
    tap = spec.bridge is not None or spec.masquerade is not None or spec.binding is not None
    attached = tap or spec.passt_binding is not None
    return Interface(
        name=spec.name,
        type=nic.kind,
        source=nic.source,
        mac=_mac(nic.mac or spec.mac_address or "", field),
        model=traits.virtio if virtio else model,
        target=nic.target,
        mtu=nic.mtu,
        queues=min(traits.vcpus, MOST_QUEUES) if multi_queue else 0,
        vhost=guest.host.accelerator == "kvm" and (multi_queue or iommu),
        iommu=iommu,
        boot_order=(spec.boot_order or 0) if attached else 0,
        rom_off=tap and traits.arch.pci and (not spec.boot_order or traits.iommu),
        link_down=attached and spec.state == "down",
        acpi_index=max(spec.acpi_index or 0, 0),
        address=pci_address(spec.pci_address, f"{field}.pciAddress") if spec.pci_address else None,
        forwards=_forwards(spec) if spec.passt_binding and nic.kind in ("user", "vhostuser") else (),
    )


def _mac(text: str, field: str) -> str:
    """As libvirt writes it; raises RenderError."""
    mac = text.replace("-", ":").lower()
    if mac and not MAC.fullmatch(mac):
        raise RenderError(f"{field}.macAddress: {text!a} is no MAC address", hint="write it as 52:54:00:12:34:56")
    return mac


def _forwards(spec: InterfaceSpec) -> tuple[PortForward, ...]:
    """Ports of the host that passt hands to the guest; none named means all of both protocols."""
    ranges = [((port.protocol or "tcp").lower(), (port.port, port.port)) for port in spec.ports]
    ranges += [((span.protocol or "tcp").lower(), (span.start, span.end)) for span in spec.port_ranges]
    if not ranges:
        return (PortForward("tcp", ()), PortForward("udp", ()))
    protocols = dict.fromkeys(protocol for protocol, _ in ranges)
    return tuple(PortForward(name, tuple(span for protocol, span in ranges if protocol == name)) for name in protocols)
