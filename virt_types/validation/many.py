"""Rules about kinds that stand for many guests: replica sets, pools, presets, migrations."""

from __future__ import annotations

import re
from collections.abc import Iterator

from virt_types.durations import seconds
from virt_types.errors import Cause
from virt_types.meta import LabelSelector
from virt_types.pool.v1beta1 import (
    VirtualMachinePoolAutohealingStrategy,
    VirtualMachinePoolScaleInStrategy,
    VirtualMachinePoolSpec,
    VirtualMachinePoolUpdateStrategy,
)
from virt_types.selectors import from_struct
from virt_types.settings import Settings
from virt_types.v1 import (
    VirtualMachineInstanceMigrationSpec,
    VirtualMachineInstancePresetSpec,
    VirtualMachineInstanceSpec,
)
from virt_types.validation import disks, firmware, scheduling
from virt_types.validation.scope import Rule, Scope, invalid, required, shown

WITH_VALUES, WITHOUT_VALUES = ("In", "NotIn"), ("Exists", "DoesNotExist")
PERCENT = re.compile(r"(-?\d{1,9})%", re.ASCII)
# Of a preset only what it has without volumes and networks.
PRESET_RULES: tuple[Rule, ...] = (
    *(rule for rule in disks.RULES if rule not in (disks.volumes_of_disks, disks.filesystems)),
    firmware.identity,
    firmware.bootloader,
    firmware.kernel_boot,
)


def selector(selected: LabelSelector, template_labels: dict[str, str]) -> Iterator[Cause]:
    """A selector that can be read and that finds what the template makes."""
    faults = list(_selector_faults(selected))
    yield from (invalid("spec.selector", fault) for fault in faults)
    if not faults and not from_struct(selected).matches(template_labels):
        yield invalid("spec.selector", "selector does not match labels.")


def _selector_faults(selected: LabelSelector) -> Iterator[str]:
    for expression in selected.match_expressions:
        key, values = expression.key, expression.values
        if expression.operator not in (*WITH_VALUES, *WITHOUT_VALUES):
            yield f'"{shown(expression.operator)}" is not a valid label selector operator'
        elif expression.operator in WITH_VALUES and not values:
            yield "values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty"
        elif expression.operator in WITHOUT_VALUES and values:
            listed = ",".join(f'"{shown(value)}"' for value in values)
            yield f"values: Invalid value: [{listed}]: values set must be empty for exists and does not exist"
        else:
            yield from _unreadable(key, values)
    for key, value in selected.match_labels.items():
        yield from _unreadable(key, [value])


def _unreadable(key: str, values: list[str]) -> Iterator[str]:
    """As Kubernetes' own parser of selectors speaks."""
    yield from (f'key: Invalid value: "{shown(key)}": {why}' for why in scheduling.qualified_name_faults(key))
    for index, value in enumerate(values):
        for why in scheduling.label_value_faults(value):
            yield f'values[{index}][{shown(key)}]: Invalid value: "{shown(value)}": {why}'


def replicas(wanted: int | None) -> Iterator[Cause]:
    if wanted is not None and wanted < 0:
        yield invalid("spec.replicas", f"Invalid value: {wanted}: should be a non-negative integer")


def pool(spec: VirtualMachinePoolSpec) -> Iterator[Cause]:
    """A pool's own fields; its machines are checked as machines are."""
    yield from selector(spec.selector, spec.virtual_machine_template.metadata.labels)
    yield from (invalid("spec.maxUnavailable", fault) for fault in _max_unavailable(spec.max_unavailable))
    yield from _one_strategy("spec.scaleInStrategy", spec.scale_in_strategy)
    yield from _one_strategy("spec.updateStrategy", spec.update_strategy)
    yield from _autohealing(spec.autohealing)


def _max_unavailable(value: int | str | None) -> Iterator[str]:
    if isinstance(value, str):
        percent = PERCENT.fullmatch(value)
        if not value.endswith("%"):
            yield "maxUnavailable percentage must end with %"
        elif percent is None:
            yield f'maxUnavailable percentage value "{shown(value[:-1])}" is invalid: not a whole number'
        elif not 1 <= int(percent[1]) <= 100:
            yield f"maxUnavailable percentage value {int(percent[1])} must be between 1 and 100"
    elif value is not None and value <= 0:
        yield "maxUnavailable must be greater than 0"


def _autohealing(rules: VirtualMachinePoolAutohealingStrategy | None) -> Iterator[Cause]:
    """Upstream takes both, and then heals never, or at once and for ever."""
    if rules is None:
        return
    lasting, threshold = rules.min_failing_to_start_duration, rules.start_up_failure_threshold
    if lasting is not None and seconds(lasting) is None:
        message = f"'{lasting}' is not a duration: write 90s, 5m or 1h30m"
        yield invalid("spec.autohealing.minFailingToStartDuration", message)
    if threshold is not None and threshold < 1:
        yield invalid("spec.autohealing.startUpFailureThreshold", f"Invalid value: {threshold}: must be greater than 0")


def _one_strategy(
    field: str, strategy: VirtualMachinePoolScaleInStrategy | VirtualMachinePoolUpdateStrategy | None
) -> Iterator[Cause]:
    words = ("unmanaged", "opportunistic", "proactive")
    given = [word for word in words if strategy is not None and getattr(strategy, word) is not None]
    if len(given) > 1:
        found = ", ".join(given)
        yield invalid(field, f"only one strategy can be configured at a time: but found {found} strategies")


def preset(spec: VirtualMachineInstancePresetSpec, settings: Settings) -> Iterator[Cause]:
    if spec.domain is None:
        yield required("spec.domain", "missing domain.")
        return
    scope = Scope(VirtualMachineInstanceSpec(domain=spec.domain), "spec", settings, template=True)
    for rule in PRESET_RULES:
        yield from rule(scope)
    yield from (invalid("spec.selector", fault) for fault in _selector_faults(spec.selector))


def migration(spec: VirtualMachineInstanceMigrationSpec, *, trusted: bool) -> Iterator[Cause]:
    if not spec.vmi_name:
        yield required("spec.vmiName", "vmiName is missing")
    if spec.priority is not None and not trusted:
        message = "Migration priority queue, only virt-controller is allowed to set priority field"
        yield Cause("FieldValueForbidden", message, "spec.priority")
