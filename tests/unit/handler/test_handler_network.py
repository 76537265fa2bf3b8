"""Networks and addresses of guests, against a libvirt that exists in memory only."""

# ruff: noqa: N802, S314  libvirt's own names; XML of our own
from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any, TypeVar
from xml.etree import ElementTree as ET

import libvirt
import pytest

from virt_handler import addresses, network
from virt_handler.errors import NetworkError
from virt_handler.libvirt_errors import mapped
from virt_handler.model import NicSource
from virt_handler.network import Network
from virt_handler.records import Lease
from virt_types.codec import from_builtins
from virt_types.v1 import VirtualMachineInstance

T = TypeVar("T")
MAC = "52:54:00:00:00:01"
ADD, DELETE = libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE
NO_ADDRESSES = "<network><name>vt</name><forward mode='bridge'/><bridge name='br0'/></network>"


class FakeError(libvirt.libvirtError):
    def __init__(self, code: int, text: str) -> None:
        Exception.__init__(self, text)
        self.err = (code, libvirt.VIR_FROM_NETWORK, text, 2, "", "", "", -1, -1)


class FakeNetwork:
    def __init__(self, owner: FakeLibvirt, xml: str) -> None:
        self.root, self.active, self.autostart, self._owner = ET.fromstring(xml), False, 0, owner
        self.updates: list[tuple[int, str, str, int]] = []
        self.leases: list[str] = []

    @property
    def name(self) -> str:
        return self.root.findtext("name", "")

    def XMLDesc(self) -> str:
        return ET.tostring(self.root, encoding="unicode")

    def isActive(self) -> bool:
        return self.active

    def create(self) -> None:
        if self._owner.refuses:
            raise FakeError(libvirt.VIR_ERR_INTERNAL_ERROR, self._owner.refuses)
        self.active = True

    def undefine(self) -> None:
        del self._owner.networks[self.name]

    def setAutostart(self, value: int) -> None:
        self.autostart = value

    def DHCPLeases(self) -> list[dict[str, str]]:
        return [{"mac": mac, "ipaddr": ""} for mac in self.leases]

    def update(self, command: int, section: int, index: int, xml: str, flags: int) -> None:
        assert (section, index) == (libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST, -1)
        host, dhcp = ET.fromstring(xml), self.root.find("ip/dhcp")
        assert dhcp is not None
        if command == ADD:
            dhcp.append(host)
        else:
            dhcp.remove(next(each for each in dhcp.findall("host") if each.attrib == host.attrib))
        self.updates.append((command, host.get("mac", ""), host.get("ip", ""), flags))


class FakeLibvirt:
    """As `LibvirtHost` and as the connection it hands to its callers."""

    def __init__(self) -> None:
        self.session = False
        self.networks: dict[str, FakeNetwork] = {}
        self.refuses = ""

    async def call(self, doing: str, function: Callable[[Any], T]) -> T:
        try:
            return function(self)
        except libvirt.libvirtError as error:
            raise mapped(error, doing) from None

    def networkLookupByName(self, name: str) -> FakeNetwork:
        if name not in self.networks:
            raise FakeError(libvirt.VIR_ERR_NO_NETWORK, f"no network with matching name '{name}'")
        return self.networks[name]

    def networkDefineXML(self, xml: str) -> FakeNetwork:
        found = FakeNetwork(self, xml)
        self.networks[found.name] = found
        return found

    def listAllNetworks(self) -> list[FakeNetwork]:
        return list(self.networks.values())


class World:
    def __init__(self) -> None:
        self.libvirt = FakeLibvirt()
        self.told: list[str] = []
        self.recorded: list[str] = []
        self.nets = Network(self.libvirt, "vt", "vt0", self.tell, lambda: self.recorded)  # type: ignore[arg-type]

    def tell(self, _vmi: VirtualMachineInstance, reason: str, _message: str) -> None:
        self.told.append(reason)

    async def connect(self, mac: str, leases: dict[str, Lease] | None = None) -> Lease:
        _, found = await self.nets.connect(vmi(mac), leases or {})
        return found["default"]

    @property
    def network(self) -> FakeNetwork:
        return self.libvirt.networks["vt"]

    @property
    def subnet(self) -> ipaddress.IPv4Network:
        subnet = addresses.read_network(self.network.XMLDesc()).subnet
        assert subnet is not None
        return subnet

    def fill(self) -> list[str]:
        """Reserve every address that is left; the MACs they are reserved for."""
        hosts = addresses.read_network(self.network.XMLDesc()).hosts
        macs = []
        for number in range(1000):
            mac = f"52:54:00:ff:{number >> 8:02x}:{number & 255:02x}"
            try:
                hosts[mac] = addresses.choose_address(mac, self.subnet, hosts.values())
            except NetworkError:
                break
            macs.append(mac)
        dhcp = self.network.root.find("ip/dhcp")
        assert dhcp is not None
        dhcp.extend(ET.fromstring(addresses.reservation_xml(mac, hosts[mac])) for mac in macs)
        return macs


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(network, "_routes", list)
    return World()


def vmi(*macs: str, uid: str = "1") -> VirtualMachineInstance:
    names = [f"net{number}" if number else "default" for number in range(len(macs))]
    interfaces = [
        {"name": name, "masquerade": {}} | ({"macAddress": mac} if mac else {})
        for name, mac in zip(names, macs, strict=True)
    ]
    body = {"metadata": {"uid": uid}, "spec": {"domain": {"devices": {"interfaces": interfaces}}}}
    return from_builtins(body, VirtualMachineInstance)


