"""The guest's interfaces and the networks they are plugged into.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Int32


class ClaimRequest(Base, kw_only=True):
    """One request of a resource claim."""

    claim_name: str | None = None
    """A resource claim of spec.resourceClaims."""
    request_name: str | None = None
    """The request within the resource claim."""


class Port(Base, kw_only=True):
    """A port and its protocol (TCP when left out)."""

    name: str | None = None
    """What Services can call it by; unique within the guest."""
    port: Int32 = field(default_factory=int)
    """1 to 65535."""
    protocol: str | None = None
    """TCP (default) or UDP."""


class PortRange(Base, kw_only=True):
    """A range of ports."""

    end: Int32 = field(default_factory=int)
    """The last port; not before start."""
    protocol: str = field(default_factory=str)
    """TCP or UDP."""
    start: Int32 = field(default_factory=int)
    """The first port, 1 to 65535."""


class DHCPPrivateOptions(Base, kw_only=True):
    """A DHCP option from 224 to 254."""

    option: Int32 = field(default_factory=int)
    """A number from 224 to 254."""
    value: str = field(default_factory=str)
    """The option's value."""


class DHCPOptions(Base, kw_only=True):
    """What DHCP tells the guest."""

    boot_file_name: str | None = None
    """Option 67: the file to boot from the network."""
    ntp_servers: list[str] = field(default_factory=list)
    """Option 42: IPv4 addresses of time servers."""
    private_options: list[DHCPPrivateOptions] = field(default_factory=list)
    """Options 224 to 254."""
    tftp_server_name: str | None = None
    """Option 66: the server that has that file."""


class PluginBinding(Base, kw_only=True):
    """The guest is connected by a plug-in."""

    name: str = field(default_factory=str)
    """The plug-in, as the cluster's configuration names it."""


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
    """The network it is plugged into, by its name."""
    acpi_index: Int32 | None = None
    """Names the interface in the guest (eno1 for 1), wherever its PCI address is."""
    binding: PluginBinding | None = None
    boot_order: Int32 | None = None
    """1 is tried first; counted together with the disks."""
    bridge: InterfaceBridge | None = None
    dhcp_options: DHCPOptions | None = None
    mac_address: str | None = None
    """Chosen when the machine is created, and kept."""
    macvtap: DeprecatedInterfaceMacvtap | None = None
    masquerade: InterfaceMasquerade | None = None
    model: str | None = None
    """virtio (default), e1000, e1000e, igb, ne2k_pci, pcnet or rtl8139."""
    passt: DeprecatedInterfacePasst | None = None
    passt_binding: InterfacePasstBinding | None = None
    pci_address: str | None = None
    """Where the guest finds it, such as 0000:81:01.0."""
    port_ranges: list[PortRange] = field(default_factory=list)
    """Ranges of ports let through to a masqueraded guest."""
    ports: list[Port] = field(default_factory=list)
    """Ports let through to a masqueraded guest; all when left out."""
    slirp: DeprecatedInterfaceSlirp | None = None
    sriov: InterfaceSRIOV | None = None
    state: str | None = None
    """up, down or absent (unplugged)."""
    tag: str | None = None
    """Told to the guest with the interface's address, by cloud-init's config drive."""


class MultusNetwork(Base, kw_only=True):
    """A network from a NetworkAttachmentDefinition."""

    default: bool | None = None
    """Takes the place of the default network; default false."""
    network_name: str = field(default_factory=str)
    """The NetworkAttachmentDefinition: NAME, or NAMESPACE/NAME."""


class PodNetwork(Base, kw_only=True):
    """The default network."""

    vm_ipv6_network_cidr: str | None = field(default=None, name="vmIPv6NetworkCIDR")
    """The guest's IPv6 range behind masquerade; default fd10:0:2::/120."""
    vm_network_cidr: str | None = field(default=None, name="vmNetworkCIDR")
    """The guest's range behind masquerade, such as 10.0.2.0/24."""


class VirtualMachineInstanceResourceClaim(Base, kw_only=True):
    """A claim of dynamic resource allocation."""

    name: str = field(default_factory=str)
    """Unique within the guest; GPUs and host devices refer to it."""
    resource_claim_name: str | None = None
    """A ResourceClaim that exists; this or the template."""
    resource_claim_template_name: str | None = None
    """A template that a claim is made from for each start."""


class Network(Base, kw_only=True):
    """What an interface is plugged into."""

    name: str = field(default_factory=str)
    """Unique within the guest; its interface has the same name."""
    multus: MultusNetwork | None = None
    pod: PodNetwork | None = None
    resource_claim: ClaimRequest | None = None
