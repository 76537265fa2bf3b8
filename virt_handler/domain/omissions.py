"""What a manifest asks for and this node does not have: left out of the domain, but never in silence.

The node agent shows these sentences in the guest's condition, an event and its log; `virt-handler render` beside the
domain.
"""

from __future__ import annotations

from collections.abc import Iterator

from virt_handler.domain.cpu import dedicated_processors, most_sockets
from virt_handler.domain.disks import LIBVIRT_DISCARD_GRANULARITY, LIBVIRT_DISK_IOTHREADS
from virt_handler.domain.features import LIBVIRT_TLBFLUSH_MODES
from virt_handler.domain.memory import ADDRESSABLE, room_of
from virt_handler.model import Guest
from virt_types import quantity
from virt_types.settings import DEFAULT
from virt_types.v1 import DomainSpec


def omissions(guest: Guest) -> tuple[str, ...]:
    """A sentence for each setting this guest goes without."""
    version = guest.host.libvirt_version
    shown = f"{version // 1_000_000}.{version // 1_000 % 1_000}"
    old = (
        f"{field}: {effect} (libvirt {shown} on {guest.host.name} is too old)"
        for field, effect, since in _asked(guest.vmi.spec.domain)
        if version < since
    )
    return (*old, *_processor(guest), *_memory(guest), *_dedicated(guest), *_user_mode(guest), *_one_network(guest))


def _processor(guest: Guest) -> Iterator[str]:
    cpu, host = guest.vmi.spec.domain.cpu, guest.host
    if cpu is None:
        return
    most, asked = most_sockets(cpu, host.max_vcpus), cpu.max_sockets or 0
    if most < asked and asked != (cpu.sockets or 1) * DEFAULT.max_hotplug_ratio:
        yield f"spec.domain.cpu.maxSockets: {most} at most (QEMU on {host.name} gives {host.max_vcpus} vCPUs)"
    if cpu.model == "host-passthrough" and host.accelerator == "qemu" and cpu.model not in host.cpu_modes:
        yield "spec.domain.cpu.model: the most QEMU can emulate is used (without KVM there is no processor to pass)"


def _memory(guest: Guest) -> Iterator[str]:
    memory = guest.vmi.spec.domain.memory
    if memory is None or memory.guest is None or memory.max_guest is None or room_of(guest):
        return
    asked, begins = quantity.parse(memory.max_guest), quantity.parse(memory.guest)
    if asked not in (begins, begins * DEFAULT.max_hotplug_ratio):  # what only a default asked for nobody misses
        yield (
            "spec.domain.memory.maxGuest: memory can't be added while the guest runs "
            f"(with libvirt before 10, {guest.host.name} has room for {ADDRESSABLE >> 30}Gi)"
        )


def _dedicated(guest: Guest) -> Iterator[str]:
    if guest.host.shared_processors and dedicated_processors(guest.vmi):
        yield (
            "spec.domain.cpu.dedicatedCpuPlacement: pinned to processors that no other guest is pinned to "
            f"(other work of {guest.host.name} may run on them too)"
        )


def _user_mode(guest: Guest) -> Iterator[str]:
    if guest.vmi.spec.domain.devices.network_interface_multiqueue:
        for name, nic in guest.nics.items():
            if nic.kind == "user":
                yield f"spec.domain.devices.networkInterfaceMultiqueue: {name} has one queue (user mode has no more)"


def _one_network(guest: Guest) -> Iterator[str]:
    """A node whose guests all join one network of libvirt: any other network, and how it answers, is a wish."""
    spec = guest.vmi.spec
    joined = {name for name, nic in guest.nics.items() if nic.kind in ("network", "user")}
    for number, network in enumerate(spec.networks):
        field = f"spec.networks[{number}]"
        if network.pod is None and network.name in joined:
            yield f"{field}: {network.name} is connected as the pod network is ({guest.host.name} has no other)"
        if network.pod is not None and network.pod.vm_network_cidr and network.name in joined:
            yield f"{field}.pod.vmNetworkCIDR: the guest's address is one of the node's network"
    for number, interface in enumerate(spec.domain.devices.interfaces):
        field = f"spec.domain.devices.interfaces[{number}]"
        if interface.binding is not None and interface.name in joined:
            yield f"{field}.binding: {interface.name} is connected as with masquerade (there are no plug-ins here)"
        if interface.dhcp_options is not None and interface.name in joined:
            yield f"{field}.dhcpOptions: the DHCP server of the node's network answers without them"


def _asked(domain: DomainSpec) -> Iterator[tuple[str, str, int]]:
    """Field, what happens without it, and the libvirt that has it."""
    for number, disk in enumerate(domain.devices.disks):
        custom = disk.block_size.custom if disk.block_size else None
        if custom and custom.discard_granularity is not None:
            field = f"spec.domain.devices.disks[{number}].blockSize.custom.discardGranularity"
            yield field, "the default is used", LIBVIRT_DISCARD_GRANULARITY
    hyperv = domain.features.hyperv if domain.features else None
    if hyperv and hyperv.tlbflush and (hyperv.tlbflush.direct or hyperv.tlbflush.extended):
        yield "spec.domain.features.hyperv.tlbflush", "direct and extended are left out", LIBVIRT_TLBFLUSH_MODES
    if domain.io_threads_policy == "supplementalPool":
        yield "spec.domain.ioThreads", "disks do not use the pool", LIBVIRT_DISK_IOTHREADS
