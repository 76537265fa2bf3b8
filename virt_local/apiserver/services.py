"""Service defaults, cluster IPs and node ports.

Nothing is kept: what is taken is read from the stored Services (and from writes under way), so it can't drift.
"""

from __future__ import annotations

import contextlib
import ipaddress
import random
from collections.abc import Iterator
from typing import Any

from virt_kube.api import Json
from virt_local.apiserver import represent
from virt_local.apiserver.builtins import SERVICE
from virt_local.apiserver.status import invalid, invalid_value, required
from virt_local.store import Store
from virt_types.errors import Cause

CLUSTER_IPS = ipaddress.IPv4Network("127.96.0.0/16")
NODE_PORTS = range(30000, 32768)
_NODE_PORT_TYPES = ("NodePort", "LoadBalancer")


class ServiceAllocator:
    """Gives out addresses and ports. `allocate` holds what it gave until the write is done."""

    def __init__(self, store: Store, network: ipaddress.IPv4Network = CLUSTER_IPS) -> None:
        self._store = store
        self._network = network
        self._held: set[str | int] = set()

    @contextlib.contextmanager
    def allocate(self, service: Json, old: Json | None) -> Iterator[None]:
        """Default the spec and fill in addresses, in place. Raises 422 for one that is taken or out of range."""
        default(service, old)
        problems = [*check(service), *(old_address_change(service["spec"], old.get("spec", {})) if old else ())]
        if problems:
            raise invalid("", "Service", service["metadata"].get("name", ""), problems)
        taken = self._taken(service["metadata"]) | self._held
        given: set[str | int] = set()
        problems = [*self._address(service["spec"], taken, given), *self._ports(service["spec"], taken, given)]
        if problems:
            raise invalid("", "Service", service["metadata"].get("name", ""), problems)
        self._held |= given
        try:
            yield
        finally:
            self._held -= given

    def _taken(self, besides: Json) -> set[str | int]:
        taken: set[str | int] = set()
        for key, record in self._store.objects(SERVICE.stored_as):
            if (key.namespace, key.name) == (besides.get("namespace"), besides.get("name")):
                continue
            spec = represent.decode(record.value).get("spec", {})
            taken.add(spec.get("clusterIP", ""))
            taken.update(port["nodePort"] for port in spec.get("ports", ()) if port.get("nodePort"))
        return taken

    def _address(self, spec: Json, taken: set[str | int], given: set[str | int]) -> list[Cause]:
        address = spec.get("clusterIP", "")
        if spec["type"] == "ExternalName" or address == "None":
            return []
        if not address:
            address = self._free_address(taken)
        elif (why := self._refusal(address, taken)) is not None:
            return [invalid_value("spec.clusterIPs", [address], f"failed to allocate IP {address}: {why}")]
        spec["clusterIP"], spec["clusterIPs"] = address, [address]
        given.add(address)
        return []

    def _free_address(self, taken: set[str | int]) -> str:
        size = self._network.num_addresses
        while True:
            address = str(self._network[random.randrange(1, size - 1)])  # noqa: S311  spread, not secrecy
            if address not in taken:
                return address

    def _refusal(self, address: str, taken: set[str | int]) -> str | None:
        if address in taken:
            return "provided IP is already allocated"
        try:
            inside = ipaddress.IPv4Address(address) in self._network
        except ValueError:
            return "not a valid IPv4 address"
        edge = address in (str(self._network.network_address), str(self._network.broadcast_address))
        if inside and not edge:
            return None
        return f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {self._network}"

    def _ports(self, spec: Json, taken: set[str | int], given: set[str | int]) -> list[Cause]:
        found: list[Cause] = []
        if spec["type"] not in _NODE_PORT_TYPES:
            for port in spec.get("ports", ()):
                port.pop("nodePort", None)
            return found
        for index, port in enumerate(spec.get("ports", ())):
            wanted = port.get("nodePort")
            field = f"spec.ports[{index}].nodePort"
            if wanted and wanted not in NODE_PORTS:
                text = "provided port is not in the valid range. The range of valid ports is 30000-32767"
                found.append(invalid_value(field, wanted, text))
            elif wanted and (wanted in taken or wanted in given):
                found.append(invalid_value(field, wanted, "provided port is already allocated"))
            else:
                free = [number for number in NODE_PORTS if number not in taken and number not in given]
                if not wanted and not free:
                    found.append(invalid_value(field, 0, "no node port is free in 30000-32767"))
                    continue
                port["nodePort"] = wanted or random.choice(free)  # noqa: S311
                given.add(port["nodePort"])
        return found


def default(service: Json, old: Json | None) -> None:
    spec = service.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] == "ExternalName":
        del spec["internalTrafficPolicy"]
    else:
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
    if spec["type"] in _NODE_PORT_TYPES:
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    if spec.get("clusterIP") == "None":
        spec["clusterIPs"] = ["None"]
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, "", 0):
            port["targetPort"] = port.get("port")
    if old is None:
        service["status"] = {"loadBalancer": {}}
    else:
        _keep_allocated(spec, old.get("spec", {}))


def _keep_allocated(spec: Json, old: Json) -> None:
    """An update that omits what was allocated keeps it."""
    if spec["type"] == "ExternalName":
        return
    if not spec.get("clusterIP") and old.get("clusterIP"):
        spec["clusterIP"], spec["clusterIPs"] = old["clusterIP"], list(old.get("clusterIPs", [old["clusterIP"]]))
    if spec["type"] not in _NODE_PORT_TYPES:
        return
    node_ports = {_port_identity(port): port["nodePort"] for port in old.get("ports", ()) if port.get("nodePort")}
    for port in spec.get("ports") or ():
        if not port.get("nodePort") and _port_identity(port) in node_ports:
            port["nodePort"] = node_ports[_port_identity(port)]


def _port_identity(port: Json) -> tuple[Any, Any]:
    return port.get("port"), port.get("protocol", "TCP")


def check(service: Json) -> list[Cause]:
    spec, found = service["spec"], []
    ports = spec.get("ports") or []
    if not ports and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        found.append(required("spec.ports"))
    if spec["type"] == "ExternalName" and not spec.get("externalName"):
        found.append(invalid_value("spec.externalName", "", "a lowercase RFC 1123 subdomain must be given"))
    for index, port in enumerate(ports):
        number = port.get("port")
        if not isinstance(number, int) or not 0 < number < 65536:
            found.append(
                invalid_value(f"spec.ports[{index}].port", number or 0, "must be between 1 and 65535, inclusive")
            )
        if len(ports) > 1 and not port.get("name"):
            found.append(required(f"spec.ports[{index}].name"))
    return found


def old_address_change(spec: Json, old: Json) -> list[Cause]:
    """A cluster IP may be given up with the type, never exchanged."""
    before, after = old.get("clusterIP", ""), spec.get("clusterIP", "")
    if before and after and before != after and spec.get("type") != "ExternalName":
        return [invalid_value("spec.clusterIPs[0]", [after], "may not change once set")]
    return []
