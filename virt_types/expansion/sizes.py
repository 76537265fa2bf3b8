"""An instancetype put into a VM's template: what it sets, and what the template must not say besides."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_FLOOR
from typing import NamedTuple

from virt_types.defaults import canonical_like
from virt_types.errors import Cause
from virt_types.expansion.paths import get, is_given, put
from virt_types.expansion.topology import topology, unevenness
from virt_types.instancetype.v1beta1 import VirtualMachineInstancetypeSpec, VirtualMachinePreferenceSpec
from virt_types.quantity import QuantityError, parse
from virt_types.v1 import VirtualMachineInstanceTemplateSpec

CONFLICT = "VM field(s) {field} conflicts with selected instance type"
UNEVEN_FIELD = "instancetype.spec.cpu.guest"


class Sets(NamedTuple):
    """One field of an instancetype's spec and the field of an instance's spec it becomes."""

    source: str
    target: str


SETS = (
    Sets("nodeSelector", "nodeSelector"),
    Sets("schedulerName", "schedulerName"),
    Sets("cpu.model", "domain.cpu.model"),
    Sets("cpu.dedicatedCPUPlacement", "domain.cpu.dedicatedCpuPlacement"),
    Sets("cpu.isolateEmulatorThread", "domain.cpu.isolateEmulatorThread"),
    Sets("cpu.numa", "domain.cpu.numa"),
    Sets("cpu.realtime", "domain.cpu.realtime"),
    Sets("cpu.maxSockets", "domain.cpu.maxSockets"),
    Sets("memory.guest", "domain.memory.guest"),
    Sets("memory.hugepages", "domain.memory.hugepages"),
    Sets("memory.maxGuest", "domain.memory.maxGuest"),
    Sets("ioThreads.supplementalPoolThreadCount", "domain.ioThreads.supplementalPoolThreadCount"),
    Sets("ioThreadsPolicy", "domain.ioThreadsPolicy"),
    Sets("launchSecurity", "domain.launchSecurity"),
    Sets("gpus", "domain.devices.gpus"),
    Sets("hostDevices", "domain.devices.hostDevices"),
)
# Other ways to say how many CPUs and how much memory: always an instancetype's business.
SIZED_ELSEWHERE = (
    "domain.resources.requests.cpu",
    "domain.resources.limits.cpu",
    "domain.cpu.sockets",
    "domain.cpu.cores",
    "domain.cpu.threads",
    "domain.resources.requests.memory",
    "domain.resources.limits.memory",
)


def conflicts(
    template: VirtualMachineInstanceTemplateSpec,
    size: VirtualMachineInstancetypeSpec,
    preference: VirtualMachinePreferenceSpec | None,
    path: str,
) -> Iterator[Cause]:
    """Every field below `path` (that of the template) that the instancetype doesn't leave to the VM."""
    both = (row.target for row in SETS if _says(size, row.source) and is_given(get(template.spec, row.target)))
    for field in (*both, *(field for field in SIZED_ELSEWHERE if is_given(get(template.spec, field)))):
        yield _conflict(f"{path}.spec.{field}")
    for name, value in size.annotations.items():
        if template.metadata.annotations.get(name, value) != value:
            yield _conflict(f"{path}.metadata.annotations[{name}]")
    uneven = unevenness(size.cpu.guest, preference)
    if uneven:
        yield Cause("FieldValueInvalid", uneven, UNEVEN_FIELD)


def apply(
    template: VirtualMachineInstanceTemplateSpec,
    size: VirtualMachineInstancetypeSpec,
    preference: VirtualMachinePreferenceSpec | None,
) -> None:
    """Fill the template; there are no conflicts."""
    for row in SETS:
        if _says(size, row.source):
            put(template.spec, row.target, get(size, row.source))
    for part, count in topology(size.cpu.guest, preference)._asdict().items():
        put(template.spec, f"domain.cpu.{part}", count)
    if size.memory.overcommit_percent:
        requested = _overcommitted(size.memory.guest, size.memory.overcommit_percent)
        put(template.spec, "domain.resources.requests.memory", requested)
    template.metadata.annotations |= size.annotations


def _says(size: VirtualMachineInstancetypeSpec, source: str) -> bool:
    """Whether the instancetype decides this; a flag that is false does too."""
    value = get(size, source)
    return value is not None and value not in ("", [], {})


def _overcommitted(guest: str | float, percent: int) -> str | float:
    """What is asked of the node for a guest of this size, in whole bytes and the guest's family of suffixes."""
    try:
        amount = (parse(guest) * (100 - percent) / 100).to_integral_value(rounding=ROUND_FLOOR)
    except QuantityError:
        return guest  # validation names it
    return canonical_like(guest, amount)


def _conflict(field: str) -> Cause:
    return Cause("FieldValueInvalid", CONFLICT.format(field=field), field)
