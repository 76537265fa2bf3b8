"""What the API fills in when a VirtualMachine or VirtualMachineInstance is created (specification 5.1 and 5.2).

Called by admission, in place, after the schema's own defaults and before validation. Random identities come from the
caller, so that tests and re-applied manifests are reproducible. Better than KubeVirt on purpose: a VirtualMachine's MAC
addresses are chosen once and kept in its template.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal
from typing import Protocol, TypeVar

from virt_types import labels
from virt_types.meta import ObjectMeta, Quantity
from virt_types.quantity import QuantityError, canonical, parse
from virt_types.settings import DEFAULT, Settings
from virt_types.v1 import (
    CPU,
    EFI,
    Bootloader,
    CDRomTarget,
    CPUFeature,
    CPUTopology,
    Devices,
    Diag288Watchdog,
    Disk,
    DiskTarget,
    DomainSpec,
    FeatureHyperv,
    Features,
    FeatureState,
    Firmware,
    I6300ESBWatchdog,
    Interface,
    InterfaceBridge,
    InterfaceMasquerade,
    LunTarget,
    Machine,
    Memory,
    MemoryStatus,
    Network,
    PodNetwork,
    Probe,
    Timer,
    VirtualMachine,
    VirtualMachineInstance,
    VirtualMachineInstancePhaseTransitionTimestamp,
    VirtualMachineInstanceSpec,
)

Q = TypeVar("Q", Quantity, Quantity | None)
NewId = Callable[[], str]

MIB = 2**20
GIB = 2**30
RUNTIME_USER = 107  # qemu
PCI_TOPOLOGY = "v3"
# Hyper-V feature -> the one it can't do without.
HYPERV_NEEDS = (
    ("synictimer", "synic"),
    ("synic", "vpindex"),
    ("tlbflush", "vpindex"),
    ("ipi", "vpindex"),
    ("evmcs", "vapic"),
)


def default_vm(vm: VirtualMachine, *, new_uuid: NewId, new_mac: NewId, settings: Settings = DEFAULT) -> None:
    """Gives a new VirtualMachine its lasting identity (firmware uuid, serial, MACs), architecture and machine type."""
    template = vm.spec.template
    spec = template.spec
    firmware = spec.domain.firmware = spec.domain.firmware or Firmware()
    firmware.uuid = firmware.uuid or new_uuid()
    firmware.serial = firmware.serial or new_uuid()
    _architecture(spec, settings)
    _pci_topology(template.metadata, spec)
    default_network(spec, settings)
    _mac_addresses(spec, new_mac)
    _canonical_quantities(spec)
    for disk in vm.spec.data_volume_templates:
        for claim in (disk.spec.pvc, disk.spec.storage):
            if claim is not None:
                _canonical_amounts(claim.resources.requests)


def carry_identity(
    old: VirtualMachineInstanceSpec,
    new: VirtualMachineInstanceSpec,
    *,
    new_mac: NewId | None = None,
    settings: Settings = DEFAULT,
) -> None:
    """Keeps uuid, serial and MACs of `old` where an update (such as `kubectl replace`) left them out.

    The default network comes back in the same way. With `new_mac`, interfaces that are new get their lasting MAC.
    """
    was, now = old.domain, new.domain
    if was.firmware is not None:
        now.firmware = now.firmware or Firmware()
        now.firmware.uuid = now.firmware.uuid or was.firmware.uuid
        now.firmware.serial = now.firmware.serial or was.firmware.serial
    if _is_half_the_default_network(old, new):
        new.networks, now.devices.interfaces = [], []
    default_network(new, settings)
    macs = {interface.name: interface.mac_address for interface in was.devices.interfaces}
    for interface in now.devices.interfaces:
        interface.mac_address = interface.mac_address or macs.get(interface.name)
    if new_mac is not None:
        _mac_addresses(new, new_mac)


def default_vmi(
    vmi: VirtualMachineInstance,
    *,
    new_uuid: NewId,
    new_mac: NewId | None = None,
    now: str = "",
    settings: Settings = DEFAULT,
) -> None:
    """Completes a VirtualMachineInstance. With `now` (RFC 3339) it also enters phase Pending and gets its finalizer."""
    spec, domain = vmi.spec, vmi.spec.domain
    _architecture(spec, settings)
    _pci_topology(vmi.metadata, spec)
    _cpu_request(domain)
    _memory(domain)
    _cpu_topology(domain)
    _image_pull_policies(spec)
    if spec.eviction_strategy is None:
        spec.eviction_strategy = settings.eviction_strategy
    default_network(spec, settings)
    if new_mac is not None:
        _mac_addresses(spec, new_mac)
    _disks(spec, settings)
    _firmware(domain, spec.architecture or "", new_uuid)
    _features(domain, spec.architecture or "")
    _timers(domain)
    _small_devices(domain.devices, spec.architecture or "")
    for probe in (spec.readiness_probe, spec.liveness_probe):
        _probe(probe)
    if domain.cpu is not None:
        arm = spec.architecture == "arm64"
        domain.cpu.model = domain.cpu.model or ("host-passthrough" if arm else settings.cpu_model)
    if settings.live_update and spec.architecture != "arm64":
        _max_sockets(domain, settings)
        _max_guest(domain, settings)
    _canonical_quantities(spec)
    _status(vmi, now)


def disks_for_bare_volumes(spec: VirtualMachineInstanceSpec) -> None:
    """Every volume that no disk and no filesystem uses becomes a disk of its name."""
    devices = spec.domain.devices
    used = {disk.name for disk in devices.disks} | {filesystem.name for filesystem in devices.filesystems}
    devices.disks += [Disk(name=volume.name) for volume in spec.volumes if volume.name not in used]


def _architecture(spec: VirtualMachineInstanceSpec, settings: Settings) -> None:
    spec.architecture = spec.architecture or settings.architecture
    machine = spec.domain.machine = spec.domain.machine or Machine()
    machine.type = machine.type or settings.machine_types.get(spec.architecture, "")


def _pci_topology(metadata: ObjectMeta, spec: VirtualMachineInstanceSpec) -> None:
    machine = (spec.domain.machine and spec.domain.machine.type) or ""
    if machine.startswith(("q35", "pc-q35", "virt")):
        metadata.annotations.setdefault(labels.PCI_TOPOLOGY_VERSION, PCI_TOPOLOGY)


def _cpu_request(domain: DomainSpec) -> None:
    requests, limit = domain.resources.requests, domain.resources.limits.get("cpu")
    if limit is not None and _asked(limit) and not _asked(requests.get("cpu")):
        requests["cpu"] = limit


def _memory(domain: DomainSpec) -> None:
    memory = domain.memory = domain.memory or Memory()
    if memory.guest is None:
        page = memory.hugepages.page_size if memory.hugepages else None
        resources = domain.resources
        amounts = (resources.requests.get("memory"), resources.limits.get("memory"), page)
        memory.guest = next((amount for amount in amounts if _asked(amount)), None)


def _asked(amount: Quantity | None) -> bool:
    """Whether it is an amount other than none; what can't be read is for validation to tell."""
    return amount is not None and _number(amount) != 0


