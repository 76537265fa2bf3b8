"""Rules about networks and interfaces (specification 5.4, rules 100 to 112)."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from operator import attrgetter

from virt_types.errors import Cause
from virt_types.v1 import Interface, Network, PortRange
from virt_types.validation.disks import PCI_ADDRESS
from virt_types.validation.scope import Rule, Scope, duplicate, invalid, required, shown, unsupported

NAME = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9](?:-?[a-z0-9])*", re.ASCII)
MODELS = frozenset(("e1000", "e1000e", "igb", "ne2k_pci", "pcnet", "rtl8139", "virtio"))
BINDINGS = ("bridge", "masquerade", "sriov", "passt_binding", "binding")
# Binding -> how its end is told.
DISCONTINUED = {
    "slirp": "Slirp interface support has been discontinued since v1.3",
    "passt": "Passt network binding has been discontinued since v1.3",
    "macvtap": "Macvtap network binding has been discontinued since v1.3",
}
_bindings_of = attrgetter(*BINDINGS)
STATES = frozenset(("absent", "up", "down"))
RESERVED_MAC = "02:00:00:00:00:00"
MAC = re.compile(r"[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){4}[0-9a-f]{2}", re.ASCII)
LONG_MAC = re.compile(r"[0-9a-f]{2}([:-])(?:[0-9a-f]{2}\1){6,18}[0-9a-f]{2}", re.ASCII)
PROTOCOLS = ("TCP", "UDP")
PRIVATE_DHCP_OPTIONS = range(224, 255)


def network_types(scope: Scope) -> Iterator[Cause]:
    for path, network in scope.networks:
        given = [kind for kind in (network.pod, network.multus, network.resource_claim) if kind is not None]
        if not given:
            yield required(path, "should have a network type")
        if len(given) > 1:
            yield invalid(path, "should have only one network type")
        if network.multus is not None and not network.multus.network_name:
            yield required(path, "CNI delegating plugin must have a networkName")
        if network.pod is not None:
            yield from _pod_ranges(path, network)
    defaults = sum(bool(network.multus and network.multus.default) for network in scope.spec.networks)
    if defaults > 1:
        yield invalid(scope.at("networks"), "Multus CNI should only have one default network")
    if defaults and any(network.pod is not None for network in scope.spec.networks):
        message = "Pod network cannot be defined when Multus default network is defined"
        yield invalid(scope.at("networks"), message)


def _pod_ranges(path: str, network: Network) -> Iterator[Cause]:
    if network.pod is None:
        return
    for name, text, version in (
        ("vmNetworkCIDR", network.pod.vm_network_cidr, 4),
        ("vmIPv6NetworkCIDR", network.pod.vm_ipv6_network_cidr, 6),
    ):
        if not text:
            continue
        try:
            good = "/" in text and ipaddress.ip_network(text, strict=False).version == version
        except ValueError:
            good = False
        if not good:
            field = f"{path}.pod.{name}"
            yield invalid(field, f"{field} '{shown(text)}' is not an IPv{version} range such as {_example(version)}")


def _example(version: int) -> str:
    return "10.0.2.0/24" if version == 4 else "fd10:0:2::/120"


def pairs(scope: Scope) -> Iterator[Cause]:
    """Each network has exactly one interface, each interface exactly one network."""
    interfaces = Counter(interface.name for interface in scope.spec.domain.devices.interfaces)
    networks = Counter(network.name for network in scope.spec.networks)
    seen: set[str] = set()
    for path, network in scope.networks:
        if network.name not in interfaces:
            yield required(f"{path}.name", f"{path}.name '{shown(network.name)}' not found.")
        if network.name in seen:
            text = f'Network with name "{shown(network.name)}" already exists, every network must have a unique name'
            yield duplicate(f"{path}.name", text)
        seen.add(network.name)
    seen.clear()
    for path, interface in scope.interfaces:
        if interface.name not in networks:
            yield invalid(f"{path}.name", f"{path}.name '{shown(interface.name)}' not found.")
        if interface.name in seen:
            yield duplicate(f"{path}.name", "Only one interface can be connected to one specific network")
        seen.add(interface.name)
    pods = {network.name for network in scope.spec.networks if network.pod is not None}
    if sum(name in pods for name in interfaces) > 1:
        field = scope.at("domain.devices.interfaces")
        yield duplicate(field, f"more than one interface is connected to a pod network in {field}")


def interface_names(scope: Scope) -> Iterator[Cause]:
    for path, interface in scope.interfaces:
        if NAME.fullmatch(interface.name) is None:
            text = "can only contain alphabetical characters, numbers, dashes (-) or underscores (_)"
            yield invalid(f"{path}.name", f"Network interface name {text}")


def bindings(scope: Scope) -> Iterator[Cause]:
    for path, interface in scope.interfaces:
        gone = [name for name in DISCONTINUED if getattr(interface, name) is not None]
        yield from (invalid(f"{path}.{name}", DISCONTINUED[name]) for name in gone)
        if _bindings_of(interface).count(None) != len(BINDINGS) - 1:
            name = shown(interface.name)
            yield invalid(path, f"logical {name} interface must have exactly one binding method or binding plugin")
        yield from _binding_of_network(scope, path, interface)


def _binding_of_network(scope: Scope, path: str, interface: Interface) -> Iterator[Cause]:
    on_pod_network = any(network.name == interface.name and network.pod is not None for network in scope.spec.networks)
    for binding, word in ((interface.masquerade, "Masquerade"), (interface.passt_binding, "PasstBinding")):
        if binding is not None and not on_pod_network:
            yield invalid(f"{path}.name", f"{word} interface only implemented with pod network")


def hardware(scope: Scope) -> Iterator[Cause]:
    for path, interface in scope.interfaces:
        if interface.model and interface.model not in MODELS:
            message = f"interface {path}.name uses model {shown(interface.model)} that is not supported."
            yield unsupported(f"{path}.model", message)
        if interface.pci_address and PCI_ADDRESS.fullmatch(interface.pci_address) is None:
            message = f"interface {path}.name has malformed PCI address ({shown(interface.pci_address)})."
            yield invalid(f"{path}.pciAddress", message)


def mac_addresses(scope: Scope) -> Iterator[Cause]:
    seen: dict[str, str] = {}
    for path, interface in scope.interfaces:
        if not interface.mac_address:
            continue
        field = f"{path}.macAddress"
        mac = interface.mac_address.lower().replace("-", ":")
        fault = mac_fault(interface.mac_address)
        if fault:
            yield invalid(field, fault.format(name=f"{path}.name", mac=shown(interface.mac_address)))
        elif mac in seen:
            yield duplicate(field, f"{seen[mac]} has the same MAC address ({mac}).")
        seen.setdefault(mac, field)


def mac_fault(text: str) -> str:
    """What is wrong with a guest's MAC address, "" if nothing; {name} and {mac} are left to fill in."""
    mac = text.lower()
    if MAC.fullmatch(mac) is None:
        long = LONG_MAC.fullmatch(mac) is not None
        return f"interface {{name}} has {'too long' if long else 'malformed'} MAC address ({{mac}})."
    if mac.replace("-", ":") == RESERVED_MAC:
        return "The requested MAC address is reserved for the in-pod bridge. Please choose another one."
    if int(mac[:2], 16) & 1:  # upstream takes it, and no packet arrives
        return "interface {name} has a multicast MAC address ({mac}): its first byte must be even, as in 52:54:00."
    if not mac.strip("0:-"):
        return "interface {name} has the MAC address {mac}, which means none: leave macAddress out instead."
    return ""


