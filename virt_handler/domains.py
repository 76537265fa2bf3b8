"""What libvirt says about one domain, read from its XML and state: the `observed` half of every decision.

Pure. Called by `libvirt_host` with what libvirt answered; read by `decide` and `status`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from xml.etree import ElementTree as ET

import msgspec

from virt_handler.records import ShutdownClock

NAMESPACE = "http://kubevirt.io"
GUEST_AGENT_CHANNEL = "org.qemu.guest_agent.0"

# virDomainState, by libvirt's numbers.
STATES = ("nostate", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "pmsuspended")
ALIVE = frozenset({"running", "blocked", "paused", "shutdown", "pmsuspended"})
# Reasons of the states that need telling apart (virDomainPausedReason, virDomainShutoffReason, virDomainCrashedReason).
REASONS: dict[str, tuple[str, ...]] = {
    "paused": (
        "unknown",
        "user",
        "migration",
        "save",
        "dump",
        "ioerror",
        "watchdog",
        "from-snapshot",
        "shutting-down",
        "snapshot",
        "crashed",
        "starting-up",
        "postcopy",
        "postcopy-failed",
    ),
    "shutoff": (
        "unknown",
        "shutdown",
        "destroyed",
        "crashed",
        "migrated",
        "saved",
        "failed",
        "from-snapshot",
        "daemon",
    ),
    "crashed": ("unknown", "panicked"),
}


# virDomainDiskErrorCode.
DISK_ERRORS = {1: "can't be read or written", 2: "has no space left on this node"}


class Nic(NamedTuple):
    """`kind` is libvirt's: network, bridge, user, …"""

    mac: str
    alias: str
    target: str
    kind: str = "network"


class Disk(NamedTuple):
    """`alias` without libvirt's prefix for names given by users is the volume's name; no `source`: an empty drive."""

    alias: str
    target: str
    source: str = ""
    device: str = "disk"


class VirtioMem(NamedTuple):
    """The device that memory is plugged into, in bytes: how large it can grow, what it shall hold, what it holds."""

    size: int
    requested: int
    current: int


class Domain(NamedTuple):
    """One domain. `vmi_uid` is "" for a domain that is nobody's VMI."""

    uuid: str
    name: str
    vmi_uid: str
    state: str
    reason: str
    machine: str = ""
    agent_connected: bool = False
    nics: tuple[Nic, ...] = ()
    disks: tuple[Disk, ...] = ()
    shutdown: ShutdownClock | None = None
    vcpus: int = 0  # in use now; 0: not told
    max_vcpus: int = 0
    memory: int = 0  # bytes it began with; 0: not told
    max_memory: int = 0  # bytes it can have in all; 0: no room was made
    virtio_mem: VirtioMem | None = None  # None: nothing was plugged yet
    failed_disks: tuple[tuple[str, str], ...] = ()  # of a guest stopped by an I/O error: volume, and what is wrong

    @property
    def alive(self) -> bool:
        """Whether a QEMU process belongs to it."""
        return self.state in ALIVE


def domain_name(namespace: str, name: str) -> str:
    return f"{namespace}_{name}"


def key_of(domain: str) -> tuple[str, str] | None:
    """Namespace and name of a domain's VMI; None for a name this agent would not give. Neither half can hold a `_`."""
    namespace, separator, name = domain.partition("_")
    return (namespace, name) if separator and namespace and name else None


def read_state(state: int, reason: int) -> tuple[str, str]:
    """libvirt's numbers as words."""
    word = STATES[state] if 0 <= state < len(STATES) else "nostate"
    reasons = REASONS.get(word, ())
    return word, reasons[reason] if 0 <= reason < len(reasons) else "unknown"


