"""What a machine keeps between its instances: EFI variables and a TPM's memory, where the manifest says `persistent`.

    STATE/node/kept/UID.json          whose it is: the VirtualMachine, or a VirtualMachineInstance nobody owns
    STATE/node/kept/UID/nvram.fd      EFI variables

A TPM's memory is where libvirt has it, by the domain's uuid, which a machine keeps for life. All of it goes when the
owner does. Prepared by `launch`, swept by `app`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from pathlib import Path

import msgspec

from virt_handler.errors import HypervisorError
from virt_handler.layout import Layout, checked_uid
from virt_handler.libvirt_host import LibvirtHost
from virt_kube.api import ApiError, KubeClient, NotFound
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from virt_types.v1 import VirtualMachineInstance

log = logging.getLogger("virt_handler.kept")

OWNERS = {kind.kind: kind for kind in (VIRTUAL_MACHINES, VIRTUAL_MACHINE_INSTANCES)}
VARIABLES = "nvram.fd"


class Holder(msgspec.Struct, frozen=True):
    """Whose state it is, and which domain it belongs to."""

    kind: str
    namespace: str
    name: str
    uid: str
    domain_uuid: str
    tpm: bool = False


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
    """The file for EFI variables that last, its directory made; None for a machine that keeps nothing."""
    holder = holder_of(vmi)
    if holder is None:
        return None
    place = layout.make_kept(holder.uid, owner)
    temporary = layout.kept / f".{holder.uid}.new"
    temporary.write_bytes(msgspec.json.encode(holder))
    temporary.rename(layout.kept / f"{holder.uid}.json")
    return place / VARIABLES


async def sweep(layout: Layout, client: KubeClient, libvirt: LibvirtHost) -> None:
    """Remove what machines kept that are no more; when in doubt, nothing."""
    for file in await asyncio.to_thread(lambda: list(layout.kept.glob("*.json"))):
        try:
            holder = msgspec.json.decode(await asyncio.to_thread(file.read_bytes), type=Holder)
            if await _exists(client, holder):
                continue
            if holder.tpm:
                await libvirt.forget_tpm(holder.domain_uuid)
        except (OSError, msgspec.MsgspecError, ApiError, HypervisorError) as error:
            log.warning("kept state not swept path=%s error=%s", file, error)
            continue
        await asyncio.to_thread(_remove, layout, holder, file)
        log.info("kept state removed kind=%s namespace=%s name=%s", holder.kind, holder.namespace, holder.name)


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
