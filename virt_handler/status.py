"""A VMI's status as it should be, from what was observed: pure, and the only place that knows what a status looks like.

The agent turns the difference to the stored status into one guarded patch; equal status means no write at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from virt_handler.domains import Domain
from virt_handler.guest_facts import GuestFacts, GuestNic, unsupported
from virt_handler.memory import MemoryProgress
from virt_handler.plugging import VolumeProgress
from virt_handler.records import End, Lease
from virt_kube.api import Json
from virt_kube.clock import rfc3339
from virt_types.codec import to_builtins
from virt_types.running import FINAL_PHASES
from virt_types.v1 import (
    HotplugVolumeStatus,
    Machine,
    PersistentVolumeClaimInfo,
    VirtualMachineInstance,
    VirtualMachineInstanceCondition,
    VirtualMachineInstanceNetworkInterface,
    VirtualMachineInstancePhaseTransitionTimestamp,
    VirtualMachineInstanceStatus,
    VolumeStatus,
)

PAUSED_REASONS = {
    "ioerror": ("PausedIOError", "VMI was paused, low-level IO error detected"),
    "user": ("PausedByUser", "VMI was paused by user"),
}
NOT_RUNNING = ("GuestNotRunning", "Guest VM is not reported as running")
USER_MODE = (
    "UserModeNetwork",
    "the guest is connected in user mode (qemu:///session): it reaches out, but no Service and no port-forward reaches "
    "it; run the cluster as root to give guests a network",
)
LOCAL_DISKS = ("DisksNotLiveMigratable", "cannot migrate VMI: its disks are local to this node")
REDUCED = ("ConfigurationReduced", "UnsupportedByNode")  # type and reason of the condition
OLD_AGENT = "UnsupportedCommands"
NOT_READY = "ReadinessProbeFailed"


class Kept(NamedTuple):
    """What the agent found out and did while the guest ran; see `keeper`. Empty texts mean that all is well."""

    facts: GuestFacts | None = None
    frozen: bool = False
    not_ready: str | None = None  # the readiness probe's last word
    volumes: Mapping[str, VolumeProgress] = MappingProxyType({})
    left_out: tuple[str, ...] = ()  # settings this node has not
    memory: MemoryProgress | None = None
    claims: Mapping[str, PersistentVolumeClaimInfo] = MappingProxyType({})  # by volume; those read in this run


NOTHING = Kept()


def running(
    vmi: VirtualMachineInstance, domain: Domain, leases: dict[str, Lease], now: float, kept: Kept = NOTHING
) -> VirtualMachineInstanceStatus:
    """The status of a guest that QEMU runs. `now`: Unix seconds."""
    status = _copy(vmi)
    facts = kept.facts
    enter_phase(status, "Running", now)
    status.reason = None
    status.machine = Machine(type=domain.machine) if domain.machine else status.machine
    status.interfaces = _interfaces(vmi, domain, leases, facts)
    status.volume_status = _volumes(vmi, domain, kept)
    status.fs_freeze_status = "frozen" if kept.frozen else None
    if facts is not None:
        status.guest_os_info = facts.os
    paused = _paused(domain)
    why_not = ("GuestPaused", paused[1]) if paused else (NOT_READY, kept.not_ready) if kept.not_ready else None
    _condition(status, now, "Ready", "False" if why_not else "True", *(why_not or ("", "")))
    _condition(status, now, "Paused", "True" if paused else None, *(paused or ("", "")))
    _condition(status, now, "AgentConnected", "True" if domain.agent_connected else None)
    old_agent = unsupported(facts) if facts is not None else ""
    _condition(status, now, "AgentVersionNotSupported", "True" if old_agent else None, OLD_AGENT, old_agent)
    _condition(status, now, "LiveMigratable", "False", *LOCAL_DISKS)
    unreachable = bool(domain.nics) and all(nic.kind == "user" for nic in domain.nics)
    _condition(status, now, "NetworkReachable", "False" if unreachable else None, *(USER_MODE if unreachable else ()))
    kind, reason = REDUCED
    _condition(status, now, kind, "True" if kept.left_out else None, reason, "; ".join(kept.left_out))
    _settle_topology(status, vmi, domain)
    _settle_memory(status, kept.memory, now)
    _condition(status, now, "Synchronized", None)
    return status


def _paused(domain: Domain) -> tuple[str, str] | None:
    """Why the guest stands still: reason and message; None where it does not, or libvirt does so for itself."""
    found = PAUSED_REASONS.get(domain.reason) if domain.state == "paused" else None
    if found is None or not domain.failed_disks:
        return found
    disks = ", ".join(f"the disk of volume {name!r} {what}" for name, what in domain.failed_disks)
    return found[0], f"{found[1]}: {disks}"


def ended(vmi: VirtualMachineInstance, end: End) -> VirtualMachineInstanceStatus:
    """The status of a guest that is no more; a phase that is final already stays."""
    status = _copy(vmi)
    if status.phase not in FINAL_PHASES:
        enter_phase(status, end.phase, end.at)
        status.reason = end.reason or None
        reason, message = NOT_RUNNING
        _condition(status, end.at, "Ready", "False", reason, f"{message}: {end.message}" if end.message else message)
    for gone in ("Paused", "AgentConnected", "AgentVersionNotSupported", "NetworkReachable", "HotMemoryChange"):
        _condition(status, end.at, gone, None)
    return status


def troubled(vmi: VirtualMachineInstance, reason: str, message: str, now: float) -> VirtualMachineInstanceStatus:
    """The status of a guest we can't bring further: the first failing step and its error."""
    status = _copy(vmi)
    _condition(status, now, "Synchronized", "False", reason, message)
    if status.phase == "Scheduled":
        _condition(status, now, "Ready", "False", *NOT_RUNNING)
    return status