def _cpu_topology(domain: DomainSpec) -> None:
    cpu = domain.cpu = domain.cpu or CPU()
    if any(given is not None for given in (cpu.sockets, cpu.cores, cpu.threads)):
        return
    wanted = domain.resources.limits.get("cpu", domain.resources.requests.get("cpu"))
    amount = _number(wanted)
    cpu.sockets = max(1, int(amount.to_integral_value(rounding=ROUND_CEILING))) if amount is not None else 1
    cpu.cores = cpu.threads = 1


def _number(quantity: Quantity | None) -> Decimal | None:
    """The value, or None where there is none that can be read: validation says so."""
    try:
        return None if quantity is None else parse(quantity)
    except QuantityError:
        return None


def _image_pull_policies(spec: VirtualMachineInstanceSpec) -> None:
    for volume in spec.volumes:
        disk = volume.container_disk
        if disk is not None and not disk.image_pull_policy:
            disk.image_pull_policy = image_pull_policy(disk.image)


def image_pull_policy(image: str) -> str:
    """Always for `latest` or neither tag nor digest, else IfNotPresent."""
    name, _, digest = image.partition("@")
    tag = name.rpartition("/")[2].partition(":")[2]
    return "Always" if tag == "latest" or not (tag or digest) else "IfNotPresent"


def default_network(spec: VirtualMachineInstanceSpec, settings: Settings) -> None:
    """The pod network, for a guest that names no network and doesn't refuse it."""
    devices = spec.domain.devices
    if spec.networks or devices.interfaces or devices.autoattach_pod_interface is False:
        return
    masquerade = settings.interface_binding == "masquerade"
    devices.interfaces = [
        Interface(
            name="default",
            bridge=None if masquerade else InterfaceBridge(),
            masquerade=InterfaceMasquerade() if masquerade else None,
        )
    ]
    spec.networks = [Network(name="default", pod=PodNetwork())]


