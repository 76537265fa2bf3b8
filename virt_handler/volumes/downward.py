"""Fields of a VMI as files, for a `downwardAPI` volume: what Kubernetes would show a pod about itself. Pure.

Texts as the downward API has them: maps as sorted lines of `key="value"`. Called by `prepare`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import ROUND_CEILING

from virt_handler.errors import VolumeError
from virt_types import quantity
from virt_types.k8s.pods import DownwardAPIVolumeFile
from virt_types.v1 import VirtualMachineInstance

ENTRY = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
RESOURCE = re.compile(r"(requests|limits)\.(.+)")


def files(vmi: VirtualMachineInstance, items: list[DownwardAPIVolumeFile], field: str) -> dict[str, bytes]:
    """Contents by path; raises VolumeError for what no guest has."""
    return {item.path: _text(vmi, item, f"{field}: fields[{number}]").encode() for number, item in enumerate(items)}


def _text(vmi: VirtualMachineInstance, item: DownwardAPIVolumeFile, field: str) -> str:
    if item.field_ref is not None:
        return _field(vmi, item.field_ref.field_path, f"{field}.fieldRef.fieldPath")
    if item.resource_field_ref is not None:
        reference = item.resource_field_ref
        return _resource(vmi, reference.resource, reference.divisor or "1", f"{field}.resourceFieldRef.resource")
    raise VolumeError(f"{field} names neither fieldRef nor resourceFieldRef")


def _field(vmi: VirtualMachineInstance, path: str, field: str) -> str:
    meta = vmi.metadata
    maps = {"labels": meta.labels, "annotations": meta.annotations}
    if match := ENTRY.fullmatch(path):
        return maps[match[1]].get(match[2], "")
    values = {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace,
        "metadata.uid": meta.uid,
        **{f"metadata.{name}": _lines(entries) for name, entries in maps.items()},
    }
    if path not in values:
        raise VolumeError(f"{field} {path!r} is not known", hint=f"use one of {', '.join(sorted(values))}")
    return values[path]


def _lines(entries: Mapping[str, str]) -> str:
    return "\n".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in sorted(entries.items()))


def _resource(vmi: VirtualMachineInstance, name: str, divisor: str | float, field: str) -> str:
    """Rounded up to whole divisors, as Kubernetes does."""
    match = RESOURCE.fullmatch(name)
    if match is None:
        raise VolumeError(f"{field} {name!r} is not known", hint="e.g. limits.memory or requests.cpu")
    resources = vmi.spec.domain.resources
    amounts = resources.requests if match[1] == "requests" else resources.limits
    unit = quantity.parse(divisor) or quantity.parse(1)
    return str(int((quantity.parse(amounts.get(match[2], 0)) / unit).to_integral_value(rounding=ROUND_CEILING)))