async def test_the_network_is_made_once_and_started(world: World) -> None:
    await world.nets.ensure()
    made = world.network
    assert (made.active, made.autostart) == (True, 1)
    made.active = False  # after a reboot of a host whose libvirt starts nothing
    await world.nets.ensure()
    assert (world.network, made.active) == (made, True)


async def test_the_subnet_is_nobody_elses(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (f"192.168.{octet}.0/24" for octet in addresses.THIRD_OCTETS[:3])
    monkeypatch.setattr(network, "_routes", lambda: [ipaddress.IPv4Network(first)])
    # An inactive network has no route, and takes its subnet as soon as it is started.
    world.libvirt.networkDefineXML(addresses.network_xml("other", "other0", ipaddress.IPv4Network(second)))
    world.libvirt.networkDefineXML(NO_ADDRESSES.replace("vt", "bridged"))
    await world.nets.ensure()
    assert str(world.subnet) == third


async def test_a_network_that_does_not_start_is_not_left_with_its_subnet(world: World) -> None:
    world.libvirt.refuses = "internal error: Network is already in use by interface eth0"
    with pytest.raises(NetworkError, match="network vt can't be started: internal error: Network is already in use"):
        await world.nets.ensure()
    assert world.libvirt.networks == {}


async def test_a_users_own_network_that_does_not_start_is_left(world: World) -> None:
    world.libvirt.networkDefineXML(NO_ADDRESSES)
    world.libvirt.refuses = "no bridge"
    with pytest.raises(NetworkError):
        await world.nets.ensure()
    assert "vt" in world.libvirt.networks


async def test_an_address_is_reserved_once_and_kept(world: World) -> None:
    first = await world.connect(MAC)
    assert ipaddress.ip_address(first.ip) in world.subnet
    assert world.network.updates == [(ADD, MAC, first.ip, network.BOTH)]
    # The same machine again: another VMI, no record, and the agent may have been another one.
    assert await world.connect(MAC) == first
    assert len(world.network.updates) == 1


async def test_macs_are_one_whatever_their_spelling(world: World) -> None:
    lower = await world.connect("52:54:00:ab:cd:ef")
    assert await world.connect("52-54-00-AB-CD-EF") == lower


async def test_a_vmi_without_macs_keeps_the_ones_it_was_given(world: World) -> None:
    nics, leases = await world.nets.connect(vmi("", ""), {})
    assert nics["net1"] == NicSource("network", "vt", leases["net1"].mac)
    assert leases["default"].mac != leases["net1"].mac
    assert leases["default"].ip != leases["net1"].ip
    given = {"default": Lease("52:54:00:12:34:56"), "net1": leases["net1"]}
    _, kept = await world.nets.connect(vmi("", ""), given)
    assert (kept["default"].mac, kept["net1"]) == ("52:54:00:12:34:56", leases["net1"])


async def test_only_an_idle_reservation_is_taken_back_and_only_when_none_is_left(world: World) -> None:
    running = await world.connect(MAC)
    macs = world.fill()
    # Nobody is idle: one more guest is refused, and nothing has been touched.
    before = world.network.XMLDesc()
    world.recorded, world.network.leases = [MAC, *macs[::2]], macs[1::2]
    with pytest.raises(NetworkError, match="no address is left"):
        await world.connect("52:54:00:00:00:99")
    assert world.network.XMLDesc() == before
    # One guest has ended: no record and no lease names it any more.
    idle = macs[7]
    world.network.leases.remove(idle)
    hosts = addresses.read_network(world.network.XMLDesc()).hosts
    late = await world.connect("52:54:00:00:00:99")
    assert late.ip == hosts[idle]
    assert [update[:3] for update in world.network.updates[-2:]] == [
        (DELETE, idle, late.ip),
        (ADD, "52:54:00:00:00:99", late.ip),
    ]
    assert await world.connect(MAC) == running


async def test_no_guest_gets_the_address_of_the_network_itself(world: World) -> None:
    """A network of the user's own may have its address anywhere, not only at .1."""
    subnet = ipaddress.IPv4Network("10.7.0.0/24")
    first_choice = addresses.choose_address(MAC, subnet, ())
    xml = addresses.network_xml("vt", "vt0", subnet).replace('"10.7.0.1"', f'"{first_choice}"')
    world.libvirt.networkDefineXML(xml)
    assert (await world.connect(MAC)).ip not in {"", first_choice}


async def test_a_network_without_addresses_gives_none(world: World) -> None:
    world.libvirt.networkDefineXML(NO_ADDRESSES)
    assert await world.connect(MAC) == Lease(MAC)
    assert world.network.updates == []


async def test_a_session_has_user_mode_only_and_says_so(world: World) -> None:
    world.libvirt.session = True
    nics, leases = await world.nets.connect(vmi(MAC), {})
    assert (nics, leases) == ({"default": NicSource("user", mac=MAC)}, {"default": Lease(MAC)})
    assert world.told == ["UserModeNetwork"]
    await world.nets.ensure()
    assert world.libvirt.networks == {}


async def test_a_vmi_without_interfaces_needs_no_network(world: World) -> None:
    assert await world.nets.connect(vmi(), {}) == ({}, {})
    assert world.libvirt.networks == {}


async def test_failure_at_the_agents_start_is_left_to_the_first_guest(world: World) -> None:
    world.libvirt.refuses = "no"
    await network.start(world.nets)
    with pytest.raises(NetworkError):
        await world.connect(MAC)
