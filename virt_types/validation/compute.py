"""Rules about memory, CPU and the resources asked for (specification 5.4, rules 21 to 41)."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import chain
from math import prod

from virt_types.defaults import GIB, MIB
from virt_types.errors import Cause
from virt_types.meta import Quantity
from virt_types.quantity import QuantityError, canonical
from virt_types.v1 import CPU
from virt_types.validation.scope import QUANTITY_TEXT, Rule, Scope, invalid, number, required, shown, unsupported

CPU_POLICIES = frozenset(("", "force", "require", "optional", "disable", "forbid"))
NO_MEMORY = (
    "no memory requested, at least one of 'spec.domain.memory.guest', 'spec.domain.memory.hugepages.pageSize' or "
    "'spec.domain.resources.requests.memory' must be set"
)
REQUESTS_MEMORY = "domain.resources.requests.memory"
LIMITS_MEMORY = "domain.resources.limits.memory"
REQUESTS_CPU = "domain.resources.requests.cpu"
LIMITS_CPU = "domain.resources.limits.cpu"
GUEST = "domain.memory.guest"
PAGE_SIZE = "domain.memory.hugepages.pageSize"


def _plain(quantity: Quantity | None) -> str:
    if quantity is None:
        return "0"
    try:
        return canonical(quantity)
    except QuantityError:
        return shown(quantity)


def readable_quantities(scope: Scope) -> Iterator[Cause]:
    domain, memory = scope.spec.domain, scope.spec.domain.memory
    found: list[tuple[str, Quantity | None]] = []
    for kind, amounts in (("requests", domain.resources.requests), ("limits", domain.resources.limits)):
        found += [(f"domain.resources.{kind}.{name}", value) for name, value in amounts.items()]
    if memory is not None:
        found += [(GUEST, memory.guest), ("domain.memory.maxGuest", memory.max_guest)]
        found.append((PAGE_SIZE, memory.hugepages.page_size if memory.hugepages else None))
    for index, volume in enumerate(scope.spec.volumes):
        if volume.empty_disk is not None:
            found.append((f"volumes[{index}].emptyDisk.capacity", volume.empty_disk.capacity))
        if volume.host_disk is not None:
            found.append((f"volumes[{index}].hostDisk.capacity", volume.host_disk.capacity))
    for field, value in found:
        if value is not None and number(value) is None:
            yield invalid(scope.at(field), f"{scope.at(field)} '{shown(value)}': {QUANTITY_TEXT}")


def memory_requested(scope: Scope) -> Iterator[Cause]:
    domain = scope.spec.domain
    memory = domain.memory
    hugepages = memory is not None and memory.hugepages is not None and memory.hugepages.page_size
    asked = (memory is not None and memory.guest is not None) or hugepages or "memory" in domain.resources.requests
    if not asked and not scope.sized_elsewhere and "memory" not in domain.resources.limits:
        yield required(scope.at("domain.memory.guest"), NO_MEMORY)


def memory_amounts(scope: Scope) -> Iterator[Cause]:
    resources = scope.spec.domain.resources
    wanted, limit = number(resources.requests.get("memory")), number(resources.limits.get("memory"))
    field, value = scope.at(REQUESTS_MEMORY), _plain(resources.requests.get("memory"))
    if wanted is not None and wanted < 0:
        yield invalid(field, f"{field} '{value}': must be greater than or equal to 0.")
    if wanted is not None and 0 < wanted < 1_000_000:
        yield invalid(field, f"{field} '{value}': must be greater than or equal to 1M.")
    if limit is not None and limit < 0:
        over = scope.at(LIMITS_MEMORY)
        yield invalid(over, f"{over} '{_plain(resources.limits['memory'])}': must be greater than or equal to 0.")
    if wanted is not None and limit is not None and 0 < limit < wanted:
        yield invalid(
            field, f"{field} '{value}' is greater than {scope.at(LIMITS_MEMORY)} '{_plain(resources.limits['memory'])}'"
        )


def guest_memory(scope: Scope) -> Iterator[Cause]:
    """Upstream takes a guest without memory; libvirt does not."""
    domain = scope.spec.domain
    guest = number(domain.memory.guest) if domain.memory else None
    if guest is None or domain.memory is None:
        return
    field, shown_guest = scope.at(GUEST), _plain(domain.memory.guest)
    if guest < MIB:
        yield invalid(field, f"{field} '{shown_guest}': must be greater than or equal to 1Mi.")
    limit = number(domain.resources.limits.get("memory"))
    if limit is not None and guest > limit and not scope.settings.live_update:
        over = f"{scope.at(LIMITS_MEMORY)} '{_plain(domain.resources.limits['memory'])}'"
        yield invalid(field, f"{field} '{shown_guest}' must be equal to or less than the memory limit {over}")


def hugepages(scope: Scope) -> Iterator[Cause]:
    domain = scope.spec.domain
    pages = domain.memory.hugepages if domain.memory else None
    if domain.memory is None or pages is None:
        return
    size = number(pages.page_size)
    page_field = scope.at(PAGE_SIZE)
    if not pages.page_size:
        yield invalid(page_field, f"{page_field} '': {QUANTITY_TEXT}")
    if size is None:
        return
    if size <= 0:  # upstream divides by it
        yield invalid(page_field, f"{page_field} '{pages.page_size}': must be greater than 0.")
        return
    page = f"{page_field} '{pages.page_size}'"
    requested = domain.resources.requests.get("memory")
    yield from _in_pages(scope.at(REQUESTS_MEMORY), requested, size, page)
    if domain.memory.guest != requested:
        yield from _in_pages(scope.at(GUEST), domain.memory.guest, size, page)


def _in_pages(field: str, amount: Quantity | None, size: Decimal, page: str) -> Iterator[Cause]:
    """Memory that can't be made of whole pages; an amount of 0 is none (a rule of its own says so)."""
    wanted = number(amount)
    if not wanted:
        return
    if wanted < size:
        yield invalid(field, f"{field} '{_plain(amount)}' must be equal to or larger than page size {page}")
    elif wanted % size:
        yield invalid(field, f"{field} '{_plain(amount)}' is not a multiple of the page size {page}")


