"""What a preference demands of the machines that use it (spec.requirements)."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_CEILING, Decimal
from math import prod

from virt_types.errors import Cause
from virt_types.expansion.topology import ACROSS, ANY, SPREAD, preferred, spread_of
from virt_types.instancetype.v1beta1 import (
    PreferenceRequirements,
    VirtualMachineInstancetypeSpec,
    VirtualMachinePreferenceSpec,
)
from virt_types.meta import Quantity
from virt_types.quantity import QuantityError, canonical, parse
from virt_types.v1 import DomainSpec, VirtualMachineInstanceSpec

UNMET = "failure checking preference requirements: {reason}"
CPUS_OF_SIZE = (
    "insufficient CPU resources of {cpus} vCPU provided by instance type, preference requires {required} vCPU"
)
CPUS_OF_VM = (
    "insufficient CPU resources of {cpus} vCPU provided by VirtualMachine, "
    "preference requires {required} vCPU provided as {parts}"
)
NO_CPUS = "no CPU resources provided by VirtualMachine, preference requires {required} vCPU"
MEMORY = "insufficient Memory resources of {memory} provided by {provider}, preference requires {required}"
ARCHITECTURE = "preference requires architecture {required} but {architecture} is being requested"

SIZE_FIELD = "spec.instancetype"
CPU_FIELD = "spec.template.spec.domain.cpu"
MEMORY_FIELD = "spec.template.spec.domain.memory"
ARCHITECTURE_FIELD = "spec.template.spec.architecture"


def unmet(
    spec: VirtualMachineInstanceSpec,
    size: VirtualMachineInstancetypeSpec | None,
    preference: VirtualMachinePreferenceSpec,
) -> Iterator[Cause]:
    """Every demand of the preference that neither the instancetype nor, without one, the VM itself meets."""
    required = preference.requirements
    if required is None:
        return
    yield from _cpus(spec.domain, size, preference, required)
    yield from _memory(spec.domain, size, required)
    if required.architecture and spec.architecture != required.architecture:
        reason = ARCHITECTURE.format(required=required.architecture, architecture=spec.architecture)
        yield _cause(ARCHITECTURE_FIELD, reason)


def _cpus(
    domain: DomainSpec,
    size: VirtualMachineInstancetypeSpec | None,
    preference: VirtualMachinePreferenceSpec,
    required: PreferenceRequirements,
) -> Iterator[Cause]:
    least = required.cpu.guest if required.cpu is not None else 0
    if size is not None:
        if size.cpu.guest < least:
            yield _cause(SIZE_FIELD, CPUS_OF_SIZE.format(cpus=size.cpu.guest, required=least))
        return
    counts = _counts(domain)
    if counts is None:
        if least > 0:
            yield _cause(CPU_FIELD, NO_CPUS.format(required=least))
        return
    parts = _parts(preference)
    cpus = prod(counts[part] for part in parts)
    if cpus < least:
        shown = " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
        for part in parts:
            yield _cause(f"{CPU_FIELD}.{part}", CPUS_OF_VM.format(cpus=cpus, required=least, parts=shown))


def _parts(preference: VirtualMachinePreferenceSpec) -> tuple[str, ...]:
    """The parts of the VM's topology that count."""
    wanted = preferred(preference)
    if wanted == SPREAD:
        return ACROSS[spread_of(preference).across]
    return ("cores", "sockets", "threads") if wanted == ANY else (wanted,)


def _counts(domain: DomainSpec) -> dict[str, int] | None:
    """Sockets, cores and threads as the VM says them, absent ones being 1; None when it says nothing of CPUs."""
    cpu = domain.cpu
    if cpu is not None and (cpu.sockets or cpu.cores or cpu.threads):
        return {"sockets": cpu.sockets or 1, "cores": cpu.cores or 1, "threads": cpu.threads or 1}
    asked = domain.resources.limits.get("cpu", domain.resources.requests.get("cpu"))
    amount = _number(asked)
    if amount is None:
        return None
    return {"sockets": max(1, int(amount.to_integral_value(rounding=ROUND_CEILING))), "cores": 1, "threads": 1}


def _memory(
    domain: DomainSpec, size: VirtualMachineInstancetypeSpec | None, required: PreferenceRequirements
) -> Iterator[Cause]:
    if required.memory is None:
        return
    resources = domain.resources
    own = (domain.memory and domain.memory.guest) or resources.requests.get("memory") or resources.limits.get("memory")
    memory = own if size is None else size.memory.guest
    amount, least = _number(memory), _number(required.memory.guest)
    if memory is None or amount is None or least is None or amount >= least:
        return
    field, provider = (MEMORY_FIELD, "VirtualMachine") if size is None else (SIZE_FIELD, "instance type")
    reason = MEMORY.format(memory=canonical(memory), provider=provider, required=canonical(required.memory.guest))
    yield _cause(field, reason)


def _number(quantity: Quantity | None) -> Decimal | None:
    """None where there is none that can be read: validation says so."""
    try:
        return None if quantity is None else parse(quantity)
    except QuantityError:
        return None


def _cause(field: str, reason: str) -> Cause:
    return Cause("FieldValueInvalid", UNMET.format(reason=reason), field)