def ports(scope: Scope) -> Iterator[Cause]:
    for path, interface in scope.interfaces:
        seen: set[str] = set()
        for index, port in enumerate(interface.ports):
            field = f"{path}.ports[{index}]"
            if port.port == 0:
                yield required(f"{field}.port", "Port field is mandatory.")
            elif not 0 < port.port < 65536:
                yield invalid(f"{field}.port", "Port field must be in range 0 < x < 65536.")
            if port.protocol not in (None, "", *PROTOCOLS):
                yield invalid(f"{field}.protocol", "Unknown protocol, only TCP or UDP allowed")
            if not port.name:
                continue
            if port.name in seen:
                yield duplicate(f"{field}.name", f"Duplicate name of the port: {shown(port.name)}")
            if len(port.name) > 15 or PORT_NAME.fullmatch(port.name) is None:
                yield invalid(f"{field}.name", f"Invalid name of the port: {shown(port.name)}")
            seen.add(port.name)
        yield from _port_ranges(path, interface)


def _port_ranges(path: str, interface: Interface) -> Iterator[Cause]:
    field = f"{path}.portRanges"
    if interface.port_ranges and interface.ports:
        yield invalid(field, "Cannot define both ports and portRanges on interface")
    if interface.port_ranges and interface.masquerade is None:
        yield invalid(field, "portRanges are only supported on masquerade interfaces")
    if len(interface.port_ranges) > 10:
        yield invalid(field, "No more than 10 portRanges are allowed")
        return
    spans: dict[str, list[tuple[int, int]]] = {}
    for index, span in enumerate(interface.port_ranges):
        name, fault = _range_fault(span)
        if fault:
            yield invalid(f"{field}[{index}].{name}", fault)
        else:
            spans.setdefault(span.protocol, []).append((span.start, span.end))
    for protocol, found in spans.items():
        for (start, end), (after, last) in pairwise(sorted(found)):
            if after <= end:
                yield invalid(field, f"{protocol} portRanges [{start}-{end}] and [{after}-{last}] overlap")


