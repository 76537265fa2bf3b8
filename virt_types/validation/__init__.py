"""Whether an object makes sense: every rule beyond the schema (specification 5.4), as tables of small functions.

Called by admission after defaulting, and by `virtctl validate`. A result lists every cause, in the order of the rules;
nothing is refused here without a field, the value and, in the text, what would be right.
"""

from __future__ import annotations

from collections.abc import Iterator

from virt_types import labels
from virt_types.errors import Cause
from virt_types.meta import ObjectMeta
from virt_types.selectors import LABEL_KEY, LABEL_VALUE
from virt_types.settings import DEFAULT, Settings
from virt_types.v1 import VirtualMachine, VirtualMachineInstance, VirtualMachineInstanceSpec
from virt_types.validation import compute, disks, guest, machine, network, pod, volumes
from virt_types.validation.scope import Rule, Scope, dns_subdomain_faults, invalid, shown

SPEC_RULES: tuple[Rule, ...] = (
    *guest.RULES,
    *compute.RULES,
    *disks.RULES,
    *volumes.RULES,
    *network.RULES,
    *pod.RULES,
)
# A name becomes the label vm.kubevirt.io/name and part of paths and domain names.
LONGEST_NAME = 63
RESERVED_LABELS = "creation of the following reserved kubevirt.io/ labels on a VMI object is prohibited"

__all__ = ["SPEC_RULES", "validate_spec", "validate_vm", "validate_vmi"]


def validate_vm(vm: VirtualMachine, settings: Settings = DEFAULT) -> list[Cause]:
    """Every rule a VirtualMachine breaks, its template's included."""
    sized_elsewhere = vm.spec.instancetype is not None
    spec = vm.spec.template.spec
    found = [
        *_object_name(vm.metadata),
        *machine.causes(vm, settings),
        *_template_metadata(vm.spec.template.metadata),
        *validate_spec(spec, "spec.template.spec", settings, template=True, sized_elsewhere=sized_elsewhere),
    ]
    return list(dict.fromkeys(found))


def validate_vmi(vmi: VirtualMachineInstance, settings: Settings = DEFAULT, *, trusted: bool = False) -> list[Cause]:
    """Every rule a VirtualMachineInstance breaks; only our own components are `trusted` with reserved labels."""
    found = [
        *_object_name(vmi.metadata),
        *(() if trusted else _reserved_labels(vmi.metadata)),
        *_gated_annotations(vmi.metadata, settings),
        *validate_spec(vmi.spec, "spec", settings),
    ]
    return list(dict.fromkeys(found))


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


def _object_name(metadata: ObjectMeta) -> Iterator[Cause]:
    name = metadata.name
    if not name:
        return  # the API server makes one from generateName, or says that it can't
    faults = list(dns_subdomain_faults(name))
    if LONGEST_NAME < len(name) <= 253:
        faults.append(f"must be no more than {LONGEST_NAME} characters")
    yield from (invalid("metadata.name", f'Invalid value: "{shown(name)}": {fault}') for fault in faults)


def _reserved_labels(metadata: ObjectMeta) -> Iterator[Cause]:
    if any(name in metadata.labels for name in labels.RESERVED_VMI_LABELS):
        yield Cause("FieldValueNotSupported", RESERVED_LABELS, "metadata.labels")


def _gated_annotations(metadata: ObjectMeta, settings: Settings) -> Iterator[Cause]:
    for annotation, gate, word in (
        (labels.IGNITION_DATA, "ExperimentalIgnitionSupport", "ExperimentalIgnitionSupport"),
        (labels.HOOK_SIDECARS, "Sidecar", "sidecar"),
    ):
        if annotation in metadata.annotations and not settings.enabled(gate):
            field = f"metadata.annotations.{annotation}"
            message = f"{word} feature gate is not enabled in kubevirt-config, invalid entry {field}"
            yield invalid("metadata.annotations", message)


def _template_metadata(metadata: ObjectMeta) -> Iterator[Cause]:
    """Labels an instance could not be created with; upstream finds out when it starts."""
    for key, value in metadata.labels.items():
        field = "spec.template.metadata.labels"
        if len(key) > 317 or LABEL_KEY.fullmatch(key) is None:
            yield invalid(field, f"'{shown(key)}' is not a label key")
        if len(value) > 63 or LABEL_VALUE.fullmatch(value) is None:
            yield invalid(field, f"'{shown(value)}' is not a label value (key {shown(key)})")