def _is_half_the_default_network(old: VirtualMachineInstanceSpec, new: VirtualMachineInstanceSpec) -> bool:
    """What applying a manifest leaves that says `interfaces: []` or `networks: []`: the other half was added here."""
    if old.networks != [Network(name="default", pod=PodNetwork())]:
        return False
    halves: tuple[tuple[list[Network], list[Interface]], ...]
    halves = (old.networks, []), ([], old.domain.devices.interfaces)
    return (new.networks, new.domain.devices.interfaces) in halves


def _mac_addresses(spec: VirtualMachineInstanceSpec, new_mac: NewId) -> None:
    for interface in spec.domain.devices.interfaces:
        interface.mac_address = interface.mac_address or new_mac()


def _disks(spec: VirtualMachineInstanceSpec, settings: Settings) -> None:
    disks_for_bare_volumes(spec)
    bus = settings.disk_buses.get(spec.architecture or "", "virtio")
    for disk in spec.domain.devices.disks:
        if disk.disk is None and disk.cdrom is None and disk.lun is None:
            disk.disk = DiskTarget()
        targets: tuple[DiskTarget | CDRomTarget | LunTarget | None, ...] = (disk.disk, disk.cdrom, disk.lun)
        for target in targets:
            if target is not None:
                target.bus = target.bus or bus
        if disk.cdrom is not None:
            disk.cdrom.readonly = True if disk.cdrom.readonly is None else disk.cdrom.readonly
            disk.cdrom.tray = disk.cdrom.tray or "closed"
        if disk.block_size is not None:
            _enable(disk.block_size.match_volume)


def _firmware(domain: DomainSpec, architecture: str, new_uuid: NewId) -> None:
    firmware = domain.firmware = domain.firmware or Firmware()
    firmware.uuid = firmware.uuid or new_uuid()
    if architecture == "arm64" and firmware.bootloader is None:
        firmware.bootloader = Bootloader(efi=EFI(secure_boot=False))


class _Feature(Protocol):
    enabled: bool | None


def _enable(feature: _Feature | None) -> None:
    """`enabled: true` for a feature that is named without saying so."""
    if feature is not None and feature.enabled is None:
        feature.enabled = True


def _features(domain: DomainSpec, architecture: str) -> None:
    features = domain.features = domain.features or Features()
    if architecture == "s390x":  # which has none
        features.acpi.enabled = False
    _enable(features.acpi)
    _enable(features.apic)
    _enable(features.pvspinlock)
    _enable(features.smm)
    if features.hyperv is not None:
        _hyperv(features.hyperv, domain)


def _hyperv(hyperv: FeatureHyperv, domain: DomainSpec) -> None:
    for name in FeatureHyperv.__struct_fields__:
        _enable(getattr(hyperv, name))
    if hyperv.synictimer is not None:
        _enable(hyperv.synictimer.direct)
    if hyperv.tlbflush is not None:
        _enable(hyperv.tlbflush.direct)
        _enable(hyperv.tlbflush.extended)
    if hyperv.spinlocks is not None and hyperv.spinlocks.enabled and hyperv.spinlocks.spinlocks is None:
        hyperv.spinlocks.spinlocks = 4096
    for feature, needed in HYPERV_NEEDS:
        state = getattr(hyperv, feature)
        if state is not None and state.enabled and getattr(hyperv, needed) is None:
            setattr(hyperv, needed, FeatureState(enabled=True))
    if hyperv.evmcs is not None and hyperv.evmcs.enabled:
        _require_vmx(domain)


def _require_vmx(domain: DomainSpec) -> None:
    cpu = domain.cpu = domain.cpu or CPU()
    for feature in cpu.features:
        if feature.name == "vmx":
            feature.policy = "require"
            return
    cpu.features.append(CPUFeature(name="vmx", policy="require"))


def _timers(domain: DomainSpec) -> None:
    timers = domain.clock.timer if domain.clock else None
    for name in Timer.__struct_fields__ if timers else ():
        timer = getattr(timers, name)
        if timer is not None and timer.present is None:
            timer.present = True


