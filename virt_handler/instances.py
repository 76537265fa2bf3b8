"""The VMIs that a manifest would become, without a cluster: expanded, completed and checked as admission would.

Machines of any version are taken, and what controllers make machines from: a replica set or pool stands for as many
instances as it asks for. Called by `virt-handler render` and `virt-handler explain-domain`.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from virt_handler.errors import RenderError
from virt_types import codec, crds, labels, legacy, structural
from virt_types.defaults import default_vmi, disks_for_bare_volumes
from virt_types.errors import Cause, VirtError
from virt_types.expansion.offline import Neighbours, Resolved, filled, refers, resolved
from virt_types.expansion.preferences import add_automatic_input
from virt_types.kinds import KINDS as ALL_KINDS
from virt_types.presets import instance_of as instance_of_vm
from virt_types.settings import DEFAULT, Settings
from virt_types.v1 import Firmware, VirtualMachine, VirtualMachineInstance
from virt_types.validation import validate_vmi

Json = dict[str, Any]
Made = TypeVar("Made")

KINDS = ("VirtualMachine", "VirtualMachineInstance", "VirtualMachineInstanceReplicaSet", "VirtualMachinePool")
# What KubeVirt derives the identity of its oldest machines from; here it keeps the output the same every time.
IDENTITY = uuid.UUID("6a1a24a1-4061-4607-8bf4-a3963d0c5895")
# Which features a cluster has switched on does not matter to what they look like.
EVERYTHING_ON: Settings = DEFAULT._replace(gates=dict.fromkeys(DEFAULT.gates, True))
INVALID = "Invalid"  # the reason of what admission refuses
SHOWN_CAUSES = 5
MOST_REPLICAS = 10_000


Path = tuple[str | int, ...]


class Source(NamedTuple):
    """A checked object that one VMI comes from; `prefix` is where the manifest holds the instance's `spec`.

    `lent`: who gave a value that is not the manifest's own, by its path in `obj`.
    """

    obj: Json
    prefix: str
    lent: Mapping[Path, str] = MappingProxyType({})


def makes_guests(obj: Json) -> bool:
    """Whether the object is of a kind that becomes a domain, in any version."""
    kind = obj.get("kind")
    return kind in KINDS and str(obj.get("apiVersion", "")).split("/")[0] in _groups(kind)


def sources_of(obj: Json, *, validate: bool = True, beside: Neighbours | None = None) -> tuple[list[Source], list[str]]:
    """The machines of a manifest's object and notes on what is old in it; raises VirtError naming field and value.

    Instancetypes and preferences are found among those `beside`.
    """
    current, notes = legacy.convert(obj)
    kind = current.get("kind", "")
    if not makes_guests(current):
        raise RenderError(
            f"{current.get('apiVersion')} {kind!r} is nothing that becomes a domain",
            hint=f"use a {', '.join(KINDS[:-1])} or {KINDS[-1]}",
        )
    _check_schema(current, kind, validate=validate)
    made = _expanded(current, kind)
    return [_sized(source, beside or Neighbours()) for source in made], notes


def instances_of(obj: Json, *, validate: bool = True) -> Iterator[VirtualMachineInstance]:
    """The completed and checked VMIs of a manifest's object; raises VirtError naming field and value."""
    for source in sources_of(obj, validate=validate)[0]:
        yield completed(source, validate=validate)


def instance_of(obj: Json, *, validate: bool = True) -> VirtualMachineInstance:
    """The first of them."""
    return next(instances_of(obj, validate=validate))


def completed(source: Source, *, validate: bool = True) -> VirtualMachineInstance:
    """The VMI as admission leaves it, with an identity; raises VirtError naming field and value."""
    machine = source.obj["kind"] == "VirtualMachine"
    vmi = _of_vm(source.obj) if machine else codec.from_builtins(source.obj, VirtualMachineInstance)
    vmi.metadata.namespace = vmi.metadata.namespace or "default"
    _give_identity(vmi, serial=machine)
    default_vmi(vmi, new_uuid=lambda: _derived(vmi.metadata.name))
    if validate:
        _refuse(validate_vmi(vmi, EVERYTHING_ON))
    return vmi


def even_if_refused(make: Callable[[bool], Made], *, strict: bool) -> tuple[Made, str]:
    """What `make` gives, told whether to validate, and what admission would say against it (empty: nothing).

    Raises that if `strict`, or where nothing can be made of it unchecked either.
    """
    try:
        return make(True), ""
    except RenderError as refusal:
        if strict or refusal.reason != INVALID:
            raise
        try:
            return make(False), refusal.message
        except VirtError:
            raise refusal from None


def _expanded(obj: Json, kind: str) -> Iterator[Source]:
    """Replicas are numbered; a cluster gives those of a replica set random names instead."""
    spec, meta = obj.get("spec") or {}, obj["metadata"]
    if kind == "VirtualMachineInstance":
        yield Source(obj, "")
    elif kind == "VirtualMachine":
        yield Source(obj, "spec.template.")
    elif kind == "VirtualMachineInstanceReplicaSet":
        for name in _replicas(spec, meta["name"]):
            yield Source(_made("VirtualMachineInstance", name, meta, spec.get("template") or {}), "spec.template.")
    else:
        template = spec.get("virtualMachineTemplate") or {}
        for name in _replicas(spec, meta["name"]):
            yield Source(_made("VirtualMachine", name, meta, template), "spec.virtualMachineTemplate.spec.template.")


