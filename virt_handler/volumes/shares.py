"""Directories that guests share by virtiofs: a claim's files, and what config maps, secrets and the downward API hold.

libvirt runs a virtiofs daemon for each, as root: the guest's root owns what it makes there, programs with the set-uid
bit too. So a shared directory is always below one that nobody but root passes, and holds nothing of ours that we trust.
Called by `launch`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from virt_handler.errors import UnsupportedVolume, VolumeError
from virt_handler.layout import Layout
from virt_handler.volumes import safe_paths
from virt_handler.volumes.contents import contents_of, has_contents
from virt_handler.volumes.objects import Objects
from virt_types.cdi.claims import SHARED
from virt_types.v1 import VirtualMachineInstance, Volume

# Of a claim: the directory that only root passes, and the one a guest sees.
GUARD, ROOT = SHARED
MAX_CONTENT = 16 << 20


class Shares:
    """Prepares the file systems of guests below `layout`."""

    def __init__(self, layout: Layout, objects: Objects) -> None:
        self._layout = layout
        self._objects = objects

    async def prepare(self, vmi: VirtualMachineInstance) -> dict[str, str]:
        """The directory of each of `domain.devices.filesystems`, by name; raises VolumeError."""
        volumes = {volume.name: volume for volume in vmi.spec.volumes}
        names = [share.name for share in vmi.spec.domain.devices.filesystems]
        return {
            name: str(await self._one(vmi, volumes[name], f"spec.domain.devices.filesystems[{number}]"))
            for number, name in enumerate(names)
            if name in volumes
        }

    async def _one(self, vmi: VirtualMachineInstance, volume: Volume, field: str) -> Path:
        claim, data = volume.persistent_volume_claim, volume.data_volume
        if claim is not None or data is not None:
            if claim is not None and claim.read_only:
                raise UnsupportedVolume(
                    f"{field}: the virtiofs daemon here shares nothing read-only", hint="attach the claim as a disk"
                )
            name = claim.claim_name if claim is not None else data.name if data is not None else ""
            return await self._claim(vmi.metadata.namespace, name, field)
        if not has_contents(volume):
            raise UnsupportedVolume(
                f"{field}: volume {volume.name!r} holds no files",
                hint="share a claim, a dataVolume, configMap, secret or downwardAPI; attach others as disks",
            )
        place = self._layout.guest_shares(vmi.metadata.uid) / safe_paths.component(volume.name, field)
        found = await contents_of(self._objects, vmi, volume, field)
        await asyncio.to_thread(_write, place, found.files, field)
        return place

    async def _claim(self, namespace: str, name: str, field: str) -> Path:
        await self._objects.claim_capacity(namespace, name)
        parts = [safe_paths.component(namespace, field), safe_paths.component(name, field)]
        return await asyncio.to_thread(_claim_files, self._layout.volumes, parts, field)


def _claim_files(volumes: Path, parts: list[str], field: str) -> Path:
    place = volumes.joinpath(*parts)
    try:
        for directory in (place.parent, place):
            directory.mkdir(mode=0o711, exist_ok=True)
        with safe_paths.directory(volumes, parts, field) as fd, _directory(GUARD, fd) as guard:
            os.fchmod(guard, 0o700)
            with contextlib.suppress(FileExistsError):
                os.mkdir(ROOT, 0o755, dir_fd=guard)
    except OSError as error:
        raise VolumeError(f"{field}: can't prepare {place}: {error.strerror}") from None
    return place / GUARD / ROOT


@contextlib.contextmanager
def _directory(name: str, dir_fd: int) -> Iterator[int]:
    """A descriptor of the directory, made where it is missing."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=dir_fd)
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _write(place: Path, files: Mapping[str, bytes], field: str) -> None:
    """The files anew: what an earlier attempt left goes."""
    if sum(map(len, files.values())) > MAX_CONTENT:
        raise VolumeError(f"{field}: its files are larger than {MAX_CONTENT} bytes together")
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(mode=0o700, exist_ok=True)
        place.mkdir(mode=0o755)
        for name, content in files.items():
            target = place.joinpath(*(safe_paths.component(part, field) for part in name.split("/")))
            target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(0o644)
    except OSError as error:
        raise VolumeError(f"{field}: can't write {place}: {error.strerror}") from None
