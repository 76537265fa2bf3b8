"""What a machine keeps between its instances: EFI variables and a TPM's memory, where the manifest says `persistent`.

    STATE/node/kept/UID.json          whose it is: the VirtualMachine, or a VirtualMachineInstance nobody owns
    STATE/node/kept/UID/nvram.fd      EFI variables

A TPM's memory is where libvirt has it, by the domain's uuid, which a machine keeps for life. All of it goes when the
owner does: keys that unlock a guest's disks may be in there, so an API must have said so twice, a day apart (one that
was restored, or is another cluster's, is found out by then). Prepared by `launch`, swept by `app`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from pathlib import Path

import msgspec

from virt_handler.errors import HandlerError, StateError
from virt_handler.layout import Layout, checked_uid
from virt_handler.libvirt_host import LibvirtHost
from virt_kube.api import ApiError, KubeClient, NotFound
from virt_kube.clock import Clock, system_clock
from virt_kube.durable import write_durably
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from virt_types.v1 import VirtualMachineInstance

log = logging.getLogger("virt_handler.kept")

OWNERS = {kind.kind: kind for kind in (VIRTUAL_MACHINES, VIRTUAL_MACHINE_INSTANCES)}
VARIABLES = "nvram.fd"
MOURNING = 24 * 3600.0


class Holder(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whose state it is, and whose domain; `missed_at` (Unix seconds): the first sweep that did not find its owner."""

    kind: str
    namespace: str
    name: str
    uid: str
    domain_uuid: str
    tpm: bool = False
    missed_at: float | None = None


def holder_of(vmi: VirtualMachineInstance) -> Holder | None:
    """None for a machine that keeps nothing."""
    domain, meta = vmi.spec.domain, vmi.metadata
    bootloader = domain.firmware.bootloader if domain.firmware else None
    tpm = bool(domain.devices.tpm and domain.devices.tpm.enabled is not False and domain.devices.tpm.persistent)
    if not tpm and not (bootloader and bootloader.efi and bootloader.efi.persistent):
        return None
    kind, name, uid = VIRTUAL_MACHINE_INSTANCES.kind, meta.name, meta.uid
    if meta.controller is not None and meta.controller.kind == VIRTUAL_MACHINES.kind:
        kind, name, uid = meta.controller.kind, meta.controller.name, meta.controller.uid
    uuid = (domain.firmware.uuid if domain.firmware else None) or meta.uid
    return Holder(kind, meta.namespace, name, checked_uid(uid), uuid, tpm)


def prepare(layout: Layout, vmi: VirtualMachineInstance, owner: tuple[int, int] | None) -> Path | None:
    """The file for EFI variables that last, its directory made; None for a machine that keeps nothing. StateError."""
    holder = holder_of(vmi)
    if holder is None:
        return None
    place = layout.make_kept(holder.uid, owner)
    _write(layout.kept / f"{holder.uid}.json", holder)
    return place / VARIABLES


async def sweep(layout: Layout, client: KubeClient, libvirt: LibvirtHost, clock: Clock = system_clock) -> None:
    """Remove what machines kept that are no more; when in doubt, nothing."""
    for file in await asyncio.to_thread(lambda: list(layout.kept.glob("*.json"))):
        try:
            holder = msgspec.json.decode(await asyncio.to_thread(file.read_bytes), type=Holder)
            await _sweep_one(layout, client, libvirt, file, holder, clock())
        except (OSError, msgspec.MsgspecError, ApiError, HandlerError, KeyError) as error:
            log.warning("kept state not swept path=%s error=%s", file, error)


async def _sweep_one(  # noqa: PLR0917  private, called once
    layout: Layout, client: KubeClient, libvirt: LibvirtHost, file: Path, holder: Holder, now: float
) -> None:
    if await _exists(client, holder):
        if holder.missed_at is not None:
            await asyncio.to_thread(_write, file, msgspec.structs.replace(holder, missed_at=None))
        return
    if holder.missed_at is None:
        await asyncio.to_thread(_write, file, msgspec.structs.replace(holder, missed_at=now))
        return
    if now - holder.missed_at < MOURNING:
        return
    if holder.tpm:
        await libvirt.forget_tpm(holder.domain_uuid)
    await asyncio.to_thread(_remove, layout, holder, file)
    log.info("kept state removed kind=%s namespace=%s name=%s", holder.kind, holder.namespace, holder.name)


def _write(file: Path, holder: Holder) -> None:
    try:
        write_durably(file, msgspec.json.encode(holder))
    except OSError as error:
        raise StateError(f"can't write {file}: {error.strerror}", hint="is the disk full?") from None


async def _exists(client: KubeClient, holder: Holder) -> bool:
    try:
        found = await client.get(OWNERS[holder.kind], holder.namespace, holder.name)
    except NotFound:
        return False
    uid: str = msgspec.json.decode(found)["metadata"]["uid"]
    return uid == holder.uid


def _remove(layout: Layout, holder: Holder, file: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(layout.kept / checked_uid(holder.uid))
    file.unlink(missing_ok=True)
