"""Which guests are behind a Service, and where it listens: pure functions over Services and VMIs.

`virt_local.service_proxy` keeps sockets and Endpoints objects to what is decided here. The types hold only the fields
that matter for this, so that watching every VMI costs little.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import field

from virt_kube.api import Json
from virt_local.forward import Backend
from virt_types.meta import Base, ObjectMeta

NODE_ADDRESS = "127.0.0.1"


class ServicePort(Base, kw_only=True):
    name: str = ""
    protocol: str = "TCP"
    port: int = 0
    target_port: int | str = 0
    node_port: int = 0


class ServiceSpec(Base, kw_only=True):
    type: str = "ClusterIP"
    cluster_ip: str = field(default="", name="clusterIP")
    selector: dict[str, str] = field(default_factory=dict)
    ports: list[ServicePort] = field(default_factory=list)
    publish_not_ready_addresses: bool = False


class Service(Base, kw_only=True):
    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: ServiceSpec = field(default_factory=ServiceSpec)


class _GuestPort(Base, kw_only=True):
    name: str = ""
    protocol: str = "TCP"
    port: int = 0


class _GuestInterface(Base, kw_only=True):
    ports: list[_GuestPort] = field(default_factory=list)


class _Devices(Base, kw_only=True):
    interfaces: list[_GuestInterface] = field(default_factory=list)


class _Domain(Base, kw_only=True):
    devices: _Devices = field(default_factory=_Devices)


class _GuestSpec(Base, kw_only=True):
    domain: _Domain = field(default_factory=_Domain)


class _Address(Base, kw_only=True):
    ip_address: str = ""


class _Condition(Base, kw_only=True):
    type: str = ""
    status: str = ""
    message: str = ""


class _GuestStatus(Base, kw_only=True):
    phase: str = ""
    node_name: str = ""
    interfaces: list[_Address] = field(default_factory=list)
    conditions: list[_Condition] = field(default_factory=list)


class Guest(Base, kw_only=True):
    """What a Service needs to know of a VMI."""

    api_version: str | None = None
    kind: str | None = None
    metadata: ObjectMeta = field(default_factory=ObjectMeta)
    spec: _GuestSpec = field(default_factory=_GuestSpec)
    status: _GuestStatus = field(default_factory=_GuestStatus)

    @property
    def address(self) -> str:
        return self.status.interfaces[0].ip_address if self.status.interfaces else ""

    @property
    def ready(self) -> bool:
        unready = any(each.type == "Ready" and each.status != "True" for each in self.status.conditions)
        return self.status.phase == "Running" and not unready and not self.metadata.deletion_timestamp

    @property
    def unreachable(self) -> str:
        """Why no address leads to it, in the node agent's words; "" when one does or may come."""
        found = (each.message for each in self.status.conditions if each.type == "NetworkReachable")
        return next((text for text in found if self.status.phase == "Running"), "")


class Listen(NamedTuple):
    address: str
    port: int
    protocol: str


def selected(service: Service, guests: Iterable[Guest]) -> list[Guest]:
    """The guests behind a Service that have an address, oldest name first."""
    return [guest for guest in meant(service, guests) if guest.address and guest.status.phase == "Running"]


def meant(service: Service, guests: Iterable[Guest]) -> list[Guest]:
    """The guests a Service selects, however they are, by name; a Service without selector means none."""
    wanted = service.spec.selector.items()
    found = [
        guest
        for guest in guests
        if wanted and guest.metadata.namespace == service.metadata.namespace and wanted <= guest.metadata.labels.items()
    ]
    return sorted(found, key=lambda guest: guest.metadata.name)


def target_port(port: ServicePort, guest: Guest) -> int | None:
    """The guest's port: a number, or the name of a port of its interfaces."""
    wanted = port.target_port or port.port
    if isinstance(wanted, int):
        return wanted
    if wanted.isdigit():
        return int(wanted)
    for interface in guest.spec.domain.devices.interfaces:
        for each in interface.ports:
            if each.name == wanted and each.protocol.upper() == port.protocol:
                return each.port
    return None


def plan(services: Iterable[Service], guests: Iterable[Guest]) -> dict[Listen, tuple[Backend, ...]]:
    """Who listens where for whom; only addresses that lead to a ready guest."""
    guests = list(guests)
    wanted: dict[Listen, tuple[Backend, ...]] = {}
    for service in services:
        behind = selected(service, guests)
        ready = behind if service.spec.publish_not_ready_addresses else [guest for guest in behind if guest.ready]
        for port in service.spec.ports:
            backends = tuple(
                Backend(guest.metadata.uid, guest.address, number)
                for guest in ready
                if (number := target_port(port, guest)) is not None
            )
            if backends:
                wanted |= dict.fromkeys(_listens(service, port), backends)
    return wanted


def _listens(service: Service, port: ServicePort) -> list[Listen]:
    found = []
    if service.spec.cluster_ip not in {"", "None"}:
        found.append(Listen(service.spec.cluster_ip, port.port, port.protocol))
    if port.node_port:
        found.append(Listen(NODE_ADDRESS, port.node_port, port.protocol))
    return found


def subsets(service: Service, guests: Iterable[Guest]) -> list[Json]:
    """The subsets of the Service's Endpoints, one per port (named target ports may differ between guests)."""
    behind = selected(service, guests)
    found = []
    for port in service.spec.ports:
        groups: dict[int, tuple[list[Json], list[Json]]] = {}
        for guest in behind:
            number = target_port(port, guest)
            if number is not None:
                ready = guest.ready or service.spec.publish_not_ready_addresses
                groups.setdefault(number, ([], []))[0 if ready else 1].append(_endpoint_address(guest))
        for number, (ready_ones, others) in groups.items():
            subset: Json = {"ports": [{"port": number, "protocol": port.protocol}]}
            if port.name:
                subset["ports"][0]["name"] = port.name
            if ready_ones:
                subset["addresses"] = ready_ones
            if others:
                subset["notReadyAddresses"] = others
            found.append(subset)
    return found


def _endpoint_address(guest: Guest) -> Json:
    meta = guest.metadata
    about = {"kind": "VirtualMachineInstance", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid}
    address: Json = {"ip": guest.address, "targetRef": about}
    if guest.status.node_name:
        address["nodeName"] = guest.status.node_name
    return address
