"""How many free PCIe root ports a guest begins with."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from virt_handler.rootports import missing_ports, with_ports


def domain(ports: int, used: int, memory: str = "<memory unit='KiB'>1048576</memory>") -> str:
    controllers = "".join(f"<controller type='pci' index='{n}' model='pcie-root-port'/>" for n in range(1, ports + 1))
    devices = "".join(f"<disk><address type='pci' bus='0x{n:02x}'/></disk>" for n in range(1, used + 1))
    root = "<controller type='pci' index='0' model='pcie-root'/>"
    return f"<domain>{memory}<devices>{root}{controllers}{devices}</devices></domain>"


GIGABYTES = "<memory unit='GiB'>{}</memory>"


@pytest.mark.parametrize(
    ("ports", "used", "memory", "missing"),
    [
        (3, 2, 2, 5),  # eight in all
        (12, 11, 2, 2),  # three of them free
        (12, 9, 2, 0),
        (3, 2, 3, 13),  # larger guests get twice as many
        (16, 12, 3, 2),
        (0, 0, 2, 0),  # a machine without root ports
    ],
)
def test_ports(ports: int, used: int, memory: int, missing: int) -> None:
    text = domain(ports, used, GIGABYTES.format(memory))
    assert missing_ports(ET.fromstring(text)) == missing  # noqa: S314  written here
    roomier = with_ports(text)
    assert bool(roomier) is bool(missing)
    assert (roomier or text).count("pcie-root-port") == ports + missing