def _range_fault(span: PortRange) -> tuple[str, str]:
    """The first field that is wrong and why, nothing if none is."""
    if span.protocol not in PROTOCOLS:
        return "protocol", "Unknown protocol, only TCP or UDP allowed"
    for name, word, port in (("start", "Start", span.start), ("end", "End", span.end)):
        if not 0 < port < 65536:
            return name, f"{word} must be a valid port number, 0 < x < 65536"
    return "start", "Start must be less than or equal to end" if span.start > span.end else ""


def states(scope: Scope) -> Iterator[Cause]:
    default = {network.name for network in scope.spec.networks if network.pod is not None}
    for path, interface in scope.interfaces:
        state = interface.state
        field, name = f"{path}.state", shown(interface.name)
        if not state:
            continue
        if state not in STATES:
            yield invalid(field, f"logical {name} interface state value is unsupported: {shown(state)}")
        if state == "absent" and interface.bridge is None:
            yield invalid(field, f'"{name}" interface\'s state "{state}" is supported only for bridge binding')
        if state in {"up", "down"} and interface.sriov is not None:
            yield invalid(field, f'"{name}" interface\'s state "{state}" is not supported for SR-IOV NICs')
        if state == "absent" and interface.name in default:
            yield invalid(field, f'"{name}" interface\'s state "{state}" is not supported on default networks')


def dhcp(scope: Scope) -> Iterator[Cause]:
    for path, interface in scope.interfaces:
        if interface.dhcp_options is None:
            continue
        field = f"{path}.dhcpOptions"
        options = [private.option for private in interface.dhcp_options.private_options]
        if any(option not in PRIVATE_DHCP_OPTIONS for option in options):
            message = "provided DHCPPrivateOptions are out of range, must be in range 224 to 254"
            yield invalid(f"{field}.privateOptions", message)
        if len(set(options)) != len(options):
            message = "Found Duplicates: you have provided duplicate DHCPPrivateOptions"
            yield duplicate(f"{field}.privateOptions", message)
        for index, server in enumerate(interface.dhcp_options.ntp_servers):
            if not _is_ipv4(server):
                message = "NTP servers must be a list of valid IPv4 addresses."
                yield invalid(f"{field}.ntpServers[{index}]", message)


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


RULES: tuple[Rule, ...] = (
    network_types,
    pairs,
    interface_names,
    bindings,
    hardware,
    mac_addresses,
    ports,
    states,
    dhcp,
)
