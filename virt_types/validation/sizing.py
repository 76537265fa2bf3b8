"""Rules about instancetypes and preferences, and the deprecated fields whoever writes them is warned of.

A VM that refers to them is judged expanded (virt_types.expansion).
"""

from __future__ import annotations

from collections.abc import Iterator

from virt_types.errors import Cause
from virt_types.expansion.topology import ACROSS, DEPRECATED, SPREAD, TOPOLOGIES, preferred
from virt_types.instancetype.v1beta1 import VirtualMachineInstancetypeSpec, VirtualMachinePreferenceSpec
from virt_types.meta import Quantity
from virt_types.validation.scope import MIB, invalid, number, shown

TOPOLOGY = "spec.cpu.preferredCPUTopology"
RATIO = "spec.cpu.spreadOptions.ratio"
THREADS = "spec.ioThreads.supplementalPoolThreadCount"
OLD_RATIO = "spec.preferSpreadSocketToCoreRatio"
ONE_CORE_TWO_THREADS = "only a ratio of 2 (1 core 2 threads) is allowed when spreading vCPUs over cores and threads"
LAUNCH_SECURITY = "launchSecurity is deprecated and will be removed in a future release. Use preference instead."
OLD_TOPOLOGY = (
    "PreferredCPUTopology {old} is deprecated for removal in a future release, "
    "please use {new} instead"  # as KubeVirt says it
)


def instancetype(spec: VirtualMachineInstancetypeSpec) -> Iterator[Cause]:
    """Upstream takes a size of nothing."""
    if spec.cpu.guest < 1:
        yield invalid("spec.cpu.guest", f"spec.cpu.guest '{spec.cpu.guest}': must be greater than 0.")
    memory = spec.memory
    yield from _at_least_a_mebibyte("spec.memory.guest", memory.guest)
    yield from _at_least_a_mebibyte("spec.memory.maxGuest", memory.max_guest)
    threads = spec.io_threads.supplemental_pool_thread_count if spec.io_threads else None
    yield from _not_negative({"spec.cpu.maxSockets": spec.cpu.max_sockets, THREADS: threads})
    percent = memory.overcommit_percent or 0
    if not 0 <= percent <= 100:
        field = "spec.memory.overcommitPercent"
        yield invalid(field, f"{field} '{percent}': must be in range between 0 and 100.")
    if percent and memory.hugepages is not None:
        together = "spec.memory.overcommitPercent and spec.memory.hugepages should not be requested together."
        yield invalid("spec.memory.overcommitPercent", together)


def _not_negative(counts: dict[str, int | None]) -> Iterator[Cause]:
    for field, count in counts.items():
        if count is not None and count < 0:
            yield invalid(field, f"{field} '{count}': must not be negative.")


def _at_least_a_mebibyte(field: str, value: Quantity | None) -> Iterator[Cause]:
    amount = number(value)
    if amount is not None and amount < MIB:
        yield invalid(field, f"{field} '{value}': must be greater than or equal to 1Mi.")


def preference(spec: VirtualMachinePreferenceSpec) -> Iterator[Cause]:
    """What could not be preferred."""
    wanted = spec.cpu.preferred_cpu_topology if spec.cpu is not None else None
    if wanted is not None and wanted not in TOPOLOGIES and wanted not in DEPRECATED:
        yield invalid(TOPOLOGY, f"unknown preferredCPUTopology {shown(wanted)}")
    options = spec.cpu.spread_options if spec.cpu is not None else None
    ratio = options.ratio if options is not None else None
    needed = spec.requirements.cpu if spec.requirements is not None else None
    yield from _not_negative(
        {
            RATIO: ratio,
            OLD_RATIO: spec.prefer_spread_socket_to_core_ratio,
            "spec.requirements.cpu.guest": needed.guest if needed is not None else None,
        }
    )
    across = options.across if options is not None else None
    if preferred(spec) != SPREAD:
        return
    if across is not None and across not in ACROSS:
        yield invalid("spec.cpu.spreadOptions.across", f"across {shown(across)} is not supported")
    if across == "CoresThreads" and (ratio or spec.prefer_spread_socket_to_core_ratio or 2) != 2:
        yield invalid(RATIO, ONE_CORE_TWO_THREADS)


def instancetype_warnings(spec: VirtualMachineInstancetypeSpec) -> Iterator[str]:
    if spec.launch_security is not None:
        yield LAUNCH_SECURITY


def preference_warnings(spec: VirtualMachinePreferenceSpec) -> Iterator[str]:
    old = spec.cpu.preferred_cpu_topology if spec.cpu is not None else None
    if old in DEPRECATED:
        yield OLD_TOPOLOGY.format(old=old, new=DEPRECATED[old])
