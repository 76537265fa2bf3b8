"""The guest's interfaces and the networks they are plugged into.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Int32


class ClaimRequest(Base, kw_only=True):
    """One request of a resource claim."""

    claim_name: str | None = None
    request_name: str | None = None


class Port(Base, kw_only=True):
    """A port and its protocol (TCP when left out)."""

    name: str | None = None
    port: Int32 = field(default_factory=int)
    protocol: str | None = None


class PortRange(Base, kw_only=True):
    """A range of ports."""

    end: Int32 = field(default_factory=int)
    protocol: str = field(default_factory=str)
    start: Int32 = field(default_factory=int)


class DHCPPrivateOptions(Base, kw_only=True):
    """A DHCP option from 224 to 254."""

    option: Int32 = field(default_factory=int)
    value: str = field(default_factory=str)


class DHCPOptions(Base, kw_only=True):
    """What DHCP tells the guest."""

    boot_file_name: str | None = None
    ntp_servers: list[str] = field(default_factory=list)
    private_options: list[DHCPPrivateOptions] = field(default_factory=list)
    tftp_server_name: str | None = None


class PluginBinding(Base, kw_only=True):
    """The guest is connected by a plug-in."""

    name: str = field(default_factory=str)


class InterfaceBridge(Base, kw_only=True):
    """The guest takes over the address of the network."""


class InterfaceMasquerade(Base, kw_only=True):
    """The guest is behind address translation."""


class InterfacePasstBinding(Base, kw_only=True):
    """The guest is connected by passt, in user mode."""


class InterfaceSRIOV(Base, kw_only=True):
    """The guest gets a virtual function of a network card."""


class DeprecatedInterfaceMacvtap(Base, kw_only=True):
    """Discontinued."""


class DeprecatedInterfacePasst(Base, kw_only=True):
    """Discontinued."""


class DeprecatedInterfaceSlirp(Base, kw_only=True):
    """Discontinued."""


class Interface(Base, kw_only=True):
    """A network interface and how it is connected to its network."""

    name: str = field(default_factory=str)
    acpi_index: Int32 | None = None
    binding: PluginBinding | None = None
    boot_order: Int32 | None = None
    bridge: InterfaceBridge | None = None
    dhcp_options: DHCPOptions | None = None
    mac_address: str | None = None
    macvtap: DeprecatedInterfaceMacvtap | None = None
    masquerade: InterfaceMasquerade | None = None
    model: str | None = None
    passt: DeprecatedInterfacePasst | None = None
    passt_binding: InterfacePasstBinding | None = None
    pci_address: str | None = None
    port_ranges: list[PortRange] = field(default_factory=list)
    ports: list[Port] = field(default_factory=list)
    slirp: DeprecatedInterfaceSlirp | None = None
    sriov: InterfaceSRIOV | None = None
    state: str | None = None
    tag: str | None = None


class MultusNetwork(Base, kw_only=True):
    """A network from a NetworkAttachmentDefinition."""

    default: bool | None = None
    network_name: str = field(default_factory=str)


class PodNetwork(Base, kw_only=True):
    """The default network."""

    vm_ipv6_network_cidr: str | None = field(default=None, name="vmIPv6NetworkCIDR")
    vm_network_cidr: str | None = field(default=None, name="vmNetworkCIDR")


class VirtualMachineInstanceResourceClaim(Base, kw_only=True):
    """A claim of dynamic resource allocation."""

    name: str = field(default_factory=str)
    resource_claim_name: str | None = None
    resource_claim_template_name: str | None = None


class Network(Base, kw_only=True):
    """What an interface is plugged into."""

    name: str = field(default_factory=str)
    multus: MultusNetwork | None = None
    pod: PodNetwork | None = None
    resource_claim: ClaimRequest | None = None
