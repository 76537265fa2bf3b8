"""From a Scheduled VMI to a running QEMU: volumes and network at once, then the domain, each step recorded first.

Domains are persistent, not transient: libvirt then still knows how a guest ended when nobody was looking, and a start
that was cut short is found defined and done again. `decide` undefines them.

Runs beside the reconcile loop (an image may take minutes) and can be taken back until libvirt is told to start.
Called by `agent` only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

import msgspec

from virt_handler import kept
from virt_handler.domain import dedicated_processors, omissions
from virt_handler.layout import Layout
from virt_handler.libvirt_host import LibvirtHost
from virt_handler.model import BootFiles, DiskSource, Guest, Host, NicSource
from virt_handler.processors import allot
from virt_handler.records import Lease, Record, Records
from virt_types.v1 import PersistentVolumeClaimInfo, VirtualMachineInstance

log = logging.getLogger("virt_handler.launch")

Owner = tuple[int, int] | None


class VolumeSource(Protocol):
    async def prepare(self, vmi: VirtualMachineInstance, owner: Owner) -> dict[str, DiskSource]:
        """Every volume of the VMI, ready to be opened by `owner`; raises ImageError or VolumeError."""
        ...

    def claims(self, vmi: VirtualMachineInstance) -> dict[str, PersistentVolumeClaimInfo]:
        """What is known of the claims among the VMI's volumes, by volume name."""
        ...


class BootFileSource(Protocol):
    async def prepare(self, vmi: VirtualMachineInstance, owner: Owner) -> BootFiles:
        """The files that firmware or QEMU loads itself, readable for `owner`; raises ImageError or VolumeError."""
        ...


class SharedFiles(Protocol):
    async def prepare(self, vmi: VirtualMachineInstance) -> dict[str, str]:
        """The directory of each file system of the VMI, by name; raises VolumeError."""
        ...


class NetworkSource(Protocol):
    async def connect(
        self, vmi: VirtualMachineInstance, leases: dict[str, Lease]
    ) -> tuple[dict[str, NicSource], dict[str, Lease]]:
        """Every interface of the VMI, with the leases it already has kept; raises NetworkError."""
        ...


class Launcher:
    """Starts guests on one host. `host` and `owner` are known once libvirt and the accelerator have been asked."""

    def __init__(
        self,
        *,
        layout: Layout,
        libvirt: LibvirtHost,
        records: Records,
        volumes: VolumeSource,
        boot: BootFileSource,
        shares: SharedFiles,
        network: NetworkSource,
        render: Callable[[Guest], str],
        host: Host,
        owner: Owner,
        boot_id: str,
    ) -> None:
        self._layout = layout
        self._libvirt = libvirt
        self._records = records
        self._volumes = volumes
        self._boot = boot
        self._shares = shares
        self._network = network
        self._render = render
        self._host = host
        self._owner = owner
        self._boot_id = boot_id
        self._allotting = asyncio.Lock()

    async def prepare(self, vmi: VirtualMachineInstance) -> tuple[Record, str]:
        """Make ready all that the guest needs; its record and its domain XML. May be cancelled and repeated."""
        uid = vmi.metadata.uid
        async with self._allotting:  # no two guests are given the same processors
            record = self._with_processors(vmi, self._records.get(uid) or self._new_record(vmi))
            await asyncio.to_thread(self._records.put, record)
        await asyncio.to_thread(self._layout.make_guest, uid, self._owner)
        async with _Together() as tasks:
            disks = tasks.create_task(self._volumes.prepare(vmi, self._owner))
            boot = tasks.create_task(self._boot.prepare(vmi, self._owner))
            shares = tasks.create_task(self._shares.prepare(vmi))
            network = tasks.create_task(self._connect(vmi, record))
        nics, record = network.result()
        files = self._layout.files(uid)
        if variables := await asyncio.to_thread(kept.prepare, self._layout, vmi, self._owner):
            files = files._replace(nvram=str(variables))
        guest = Guest(
            vmi,
            self._host,
            files,
            disks.result(),
            nics,
            cpuset=record.cpuset,
            boot=boot.result(),
            directories=shares.result() if self._libvirt.shares_directories else {},
        )
        return record, self._render(guest)

    def _with_processors(self, vmi: VirtualMachineInstance, record: Record) -> Record:
        """The record, with processors of its own where the guest asks for them; raises ProcessorsTaken."""
        wanted = dedicated_processors(vmi)
        if len(record.cpuset) == wanted:
            return record
        taken = self._records.processors(without=record.uid)
        return msgspec.structs.replace(record, cpuset=allot(self._host.cells, wanted, taken, self._host.name))

    def claims(self, vmi: VirtualMachineInstance) -> dict[str, PersistentVolumeClaimInfo]:
        """What is known of the claims behind the guest's volumes."""
        return self._volumes.claims(vmi)

    def left_out(self, vmi: VirtualMachineInstance) -> tuple[str, ...]:
        """What this host does not have for the guest, a sentence for each setting."""
        nic = NicSource("user" if self._libvirt.session else "network")
        nics = {it.name: nic for it in vmi.spec.domain.devices.interfaces}
        return omissions(Guest(vmi, self._host, self._layout.files(vmi.metadata.uid), {}, nics))

    async def _connect(self, vmi: VirtualMachineInstance, record: Record) -> tuple[dict[str, NicSource], Record]:
        """The guest's addresses are on record before an image that takes minutes is there."""
        nics, leases = await self._network.connect(vmi, record.interfaces)
        record = msgspec.structs.replace(record, interfaces=leases)
        await asyncio.to_thread(self._records.put, record)
        return nics, record

    async def start(self, record: Record, xml: str, *, paused: bool) -> Record:
        """Hand the domain to libvirt. Not to be cancelled: what libvirt was told it will do."""
        await asyncio.to_thread(self._records.put, msgspec.structs.replace(record, stage="starting"))
        uuid = await self._libvirt.launch(xml, paused=paused)
        started = msgspec.structs.replace(record, stage="started", domain_uuid=uuid, boot_id=self._boot_id)
        await asyncio.to_thread(self._records.put, started)
        log.info("guest started namespace=%s name=%s uid=%s", record.namespace, record.name, record.uid)
        return started

    async def clean_up(self, record: Record) -> None:
        """Remove the guest's files; may be repeated."""
        await asyncio.to_thread(self._layout.remove_guest, record.uid)

    def _new_record(self, vmi: VirtualMachineInstance) -> Record:
        firmware = vmi.spec.domain.firmware
        grace = vmi.spec.termination_grace_period_seconds
        return Record(
            uid=vmi.metadata.uid,
            namespace=vmi.metadata.namespace,
            name=vmi.metadata.name,
            domain_uuid=(firmware.uuid if firmware is not None else None) or "",
            boot_id=self._boot_id,
            grace_seconds=30 if grace is None else grace,
        )


class _Together(asyncio.TaskGroup):
    """A task group whose first failure is raised itself: people read one error, not a group."""

    async def __aexit__(self, *args: object) -> None:
        try:
            await super().__aexit__(*args)  # type: ignore[arg-type]
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
