"""Free PCIe root ports for what is plugged in later: a running guest gets no new ones.

libvirt gives every device its port when it defines the domain, and leaves one free. How many there should be is the
specification's (domain-xml, after define). Pure; called by `libvirt_host` between define and start.
"""

from __future__ import annotations

from typing import NamedTuple
from xml.etree import ElementTree as ET

KIBIBYTES = {
    "b": 1 / 1024,
    "bytes": 1 / 1024,
    "KiB": 1,
    "k": 1,
    "MiB": 1 << 10,
    "M": 1 << 10,
    "GiB": 1 << 20,
    "G": 1 << 20,
}
LARGE_GUEST = 2 << 20  # KiB


class Want(NamedTuple):
    """How many ports there shall be, and how many of them free."""

    total: int
    free: int


SMALL, LARGE = Want(8, 3), Want(16, 6)


def missing_ports(root: ET.Element) -> int:
    """How many ports a defined domain lacks; none where it has none at all, as machine types other than q35."""
    ports = {int(port.get("index", "0")) for port in root.iterfind("devices/controller[@model='pcie-root-port']")}
    if not ports:
        return 0
    used = {int(address.get("bus", "0"), 0) for address in root.iterfind("devices/*/address[@type='pci']")}
    want = LARGE if _memory(root) > LARGE_GUEST else SMALL
    return max(want.total - len(ports), want.free - len(ports - used), 0)


def with_ports(xml: str) -> str:
    """The domain with its free ports; "" when it has enough."""
    root = ET.fromstring(xml)  # noqa: S314  written by libvirt
    devices, missing = root.find("devices"), missing_ports(root)
    if devices is None or not missing:
        return ""
    for _ in range(missing):
        ET.SubElement(devices, "controller", type="pci", model="pcie-root-port")
    return ET.tostring(root, encoding="unicode")


def _memory(root: ET.Element) -> float:
    element = root.find("memory")
    return int(element.text or "0") * KIBIBYTES.get(element.get("unit", "KiB"), 1) if element is not None else 0
