"""Threads of QEMU that do disk IO: how many there are and which disk uses which. Specification: domain-xml §11."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING
from typing import NamedTuple

from virt_handler.domain.traits import Traits
from virt_handler.errors import RenderError
from virt_handler.model import Guest
from virt_types import quantity
from virt_types.v1 import Disk, DomainSpec


class Threads(NamedTuple):
    """`pool` the ids every virtio disk shares (supplemental pool)."""

    total: int = 0
    disks: Mapping[str, int] = {}
    pool: tuple[int, ...] = ()
    scsi: int = 0  # thread of the SCSI controller


def threads_of(guest: Guest, traits: Traits) -> Threads:
    domain = guest.vmi.spec.domain
    disks = domain.devices.disks
    policy = domain.io_threads_policy
    if policy == "supplementalPool":
        count = domain.io_threads.supplemental_pool_thread_count if domain.io_threads else None
        if not count:
            raise RenderError(
                "spec.domain.ioThreadsPolicy supplementalPool needs a thread count",
                hint="set spec.domain.ioThreads.supplementalPoolThreadCount",
            )
        return Threads(total=count, pool=tuple(range(1, count + 1)))
    dedicated = [disk for disk in disks if disk.dedicated_io_thread]
    if not policy and not dedicated:
        return Threads()
    auto = _auto(domain, traits, shared=len(disks) - len(dedicated), dedicated=len(dedicated))
    return _assign(disks, auto, len(dedicated))


def _auto(domain: DomainSpec, traits: Traits, *, shared: int, dedicated: int) -> int:
    limit = _limit(domain, traits)
    wanted = shared if domain.io_threads_policy == "auto" else min(shared, 1)
    if wanted + dedicated > limit:
        return max(1, limit - dedicated)
    return wanted


def _limit(domain: DomainSpec, traits: Traits) -> int:
    if domain.io_threads_policy != "auto":
        return 1
    if traits.dedicated and domain.cpu and domain.cpu.isolate_emulator_thread:
        return 1
    resources = domain.resources
    cpus = resources.requests.get("cpu") or resources.limits.get("cpu")
    return 2 * (int(quantity.parse(cpus).to_integral_value(rounding=ROUND_CEILING)) if cpus else 1)


def _assign(disks: list[Disk], auto: int, dedicated: int) -> Threads:
    threads: dict[str, int] = {}
    next_shared, next_own, scsi = 1, auto + 1, 0
    for disk in disks:
        bus = bus_of(disk)
        if disk.dedicated_io_thread:
            if bus == "virtio":
                threads[disk.name] = next_own
                next_own += 1
            if bus == "scsi" and auto:
                scsi = -1
        elif auto and bus == "virtio":
            threads[disk.name] = next_shared
            next_shared = next_shared % auto + 1
    return Threads(total=auto + dedicated, disks=threads, scsi=next_shared if scsi else 0)


def bus_of(disk: Disk) -> str:
    target = disk.disk or disk.lun or disk.cdrom
    return (target.bus if target else None) or ""
