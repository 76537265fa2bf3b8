"""How a guest's interfaces are connected: to our own NAT network with a reserved address, or by QEMU's user mode.

For `qemu:///system` the address is reserved before the guest boots, so it is known at once. Like a DHCP lease the
reservation outlives the guest: a machine comes back with the same address, and libvirt, which reloads the network's
firewall (a third of a second) at each change, is told only once. Reservations nobody uses are taken back when addresses
run out. Bridge and masquerade bindings both get it: one machine has no pod network to tell them apart. A
session daemon can't make networks: its guests reach out, but nothing reaches them, and an event says so. Used by
`launch`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import libvirt

from virt_handler import addresses
from virt_handler.errors import HandlerError, NetworkError
from virt_handler.libvirt_host import LibvirtHost
from virt_handler.model import NicSource
from virt_handler.records import Lease
from virt_types.v1 import Interface, VirtualMachineInstance

log = logging.getLogger("virt_handler.network")

ROUTES = Path("/proc/net/route")
BOTH = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE | libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG
USER_MODE = "interface {name} is connected in user mode: the guest reaches out, but nothing reaches the guest"


class Network:
    """The libvirt network `name`; made with `bridge` when it is missing. `in_use` gives the MACs of our own guests."""

    def __init__(
        self,
        libvirt_host: LibvirtHost,
        name: str,
        bridge: str,
        tell: Callable[[VirtualMachineInstance, str, str], None],
        in_use: Callable[[], Iterable[str]],
    ) -> None:
        self._libvirt = libvirt_host
        self._name = name
        self._bridge = bridge
        self._tell = tell
        self._in_use = in_use
        self._lock = asyncio.Lock()  # choosing an address and reserving it is one step

    async def connect(
        self, vmi: VirtualMachineInstance, leases: dict[str, Lease]
    ) -> tuple[dict[str, NicSource], dict[str, Lease]]:
        """Sources and leases by interface name; leases the VMI already has are kept."""
        interfaces = vmi.spec.domain.devices.interfaces
        if not interfaces:
            return {}, {}
        macs = {spec.name: _mac(vmi, spec, leases) for spec in interfaces}
        if self._libvirt.session:
            for spec in interfaces:
                self._tell(vmi, "UserModeNetwork", USER_MODE.format(name=spec.name))
            nics = {name: NicSource("user", mac=mac) for name, mac in macs.items()}
            return nics, {name: Lease(mac) for name, mac in macs.items()}
        async with self._lock:
            ips = await self._libvirt.call("reserve addresses", lambda connection: self._reserve(connection, macs))
        nics = {name: NicSource("network", self._name, mac) for name, mac in macs.items()}
        return nics, {name: Lease(mac, ips.get(name, "")) for name, mac in macs.items()}

    async def ensure(self) -> None:
        """Have the network run; raises NetworkError."""
        if not self._libvirt.session:
            async with self._lock:
                await self._libvirt.call(f"start network {self._name}", self._open)

    # In libvirt's threads.

    def _open(self, connection: Any) -> Any:
        made = False
        try:
            network = connection.networkLookupByName(self._name)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_NETWORK:
                raise
            network, made = self._define(connection), True
        if not network.isActive():
            try:
                network.create()
            except libvirt.libvirtError as error:
                if made:  # the next attempt shall choose again: somebody may have taken the subnet meanwhile
                    network.undefine()
                raise NetworkError(
                    f"network {self._name} can't be started: {error.get_error_message()}",
                    hint=f"virsh net-dumpxml {self._name} shows it and its bridge; --network chooses another",
                ) from None
        return network

    def _define(self, connection: Any) -> Any:
        others = (addresses.read_network(network.XMLDesc()).subnet for network in connection.listAllNetworks())
        subnet = addresses.choose_subnet([*_routes(), *(other for other in others if other is not None)])
        network = connection.networkDefineXML(addresses.network_xml(self._name, self._bridge, subnet))
        network.setAutostart(1)
        log.info("network made name=%s bridge=%s subnet=%s", self._name, self._bridge, subnet)
        return network

    def _reserve(self, connection: Any, macs: dict[str, str]) -> dict[str, str]:
        network = self._open(connection)
        found = addresses.read_network(network.XMLDesc())
        subnet, hosts = found.subnet, found.hosts
        if subnet is None:
            return {}  # a network of the user's own, without addresses to give
        result = {}
        for name, mac in macs.items():
            if mac not in hosts:
                hosts[mac] = self._choose(network, mac, subnet, found)
                self._update(network, libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, mac, hosts[mac])
            result[name] = hosts[mac]
        return result

    def _choose(self, network: Any, mac: str, subnet: ipaddress.IPv4Network, found: addresses.Reservations) -> str:
        leases = network.DHCPLeases()
        # A guest that is gone holds its lease until it ends; dnsmasq refuses the address to anybody else so long.
        held = {lease["ipaddr"] for lease in leases if lease["mac"] != mac}
        with contextlib.suppress(NetworkError):
            return addresses.choose_address(mac, subnet, held | found.taken)
        try:
            return addresses.choose_address(mac, subnet, found.taken)
        except NetworkError:
            # Another agent's guests hold a DHCP lease at least; ours are in the records even before they boot.
            leased = {lease["mac"] for lease in leases}
            idle = next(iter(found.hosts.keys() - leased - set(self._in_use()) - {mac}), None)
            if idle is None:
                raise
            log.info("reservation taken back network=%s mac=%s address=%s", self._name, idle, found.hosts[idle])
            self._update(network, libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, idle, found.hosts.pop(idle))
            return addresses.choose_address(mac, subnet, found.taken)

    def _update(self, network: Any, command: int, mac: str, ip: str) -> None:
        flags = BOTH if network.isActive() else libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG
        section = libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST
        network.update(command, section, -1, addresses.reservation_xml(mac, ip), flags)


def _routes() -> list[Any]:
    try:
        return list(addresses.read_routes(ROUTES.read_text()))
    except OSError as error:
        raise NetworkError(f"can't read {ROUTES}: {error.strerror}") from None


def _mac(vmi: VirtualMachineInstance, spec: Interface, leases: dict[str, Lease]) -> str:
    if spec.mac_address:
        return spec.mac_address.lower().replace("-", ":")
    return leases[spec.name].mac if spec.name in leases else addresses.stable_mac(vmi.metadata.uid, spec.name)


async def start(network: Network) -> None:
    """Bring the network up early; a failure shows again, to its owner, with the first guest."""
    try:
        await network.ensure()
    except HandlerError as error:
        log.warning("network not ready error=%s", error)
