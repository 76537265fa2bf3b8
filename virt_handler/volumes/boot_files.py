"""Files that firmware or QEMU loads itself: a kernel out of an image, ACPI tables out of secrets, Ignition's config.

Copies of the guest's own: libvirt gives such files to QEMU's user, and an image is shared. Called by `launch`.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from virt_handler.domain import has_ignition
from virt_handler.errors import VolumeError
from virt_handler.images.store import ImageStore
from virt_handler.launch import Owner
from virt_handler.layout import Layout
from virt_handler.model import BootFiles
from virt_handler.volumes.credentials import pull_credentials
from virt_handler.volumes.objects import Objects
from virt_handler.volumes.prepare import Tell
from virt_types.labels import IGNITION_DATA
from virt_types.v1 import ACPI, Firmware, KernelBootContainer, VirtualMachineInstance

CHUNK = 1 << 20
CONTAINER = "spec.domain.firmware.kernelBoot.container"


class BootSource:
    """Prepares the boot files of guests below `layout`; `tell(vmi, reason, message)` hears of images being pulled."""

    def __init__(self, layout: Layout, images: ImageStore, objects: Objects, tell: Tell) -> None:
        self._layout = layout
        self._images = images
        self._objects = objects
        self._tell = tell

    async def prepare(self, vmi: VirtualMachineInstance, owner: Owner) -> BootFiles:
        """Those the VMI asks for, readable for `owner`; raises ImageError, VolumeError."""
        firmware = vmi.spec.domain.firmware or Firmware()
        container = firmware.kernel_boot.container if firmware.kernel_boot else None
        kernel, initrd = await self._kernel(vmi, container, owner) if container else ("", "")
        return BootFiles(
            kernel=kernel,
            initrd=initrd,
            acpi_tables=await self._tables(vmi, firmware.acpi, owner) if firmware.acpi else (),
            ignition=await self._ignition(vmi, owner),
        )

    async def _kernel(
        self, vmi: VirtualMachineInstance, container: KernelBootContainer, owner: Owner
    ) -> tuple[str, str]:
        credentials = None
        if container.image_pull_secret:
            field = f"{CONTAINER}.imagePullSecret"
            secret = await self._objects.secret(vmi.metadata.namespace, container.image_pull_secret, field)
            credentials = pull_credentials(secret, container.image, field)
        found = {"kernel": "", "initrd": ""}
        for name, path in (("kernel", container.kernel_path), ("initrd", container.initrd_path)):
            if path:
                file = await self._images.file(
                    container.image,
                    path,
                    policy=container.image_pull_policy,
                    credentials=credentials,
                    tell=lambda reason, message: self._tell(vmi, reason, message),
                )
                found[name] = await asyncio.to_thread(_copy, file, self._own(vmi, name), owner)
        return found["kernel"], found["initrd"]

    async def _tables(self, vmi: VirtualMachineInstance, acpi: ACPI, owner: Owner) -> tuple[tuple[str, str], ...]:
        """Name and file of each table; a volume that is missing or no secret is `render`'s to refuse."""
        tables = []
        for table, key, secret in _table_secrets(vmi, acpi):
            field = f"spec.domain.firmware.acpi.{table}NameRef"
            values = await self._objects.secret(vmi.metadata.namespace, secret, field)
            if key not in values:
                raise VolumeError(f"{field}: Secret {secret!r} has no key {key!r}", hint=f"store the table under {key}")
            path = await asyncio.to_thread(_write, io.BytesIO(values[key]), self._own(vmi, key), owner)
            tables.append((table, path))
        return tuple(tables)

    async def _ignition(self, vmi: VirtualMachineInstance, owner: Owner) -> str:
        if not has_ignition(vmi):
            return ""
        data = io.BytesIO(vmi.metadata.annotations[IGNITION_DATA].encode())
        return await asyncio.to_thread(_write, data, self._own(vmi, "data.ign"), owner)

    def _own(self, vmi: VirtualMachineInstance, name: str) -> Path:
        return self._layout.guest_state(vmi.metadata.uid) / f"boot-{name}"


def _table_secrets(vmi: VirtualMachineInstance, acpi: ACPI) -> Iterator[tuple[str, str, str]]:
    """Table, key and name of each secret that an ACPI table is read from."""
    secrets = {volume.name: volume.secret.secret_name for volume in vmi.spec.volumes if volume.secret}
    for table, name in (("slic", acpi.slic_name_ref), ("msdm", acpi.msdm_name_ref)):
        if name and secrets.get(name):
            yield table, f"{table}.bin", secrets[name] or ""


def _copy(source: Path, target: Path, owner: Owner) -> str:
    with source.open("rb") as content:
        return _write(content, target, owner)


def _write(content: IO[bytes], target: Path, owner: Owner) -> str:
    """A new file of the guest's user alone, in place of what an earlier attempt left; its path."""
    try:
        target.unlink(missing_ok=True)
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(fd, "wb") as file:  # noqa: PTH123  a descriptor, no path
            shutil.copyfileobj(content, file, CHUNK)
            if owner is not None:
                os.fchown(fd, *owner)
    except OSError as error:
        raise VolumeError(f"can't write {target}: {error.strerror}") from None
    return str(target)
