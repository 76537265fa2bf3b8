"""Rules about a VirtualMachine itself (specification 5.4, rules 2 to 12 and 18)."""

from __future__ import annotations

from collections.abc import Iterator

from virt_types.errors import Cause
from virt_types.settings import Settings
from virt_types.v1 import DataVolumeTemplateSpec, InstancetypeMatcher, PreferenceMatcher, VirtualMachineSpec
from virt_types.validation.datavolume import modes, origin, target
from virt_types.validation.scope import dns_subdomain_faults, duplicate, invalid, required, shown, unsupported

RUN_STRATEGIES = frozenset(("Always", "Halted", "Manual", "RerunOnFailure", "Once"))
WAIT_AS_RECEIVER = "WaitAsReceiver"
FAILURE_POLICIES = frozenset(("Reject", "Ignore"))
UPDATE_VOLUMES_STRATEGIES = frozenset(("Replacement", "Migration"))


def causes(spec: VirtualMachineSpec, namespace: str, path: str, settings: Settings) -> Iterator[Cause]:
    """Everything wrong outside the template's spec; `path` is `spec`, or a pool's way to it."""
    yield from run_strategy(spec, path, settings)
    yield from data_volume_templates(spec, namespace, path)
    yield from matchers(spec, path)
    strategy = spec.update_volumes_strategy
    if strategy is not None and strategy not in UPDATE_VOLUMES_STRATEGIES:
        field = f"{path}.updateVolumesStrategy"
        yield unsupported(field, f"{field} has invalid value '{shown(strategy)}', use Replacement or Migration")


def run_strategy(spec: VirtualMachineSpec, path: str, settings: Settings) -> Iterator[Cause]:
    running, strategy = spec.running, spec.run_strategy
    if running is not None and strategy is not None:
        yield invalid(
            f"{path}.running",
            "Running and RunStrategy are mutually exclusive. "
            "Note that Running is deprecated, please use RunStrategy instead",
        )
    if running is None and strategy is None:
        yield invalid(f"{path}.running", "RunStrategy must be specified")
    if strategy is None or strategy in RUN_STRATEGIES:
        return
    field = f"{path}.runStrategy"
    if strategy != WAIT_AS_RECEIVER:
        yield invalid(field, f"Invalid RunStrategy ({shown(strategy)})")
    elif not settings.enabled("DecentralizedLiveMigration"):
        gate = "DecentralizedLiveMigration feature gate is not enabled in kubevirt resource"
        yield invalid(field, f"Invalid RunStrategy ({strategy}), {gate}")


def data_volume_templates(spec: VirtualMachineSpec, namespace: str, above: str) -> Iterator[Cause]:
    volumes = spec.template.spec.volumes
    used = {volume.data_volume.name for volume in volumes if volume.data_volume is not None}
    used |= {claim.claim_name for volume in volumes if (claim := volume.persistent_volume_claim) is not None}
    seen: set[str] = set()
    for index, template in enumerate(spec.data_volume_templates):
        path = f"{above}.dataVolumeTemplates[{index}]"
        name = template.metadata.name
        if not name:
            message = f"'name' field must not be empty for DataVolumeTemplate entry {path}.name."
            yield required(f"{path}.name", message)
        elif name in seen:
            yield duplicate(
                f"{path}.metadata.name", f"DataVolumeTemplate entry {path} repeats the name '{shown(name)}'"
            )
        seen.add(name)
        yield from (invalid(f"{path}.metadata.name", fault) for fault in (dns_subdomain_faults(name) if name else ()))
        faults = [*target(f"{path}.spec", template.spec), *origin(f"{path}.spec", template.spec)]
        yield from faults
        yield from modes(f"{path}.spec", template.spec)
        if name and name not in used and not faults:
            message = f"DataVolumeTemplate entry {path} must be referenced in the VMI template's 'volumes' list"
            yield required(path, message)
        yield from _namespace(path, template, namespace)


def _namespace(path: str, template: DataVolumeTemplateSpec, ours: str) -> Iterator[Cause]:
    theirs = template.metadata.namespace
    if theirs and ours and theirs != ours:
        message = f"Embedded DataVolume namespace {shown(theirs)} differs from VM namespace {shown(ours)}"
        yield invalid(path, message)


def matchers(spec: VirtualMachineSpec, path: str) -> Iterator[Cause]:
    for name, word, matcher in (
        ("instancetype", "InstancetypeMatcher", spec.instancetype),
        ("preference", "PreferenceMatcher", spec.preference),
    ):
        if matcher is not None and not matcher.name and not matcher.infer_from_volume:
            message = f"Either Name or InferFromVolume should be provided within the {word}"
            yield required(f"{path}.{name}", message)
        if matcher is not None:
            yield from _inferred(matcher, f"{path}.{name}")


def _inferred(matcher: InstancetypeMatcher | PreferenceMatcher, path: str) -> Iterator[Cause]:
    """A reference that a volume decides says nothing itself."""
    for field, value in (("name", matcher.name), ("kind", matcher.kind)) if matcher.infer_from_volume else ():
        if value:
            fault = f"{field.capitalize()} already set, should be cleared before setting inferFromVolume"
            yield unsupported(f"{path}.{field}", fault)
    policy = matcher.infer_from_volume_failure_policy
    if policy is not None and policy not in FAILURE_POLICIES:
        fault = f"Invalid value '{shown(policy)}' for InferFromVolumeFailurePolicy"
        yield invalid(f"{path}.inferFromVolumeFailurePolicy", fault)