def unknown(vmi: VirtualMachineInstance, message: str, now: float) -> VirtualMachineInstanceStatus:
    """The status of a guest nobody can see at the moment; it may be running well."""
    status = _copy(vmi)
    _condition(status, now, "Ready", "Unknown", "HypervisorUnreachable", message)
    return status


def enter_phase(status: VirtualMachineInstanceStatus, phase: str, now: float) -> None:
    """Set the phase; the first time it is entered is noted, and only that."""
    status.phase = phase
    if all(entry.phase != phase for entry in status.phase_transition_timestamps):
        stamp = VirtualMachineInstancePhaseTransitionTimestamp(phase=phase, phase_transition_timestamp=rfc3339(now))
        status.phase_transition_timestamps.append(stamp)


def as_json(status: VirtualMachineInstanceStatus) -> Json:
    return to_builtins(status)


def _copy(vmi: VirtualMachineInstance) -> VirtualMachineInstanceStatus:
    """Ours to change: what an informer holds is shared."""
    return msgspec.convert(msgspec.to_builtins(vmi.status), VirtualMachineInstanceStatus)


def _interfaces(
    vmi: VirtualMachineInstance, domain: Domain, leases: dict[str, Lease], facts: GuestFacts | None
) -> list[VirtualMachineInstanceNetworkInterface]:
    seen = {nic.mac: nic for nic in facts.nics} if facts is not None else {}
    isolated = {nic.mac for nic in domain.nics if nic.kind == "user"}
    result = []
    for spec in vmi.spec.domain.devices.interfaces:
        mac = _mac_of(spec.name, domain, leases)
        told = seen.get(mac)
        addresses = [leases[spec.name].ip] if spec.name in leases and leases[spec.name].ip else []
        if mac not in isolated:  # every guest in user mode calls itself 10.0.2.15: nothing answers there
            addresses += [address for address in (told.addresses if told else ()) if address not in addresses]
        result.append(
            VirtualMachineInstanceNetworkInterface(
                name=spec.name,
                mac=mac or None,
                ip_address=addresses[0] if addresses else None,
                ip_addresses=addresses,
                interface_name=told.name if told else None,
                info_source="domain, guest-agent" if told else "domain",
                queue_count=1,
                link_state="up",
            )
        )
    if not result:
        return []  # the first is dialled: it must not be one that only the guest tells of
    known = {nic.mac for nic in domain.nics} | {item.mac for item in result}
    return result + [_inner(nic) for nic in seen.values() if nic.mac not in known and nic.addresses]


