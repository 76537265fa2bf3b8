"""VirtualMachineInstancePresets put into a new instance: the instance wins, whole structs at a time (spec 1.4).

Pure; called by `virt_api.presets`. KubeVirt leaves a preset's `memory` out, though its own example has nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import msgspec

from virt_types import labels
from virt_types.errors import Cause
from virt_types.expansion.paths import get, is_given, put
from virt_types.quantity import QuantityError, parse
from virt_types.selectors import from_struct
from virt_types.v1 import DomainSpec, VirtualMachine, VirtualMachineInstance, VirtualMachineInstancePreset

CONFLICTS = "VirtualMachinePresets cannot be applied due to conflicts: {conflicts}"
PAIR = "presets '{one}' and '{other}' conflict: {differences}"
DIFFERENCE = "spec.{what}: {one} != {other}"
NOT_MERGED = "spec.domain.{field} of a preset is never applied: use an instancetype or a preference"
APPLIED_VERSION = "kubevirt.io/v1"


MEMORY = ("memory.guest", "resources.requests.memory")
# Where rules miss the memory of an instance, and of a VM's.
NO_MEMORY = ("spec.domain.memory.guest", "spec.template.spec.domain.memory.guest")


class Merged(NamedTuple):
    """Fields of a domain that belong together; none is merged when an instance says one of them, or of `besides`."""

    what: str
    fields: tuple[str, ...]
    besides: tuple[str, ...] = ()


MERGED = (
    Merged("resources.requests", ("resources.requests",)),
    Merged("cpu", ("cpu",)),
    Merged("memory", ("memory",), besides=("resources.requests.memory", "resources.limits.memory")),
    Merged("firmware", ("firmware",)),
    Merged("clock.clockoffset", ("clock.timezone", "clock.utc")),
    Merged("clock.timer", ("clock.timer",)),
    Merged("features", ("features",)),
    Merged("devices.watchdog", ("devices.watchdog",)),
    Merged("ioThreadsPolicy", ("ioThreadsPolicy",)),
)


def matching(
    presets: Sequence[VirtualMachineInstancePreset], vmi: VirtualMachineInstance
) -> list[VirtualMachineInstancePreset]:
    """The presets that mean the instance, by name; none when it is excluded."""
    if vmi.metadata.annotations.get(labels.PRESET_EXCLUDE) == "true":
        return []
    found = (preset for preset in presets if from_struct(preset.spec.selector).matches(vmi.metadata.labels))
    return sorted(found, key=lambda preset: preset.metadata.name)


def instance_of(vm: VirtualMachine) -> VirtualMachineInstance:
    """What presets look at in a VM: its instances have the template's labels and spec."""
    template = vm.spec.template
    return VirtualMachineInstance(metadata=template.metadata, spec=template.spec)


def conflicts(presets: Sequence[VirtualMachineInstancePreset]) -> list[Cause]:
    """The one cause that names every pair of presets that contradict each other; no presets may be merged then."""
    pairs = []
    for one, other in combinations(presets, 2):
        differences = list(_differences(one.spec.domain or DomainSpec(), other.spec.domain or DomainSpec()))
        if differences:
            names = {"one": one.metadata.name, "other": other.metadata.name}
            pairs.append(PAIR.format(**names, differences=_joined(differences)))
    return [Cause("FieldValueInvalid", CONFLICTS.format(conflicts=_joined(pairs)), "metadata.labels")] if pairs else []


def merge(presets: Sequence[VirtualMachineInstancePreset], vmi: VirtualMachineInstance) -> None:
    """Give the instance what it leaves open, and mark it with each preset it agrees with in something."""
    for preset in presets:
        if preset.spec.domain is not None and _merge(preset.spec.domain, vmi.spec.domain):
            vmi.metadata.annotations[labels.PRESET_PREFIX + preset.metadata.name] = APPLIED_VERSION


def may_mend(obj: dict[str, Any], cause: Cause) -> bool:
    """Whether presets that only a server knows may fill what is missing: machines of 2018 often had no memory."""
    spec = obj.get("spec") or {}
    template = {"VirtualMachineInstance": obj, "VirtualMachine": spec.get("template") or {}}.get(
        str(obj.get("kind")), {}
    )
    return bool((template.get("metadata") or {}).get("labels")) and _is_missing_memory(cause)


def excused(causes: Sequence[Cause], presets: Sequence[VirtualMachineInstancePreset]) -> list[Cause]:
    """The causes without the memory that a VM's instances will have from presets they match."""
    domains = [preset.spec.domain for preset in presets if preset.spec.domain is not None]
    if any(is_given(get(domain, field)) for domain in domains for field in MEMORY):
        return [cause for cause in causes if not _is_missing_memory(cause)]
    return list(causes)


def _is_missing_memory(cause: Cause) -> bool:
    return cause.reason == "FieldValueRequired" and cause.field in NO_MEMORY


def unmerged(domain: DomainSpec) -> Iterator[str]:
    """A warning for each field of a preset that no instance will ever get."""
    known = {field for row in MERGED for field in row.fields}
    for path, value in _leaves(domain):
        if is_given(value) and path not in known and not any(each.startswith(f"{path}.") for each in known):
            yield NOT_MERGED.format(field=path)


def _merge(preset: DomainSpec, domain: DomainSpec) -> bool:
    applied = False
    for row in MERGED:
        wanted = _values(preset, row)
        if not wanted:
            continue
        if not _values(domain, row) and not any(is_given(get(domain, field)) for field in row.besides):
            for field, value in wanted.items():
                put(domain, field, value)
        applied |= _values(domain, row) == wanted
    return applied


def _values(domain: DomainSpec, row: Merged) -> dict[str, Any]:
    found = ((field, get(domain, field)) for field in row.fields)
    return {field: value for field, value in found if is_given(value)}


def _differences(one: DomainSpec, other: DomainSpec) -> Iterator[str]:
    for row in MERGED:
        mine, theirs = _values(one, row), _values(other, row)
        if row.what == "resources.requests":
            yield from _requests(one.resources.requests, other.resources.requests)
        elif mine and theirs and mine != theirs:
            yield DIFFERENCE.format(what=row.what, one=_shown(mine), other=_shown(theirs))


def _requests(one: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    for name in one.keys() & other.keys():
        if not _equal(one[name], other[name]):
            yield DIFFERENCE.format(what=f"resources.requests[{name}]", one=one[name], other=other[name])


def _equal(one: Any, other: Any) -> bool:
    try:
        return parse(one) == parse(other)
    except QuantityError:
        return bool(one == other)


def _shown(values: dict[str, Any]) -> str:
    shown = {field.rpartition(".")[2]: value for field, value in values.items()}
    whole: Any = shown if len(shown) > 1 else next(iter(shown.values()))
    return whole if isinstance(whole, str) else msgspec.json.encode(whole).decode()


def _joined(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _leaves(domain: DomainSpec) -> Iterator[tuple[str, Any]]:
    """Fields two levels deep, as deep as MERGED looks."""
    for name in DomainSpec.__struct_encode_fields__:
        value = get(domain, name)
        yield name, value if name not in ("clock", "devices", "resources") else None
        if name in ("clock", "devices", "resources") and value is not None:
            yield from ((f"{name}.{inner}", get(value, inner)) for inner in value.__struct_encode_fields__)
