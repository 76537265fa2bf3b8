"""Addresses and MACs of guests: a subnet that collides with nothing, one address per MAC, the same every time. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from typing import NamedTuple
from xml.etree import ElementTree as ET

from virt_handler.errors import NetworkError

PREFIX_LENGTH = 24
# The third number of 192.168.x.0/24, tried in this order: unusual ones first.
THIRD_OCTETS = (*range(140, 200), *range(60, 120), *range(200, 255), *range(2, 60))
FIRST_HOST, LAST_HOST = 10, 199
# What dnsmasq may hand out: all of them, because libvirt limits the number of leases, reserved ones included, to
# the length of the range (dhcp-lease-max).
DYNAMIC = (FIRST_HOST, 254)
# A gone guest's lease keeps its place until it ends.
LEASE_MINUTES = 5
QEMU_MAC_PREFIX = "52:54:00"


def choose_subnet(taken: Iterable[ipaddress.IPv4Network]) -> ipaddress.IPv4Network:
    """A free 192.168.x.0/24; raises NetworkError when the host's routes cover them all."""
    used = [network for network in taken if network.prefixlen > 0]
    for octet in THIRD_OCTETS:
        candidate = ipaddress.IPv4Network(f"192.168.{octet}.0/{PREFIX_LENGTH}")
        if not any(candidate.overlaps(network) for network in used):
            return candidate
    raise NetworkError("every 192.168.x.0/24 is in use on this host", hint="give a network that exists with --network")


def read_routes(table: str) -> list[ipaddress.IPv4Network]:
    """The destinations of /proc/net/route: little-endian hexadecimal numbers."""
    networks = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7:
            destination, mask = (int.from_bytes(bytes.fromhex(fields[index]), "little") for index in (1, 7))
            networks.append(ipaddress.IPv4Network((destination, mask.bit_count()), strict=False))
    return networks


def network_xml(name: str, bridge: str, subnet: ipaddress.IPv4Network) -> str:
    """A NAT network that hands out addresses."""
    root = ET.Element("network")
    ET.SubElement(root, "name").text = name
    ET.SubElement(root, "forward", mode="nat")
    ET.SubElement(root, "bridge", name=bridge, stp="off", delay="0")
    ip = ET.SubElement(root, "ip", address=str(subnet[1]), netmask=str(subnet.netmask))
    dhcp = ET.SubElement(ip, "dhcp")
    _lease(ET.SubElement(dhcp, "range", start=str(subnet[DYNAMIC[0]]), end=str(subnet[DYNAMIC[1]])))
    return ET.tostring(root, encoding="unicode")


def reservation_xml(mac: str, ip: str) -> str:
    return ET.tostring(_lease(ET.Element("host", mac=mac, ip=ip)), encoding="unicode")


def _lease(element: ET.Element) -> ET.Element:
    ET.SubElement(element, "lease", expiry=str(LEASE_MINUTES), unit="minutes")
    return element


class Reservations(NamedTuple):
    """What a network hands out: its subnet (None without IPv4 and DHCP), MAC -> address, and its own address."""

    subnet: ipaddress.IPv4Network | None
    hosts: dict[str, str]
    gateway: str = ""

    @property
    def taken(self) -> set[str]:
        return {self.gateway, *self.hosts.values()}


def read_network(xml: str) -> Reservations:
    root = ET.fromstring(xml)  # noqa: S314  written by libvirt
    for ip in root.iterfind("ip"):
        if ip.get("family", "ipv4") == "ipv4" and ip.find("dhcp") is not None:
            netmask = ip.get("netmask") or ip.get("prefix") or ""
            subnet = ipaddress.IPv4Network(f"{ip.get('address')}/{netmask}", strict=False)
            hosts = {host.get("mac", "").lower(): host.get("ip", "") for host in ip.iterfind("dhcp/host")}
            return Reservations(subnet, hosts, ip.get("address", ""))
    return Reservations(None, {})


def choose_address(mac: str, subnet: ipaddress.IPv4Network, taken: Iterable[str]) -> str:
    """The MAC's own address if it is free, else the next that is; raises NetworkError when none is left."""
    used, last = set(taken), min(LAST_HOST, subnet.num_addresses - 2)
    count = last - FIRST_HOST + 1
    start = int.from_bytes(hashlib.sha256(mac.encode()).digest()[:4], "big")
    for offset in range(count):
        address = str(subnet[FIRST_HOST + (start + offset) % count])
        if address not in used:
            return address
    raise NetworkError(f"no address is left in {subnet}: {count} guests have one")


def stable_mac(uid: str, interface: str) -> str:
    """A MAC for an interface that was given none: the same for this VMI for ever."""
    tail = hashlib.sha256(f"{uid}/{interface}".encode()).digest()[:3]
    return ":".join((QEMU_MAC_PREFIX, *(f"{byte:02x}" for byte in tail)))
