"""Processors: model, topology, hot-plug slots, pinning, NUMA cells. Specification: domain-xml §4."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from virt_handler.domain.context import Cpu, CpuFeature, GuestCell, NumaDistance, Pin, Tuning, Vcpu
from virt_handler.domain.iothreads import Threads
from virt_handler.domain.pinning import pin_vcpus
from virt_handler.domain.traits import Traits, vcpu_count
from virt_handler.errors import RenderError
from virt_handler.model import Guest, NumaCell
from virt_types.v1 import CPU, VirtualMachineInstance

HOST_MODES = ("host-model", "host-passthrough")
EVEN_PARITY_ANNOTATION = "alpha.kubevirt.io/EmulatorThreadCompleteToEvenParity"


def cpu_of(guest: Guest, traits: Traits, memory: int, *, needs_cell: bool, page: int) -> Cpu:
    """`needs_cell`: memory other processes share must sit in a NUMA cell. `memory` and `page` (a hugepage) in bytes."""
    cpu = guest.vmi.spec.domain.cpu or CPU()
    threads, cores, hotplug = cpu.threads or 1, cpu.cores or 1, bool(cpu.max_sockets) and traits.arch.vcpu_hotplug
    sockets = most_sockets(cpu, guest.host.max_vcpus) if hotplug else cpu.sockets or 1
    mode, model = _mode(guest, cpu.model or "host-model")
    most = sockets * cores * threads
    cells: tuple[GuestCell, ...] = ()
    if traits.dedicated and cpu.numa and cpu.numa.guest_mapping_passthrough:
        cells = _passthrough(guest, traits, memory, page)
    elif needs_cell and not cpu.numa:
        cells = (GuestCell(0, f"0-{most - 1}", memory, (), None),)
    return Cpu(
        mode=mode,
        model=model,
        features=tuple(_features(cpu, traits)),
        sockets=sockets,
        cores=cores,
        threads=threads,
        vcpus=most,
        hotplug=_hotplug(most, traits.vcpus, cores * threads) if hotplug else (),
        cells=cells,
        host_nodes=",".join(str(cell.host_cell) for cell in cells if cell.host_cell is not None),
    )


def dedicated_processors(vmi: VirtualMachineInstance) -> int:
    """How many processors of the host the guest has for itself: vCPUs, pooled IO threads, the emulator."""
    domain = vmi.spec.domain
    cpu = domain.cpu
    if cpu is None or not cpu.dedicated_cpu_placement:
        return 0
    pooled = domain.io_threads if domain.io_threads_policy == "supplementalPool" else None
    wanted = vcpu_count(domain) + ((pooled.supplemental_pool_thread_count if pooled else None) or 0)
    if not cpu.isolate_emulator_thread:
        return wanted
    return wanted + (2 if EVEN_PARITY_ANNOTATION in vmi.metadata.annotations and not wanted % 2 else 1)


def most_sockets(cpu: CPU, limit: int) -> int:
    """Sockets the guest may grow to: what it asks for, or as many as QEMU's `limit` of processors (0: none) allows."""
    now, wanted = cpu.sockets or 1, cpu.max_sockets or cpu.sockets or 1
    return max(now, min(wanted, limit // ((cpu.cores or 1) * (cpu.threads or 1)))) if limit else wanted


def _mode(guest: Guest, model: str) -> tuple[str, str]:
    if model not in HOST_MODES:
        return "custom", model
    host = guest.host
    if model == "host-passthrough" and host.accelerator == "qemu" and model not in host.cpu_modes:
        return "maximum", ""  # emulation has no host processor to pass; this is all it can do
    return model, ""


def _features(cpu: CPU, traits: Traits) -> Iterator[CpuFeature]:
    for feature in cpu.features:
        yield CpuFeature(feature.name, feature.policy or "require")
    named = any(feature.name == "mpx" for feature in cpu.features)
    if (cpu.model or HOST_MODES[0]) not in HOST_MODES and not named and traits.arch.old_models:
        yield CpuFeature("mpx", "disable")  # in older models, gone from newer processors


def _hotplug(most: int, current: int, per_socket: int) -> tuple[Vcpu, ...]:
    return tuple(Vcpu(n, enabled=n < current, hotpluggable=n >= per_socket) for n in range(most))


def _passthrough(guest: Guest, traits: Traits, memory: int, page: int) -> tuple[GuestCell, ...]:
    field = "spec.domain.cpu.numa.guestMappingPassthrough"
    if not page:
        raise RenderError(f"{field} needs hugepages", hint="set spec.domain.memory.hugepages.pageSize")
    if memory % page:
        raise RenderError(
            f"{field}: spec.domain.memory.guest ({memory} bytes) is not a multiple of the hugepage size ({page} bytes)"
        )
    vcpus = pin_vcpus(guest, traits).vcpus
    placed = [(cell, ids) for cell in guest.host.cells if (ids := _vcpus_on(cell, vcpus))]
    if memory // page < len(placed):
        raise RenderError(
            f"{field}: {memory} bytes of memory are less than one hugepage for each of {len(placed)} cells"
        )
    numbers = {cell.id: number for number, (cell, _) in enumerate(placed)}
    each, extra = divmod(memory // page, len(placed) or 1)
    return tuple(
        GuestCell(
            number,
            ",".join(str(vcpu) for vcpu in ids),
            (each + (number < extra)) * page,
            tuple(NumaDistance(numbers[other], value) for other, value in cell.distances if other in numbers),
            cell.id,
        )
        for number, (cell, ids) in enumerate(placed)
    )


def _vcpus_on(cell: NumaCell, pins: Sequence[Pin]) -> list[int]:
    cpus = {str(cpu) for core in cell.cores for cpu in core}
    return [pin.id for pin in pins if pin.cpuset in cpus]


def tuning_of(guest: Guest, traits: Traits, threads: Threads) -> Tuning | None:
    """Pins of vCPUs, IO threads and the emulator; None unless the guest has processors of its own."""
    if not traits.dedicated:
        return None
    cpu = guest.vmi.spec.domain.cpu or CPU()
    placement = pin_vcpus(guest, traits)
    free = list(placement.free)
    iothreads: list[Pin] = []
    if threads.pool:
        own, free = free[: len(threads.pool)], free[len(threads.pool) :]
        iothreads = [Pin(number, str(thread)) for number, thread in zip(threads.pool, own, strict=False)]
    emulator = ""
    if cpu.isolate_emulator_thread:
        even = EVEN_PARITY_ANNOTATION in guest.vmi.metadata.annotations and not (traits.vcpus + len(threads.pool)) % 2
        emulator = ",".join(str(thread) for thread in free[: 2 if even else 1])
        if not emulator:
            raise RenderError("spec.domain.cpu.isolateEmulatorThread: no processor is left for the emulator")
    if threads.total and not threads.pool:
        iothreads = _pin_iothreads(threads.total, guest.cpuset, traits.vcpus, emulator)
    return Tuning(placement.vcpus, tuple(iothreads), emulator)


def _pin_iothreads(total: int, cpuset: Sequence[int], vcpus: int, emulator: str) -> list[Pin]:
    if emulator:
        return [Pin(1, emulator)]
    if total >= vcpus:
        return [Pin(number, str(cpuset[number % vcpus])) for number in range(1, total + 1)]
    each, extra = divmod(vcpus, total)
    pins, start = [], 0
    for number in range(1, total + 1):
        end = start + each + (number <= extra)
        pins.append(Pin(number, ",".join(str(cpu) for cpu in cpuset[start:end])))
        start = end
    return pins
