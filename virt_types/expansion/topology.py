"""How the virtual CPUs of a size become sockets, cores and threads (preferredCPUTopology)."""

from __future__ import annotations

from typing import NamedTuple

from virt_types.instancetype.v1beta1 import VirtualMachinePreferenceSpec

DEFAULT_RATIO = 2
THREADS_PER_CORE = 2
SOCKETS, CORES, THREADS, SPREAD, ANY = "sockets", "cores", "threads", "spread", "any"
# Spellings of before.
DEPRECATED = {
    "preferSockets": SOCKETS,
    "preferCores": CORES,
    "preferThreads": THREADS,
    "preferSpread": SPREAD,
    "preferAny": ANY,
}
TOPOLOGIES = (SOCKETS, CORES, THREADS, SPREAD, ANY)
# What CPUs are spread across -> the parts of a topology that have more than one.
ACROSS = {
    "SocketsCores": (SOCKETS, CORES),
    "CoresThreads": (CORES, THREADS),
    "SocketsCoresThreads": (SOCKETS, CORES, THREADS),
}
DEFAULT_ACROSS = "SocketsCores"

_RATIO = "Spec.PreferSpreadSocketToCoreRatio or Spec.CPU.PreferSpreadOptions.Ratio of {ratio}"
UNDIVIDED = "{cpus} vCPUs provided by the instance type are not divisible by the "
UNEVEN = {
    "SocketsCores": UNDIVIDED + _RATIO + " provided by the preference",
    "CoresThreads": UNDIVIDED + "number of threads per core {ratio}",
    "SocketsCoresThreads": UNDIVIDED + f"number of threads per core {THREADS_PER_CORE} and " + _RATIO,
}


class Topology(NamedTuple):
    sockets: int = 1
    cores: int = 1
    threads: int = 1


class Spread(NamedTuple):
    """CPUs per socket (or threads per core), and a key of ACROSS."""

    ratio: int
    across: str


def preferred(preference: VirtualMachinePreferenceSpec | None) -> str:
    """One of TOPOLOGIES; what can't be known is sockets, the default."""
    wanted = preference.cpu.preferred_cpu_topology if preference is not None and preference.cpu is not None else None
    wanted = DEPRECATED.get(wanted or SOCKETS, wanted or SOCKETS)
    return wanted if wanted in TOPOLOGIES else SOCKETS


def spread_of(preference: VirtualMachinePreferenceSpec | None) -> Spread:
    """How a preference spreads; its newer field wins over the older one."""
    if preference is None:
        return Spread(DEFAULT_RATIO, DEFAULT_ACROSS)
    options = preference.cpu.spread_options if preference.cpu is not None else None
    ratio = (options.ratio if options is not None else None) or preference.prefer_spread_socket_to_core_ratio
    across = options.across if options is not None else None
    return Spread(ratio if ratio and ratio > 0 else DEFAULT_RATIO, across if across in ACROSS else DEFAULT_ACROSS)


def topology(cpus: int, preference: VirtualMachinePreferenceSpec | None) -> Topology:
    """The shape of so many CPUs. They are never fewer than asked for: what doesn't divide, `unevenness` refuses."""
    if cpus <= 1:
        return Topology()
    match preferred(preference):
        case "cores":
            return Topology(cores=cpus)
        case "threads":
            return Topology(threads=cpus)
        case "spread":
            return _spread(cpus, spread_of(preference))
        case _:
            return Topology(sockets=cpus)


def _spread(cpus: int, spread: Spread) -> Topology:
    match spread.across:
        case "CoresThreads":
            return Topology(cores=cpus // spread.ratio, threads=spread.ratio)
        case "SocketsCoresThreads":
            sockets = cpus // THREADS_PER_CORE // spread.ratio
            return Topology(sockets, spread.ratio, THREADS_PER_CORE)
        case _:
            return Topology(sockets=cpus // spread.ratio, cores=spread.ratio)


def unevenness(cpus: int, preference: VirtualMachinePreferenceSpec | None) -> str:
    """Why so many CPUs can't be spread as preferred; "" when they can."""
    if preferred(preference) != SPREAD or cpus <= 1:
        return ""
    spread = spread_of(preference)
    each = spread.ratio * (THREADS_PER_CORE if spread.across == "SocketsCoresThreads" else 1)
    return UNEVEN[spread.across].format(cpus=cpus, ratio=spread.ratio) if cpus % each else ""