def _inner(nic: GuestNic) -> VirtualMachineInstanceNetworkInterface:
    """An interface only the guest knows, such as a bridge of its own."""
    return VirtualMachineInstanceNetworkInterface(
        mac=nic.mac or None,
        ip_address=nic.addresses[0],
        ip_addresses=list(nic.addresses),
        interface_name=nic.name,
        info_source="guest-agent",
    )


def _mac_of(name: str, domain: Domain, leases: dict[str, Lease]) -> str:
    if name in leases:
        return leases[name].mac
    return next((nic.mac for nic in domain.nics if nic.alias == name), "")


def _volumes(vmi: VirtualMachineInstance, domain: Domain, kept: Kept) -> list[VolumeStatus]:
    """Where each volume is in the guest, its claim, how far a plugged one is; what others know of it is kept."""
    progress = kept.volumes
    targets = {disk.alias: disk.target for disk in domain.disks}
    known = {entry.name: entry for entry in vmi.status.volume_status}
    named = {volume.name for volume in vmi.spec.volumes}
    result = []
    for name in sorted((named & (targets.keys() | known.keys())) | progress.keys()):
        entry = known.get(name) or VolumeStatus(name=name, target="")
        entry = msgspec.structs.replace(entry, target=targets.get(name, "" if name in progress else entry.target))
        if claim := kept.claims.get(name):
            entry.persistent_volume_claim_info = claim
        if found := progress.get(name):
            plugged = entry.hotplug_volume or HotplugVolumeStatus()
            entry = msgspec.structs.replace(
                entry, phase=found.phase, reason=found.reason, message=found.message, hotplug_volume=plugged
            )
        result.append(entry)
    return result


def _settle_topology(status: VirtualMachineInstanceStatus, vmi: VirtualMachineInstance, domain: Domain) -> None:
    """Processors that were plugged are told, and what announced them goes."""
    cpu, topology = vmi.spec.domain.cpu, status.current_cpu_topology
    if cpu is None or topology is None or not domain.vcpus:
        return
    per_socket = (cpu.cores or 1) * (cpu.threads or 1)
    if domain.vcpus == (cpu.sockets or 1) * per_socket:
        topology.sockets = cpu.sockets or 1
        _condition(status, 0.0, "HotVCPUChange", None)


def _settle_memory(status: VirtualMachineInstanceStatus, progress: MemoryProgress | None, now: float) -> None:
    """How much memory the guest has, and why it is not what was asked for."""
    found = progress or MemoryProgress("", None)
    if status.memory is not None and progress is not None:
        status.memory.guest_current = progress.current
        status.memory.guest_requested = progress.requested or status.memory.guest_requested
    _condition(status, now, "HotMemoryChange", found.value or None, found.reason, found.message)


def _condition(  # noqa: PLR0917  read as a table row: when, which, value, why
    status: VirtualMachineInstanceStatus, now: float, kind: str, value: str | None, reason: str = "", message: str = ""
) -> None:
    """Set one condition, or remove it (`value` None); its transition time moves only when its value does."""
    old = next((condition for condition in status.conditions if condition.type == kind), None)
    if value is None:
        status.conditions = [condition for condition in status.conditions if condition.type != kind]
        return
    since = old.last_transition_time if old is not None and old.status == value else rfc3339(now)
    new = VirtualMachineInstanceCondition(
        type=kind, status=value, last_transition_time=since, reason=reason or None, message=message or None
    )
    if old is None:
        status.conditions.append(new)
    else:
        status.conditions[status.conditions.index(old)] = msgspec.structs.replace(
            new, last_probe_time=old.last_probe_time
        )