def _small_devices(devices: Devices, architecture: str) -> None:
    for item in devices.inputs:
        item.bus = item.bus or "usb"
        item.type = item.type or "tablet"
    watchdog = devices.watchdog
    if watchdog is None:
        return
    if watchdog.i6300esb is None and watchdog.diag288 is None:
        if architecture == "s390x":
            watchdog.diag288 = Diag288Watchdog()
        else:
            watchdog.i6300esb = I6300ESBWatchdog()
    for model in (watchdog.i6300esb, watchdog.diag288):
        if model is not None:
            model.action = model.action or "reset"


def _probe(probe: Probe | None) -> None:
    if probe is None:
        return
    probe.timeout_seconds = probe.timeout_seconds or 1
    probe.period_seconds = probe.period_seconds or 10
    probe.success_threshold = probe.success_threshold or 1
    probe.failure_threshold = probe.failure_threshold or 3


def _max_sockets(domain: DomainSpec, settings: Settings) -> None:
    """How many sockets can be plugged in later: four times as many, but at most 512 vCPUs in all."""
    cpu = domain.cpu
    if cpu is None or cpu.max_sockets or not cpu.sockets:
        return
    per_socket = max(1, cpu.cores or 1) * max(1, cpu.threads or 1)
    most = min(cpu.sockets * settings.max_hotplug_ratio, settings.max_vcpus // per_socket)
    cpu.max_sockets = max(cpu.sockets, most)


def memory_alignment(memory: Memory) -> int:
    """Bytes that pluggable memory has to be a multiple of."""
    pages = memory.hugepages.page_size if memory.hugepages else None
    return GIB if _number(pages) == GIB else 2 * MIB


def _max_guest(domain: DomainSpec, settings: Settings) -> None:
    memory, cpu = domain.memory, domain.cpu
    guest = _number(memory.guest) if memory else None
    if memory is None or memory.max_guest is not None or guest is None:
        return
    impossible = (
        guest < GIB
        or guest % memory_alignment(memory) != 0
        or domain.launch_security is not None
        or (cpu is not None and cpu.realtime is not None)
        or (cpu is not None and cpu.numa is not None and cpu.numa.guest_mapping_passthrough is not None)
    )
    if not impossible:
        memory.max_guest = canonical(f"{guest * settings.max_hotplug_ratio / 1024:f}Ki")


def canonical_like(model: Quantity | None, value: Decimal) -> str:
    """`value` in the family of suffixes that `model` is written in."""
    binary = isinstance(model, str) and model.endswith("i")
    return canonical(f"{value / 1024:f}Ki" if binary else f"{value:f}")


def _canonical_quantities(spec: VirtualMachineInstanceSpec) -> None:
    domain = spec.domain
    _canonical_amounts(domain.resources.requests)
    _canonical_amounts(domain.resources.limits)
    if domain.memory is not None:
        domain.memory.guest = _canonical(domain.memory.guest)
        domain.memory.max_guest = _canonical(domain.memory.max_guest)
    for volume in spec.volumes:
        if volume.empty_disk is not None:
            volume.empty_disk.capacity = _canonical(volume.empty_disk.capacity)
        if volume.host_disk is not None:
            volume.host_disk.capacity = _canonical(volume.host_disk.capacity)


def _canonical_amounts(amounts: dict[str, Quantity]) -> None:
    for name, value in amounts.items():
        amounts[name] = _canonical(value)


def _canonical(value: Q) -> Q | str:
    try:
        return value if value is None else canonical(value)
    except QuantityError:
        return value


def _status(vmi: VirtualMachineInstance, now: str) -> None:
    status, cpu, memory = vmi.status, vmi.spec.domain.cpu, vmi.spec.domain.memory
    if cpu is not None:
        status.current_cpu_topology = CPUTopology(cores=cpu.cores, sockets=cpu.sockets, threads=cpu.threads)
    if memory is not None and memory.guest is not None:
        guest = memory.guest
        status.memory = MemoryStatus(guest_at_boot=guest, guest_current=guest, guest_requested=guest)
    status.runtime_user = RUNTIME_USER
    if now:
        status.phase = "Pending"
        moment = VirtualMachineInstancePhaseTransitionTimestamp(phase="Pending", phase_transition_timestamp=now)
        status.phase_transition_timestamps = [moment]
        if labels.VMI_FINALIZER not in vmi.metadata.finalizers:
            vmi.metadata.finalizers.append(labels.VMI_FINALIZER)