def read_domain(xml: str, state: int, reason: int) -> Domain:
    """The domain of libvirt's own XML (trusted: libvirt wrote it)."""
    root = ET.fromstring(xml)  # noqa: S314  written by libvirt, not by a user
    word, why = read_state(state, reason)
    kind = root.find("os/type")
    return Domain(
        uuid=root.findtext("uuid", ""),
        name=root.findtext("name", ""),
        vmi_uid=(root.findtext(f"metadata/{{{NAMESPACE}}}kubevirt/{{{NAMESPACE}}}uid") or "").strip(),
        state=word,
        reason=why,
        machine=kind.get("machine", "") if kind is not None else "",
        agent_connected=_agent_connected(root),
        nics=tuple(_nic(item) for item in root.iterfind("devices/interface")),
        disks=tuple(_disk(item) for item in root.iterfind("devices/disk")),
        shutdown=_shutdown(root),
        vcpus=_vcpus(root)[0],
        max_vcpus=_vcpus(root)[1],
        memory=_bytes(root, "memory") - sum(_bytes(item, "target/size") for item in root.iterfind("devices/memory")),
        max_memory=_bytes(root, "maxMemory"),
        virtio_mem=_virtio_mem(root),
    )


def _bytes(item: ET.Element, path: str) -> int:
    """libvirt writes amounts of memory in KiB."""
    return int(item.findtext(path, "0")) << 10


def _virtio_mem(root: ET.Element) -> VirtioMem | None:
    target = root.find("devices/memory[@model='virtio-mem']/target")
    if target is None:
        return None
    return VirtioMem(_bytes(target, "size"), _bytes(target, "requested"), _bytes(target, "current"))


def _vcpus(root: ET.Element) -> tuple[int, int]:
    """Processors in use, and how many there can be."""
    element = root.find("vcpu")
    most = int((element.text or "0").strip()) if element is not None else 0
    return (int(element.get("current", most)) if element is not None else 0), most


def with_disk_errors(domain: Domain, errors: Mapping[str, int]) -> Domain:
    """The domain with libvirt's word on its disks, which it gives by their targets."""
    names = {disk.target: disk.alias for disk in domain.disks}
    found = ((names.get(target, target), DISK_ERRORS[code]) for target, code in errors.items() if code in DISK_ERRORS)
    return domain._replace(failed_disks=tuple(sorted(found)))


def shutdown_metadata(uid: str, clock: ShutdownClock, wall: str) -> str:
    """The metadata element of a guest that is being shut down; `wall` is the same moment for human readers."""
    root = ET.Element("kubevirt")
    ET.SubElement(root, "uid").text = uid
    grace = ET.SubElement(root, "gracePeriod")
    ET.SubElement(grace, "deletionGracePeriodSeconds").text = str(clock.grace_seconds)
    ET.SubElement(grace, "deletionTimestamp").text = wall
    ET.SubElement(grace, "markedForGracefulShutdown").text = "true"
    ET.SubElement(grace, "since").text = repr(clock.since)
    return ET.tostring(root, encoding="unicode")


def _shutdown(root: ET.Element) -> ShutdownClock | None:
    grace = root.find(f"metadata/{{{NAMESPACE}}}kubevirt/{{{NAMESPACE}}}gracePeriod")
    if grace is None:
        return None
    try:
        return ShutdownClock(
            float(grace.findtext(f"{{{NAMESPACE}}}since", "")),
            int(grace.findtext(f"{{{NAMESPACE}}}deletionGracePeriodSeconds", "")),
        )
    except (ValueError, msgspec.ValidationError):
        return None


def _agent_connected(root: ET.Element) -> bool:
    return any(
        target.get("name") == GUEST_AGENT_CHANNEL and target.get("state") == "connected"
        for target in root.iterfind("devices/channel/target")
    )


def _attribute(item: ET.Element, tag: str, name: str) -> str:
    child = item.find(tag)
    return child.get(name, "") if child is not None else ""


def _alias(item: ET.Element) -> str:
    return _attribute(item, "alias", "name").removeprefix("ua-")


def _nic(item: ET.Element) -> Nic:
    return Nic(
        _attribute(item, "mac", "address"), _alias(item), _attribute(item, "target", "dev"), item.get("type", "")
    )


def _disk(item: ET.Element) -> Disk:
    source = item.find("source")
    path = (source.get("file") or source.get("dev") or "") if source is not None else ""
    return Disk(_alias(item), _attribute(item, "target", "dev"), path, item.get("device", "disk"))
