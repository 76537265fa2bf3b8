"""Instancetypes, preferences and presets that lie in the same manifests as the machines they are for.

Used where there is no API to ask: `virtctl validate`, `virt-handler render` and `virt-handler explain-domain`.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from virt_types.codec import from_builtins
from virt_types.defaults import default_network
from virt_types.errors import Cause, InvalidObject, VirtError
from virt_types.expansion import Sizing, expand, prepare, refusals
from virt_types.instancetype.v1beta1 import (
    VirtualMachineClusterInstancetype,
    VirtualMachineClusterPreference,
    VirtualMachineInstancetype,
    VirtualMachinePreference,
)
from virt_types.legacy import convert
from virt_types.presets import conflicts, matching, merge
from virt_types.settings import DEFAULT, Settings
from virt_types.v1 import VirtualMachine, VirtualMachineInstance, VirtualMachineInstancePreset

Json = dict[str, Any]
GROUPS = ("instancetype.kubevirt.io/", "kubevirt.io/")
OLD_KINDS = frozenset(("VirtualMachinePreset",))
DEFAULT_NAMESPACE = "default"
# Field of a VM -> the kind it means when it names none, and the kind of its own namespace.
KINDS: dict[str, tuple[type[Any], type[Any]]] = {
    "instancetype": (VirtualMachineClusterInstancetype, VirtualMachineInstancetype),
    "preference": (VirtualMachineClusterPreference, VirtualMachinePreference),
}
NAMESPACED = ("VirtualMachineInstancetype", "VirtualMachinePreference")
TYPES: dict[str, type[Any]] = {type_.__name__: type_ for types in KINDS.values() for type_ in types}
TYPES["VirtualMachineInstancePreset"] = VirtualMachineInstancePreset
NOT_GIVEN = '{field}: {kind} "{name}" is not in these files'
HINT = "give the file that has it with -f, too"
INFERRED = "{field}.inferFromVolume: only a cluster knows what its volumes suggest"
OTHER_KIND = "{field}.kind: {kind} is not one of {kinds}"


class NotGiven(VirtError):
    """A machine refers to something that no manifest has."""


def is_neighbour(obj: Json) -> bool:
    """Whether the object is something machines refer to, or that fills them."""
    return obj.get("kind") in {*TYPES, *OLD_KINDS} and str(obj.get("apiVersion")).startswith(GROUPS)


class Neighbours:
    """What can be referred to, by kind, namespace and name. An object that can't be read is not there."""

    def __init__(self, objects: Iterable[Json] = ()) -> None:
        self._found: dict[tuple[str, str, str], Any] = {}
        self._presets: list[VirtualMachineInstancePreset] = []
        for obj in objects:
            if is_neighbour(obj):
                with suppress(InvalidObject):  # whoever judges it says why
                    self._add(convert(obj)[0])

    def _add(self, obj: Json) -> None:
        type_ = TYPES[obj["kind"]]
        typed = from_builtins(obj, type_)
        if isinstance(typed, VirtualMachineInstancePreset):
            self._presets.append(typed)
        else:
            self._found[_key(type_.__name__, typed.metadata.namespace, typed.metadata.name)] = typed.spec

    def presets(self, vmi: VirtualMachineInstance, namespace: str) -> list[VirtualMachineInstancePreset]:
        """The presets of the namespace that mean the instance."""
        home = namespace or DEFAULT_NAMESPACE
        return matching([each for each in self._presets if (each.metadata.namespace or DEFAULT_NAMESPACE) == home], vmi)

    def sizing(self, vm: VirtualMachine) -> Sizing:
        """What the machine refers to; NotGiven names what is missing."""
        return Sizing(self._find(vm, "instancetype"), self._find(vm, "preference"))

    def _find(self, vm: VirtualMachine, word: str) -> Any:
        matcher, field = getattr(vm.spec, word), f"spec.{word}"
        if matcher is None:
            return None
        if not matcher.name:
            raise NotGiven(INFERRED.format(field=field), hint=f"write {field}.name")
        cluster_wide, own = KINDS[word]
        kinds = {type_.__name__.lower(): type_.__name__ for type_ in (cluster_wide, own)}
        kind = kinds.get((matcher.kind or cluster_wide.__name__).lower().removesuffix("s"))
        if kind is None:
            raise NotGiven(OTHER_KIND.format(field=field, kind=matcher.kind, kinds=", ".join(kinds.values())))
        found = self._found.get(_key(kind, vm.metadata.namespace, matcher.name))
        if found is None:
            raise NotGiven(NOT_GIVEN.format(field=field, kind=kind, name=matcher.name), hint=HINT)
        return found


def _key(kind: str, namespace: str, name: str) -> tuple[str, str, str]:
    return kind, (namespace or DEFAULT_NAMESPACE) if kind in NAMESPACED else "", name


def refers(vm: VirtualMachine) -> bool:
    return vm.spec.instancetype is not None or vm.spec.preference is not None


class Resolved(NamedTuple):
    """A machine expanded as a cluster would, and why it would be refused; besides, how it was at each step."""

    machine: VirtualMachine
    causes: list[Cause]
    prepared: VirtualMachine  # with what a new machine stores of its preference, and its default network
    sized: VirtualMachine  # and its instancetype


def resolved(vm: VirtualMachine, beside: Neighbours, settings: Settings = DEFAULT) -> Resolved:
    """Fill in what the machine refers to. Raises NotGiven; changes `vm` as its creation would."""
    size, preference = beside.sizing(vm)
    default_network(vm.spec.template.spec, prepare(vm, preference, settings))
    return Resolved(expand(vm, size, preference), refusals(vm, size, preference), vm, expand(vm, size, None))


def filled(vmi: VirtualMachineInstance, presets: list[VirtualMachineInstancePreset]) -> list[Cause]:
    """Merge the presets that mean the instance into it; why they can't be."""
    causes = conflicts(presets)
    if not causes:
        merge(presets, vmi)
    return causes
