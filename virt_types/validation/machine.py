"""Rules about a VirtualMachine itself (specification 5.4, rules 2 to 12 and 18)."""

from __future__ import annotations

from collections.abc import Iterator

from virt_types.cdi.v1beta1 import DataVolumeSpec
from virt_types.errors import Cause
from virt_types.settings import Settings
from virt_types.v1 import DataVolumeTemplateSpec, VirtualMachine
from virt_types.validation.scope import dns_subdomain_faults, duplicate, invalid, required, shown, unsupported

RUN_STRATEGIES = frozenset(("Always", "Halted", "Manual", "RerunOnFailure", "Once"))
WAIT_AS_RECEIVER = "WaitAsReceiver"
UPDATE_VOLUMES_STRATEGIES = frozenset(("Replacement", "Migration"))


def causes(vm: VirtualMachine, settings: Settings) -> Iterator[Cause]:
    """Everything wrong outside the template's spec."""
    yield from run_strategy(vm, settings)
    yield from data_volume_templates(vm)
    yield from matchers(vm)
    strategy = vm.spec.update_volumes_strategy
    if strategy is not None and strategy not in UPDATE_VOLUMES_STRATEGIES:
        field = "spec.updateVolumesStrategy"
        yield unsupported(field, f"{field} has invalid value '{shown(strategy)}', use Replacement or Migration")


def run_strategy(vm: VirtualMachine, settings: Settings) -> Iterator[Cause]:
    running, strategy = vm.spec.running, vm.spec.run_strategy
    if running is not None and strategy is not None:
        yield invalid(
            "spec.running",
            "Running and RunStrategy are mutually exclusive. "
            "Note that Running is deprecated, please use RunStrategy instead",
        )
    if running is None and strategy is None:
        yield invalid("spec.running", "RunStrategy must be specified")
    if strategy is None or strategy in RUN_STRATEGIES:
        return
    if strategy != WAIT_AS_RECEIVER:
        yield invalid("spec.runStrategy", f"Invalid RunStrategy ({shown(strategy)})")
    elif not settings.enabled("DecentralizedLiveMigration"):
        gate = "DecentralizedLiveMigration feature gate is not enabled in kubevirt resource"
        yield invalid("spec.runStrategy", f"Invalid RunStrategy ({strategy}), {gate}")


def data_volume_templates(vm: VirtualMachine) -> Iterator[Cause]:
    volumes = vm.spec.template.spec.volumes
    used = {volume.data_volume.name for volume in volumes if volume.data_volume is not None}
    used |= {claim.claim_name for volume in volumes if (claim := volume.persistent_volume_claim) is not None}
    seen: set[str] = set()
    for index, template in enumerate(vm.spec.data_volume_templates):
        path = f"spec.dataVolumeTemplates[{index}]"
        name = template.metadata.name
        if not name:
            message = f"'name' field must not be empty for DataVolumeTemplate entry {path}."
            yield required(f"{path}.name", message)
        elif name in seen:
            yield duplicate(
                f"{path}.metadata.name", f"DataVolumeTemplate entry {path} repeats the name '{shown(name)}'"
            )
        seen.add(name)
        yield from (invalid(f"{path}.metadata.name", fault) for fault in (dns_subdomain_faults(name) if name else ()))
        yield from _data_volume(path, template.spec)
        if name and name not in used:
            message = f"DataVolumeTemplate entry {path} must be referenced in the VMI template's 'volumes' list"
            yield required(path, message)
        yield from _namespace(path, template, vm)


def _namespace(path: str, template: DataVolumeTemplateSpec, vm: VirtualMachine) -> Iterator[Cause]:
    theirs, ours = template.metadata.namespace, vm.metadata.namespace
    if theirs and ours and theirs != ours:
        message = f"Embedded DataVolume namespace {shown(theirs)} differs from VM namespace {shown(ours)}"
        yield invalid(path, message)


def _data_volume(path: str, spec: DataVolumeSpec) -> Iterator[Cause]:
    if spec.pvc is None and spec.storage is None:
        yield required(f"{path}.spec", "Missing Data volume PVC or Storage")
    if spec.pvc is not None and spec.storage is not None:
        message = "Duplicate storage definition, both target storage and target pvc defined"
        yield duplicate(f"{path}.spec", message)
    populated = any(
        target is not None and (target.data_source is not None or target.data_source_ref is not None)
        for target in (spec.pvc, spec.storage)
    )
    sources = (spec.source is not None) + (spec.source_ref is not None)
    if populated and sources:
        yield invalid(f"{path}.spec.source", "External population is incompatible with Source and SourceRef")
    elif sources != 1 and not populated:
        message = "Data volume should have either Source, SourceRef, or be externally populated"
        yield invalid(f"{path}.spec.sourceRef", message)
    if spec.source is None:
        return
    given = sum(getattr(spec.source, name) is not None for name in spec.source.__struct_fields__)
    if not given:
        yield invalid(f"{path}.spec.source", "Missing dataVolume valid source")
    if given > 1:
        yield invalid(f"{path}.spec.source", "Multiple dataVolume sources")


def matchers(vm: VirtualMachine) -> Iterator[Cause]:
    for field, word, matcher in (
        ("spec.instancetype", "InstancetypeMatcher", vm.spec.instancetype),
        ("spec.preference", "PreferenceMatcher", vm.spec.preference),
    ):
        if matcher is not None and not matcher.name and not matcher.infer_from_volume:
            yield required(field, f"Either Name or InferFromVolume should be provided within the {word}")