def max_guest(scope: Scope) -> Iterator[Cause]:
    domain = scope.spec.domain
    memory = domain.memory
    if memory is None or memory.max_guest is None:
        return
    guest, most = number(memory.guest), number(memory.max_guest)
    field = scope.at(GUEST)
    if guest is None or most is None:
        return
    if guest > most:
        yield invalid(field, "Guest memory is greater than the configured maxGuest memory")
        return  # whether it could be plugged is a question for later
    pages = number(memory.hugepages.page_size) if memory.hugepages else None
    unit, name = (GIB, "1Gi") if pages == GIB else (2 * MIB, "2Mi")
    if guest % unit:
        yield invalid(field, f"Guest memory must be {name} aligned")
    if most % unit:
        yield invalid(field, f"MaxGuest must be {name} aligned")
    yield from (invalid(field, message) for message in _no_memory_hotplug(scope, guest))


def _no_memory_hotplug(scope: Scope, guest: Decimal) -> Iterator[str]:
    domain, cpu = scope.spec.domain, scope.spec.domain.cpu
    if scope.spec.architecture not in (None, "amd64"):
        yield "Memory hotplug is only available for x86_64 VMs"
    if guest < GIB:
        yield "Memory hotplug is only available for VMs with at least 1Gi of guest memory"
    if cpu is not None and cpu.realtime is not None:
        yield "Memory hotplug is not compatible with realtime VMs"
    if cpu is not None and cpu.numa is not None and cpu.numa.guest_mapping_passthrough is not None:
        yield "Memory hotplug is not compatible with guest mapping passthrough"
    if domain.launch_security is not None:
        yield "Memory hotplug is not compatible with encrypted VMs"


def cpu_amounts(scope: Scope) -> Iterator[Cause]:
    resources = scope.spec.domain.resources
    asked = resources.requests.get("cpu", resources.limits.get("cpu"))  # as it will be in the instance
    wanted, limit = number(asked), number(resources.limits.get("cpu"))
    for value, field, text in (
        (wanted, scope.at(REQUESTS_CPU), asked),
        (limit, scope.at(LIMITS_CPU), resources.limits.get("cpu")),
    ):
        if value is not None and value < 0:
            yield invalid(field, f"{field} '{_plain(text)}': must be greater than or equal to 0.")
    if wanted is not None and limit is not None and 0 < limit < wanted:
        field, over = scope.at(REQUESTS_CPU), scope.at(LIMITS_CPU)
        values = _plain(resources.requests["cpu"]), _plain(resources.limits["cpu"])
        yield invalid(field, f"{field} '{values[0]}' is greater than {over} '{values[1]}'")


def cpu_topology(scope: Scope) -> Iterator[Cause]:
    cpu = scope.spec.domain.cpu
    if cpu is None:
        return
    for name, value in (("cores", cpu.cores), ("sockets", cpu.sockets), ("threads", cpu.threads)):
        if value is not None and value < 1:  # upstream takes 0, and counts it as 1
            field = scope.at(f"domain.cpu.{name}")
            yield invalid(field, f"{field} '{value}': must be greater than 0, or left out.")
    if cpu.max_sockets is not None and cpu.max_sockets < 0:
        field = scope.at("domain.cpu.maxSockets")
        yield invalid(field, f"{field} '{cpu.max_sockets}': must be greater than or equal to 0.")
    elif cpu.max_sockets and (cpu.sockets or 0) > cpu.max_sockets:
        field = scope.at("domain.cpu.sockets")
        yield invalid(field, "Number of sockets in CPU topology is greater than the maximum sockets allowed")


def cpu_features(scope: Scope) -> Iterator[Cause]:
    for index, feature in enumerate(scope.spec.domain.cpu.features if scope.spec.domain.cpu else ()):
        if (feature.policy or "") not in CPU_POLICIES:
            field = scope.at(f"domain.cpu.features[{index}].policy")
            message = f"CPU feature {shown(feature.name)} uses policy {shown(feature.policy)} that is not supported."
            yield unsupported(field, message)


