"""What a built-in object is taken with but had better not say: the Warning headers of writes.

`rules.warnings` asks, after the object was found valid. Texts are those of a real server.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from virt_kube.api import Json
from virt_types.quantity import QuantityError, parse

_HEADLESS = ("loadBalancerIP", "externalIPs", "SessionAffinity")
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
_VOLUME_ANNOTATIONS = {
    _CLASS_ANNOTATION: 'deprecated since v1.8; use "storageClassName" attribute instead',
    "volume.beta.kubernetes.io/mount-options": 'deprecated since v1.31; use "mountOptions" attribute instead',
}


def service(obj: Json) -> list[str]:
    spec: Json = obj["spec"]
    addresses = spec.get("clusterIPs") or []
    headless = addresses == ["None"]
    found = [] if headless else _addresses("spec.clusterIPs", addresses)
    if headless:
        said = (spec.get("loadBalancerIP"), spec.get("externalIPs"), spec.get("sessionAffinity") == "ClientIP")
        found += [
            f"spec.{name} is ignored for headless services"
            for name, is_said in zip(_HEADLESS, said, strict=True)
            if is_said
        ]
    found += _addresses("spec.externalIPs", spec.get("externalIPs") or [])
    named = spec.get("type") == "ExternalName"
    if spec.get("externalIPs") and not headless and not named:
        found.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    if spec.get("loadBalancerIP"):
        found += _address("spec.loadBalancerIP", spec["loadBalancerIP"])
    if named and spec.get("externalIPs"):
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if not named and spec.get("externalName"):
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return found


def endpoints(obj: Json) -> list[str]:
    return [
        warning
        for number, subset in enumerate(obj.get("subsets") or [])
        for part in ("addresses", "notReadyAddresses")
        for place, address in enumerate(subset.get(part) or [])
        for warning in _address(f"subsets[{number}].{part}[{place}].ip", address.get("ip", ""))
    ]


def claim(obj: Json) -> list[str]:
    found = _annotated(obj, {_CLASS_ANNOTATION: 'deprecated since v1.8; use "storageClassName" attribute instead'})
    for part in ("requests", "limits"):
        size = ((obj["spec"].get("resources") or {}).get(part) or {}).get("storage")
        if size is not None and _fractional(size):
            found.append(
                f'spec.resources.{part}[storage]: fractional byte value "{size}" is invalid, must be an integer'
            )
    return found


def volume(obj: Json) -> list[str]:
    found = _annotated(obj, _VOLUME_ANNOTATIONS)
    if obj["spec"].get("persistentVolumeReclaimPolicy") == "Recycle":
        found.append(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. "
            "Instead, the recommended approach is to use dynamic provisioning."
        )
    return found


def _annotated(obj: Json, deprecated: dict[str, str]) -> list[str]:
    annotations = obj["metadata"].get("annotations") or {}
    return [f"metadata.annotations[{key}]: {text}" for key, text in deprecated.items() if key in annotations]


def _fractional(size: Any) -> bool:
    try:
        return parse(size) % 1 != 0
    except QuantityError:
        return False


def _addresses(field: str, addresses: list[str]) -> list[str]:
    return [found for number, address in enumerate(addresses) for found in _address(f"{field}[{number}]", address)]


def _address(field: str, address: str) -> list[str]:
    """An address in a spelling that not every program reads alike."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        plain = ".".join(part.lstrip("0") or "0" for part in address.split("."))
        return [f'{field}: non-standard IP address "{address}" is invalid: use "{plain}"'] if plain != address else []
    if isinstance(parsed, ipaddress.IPv4Address):
        return []
    if parsed.ipv4_mapped is not None:
        return [f'{field}: non-standard IP address "{address}" is invalid: use "{parsed.ipv4_mapped}"']
    if str(parsed) != address:
        return [f'{field}: IPv6 address "{address}" should be in RFC 5952 canonical format ("{parsed}")']
    return []
