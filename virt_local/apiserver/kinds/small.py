"""Kinds with a rule or two: Namespace, Lease, Endpoints, EndpointSlice, ControllerRevision."""

from __future__ import annotations

import ipaddress

from virt_kube.api import Json
from virt_local.apiserver.kinds import values
from virt_local.apiserver.patches import same_json
from virt_local.apiserver.status import invalid_value, not_supported, required
from virt_types.errors import Cause
from virt_types.names import label_value_problems

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
MAX_ENDPOINTS = 1000


def prepare_namespace(obj: Json, old: Json | None) -> None:
    meta = obj["metadata"]
    meta["labels"] = {**(meta.get("labels") or {}), "kubernetes.io/metadata.name": meta.get("name", "")}
    if old is None:
        own = obj["spec"].get("finalizers") or []
        obj["spec"] = {"finalizers": [*own, *([] if "kubernetes" in own else ["kubernetes"])]}
        obj["status"] = {"phase": "Active"}
    else:
        obj["spec"] = old.get("spec", {})  # only the finalize subresource changes it


def namespace_causes(obj: Json, _old: Json | None) -> list[Cause]:
    found: list[Cause] = []
    for name in obj["spec"].get("finalizers") or []:
        found += values.qualified_name("spec.finalizers", name)
        if "/" not in name and name != "kubernetes":
            text = "name is neither a standard finalizer name nor is it fully qualified"
            found.append(invalid_value("spec.finalizers", name, text))
    return found


def prepare_account(obj: Json, _old: Json | None) -> None:
    """Of a reference to a secret only the name counts."""
    for reference in obj.get("secrets") or []:
        for key in reference.keys() - {"name"}:
            del reference[key]


def prepare_lease(obj: Json, _old: Json | None) -> None:
    for key in ("strategy", "preferredHolder"):  # fields of a feature that is off
        obj["spec"].pop(key, None)


def lease_causes(obj: Json, _old: Json | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = []
    if (duration := spec.get("leaseDurationSeconds")) is not None and duration <= 0:
        found.append(invalid_value("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    found += values.not_negative("spec.leaseTransitions", spec.get("leaseTransitions"))
    return found


def prepare_endpoints(obj: Json, _old: Json | None) -> None:
    for subset in obj.get("subsets") or []:
        for port in subset.get("ports") or []:
            port.setdefault("protocol", "TCP")


def prepare_slice(obj: Json, _old: Json | None) -> None:
    for endpoint in obj.get("endpoints") or []:
        endpoint.pop("deprecatedTopology", None)  # of an older version
    for port in obj.get("ports") or []:
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def slice_causes(obj: Json, old: Json | None) -> list[Cause]:
    kind = obj.get("addressType") or ""
    found = values.one_of("addressType", kind, _ADDRESS_TYPES) if kind else [required("addressType")]
    if len(endpoints := obj.get("endpoints") or []) > MAX_ENDPOINTS:
        text = f"Too many: {len(endpoints)}: must have at most {MAX_ENDPOINTS} items"
        return [*found, Cause("FieldValueTooMany", text, "endpoints")]
    for index, endpoint in enumerate(endpoints):
        found += _endpoint(f"endpoints[{index}]", endpoint, kind)
    names = [port.get("name") or "" for port in obj.get("ports") or []]
    for index, port in enumerate(obj.get("ports") or []):
        found += _slice_port(f"ports[{index}]", port, names[:index])
    return found if old is None else found + values.unchanged(("addressType",), obj, old)


def _endpoint(at: str, endpoint: Json, kind: str) -> list[Cause]:
    addresses = endpoint.get("addresses") or []
    if not addresses:
        return [required(f"{at}.addresses", "must contain at least 1 address")]
    found: list[Cause] = []
    for index, address in enumerate(addresses):
        field = f"{at}.addresses[{index}]"
        if kind == "FQDN":
            found += values.subdomain(field, address)
        elif (version := _ip_version(address)) is None:
            found.append(invalid_value(field, address, values.IP_TEXT))
        elif kind in ("IPv4", "IPv6") and version != int(kind[-1]):
            found.append(invalid_value(field, address, f"must be a valid {kind} address"))
    if endpoint.get("hostname") is not None:
        found += values.label_name(f"{at}.hostname", endpoint["hostname"])
    if endpoint.get("nodeName") is not None:
        found += values.subdomain(f"{at}.nodeName", endpoint["nodeName"])
    zones = [zone.get("name") or "" for zone in (endpoint.get("hints") or {}).get("forZones") or []]
    for index, zone in enumerate(zones):
        field = f"{at}.hints.forZones[{index}].name"
        if zone in zones[:index]:
            found.append(Cause("FieldValueDuplicate", f'Duplicate value: "{zone}"', field))
        found += [invalid_value(field, zone, why) for why in label_value_problems(zone)]
    return found


def _ip_version(address: str) -> int | None:
    try:
        return ipaddress.ip_address(address).version
    except ValueError:
        return None


def _slice_port(at: str, port: Json, before: list[str]) -> list[Cause]:
    name, found = port.get("name") or "", []
    if name:
        found += values.label_name(f"{at}.name", name)
    if name in before:
        found.append(Cause("FieldValueDuplicate", f'Duplicate value: "{name}"', f"{at}.name"))
    if port.get("protocol") not in _PROTOCOLS:
        found.append(not_supported(f"{at}.protocol", port.get("protocol") or "", _PROTOCOLS))
    if port.get("appProtocol") is not None:
        found += values.qualified_name(f"{at}.appProtocol", port["appProtocol"])
    return found


def revision_causes(obj: Json, old: Json | None) -> list[Cause]:
    found = [required("data", "data is mandatory")] if obj.get("data") is None else []
    if obj.get("data") is not None and not isinstance(obj["data"], dict):
        found.append(required("data", "data must be a valid JSON object"))
    found += values.not_negative("revision", obj.get("revision"))
    if old is not None and not same_json(obj.get("data"), old.get("data")):
        found.append(invalid_value("data", obj.get("data"), "field is immutable"))
    return found