def dedicated_cpus(scope: Scope) -> Iterator[Cause]:
    cpu = scope.spec.domain.cpu
    if cpu is None:
        return
    field = scope.at("domain.cpu.dedicatedCpuPlacement")
    if cpu.dedicated_cpu_placement:
        yield from (invalid(field, message) for message in _placement(scope, cpu))
        yield from chain(_whole_cpus(scope), _equal_memory(scope))
    elif cpu.isolate_emulator_thread:
        yield invalid(
            scope.at("domain.cpu.isolateEmulatorThread"),
            "IsolateEmulatorThread should be only set in combination with DedicatedCPUPlacement",
        )


def _placement(scope: Scope, cpu: CPU) -> Iterator[str]:
    resources = scope.spec.domain.resources
    wanted, limit = number(resources.requests.get("cpu")), number(resources.limits.get("cpu"))
    requests, limits, cores = scope.at(REQUESTS_CPU), scope.at(LIMITS_CPU), scope.at("domain.cpu.cores")
    counts = [count for count in (cpu.cores, cpu.sockets, cpu.threads) if count]
    if not wanted and not limit and not counts and not scope.sized_elsewhere:
        yield f"either {requests} or {limits} or {cores} must be provided when DedicatedCPUPlacement is true"
    if wanted and limit and wanted != limit:
        yield f"{requests} or {limits} must be equal when DedicatedCPUPlacement is true"
    if (wanted or limit) and cpu.cores and prod(counts) not in (wanted, limit):
        either = f"{requests} or {limits}"
        yield f"{either} must not be provided at the same time with {cores} when DedicatedCPUPlacement is true"
    if (cpu.threads or 0) > 2:
        threads = scope.at("domain.cpu.threads")
        yield (
            f"Not more than two threads must be provided at {threads} (got {cpu.threads}) "
            "when DedicatedCPUPlacement is true"
        )


def _whole_cpus(scope: Scope) -> Iterator[Cause]:
    resources = scope.spec.domain.resources
    for amounts, field, word in (
        (resources.limits, LIMITS_CPU, "limits"),
        (resources.requests, REQUESTS_CPU, "requests"),
    ):
        value = number(amounts.get("cpu"))
        if value is not None and value % 1:
            yield invalid(scope.at(field), f"provided resources CPU {word} must be an integer")


def _equal_memory(scope: Scope) -> Iterator[Cause]:
    domain = scope.spec.domain
    wanted, limit = number(domain.resources.requests.get("memory")), number(domain.resources.limits.get("memory"))
    if wanted is not None and limit is not None and wanted != limit:
        field = scope.at(REQUESTS_MEMORY)
        yield invalid(field, f"{field} must be equal to {scope.at(LIMITS_MEMORY)}")
    if wanted is None and limit is None and domain.memory is None and not scope.sized_elsewhere:
        names = [scope.at(name) for name in (REQUESTS_MEMORY, LIMITS_MEMORY, "domain.memory.hugepages", GUEST)]
        message = f"{names[0]}, {names[1]}, {names[2]} or {names[3]} should be provided"
        yield invalid(scope.at(LIMITS_MEMORY), message)


def numa_and_realtime(scope: Scope) -> Iterator[Cause]:
    domain = scope.spec.domain
    cpu = domain.cpu
    if cpu is None:
        return
    mapping = scope.at("domain.cpu.numa.guestMappingPassthrough")
    dedicated = scope.at("domain.cpu.dedicatedCpuPlacement")
    passthrough = cpu.numa is not None and cpu.numa.guest_mapping_passthrough is not None
    if passthrough and not cpu.dedicated_cpu_placement:
        yield invalid(mapping, f"{dedicated} must be set to true when NUMA topology strategy is set in {mapping}")
    if passthrough and (domain.memory is None or domain.memory.hugepages is None):
        pages = scope.at("domain.memory.hugepages")
        yield invalid(mapping, f"{pages} must be requested when NUMA topology strategy is set in {mapping}")
    if cpu.realtime is None:
        return
    realtime = scope.at("domain.cpu.realtime")
    if not cpu.dedicated_cpu_placement:
        yield required(dedicated, f"{dedicated} must be set to true when {realtime} is used")
    if not passthrough:
        yield required(mapping, f"{mapping} must be defined when {realtime} is used")


def arm_threads(scope: Scope) -> Iterator[Cause]:
    cpu = scope.spec.domain.cpu
    if scope.spec.architecture == "arm64" and cpu is not None and (cpu.threads or 0) > 1:
        field = scope.at("architecture")
        threads = scope.at("domain.cpu.threads")
        yield invalid(
            field, f"threads must not be greater than 1 at {threads} (got {cpu.threads}) when {field} is arm64"
        )


RULES: tuple[Rule, ...] = (
    readable_quantities,
    memory_requested,
    memory_amounts,
    guest_memory,
    hugepages,
    max_guest,
    cpu_amounts,
    cpu_topology,
    cpu_features,
    dedicated_cpus,
    numa_and_realtime,
    arm_threads,
)
