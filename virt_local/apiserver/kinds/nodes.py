"""Nodes: taints, pod networks, what is set once and never changes."""

from __future__ import annotations

import ipaddress

from virt_kube.api import Json
from virt_local.apiserver.kinds import values
from virt_local.apiserver.status import DUPLICATE, forbidden_value, invalid_value, not_supported, required, shown
from virt_types.errors import Cause
from virt_types.names import label_value_problems

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def prepare(obj: Json, _old: Json | None) -> None:
    spec, status = obj["spec"], obj.get("status") or {}
    if spec.get("podCIDR") and not spec.get("podCIDRs"):
        spec["podCIDRs"] = [spec["podCIDR"]]
    elif spec.get("podCIDRs") and not spec.get("podCIDR"):
        spec["podCIDR"] = spec["podCIDRs"][0]
    if status.get("capacity"):
        status["allocatable"] = {**status["capacity"], **(status.get("allocatable") or {})}


def causes(obj: Json, old: Json | None) -> list[Cause]:
    spec = obj["spec"]
    found = _taints(spec.get("taints") or [])
    if old is not None:
        found *= 2  # a real server checks them twice on an update, and says so twice
        found += _once(spec, old.get("spec") or {})
    for index, cidr in enumerate(spec.get("podCIDRs") or []):
        try:
            ipaddress.ip_network(cidr)
        except ValueError:
            text = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            found.append(invalid_value(f"spec.podCIDRs[{index}]", cidr, text))
    return found


def _taints(taints: list[Json]) -> list[Cause]:
    found: list[Cause] = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        at = f"metadata.taints[{index}]"
        key, effect, value = taint.get("key") or "", taint.get("effect") or "", taint.get("value") or ""
        found += values.qualified_name(f"{at}.key", key)
        found += [invalid_value(f"{at}.value", value, why) for why in label_value_problems(value)]
        if not effect:
            found.append(required(f"{at}.effect"))
        elif effect not in _EFFECTS:
            found.append(not_supported(f"{at}.effect", effect, _EFFECTS))
        if (key, effect) in seen:
            text = f"Duplicate value: {shown(taint)}: taints must be unique by key and effect pair"
            found.append(Cause(DUPLICATE, text, at))
        seen.add((key, effect))
    return found


def _once(spec: Json, old: Json) -> list[Cause]:
    found = []
    if old.get("podCIDRs") and spec.get("podCIDRs") != old["podCIDRs"]:
        text = 'node updates may not change podCIDR except from "" to valid'
        found.append(forbidden_value("spec.podCIDRs", text))
    if old.get("providerID") and spec.get("providerID") != old["providerID"]:
        text = 'node updates may not change providerID except from "" to valid'
        found.append(forbidden_value("spec.providerID", text))
    return found
