"""Services: defaults, what a change of type clears, and the rules of ports, addresses and families.

Addresses and ports are given out by `virt_local.apiserver.services`, which calls these in order: `keep_or_drop` on an
update, `causes`, `families`, then allocates. k8s.io/kubernetes/pkg/registry/core/service.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from virt_kube.api import Json
from virt_local.apiserver.kinds import values
from virt_local.apiserver.status import DUPLICATE, forbidden_value, invalid_value, not_supported, required, shown
from virt_types.errors import Cause
from virt_types.names import label_value_problems

NODE_PORT_TYPES = ("NodePort", "LoadBalancer")
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_AFFINITIES = ("ClientIP", "None")
_POLICIES = ("Cluster", "Local")
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_FAMILIES = ("IPv4", "IPv6")
_FAMILY_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_AFFINITY_SECONDS = 10_800
_DAY = 86_400
HEADLESS = "None"


def prepare(obj: Json, _old: Json | None) -> None:
    """Defaults, in place."""
    spec = obj["spec"]
    kind = spec.setdefault("type", "ClusterIP")
    if spec.setdefault("sessionAffinity", "None") == "ClientIP":
        client = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
        client.setdefault("timeoutSeconds", _AFFINITY_SECONDS)
    else:
        spec.pop("sessionAffinityConfig", None)
    for port in spec.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if port.get("targetPort") in (None, "", 0):
            port["targetPort"] = port.get("port", 0)
    if kind != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if kind in NODE_PORT_TYPES or (kind == "ClusterIP" and spec.get("externalIPs")):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def headless(spec: Json) -> bool:
    return bool(spec.get("clusterIP") == HEADLESS)


def has_address(spec: Json) -> bool:
    """Of a type that gets a cluster IP."""
    return bool(spec["type"] != "ExternalName")


def keep_or_drop(spec: Json, old: Json) -> None:
    """What was allocated stays when an update omits it, and goes with the type that needed it."""
    if has_address(spec) and has_address(old):
        if not spec.get("clusterIP") and not spec.get("clusterIPs"):
            spec["clusterIP"], spec["clusterIPs"] = old["clusterIP"], list(old["clusterIPs"])
        elif not spec.get("clusterIPs") and spec.get("clusterIP") == old.get("clusterIP"):
            spec["clusterIPs"] = list(old["clusterIPs"])
        for key in ("ipFamilies", "ipFamilyPolicy"):
            if not spec.get(key) and key in old:
                spec[key] = old[key]
    if spec["type"] in NODE_PORT_TYPES and old["type"] in NODE_PORT_TYPES:
        _keep_node_ports(spec, old)
    _drop_unneeded(spec, old)
    _pair_addresses(spec, old)


def _keep_node_ports(spec: Json, old: Json) -> None:
    before = {_identity(port): port["nodePort"] for port in old.get("ports") or () if port.get("nodePort")}
    given = {port["nodePort"] for port in spec.get("ports") or () if port.get("nodePort")}
    for port in spec.get("ports") or ():
        known = before.get(_identity(port))
        if not port.get("nodePort") and known and known not in given:
            port["nodePort"] = known
    if not spec.get("healthCheckNodePort") and needs_health_port(spec) and needs_health_port(old):
        spec["healthCheckNodePort"] = old.get("healthCheckNodePort")


def _identity(port: Json) -> tuple[Any, Any]:
    return port.get("port"), port.get("protocol", "TCP")


def needs_health_port(spec: Json) -> bool:
    return bool(spec["type"] == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local")


def _drop_unneeded(spec: Json, old: Json) -> None:
    """Fields a type has no use for, unless the user set them anew (then the rules refuse them)."""
    groups = (
        (has_address, ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy")),
        (lambda found: found["type"] in NODE_PORT_TYPES, ("externalTrafficPolicy",)),
        (lambda found: found["type"] == "LoadBalancer", ("allocateLoadBalancerNodePorts", "loadBalancerClass")),
        (needs_health_port, ("healthCheckNodePort",)),
    )
    for needs, fields in groups:
        if needs(old) and not needs(spec):
            for field in fields:
                if spec.get(field) == old.get(field):
                    spec.pop(field, None)
    if old["type"] in NODE_PORT_TYPES and spec["type"] not in NODE_PORT_TYPES:
        before = {port.get("nodePort") for port in old.get("ports") or ()}
        for port in spec.get("ports") or ():
            if port.get("nodePort") in before:
                port.pop("nodePort", None)


def _pair_addresses(spec: Json, old: Json) -> None:
    """clusterIP is the first of clusterIPs; old clients set only the one."""
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    elif spec.get("clusterIP") != old.get("clusterIP") and spec.get("clusterIPs") == old.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]] if spec.get("clusterIP") else []


def pair_new(spec: Json) -> None:
    """As `_pair_addresses`, of a new Service."""
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]


def causes(spec: Json, old: Json | None) -> list[Cause]:
    found = _type_causes(spec)
    ports = spec.get("ports") or []
    for index, port in enumerate(ports):
        found += _port_causes(f"spec.ports[{index}]", port, named=len(ports) > 1)
    found += _twice(ports)
    for key, value in (spec.get("selector") or {}).items():
        found += values.qualified_name("spec.selector", key)
        found += [invalid_value("spec.selector", value, why) for why in label_value_problems(value)]
    found += _affinity_causes(spec)
    found += _traffic_causes(spec)
    found += _address_causes(spec)
    return found if old is None else found + _changed_address(spec, old)


def _type_causes(spec: Json) -> list[Cause]:
    kind = spec["type"]
    if kind not in _TYPES:
        return [not_supported("spec.type", kind, _TYPES)]
    if kind == "ExternalName":
        text = "may not be set for ExternalName services"
        unwanted = ("clusterIPs", "ipFamilies", "ipFamilyPolicy")
        found = [forbidden_value(f"spec.{field}", text) for field in unwanted if spec.get(field)]
        name = (spec.get("externalName") or "").removesuffix(".")
        return found + (values.subdomain("spec.externalName", name) if name else [required("spec.externalName")])
    if kind in NODE_PORT_TYPES and headless(spec):
        return [invalid_value("spec.clusterIPs[0]", HEADLESS, f"may not be set to 'None' for {kind} services")]
    return [] if spec.get("ports") or headless(spec) else [required("spec.ports")]


def _port_causes(at: str, port: Json, *, named: bool) -> list[Cause]:
    found: list[Cause] = []
    if port.get("name"):
        found += values.label_name(f"{at}.name", port["name"])
    elif named:
        found.append(required(f"{at}.name"))
    found += values.port(f"{at}.port", port.get("port"))
    if port["protocol"] not in _PROTOCOLS:
        found.append(not_supported(f"{at}.protocol", port["protocol"], _PROTOCOLS))
    found += values.port_or_name(f"{at}.targetPort", port["targetPort"] or 0)
    if port.get("appProtocol") is not None:
        found += values.qualified_name(f"{at}.appProtocol", port["appProtocol"])
    return found


# As Go prints what tells a port from another.
_GO_PORT: Json = {"Name": "", "Protocol": "", "AppProtocol": None, "Port": 0, "TargetPort": 0, "NodePort": 0}


def _twice(ports: list[Json]) -> list[Cause]:
    found, names, numbers = [], set(), set()
    node_ports: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        name, number = port.get("name"), _identity(port)
        node_port = port.get("nodePort"), port.get("protocol")
        if port.get("nodePort") and node_port in node_ports:
            text = f"Duplicate value: {port['nodePort']}"
            found.append(Cause(DUPLICATE, text, f"spec.ports[{index}].nodePort"))
        node_ports.add(node_port)
        if name and name in names:
            found.append(Cause(DUPLICATE, f"Duplicate value: {shown(name)}", f"spec.ports[{index}].name"))
        if number in numbers:
            told = shown(_GO_PORT | {"Protocol": number[1], "Port": number[0]})
            found.append(Cause(DUPLICATE, f"Duplicate value: {told}", f"spec.ports[{index}]"))
        names.add(name)
        numbers.add(number)
    return found


def _affinity_causes(spec: Json) -> list[Cause]:
    if spec["sessionAffinity"] not in _AFFINITIES:
        return [not_supported("spec.sessionAffinity", spec["sessionAffinity"], _AFFINITIES)]
    seconds = ((spec.get("sessionAffinityConfig") or {}).get("clientIP") or {}).get("timeoutSeconds")
    if seconds is None or 0 < seconds <= _DAY:
        return []
    field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
    return [invalid_value(field, seconds, f"must be greater than 0 and less than {_DAY}")]


def _traffic_causes(spec: Json) -> list[Cause]:
    found = [
        not_supported(f"spec.{field}", spec[field], _POLICIES)
        for field in ("internalTrafficPolicy", "externalTrafficPolicy")
        if spec.get(field) is not None and spec[field] not in _POLICIES
    ]
    if spec.get("trafficDistribution") is not None:
        found += values.one_of("spec.trafficDistribution", spec["trafficDistribution"], _DISTRIBUTIONS)
    if spec.get("externalTrafficPolicy") and spec["type"] not in NODE_PORT_TYPES and not spec.get("externalIPs"):
        text = "may only be set for externally-accessible services"
        found.append(invalid_value("spec.externalTrafficPolicy", spec["externalTrafficPolicy"], text))
    if spec["type"] in ("ClusterIP", "ExternalName"):
        text = f"may not be used when `type` is '{spec['type']}'"
        found += [
            forbidden_value(f"spec.ports[{index}].nodePort", text)
            for index, port in enumerate(spec.get("ports") or [])
            if port.get("nodePort")
        ]
    if spec.get("allocateLoadBalancerNodePorts") is not None and spec["type"] != "LoadBalancer":
        field = "spec.allocateLoadBalancerNodePorts"
        found.append(forbidden_value(field, "may only be used when `type` is 'LoadBalancer'"))
    return found + _balancer_causes(spec)


def _balancer_causes(spec: Json) -> list[Cause]:
    found: list[Cause] = []
    ranges = spec.get("loadBalancerSourceRanges") or []
    balanced = spec["type"] == "LoadBalancer"
    only = "may only be used when `type` is 'LoadBalancer'"
    if ranges and not balanced:
        found.append(forbidden_value("spec.LoadBalancerSourceRanges", only))
    found += [
        invalid_value(f"spec.LoadBalancerSourceRanges[{index}]", text, values.CIDR_TEXT)
        for index, text in enumerate(ranges)
        if balanced and not values.is_network(text.strip())
    ]
    if spec.get("loadBalancerClass") is not None:
        if balanced:
            found += values.qualified_name("spec.loadBalancerClass", spec["loadBalancerClass"])
        else:
            found.append(forbidden_value("spec.loadBalancerClass", only))
    if (port := spec.get("healthCheckNodePort")) is not None:
        if not needs_health_port(spec):
            text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
            found.append(invalid_value("spec.healthCheckNodePort", port, text))
        else:
            found += values.port("spec.healthCheckNodePort", port)
    return found


def _address_causes(spec: Json) -> list[Cause]:
    found: list[Cause] = []
    addresses = spec.get("clusterIPs") or []
    if addresses and not spec.get("clusterIP"):
        text = "must be empty when `clusterIP` is not specified"
        found.append(invalid_value("spec.clusterIPs", addresses, text))
    elif addresses and addresses[0] != spec.get("clusterIP"):
        found.append(invalid_value("spec.clusterIPs", addresses, "first value must match `clusterIP`"))
    found += [
        invalid_value(f"spec.clusterIPs[{index}]", address, values.IP_TEXT)
        for index, address in enumerate(addresses)
        if address != HEADLESS and not _is_address(address)
    ]
    asked = spec.get("ipFamilies") or []
    for index, family in enumerate(asked):
        if family not in _FAMILIES:
            found.append(not_supported(f"spec.ipFamilies[{index}]", family, _FAMILIES))
        elif family in asked[:index]:
            found.append(Cause(DUPLICATE, f"Duplicate value: {shown(family)}", f"spec.ipFamilies[{index}]"))
    found += [
        invalid_value(f"spec.externalIPs[{index}]", address, values.IP_TEXT)
        for index, address in enumerate(spec.get("externalIPs") or [])
        if not _is_address(address)
    ]
    if spec.get("ipFamilyPolicy") is not None:
        found += values.one_of("spec.ipFamilyPolicy", spec["ipFamilyPolicy"], _FAMILY_POLICIES)
    return found


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _changed_address(spec: Json, old: Json) -> list[Cause]:
    """A cluster IP may be given up with the type, never exchanged."""
    before, after = old.get("clusterIPs") or [], spec.get("clusterIPs") or []
    if has_address(spec) and has_address(old) and before and before[:1] != after[:1]:
        return [invalid_value("spec.clusterIPs[0]", after, "may not change once set")]
    return []


def families(spec: Json) -> list[Cause]:
    """Fill in the families of a server that has IPv4 only, in place; what it can't give."""
    if not has_address(spec):
        return []
    policy, asked = spec.get("ipFamilyPolicy"), spec.get("ipFamilies") or []
    if headless(spec) and not spec.get("selector"):  # whoever makes its endpoints knows best
        if policy is None and not asked:
            policy = "RequireDualStack"
        wanted = _FAMILIES if policy in ("RequireDualStack", "PreferDualStack") else asked or _FAMILIES[:1]
        spec["ipFamilies"] = [*asked, *(family for family in wanted if family not in asked)]
        spec["ipFamilyPolicy"] = policy or "SingleStack"
        return []
    found = []
    if policy == "RequireDualStack":
        text = "this cluster is not configured for dual-stack services"
        found.append(invalid_value("spec.ipFamilyPolicy", policy, text))
    found += [
        invalid_value(f"spec.ipFamilies[{index}]", family, "not configured on this cluster")
        for index, family in enumerate(asked)
        if family != "IPv4"
    ]
    spec["ipFamilies"], spec["ipFamilyPolicy"] = asked or ["IPv4"], policy or "SingleStack"
    return found
