"""What a guest's agent tells, made harmless: bounded, printable, with the types it should have.

A guest may say anything, and megabytes of it. Pure: `guest_agent` asks, `status` and `server` show what comes out here.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from virt_kube.api import Json
from virt_types.codec import to_builtins
from virt_types.v1 import VirtualMachineInstanceGuestOSInfo

MAX_TEXT = 256
MAX_PATH = 1024
MAX_NICS, MAX_ADDRESSES, MAX_USERS, MAX_FILE_SYSTEMS, MAX_DISKS, MAX_COMMANDS = 64, 32, 256, 256, 16, 512
LARGEST = 2**63 - 1
# Without these an agent is of no use; an old one lacks the newer half.
NEEDED_COMMANDS = frozenset({"guest-ping", "guest-info", "guest-network-get-interfaces", "guest-shutdown"})


class GuestNic(NamedTuple):
    """An interface as the guest's agent sees it."""

    name: str
    mac: str
    addresses: tuple[str, ...]


class GuestUser(NamedTuple):
    """Somebody who is logged in; `since` is Unix seconds."""

    name: str
    domain: str = ""
    since: float = 0.0


class GuestFileSystem(NamedTuple):
    """A mounted file system; sizes in bytes, `disks` are serials."""

    disk: str
    mount_point: str
    kind: str
    used: int
    total: int
    disks: tuple[str, ...] = ()


class GuestFacts(NamedTuple):
    """What the guest's agent told; bounded, because a guest may say anything."""

    os: VirtualMachineInstanceGuestOSInfo
    nics: tuple[GuestNic, ...] = ()
    users: tuple[GuestUser, ...] = ()
    file_systems: tuple[GuestFileSystem, ...] = ()
    hostname: str = ""
    timezone: str = ""
    version: str = ""
    commands: tuple[str, ...] = ()  # empty: not asked


class _Told:
    """The flat dictionary of virDomainGetGuestInfo ("os.name", "if.0.addr.1.addr", …), read with suspicion."""

    def __init__(self, info: dict[str, Any]) -> None:
        self._info = info

    def text(self, key: str, limit: int = MAX_TEXT) -> str:
        value = self._info.get(key)
        return printable(value, limit) if isinstance(value, str) else ""

    def number(self, key: str) -> int:
        value = self._info.get(key)
        return min(max(value, 0), LARGEST) if isinstance(value, int) else 0

    def each(self, name: str, limit: int) -> list[str]:
        """The prefixes of a list's elements, `limit` at most."""
        return [f"{name}.{index}" for index in range(min(self.number(f"{name}.count"), limit))]


def read_guest_facts(info: dict[str, Any], agent: Json | None = None) -> GuestFacts:
    """From libvirt's answer and, in `agent`, the guest agent's own word about itself (guest-info)."""
    told = _Told(info)
    os = {name: told.text(key) or None for name, key in _OS.items()}
    zone, offset = told.text("timezone.name"), info.get("timezone.offset")
    return GuestFacts(
        os=VirtualMachineInstanceGuestOSInfo(**os),
        nics=tuple(_nic(told, key) for key in told.each("if", MAX_NICS)),
        users=tuple(_user(told, key) for key in told.each("user", MAX_USERS)),
        file_systems=tuple(_file_system(told, key) for key in told.each("fs", MAX_FILE_SYSTEMS)),
        hostname=told.text("hostname"),
        timezone=f"{zone}, {offset}" if zone and isinstance(offset, int) else zone,
        version=_version(agent or {}),
        commands=_commands(agent or {}),
    )


_OS = {
    "name": "os.name",
    "id": "os.id",
    "version": "os.version",
    "version_id": "os.version-id",
    "pretty_name": "os.pretty-name",
    "kernel_release": "os.kernel-release",
    "kernel_version": "os.kernel-version",
    "machine": "os.machine",
}


