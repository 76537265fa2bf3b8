"""Proves a rendered domain before anyone sees it: no value can change the structure, and none got lost.

Escaping is Jinja's; this is the second lock. Values are looked at one by one on their way into the text, then the text
is parsed back and compared with the context it was made from.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET  # only ever parses what lay_out made
from collections.abc import Iterator
from typing import Any

from virt_handler.domain.context import DomainContext
from virt_handler.errors import RenderError
from virt_handler.model import Guest
from virt_types import codec

# Line breaks and tabs too: XML turns them into blanks inside attributes, so a value would not come back as it went in.
FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
SHOWN = 60


class UnsafeTextError(RenderError):
    """A value holds characters that XML, or a line of it, can't carry."""

    def __init__(self, value: str, field: str = "") -> None:
        shown = ascii(value if len(value) <= SHOWN else value[:SHOWN] + "…")
        super().__init__(
            f"{field or 'a value of the domain'}: {shown} has control characters or broken Unicode",
            hint="remove them from the manifest",
        )
        self.value = value


def checked_text(value: Any) -> Any:
    """The value as it is, if it may stand in an attribute; raises UnsafeTextError."""
    if isinstance(value, str) and not value.isprintable() and FORBIDDEN.search(value):
        raise UnsafeTextError(value)
    return value


def named(error: UnsafeTextError, guest: Guest) -> UnsafeTextError:
    """The same error with the path of the manifest's field that holds the value."""
    return UnsafeTextError(error.value, next(_paths(codec.to_builtins(guest.vmi), "", error.value), ""))


def _paths(node: Any, path: str, value: str) -> Iterator[str]:
    if isinstance(node, str):
        if FORBIDDEN.search(node) and node in value:
            yield path
    elif isinstance(node, dict):
        for key, child in node.items():
            yield from _paths(child, f"{path}.{key}" if path else key, value)
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield from _paths(child, f"{path}[{number}]", value)


def prove(text: str, domain: DomainContext) -> None:
    """Raises RenderError when the text does not say what the context says."""
    try:
        root = ET.fromstring(text)  # noqa: S314 - our own text, without a document type
    except ET.ParseError as error:
        raise RenderError(f"the domain of {domain.name!r} is not well-formed: {error}") from None
    found = dict(_read(root))
    for name, expected in _expected(domain):
        if found[name] != expected:
            raise RenderError(f"the domain of {domain.name!r} says {name} {found[name]!r} instead of {expected!r}")


def _expected(domain: DomainContext) -> Iterator[tuple[str, Any]]:
    yield "name", domain.name
    yield "uuid", domain.uuid
    yield "VMI", [domain.vmi_uid, domain.vmi_name, domain.vmi_namespace]
    yield "memory", str(domain.memory.size)
    yield "vcpu", str(domain.cpu.vcpus)
    yield "machine", domain.os.machine
    yield "cmdline", domain.os.kernel_args
    yield "SMBIOS", [value for _, value in (*domain.sysinfo.system, *domain.sysinfo.chassis)]
    yield "files for the firmware", list(domain.sysinfo.files)
    yield "CPU features", [feature.name for feature in domain.cpu.features]
    yield (
        "disks",
        [
            (f"ua-{it.name}", it.target, it.path, it.serial, it.backing.path if it.backing else "")
            for it in domain.disks
        ],
    )
    yield "interfaces", [(f"ua-{it.name}", it.mac, it.source, it.model) for it in domain.interfaces]
    yield "file systems", [(it.name, it.directory or it.socket) for it in domain.filesystems]
    yield "serials", [(domain.serial.socket, domain.serial.log)] if domain.serial else []
    yield "devices", _device_count(domain)


def _device_count(domain: DomainContext) -> int:
    """How many children <devices> must have."""
    lists: tuple[tuple[object, ...], ...] = (
        domain.disks,
        domain.interfaces,
        domain.controllers,
        domain.filesystems,
        domain.channels,
        domain.inputs,
        domain.panics,
        domain.usb_redirections,
        domain.host_devices,
    )
    single = (domain.emulator, domain.serial, domain.sound, domain.tpm, domain.rng, domain.watchdog, domain.vsock)
    screen = 2 if domain.video else 0
    return sum(map(len, lists)) + sum(1 for it in single if it) + screen + 1  # the balloon is always said


def _read(root: ET.Element) -> Iterator[tuple[str, Any]]:
    devices = _child(root, "devices")
    yield "name", root.findtext("name")
    yield "uuid", root.findtext("uuid")
    yield "VMI", [child.text or "" for child in _child(_child(root, "metadata"), "{http://kubevirt.io}kubevirt")]
    yield "memory", root.findtext("memory")
    yield "vcpu", root.findtext("vcpu")
    yield "machine", _attribute(root, "os/type", "machine")
    yield "cmdline", root.findtext("os/cmdline", "")
    yield "SMBIOS", [entry.text or "" for entry in root.iterfind("sysinfo/*/entry")]
    yield "files for the firmware", [(it.get("name"), it.get("file")) for it in root.iterfind("sysinfo/entry")]
    yield "CPU features", [feature.get("name") for feature in root.iterfind("cpu/feature")]
    yield "disks", [_disk(it) for it in devices.iterfind("disk")]
    yield "interfaces", [_interface(it) for it in devices.iterfind("interface")]
    yield "file systems", [_filesystem(it) for it in devices.iterfind("filesystem")]
    yield (
        "serials",
        [(_attribute(it, "source", "path"), _attribute(it, "log", "file")) for it in devices.iterfind("serial")],
    )
    yield "devices", len(devices)


def _disk(it: ET.Element) -> tuple[str, ...]:
    return (
        _attribute(it, "alias", "name"),
        _attribute(it, "target", "dev"),
        _attribute(it, "source", "file") or _attribute(it, "source", "dev"),
        it.findtext("serial", ""),
        _attribute(it, "backingStore/source", "file") or _attribute(it, "backingStore/source", "dev"),
    )


def _filesystem(it: ET.Element) -> tuple[str, ...]:
    return _attribute(it, "target", "dir"), _attribute(it, "source", "dir") or _attribute(it, "source", "socket")


def _interface(it: ET.Element) -> tuple[str, ...]:
    kind = it.get("type", "")
    return (
        _attribute(it, "alias", "name"),
        _attribute(it, "mac", "address"),
        _attribute(it, "source", "dev" if kind == "vhostuser" else kind),
        _attribute(it, "model", "type"),
    )


def _child(node: ET.Element, tag: str) -> ET.Element:
    child = node.find(tag)
    return child if child is not None else ET.Element(tag)


def _attribute(node: ET.Element, path: str, name: str) -> str:
    return _child(node, path).get(name, "")
