"""Whether an object makes sense: every rule beyond the schema (specification 5.4), as tables of small functions.

Called by admission after defaulting, and by `virtctl validate`. A result lists every cause, in the order of the rules;
nothing is refused here without a field, the value and, in the text, what would be right.
"""

from __future__ import annotations

from collections.abc import Iterator

from virt_types import labels
from virt_types.cdi.objects import DataSource, DataVolume
from virt_types.errors import Cause
from virt_types.instancetype.v1beta1 import (
    VirtualMachineClusterInstancetype,
    VirtualMachineClusterPreference,
    VirtualMachineInstancetype,
    VirtualMachinePreference,
)
from virt_types.meta import ObjectMeta
from virt_types.pool.v1beta1 import VirtualMachinePool
from virt_types.selectors import LABEL_KEY, LABEL_VALUE
from virt_types.settings import DEFAULT, Settings
from virt_types.v1 import (
    VirtualMachine,
    VirtualMachineInstance,
    VirtualMachineInstanceMigration,
    VirtualMachineInstancePreset,
    VirtualMachineInstanceReplicaSet,
    VirtualMachineInstanceSpec,
    VirtualMachineSpec,
)
from virt_types.validation import (
    claims,
    compute,
    datavolume,
    disks,
    firmware,
    guest,
    machine,
    many,
    network,
    pod,
    scheduling,
    sizing,
    volumes,
)
from virt_types.validation.scope import Rule, Scope, dns_subdomain_faults, invalid, shown

SPEC_RULES: tuple[Rule, ...] = (
    *guest.RULES,
    *firmware.RULES,
    *compute.RULES,
    *disks.RULES,
    *volumes.RULES,
    *network.RULES,
    *claims.RULES,
    *pod.RULES,
    *scheduling.RULES,
)
# A name becomes the label vm.kubevirt.io/name and part of paths and domain names.
LONGEST_NAME = 63
RESERVED_LABELS = "creation of the following reserved kubevirt.io/ labels on a VMI object is prohibited"

__all__ = [
    "SPEC_RULES",
    "validate_data_source",
    "validate_data_volume",
    "validate_instancetype",
    "validate_migration",
    "validate_pool",
    "validate_preference",
    "validate_preset",
    "validate_replica_set",
    "validate_spec",
    "validate_vm",
    "validate_vmi",
]


def validate_vm(vm: VirtualMachine, settings: Settings = DEFAULT, *, trusted: bool = False) -> list[Cause]:
    """Every rule a VirtualMachine breaks, its template's included; `trusted` as for validate_vmi."""
    found = [*_object_name(vm.metadata), *_machine(vm.spec, vm.metadata.namespace, "spec", settings, trusted=trusted)]
    return list(dict.fromkeys(found))


def _machine(
    spec: VirtualMachineSpec, namespace: str, path: str, settings: Settings, *, trusted: bool
) -> Iterator[Cause]:
    template, inner = spec.template, f"{path}.template"
    sized = spec.instancetype is not None
    yield from machine.causes(spec, namespace, path, settings)
    yield from _template_labels(template.metadata, f"{inner}.metadata.labels")
    yield from _instance_metadata(template.metadata, f"{inner}.metadata", settings, trusted=trusted)
    yield from validate_spec(template.spec, f"{inner}.spec", settings, template=True, sized_elsewhere=sized)


def validate_vmi(vmi: VirtualMachineInstance, settings: Settings = DEFAULT, *, trusted: bool = False) -> list[Cause]:
    """Every rule a VirtualMachineInstance breaks; only our own components are `trusted` with reserved labels."""
    found = [
        *_object_name(vmi.metadata),
        *_instance_metadata(vmi.metadata, "metadata", settings, trusted=trusted),
        *validate_spec(vmi.spec, "spec", settings),
    ]
    return list(dict.fromkeys(found))


def validate_replica_set(rs: VirtualMachineInstanceReplicaSet, settings: Settings = DEFAULT) -> list[Cause]:
    """Every rule a VirtualMachineInstanceReplicaSet breaks, its template's included."""
    template = rs.spec.template
    found = [
        *_object_name(rs.metadata),
        *many.replicas(rs.spec.replicas),
        *many.selector(rs.spec.selector, template.metadata.labels),
        *_template_labels(template.metadata, "spec.template.metadata.labels"),
        *validate_spec(template.spec, "spec.template.spec", settings, template=True),
    ]
    return list(dict.fromkeys(found))