def _nic(told: _Told, key: str) -> GuestNic:
    texts = (told.text(f"{each}.addr") for each in told.each(f"{key}.addr", MAX_ADDRESSES))
    return GuestNic(told.text(f"{key}.name"), told.text(f"{key}.hwaddr").lower(), tuple(filter(reachable, texts)))


def reachable(address: str) -> bool:
    """Whether an address can be a guest's on a network: what a guest says must not lead to the machine itself."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    inner = getattr(found, "ipv4_mapped", None) or found
    leads_home = inner.is_loopback or inner.is_unspecified or (inner.version == 4 and inner.is_link_local)
    return not (leads_home or inner.is_multicast)


def _user(told: _Told, key: str) -> GuestUser:
    since = told.number(f"{key}.login-time") / 1000
    return GuestUser(told.text(f"{key}.name"), told.text(f"{key}.domain"), since if math.isfinite(since) else 0.0)


def _file_system(told: _Told, key: str) -> GuestFileSystem:
    disks = (told.text(f"{each}.serial") for each in told.each(f"{key}.disk", MAX_DISKS))
    return GuestFileSystem(
        told.text(f"{key}.name"),
        told.text(f"{key}.mountpoint", MAX_PATH),
        told.text(f"{key}.fstype"),
        told.number(f"{key}.used-bytes"),
        told.number(f"{key}.total-bytes"),
        tuple(filter(None, disks)),
    )


def _version(agent: Json) -> str:
    version = agent.get("version")
    return printable(version) if isinstance(version, str) else ""


def _commands(agent: Json) -> tuple[str, ...]:
    found = agent.get("supported_commands")
    entries = found[:MAX_COMMANDS] if isinstance(found, list) else []
    names = (entry.get("name") for entry in entries if isinstance(entry, dict) and entry.get("enabled") is True)
    return tuple(sorted({printable(name) for name in names if isinstance(name, str)}))


def unsupported(facts: GuestFacts) -> str:
    """Why the agent is of little use, "" when it is good or did not say what it can."""
    missing = sorted(NEEDED_COMMANDS - set(facts.commands)) if facts.commands else []
    if not missing:
        return ""
    return f"Guest agent version {facts.version or 'unknown'} does not support {', '.join(missing)}"


def printable(text: str, limit: int = MAX_TEXT) -> str:
    return "".join(char for char in text[:limit] if char.isprintable())


# The documents clients read (VirtualMachineInstanceGuestAgentInfo and the two lists).


def user_list(facts: GuestFacts) -> Json:
    return {"metadata": {}, "items": [_user_json(user) for user in facts.users]}


def file_system_list(facts: GuestFacts) -> Json:
    return {"metadata": {}, "items": [_file_system_json(each) for each in facts.file_systems]}


def agent_info(facts: GuestFacts, freeze_status: str = "") -> Json:
    """Everything in one document; what the guest did not tell is left out."""
    found: Json = {
        "guestAgentVersion": facts.version,
        "supportedCommands": [{"name": name, "enabled": True} for name in facts.commands],
        "hostname": facts.hostname,
        "os": to_builtins(facts.os),
        "timezone": facts.timezone,
        "userList": [_user_json(user) for user in facts.users],
        "fsInfo": {"disks": [_file_system_json(each) for each in facts.file_systems]},
        "fsFreezeStatus": freeze_status,
    }
    return {name: value for name, value in found.items() if value}


def _user_json(user: GuestUser) -> Json:
    found: Json = {"userName": user.name}
    return found | ({"domain": user.domain} if user.domain else {}) | ({"loginTime": user.since} if user.since else {})


def _file_system_json(each: GuestFileSystem) -> Json:
    found: Json = {
        "diskName": each.disk,
        "mountPoint": each.mount_point,
        "fileSystemType": each.kind,
        "usedBytes": each.used,
        "totalBytes": each.total,
    }
    disks = [{"serial": serial} for serial in each.disks]
    return found | ({"disk": disks} if disks else {})


DOCUMENTS: dict[str, Callable[[GuestFacts], Json]] = {"userlist": user_list, "filesystemlist": file_system_list}