def _sized(source: Source, beside: Neighbours) -> Source:
    """A machine that needs no other object any more: instancetype, preference and presets are filled in."""
    causes: list[Cause] = []
    whole: VirtualMachine | VirtualMachineInstance
    if source.obj["kind"] == "VirtualMachine":
        machine = codec.from_builtins(source.obj, VirtualMachine)
        if refers(machine):
            found = resolved(machine, beside, EVERYTHING_ON)
            causes, machine = found.causes, found.machine
            source = source._replace(obj=codec.to_builtins(machine), lent=_lent(source.obj, found))
        vmi, whole = instance_of_vm(machine), machine
    else:
        whole = vmi = codec.from_builtins(source.obj, VirtualMachineInstance)
    presets = beside.presets(vmi, whole.metadata.namespace)
    if presets:
        causes += filled(vmi, presets)
        names = ", ".join(f"preset {preset.metadata.name}" for preset in presets)
        obj = codec.to_builtins(whole)
        source = source._replace(obj=obj, lent={**source.lent, **_added(source.obj, obj, names)})
    _refuse(causes)
    return source


def _lent(obj: Json, found: Resolved) -> dict[Path, str]:
    """Which values are not the machine's own, and whose."""
    prepared, sized, whole = map(codec.to_builtins, (found.prepared, found.sized, found.machine))
    spec = obj["spec"]
    size, preference = ((spec.get(word) or {}).get("name") for word in ("instancetype", "preference"))
    return {
        **_added(obj, prepared, f"preference {preference}" if preference else "default"),
        **_added(prepared, sized, f"instancetype {size}"),
        **_added(sized, whole, f"preference {preference}"),
    }


def _added(before: Json, after: Json, who: str) -> dict[Path, str]:
    return dict.fromkeys(_leaves(after) - _leaves(before), who)


def _leaves(node: Any, path: Path = ()) -> set[Path]:
    """Where every value is that holds no other."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    below = [_leaves(child, (*path, key)) for key, child in children]
    return set().union(*below) if below else {path}


def _replicas(spec: Json, name: str) -> Iterator[str]:
    count: int = spec.get("replicas", 1)
    if count > MOST_REPLICAS:
        raise RenderError(f"spec.replicas {count} is more than the {MOST_REPLICAS} shown at once", hint="ask for fewer")
    return (f"{name}-{number}" for number in range(count))


def _made(kind: str, name: str, owner: Json, template: Json) -> Json:
    metadata = {**(template.get("metadata") or {}), "name": name, "namespace": owner.get("namespace") or "default"}
    spec = copy.deepcopy(template.get("spec") or {})
    return {"apiVersion": f"{labels.GROUP}/v1", "kind": kind, "metadata": metadata, "spec": spec}


def _groups(kind: str) -> tuple[str, ...]:
    return tuple(it.group for it in ALL_KINDS if it.kind == kind)


def _of_vm(obj: Json) -> VirtualMachineInstance:
    """The instance that the VM's controller would make."""
    vm = codec.from_builtins(obj, VirtualMachine)
    template = vm.spec.template
    metadata = template.metadata
    metadata.name, metadata.namespace = vm.metadata.name, vm.metadata.namespace
    disks_for_bare_volumes(template.spec)
    add_automatic_input(template.spec.domain.devices)
    return VirtualMachineInstance(metadata=metadata, spec=template.spec)


def _give_identity(vmi: VirtualMachineInstance, *, serial: bool) -> None:
    """A uuid, and for a VM a serial, that stay the same; in a cluster they are drawn once."""
    firmware = vmi.spec.domain.firmware = vmi.spec.domain.firmware or Firmware()
    firmware.uuid = firmware.uuid or _derived(vmi.metadata.name)
    if serial:
        firmware.serial = firmware.serial or _derived(f"{vmi.metadata.name}-serial")


def _derived(name: str) -> str:
    return str(uuid.uuid5(IDENTITY, name))


@cache
def _walker(kind: str) -> structural.Walker:
    return structural.compile_schema(crds.stored_schema(next(it for it in ALL_KINDS if it.kind == kind)))


def _check_schema(obj: Json, kind: str, *, validate: bool) -> None:
    """Wrong types and unknown fields, in an API server's words; drops nulls and sets the schema's defaults."""
    walked = _walker(kind)(obj, defaults=True, prune=True)
    causes = [it for it in walked.causes if validate or it.reason == "FieldValueTypeInvalid"]
    _refuse([*causes, *(Cause("FieldUnknown", f'unknown field "{field}"', field) for field in walked.unknown)])
    name = (obj.get("metadata") or {}).get("name")
    if not isinstance(name, str) or not name or "/" in name:
        raise RenderError(f"metadata.name must be a text without slashes, not {name!r}", hint="give the object a name")


def _refuse(causes: list[Cause]) -> None:
    if not causes:
        return
    texts = [it.message if it.field in it.message else f"{it.field}: {it.message}" for it in causes[:SHOWN_CAUSES]]
    more = f"; and {len(causes) - SHOWN_CAUSES} more" if len(causes) > SHOWN_CAUSES else ""
    raise RenderError("; ".join(texts) + more, reason=INVALID)
