"""Cluster IPs and node ports.

Nothing is kept: what is taken is read from the stored Services (and from writes under way), so it can't drift.
"""

from __future__ import annotations

import contextlib
import ipaddress
import random
from collections.abc import Iterator

from virt_kube.api import Json
from virt_local.apiserver import represent
from virt_local.apiserver.builtins import SERVICE
from virt_local.apiserver.kinds import services as rules
from virt_local.apiserver.status import invalid, invalid_value
from virt_local.store import Store
from virt_types.errors import Cause

CLUSTER_IPS = ipaddress.IPv4Network("127.96.0.0/16")
NODE_PORTS = range(30000, 32768)


class ServiceAllocator:
    """Gives out addresses and ports. `allocate` holds what it gave until the write is done."""

    def __init__(self, store: Store, network: ipaddress.IPv4Network = CLUSTER_IPS) -> None:
        self._store = store
        self._network = network
        self._held: set[str | int] = set()

    @contextlib.contextmanager
    def allocate(self, service: Json, old: Json | None, *, dry_run: bool = False) -> Iterator[None]:
        """Fill in addresses, in place. Raises 422 for one that is taken or out of range.

        A dry run is given free ones, and is not told what a real write would be refused for.
        """
        spec = service["spec"]
        if old is not None:
            rules.keep_or_drop(spec, old["spec"])
        else:
            rules.pair_new(spec)
        self._require(service, rules.causes(spec, old["spec"] if old else None) or rules.families(spec))
        taken = self._taken(service["metadata"]) | self._held
        given: set[str | int] = set()
        problems = [*self._address(spec, taken, given), *self._ports(spec, taken, given)]
        if not dry_run:
            self._require(service, problems)
        self._held |= given
        try:
            yield
        finally:
            self._held -= given

    def _require(self, service: Json, problems: list[Cause]) -> None:
        if problems:
            raise invalid("", "Service", service["metadata"].get("name", ""), problems)

    def _taken(self, besides: Json) -> set[str | int]:
        taken: set[str | int] = set()
        for key, record in self._store.objects(SERVICE.stored_as):
            if (key.namespace, key.name) == (besides.get("namespace"), besides.get("name")):
                continue
            spec = represent.decode(record.value).get("spec", {})
            taken.add(spec.get("clusterIP", ""))
            taken.update(port["nodePort"] for port in spec.get("ports", ()) if port.get("nodePort"))
            taken.add(spec.get("healthCheckNodePort", 0))
        return taken

    def _address(self, spec: Json, taken: set[str | int], given: set[str | int]) -> list[Cause]:
        address = spec.get("clusterIP", "")
        if not rules.has_address(spec) or rules.headless(spec):
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
        if ipaddress.ip_address(address) not in self._network:
            return f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {self._network}"
        if address in (str(self._network.network_address), str(self._network.broadcast_address)):
            return "the provided network does not match the current range"
        return None

    def _ports(self, spec: Json, taken: set[str | int], given: set[str | int]) -> list[Cause]:
        if spec["type"] not in rules.NODE_PORT_TYPES:
            return []
        found: list[Cause] = []
        automatic = spec["type"] == "NodePort" or spec.get("allocateLoadBalancerNodePorts", True)
        for index, port in enumerate(spec.get("ports") or ()):
            if port.get("nodePort") or automatic:
                found += self._port(port, "nodePort", f"spec.ports[{index}].nodePort", taken, given)
        if rules.needs_health_port(spec):
            found += self._port(spec, "healthCheckNodePort", "spec.healthCheckNodePort", taken, given)
        return found

    def _port(self, at: Json, key: str, field: str, taken: set[str | int], given: set[str | int]) -> list[Cause]:
        wanted = at.get(key)
        if wanted and wanted not in NODE_PORTS:
            text = "provided port is not in the valid range. The range of valid ports is 30000-32767"
            return [invalid_value(field, wanted, text)]
        if wanted and (wanted in taken or wanted in given):
            return [invalid_value(field, wanted, "provided port is already allocated")]
        free = [number for number in NODE_PORTS if number not in taken and number not in given]
        if not wanted and not free:
            return [invalid_value(field, 0, "no node port is free in 30000-32767")]
        at[key] = wanted or random.choice(free)  # noqa: S311
        given.add(at[key])
        return []