def validate_pool(pool: VirtualMachinePool, settings: Settings = DEFAULT) -> list[Cause]:
    """Every rule a VirtualMachinePool breaks, its machines' included."""
    template, path = pool.spec.virtual_machine_template, "spec.virtualMachineTemplate"
    found = [
        *_object_name(pool.metadata),
        *many.pool(pool.spec),
        *_template_labels(template.metadata, f"{path}.metadata.labels"),
        *_machine(template.spec, pool.metadata.namespace, f"{path}.spec", settings, trusted=False),
    ]
    return list(dict.fromkeys(found))


def validate_preset(preset: VirtualMachineInstancePreset, settings: Settings = DEFAULT) -> list[Cause]:
    """Every rule a VirtualMachineInstancePreset breaks."""
    return list(dict.fromkeys([*_object_name(preset.metadata), *many.preset(preset.spec, settings)]))


def validate_migration(migration: VirtualMachineInstanceMigration, *, trusted: bool = False) -> list[Cause]:
    """Every rule a VirtualMachineInstanceMigration breaks; `trusted` as for validate_vmi."""
    return [*_object_name(migration.metadata), *many.migration(migration.spec, trusted=trusted)]


def validate_instancetype(size: VirtualMachineInstancetype | VirtualMachineClusterInstancetype) -> list[Cause]:
    """Every rule an instancetype breaks."""
    return [*_object_name(size.metadata, longest=253), *sizing.instancetype(size.spec)]


def validate_preference(preference: VirtualMachinePreference | VirtualMachineClusterPreference) -> list[Cause]:
    """Every rule a preference breaks."""
    return [*_object_name(preference.metadata, longest=253), *sizing.preference(preference.spec)]


def validate_data_volume(dv: DataVolume) -> list[Cause]:
    """Every rule a DataVolume breaks."""
    return [*_object_name(dv.metadata, longest=253), *datavolume.data_volume(dv)]


def validate_data_source(source: DataSource) -> list[Cause]:
    """Every rule a DataSource breaks."""
    return [*_object_name(source.metadata, longest=253), *datavolume.data_source(source)]


def validate_spec(
    spec: VirtualMachineInstanceSpec,
    path: str,
    settings: Settings = DEFAULT,
    *,
    template: bool = False,
    sized_elsewhere: bool = False,
) -> Iterator[Cause]:
    """The rules of a VirtualMachineInstanceSpec found at `path`; replica sets and pools ask the same."""
    scope = Scope(spec, path, settings, template=template, sized_elsewhere=sized_elsewhere)
    for rule in SPEC_RULES:
        yield from rule(scope)


def _object_name(metadata: ObjectMeta, longest: int = LONGEST_NAME) -> Iterator[Cause]:
    name = metadata.name
    if not name:
        return  # the API server makes one from generateName, or says that it can't
    faults = list(dns_subdomain_faults(name))
    if longest < len(name) <= 253:
        faults.append(f"must be no more than {longest} characters")
    yield from (invalid("metadata.name", f'Invalid value: "{shown(name)}": {fault}') for fault in faults)


def _instance_metadata(metadata: ObjectMeta, path: str, settings: Settings, *, trusted: bool) -> Iterator[Cause]:
    """Of an instance, or of the template that instances are made of."""
    if not trusted and any(name in metadata.labels for name in labels.RESERVED_VMI_LABELS):
        yield Cause("FieldValueNotSupported", RESERVED_LABELS, f"{path}.labels")
    for annotation, gate, word in (
        (labels.IGNITION_DATA, "ExperimentalIgnitionSupport", "ExperimentalIgnitionSupport"),
        (labels.HOOK_SIDECARS, "Sidecar", "sidecar"),
    ):
        if metadata.annotations.get(annotation) and not settings.enabled(gate):
            field = f"{path}.annotations.{annotation}"
            message = f"{word} feature gate is not enabled in kubevirt-config, invalid entry {field}"
            yield invalid(f"{path}.annotations", message)


def _template_labels(metadata: ObjectMeta, field: str) -> Iterator[Cause]:
    """Labels an instance could not be created with; upstream finds out when it starts."""
    for key, value in metadata.labels.items():
        if len(key) > 317 or LABEL_KEY.fullmatch(key) is None:
            yield invalid(field, f"'{shown(key)}' is not a label key")
        if len(value) > 63 or LABEL_VALUE.fullmatch(value) is None:
            yield invalid(field, f"'{shown(value)}' is not a label value (key {shown(key)})")
