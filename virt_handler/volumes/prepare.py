"""Every volume of a VMI as something QEMU can open. One function per kind, all volumes at once.

What is made here belongs to one VMI (below its state directory, owned by QEMU's user) and may be made again after a
failure; what is shared or the user's own is only ever checked, never given away. Called by `launch`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from virt_handler.errors import UnsupportedVolume, VolumeError
from virt_handler.images.store import ImageStore
from virt_handler.launch import Owner
from virt_handler.layout import Layout
from virt_handler.model import DiskSource
from virt_handler.volumes import cloudinit, disk_images, iso, safe_paths
from virt_handler.volumes.contents import contents_of
from virt_handler.volumes.credentials import pull_credentials
from virt_handler.volumes.objects import Objects
from virt_kube.directories import make_passable
from virt_types.quantity import to_bytes
from virt_types.v1 import HostDisk, PersistentVolumeClaimInfo, VirtualMachineInstance, Volume

Tell = Callable[[VirtualMachineInstance, str, str], None]
SYSPREP_LABEL = "unattendCD"
ANSWER_FILES = frozenset({"autounattend.xml", "unattend.xml"})
DISK = "disk.img"


class Volumes:
    """Prepares volumes below `layout`; `tell(vmi, reason, message)` hears of images being pulled."""

    def __init__(self, layout: Layout, images: ImageStore, objects: Objects, tell: Tell) -> None:
        self._layout = layout
        self._images = images
        self._objects = objects
        self._tell = tell

    async def prepare(self, vmi: VirtualMachineInstance, owner: Owner) -> dict[str, DiskSource]:
        """By volume name, but for those that are shared as file systems; raises ImageError, VolumeError."""
        shared = {share.name for share in vmi.spec.domain.devices.filesystems}
        volumes = [volume for volume in vmi.spec.volumes if volume.name not in shared]
        found = await asyncio.gather(*(self._one(vmi, volume, owner) for volume in volumes))
        return {volume.name: source for volume, source in zip(volumes, found, strict=True)}

    def claims(self, vmi: VirtualMachineInstance) -> dict[str, PersistentVolumeClaimInfo]:
        """What is known of the claims among the VMI's volumes, by volume name."""
        named = {volume.name: claim for volume in vmi.spec.volumes if (claim := _claim_name(volume))}
        known = {name: self._objects.claim_info(vmi.metadata.namespace, claim) for name, claim in named.items()}
        return {name: info for name, info in known.items() if info is not None}

    async def _one(self, vmi: VirtualMachineInstance, volume: Volume, owner: Owner) -> DiskSource:
        safe_paths.component(volume.name, "spec.volumes[].name")
        kinds: tuple[tuple[object, Callable[[VirtualMachineInstance, Volume, Owner], Awaitable[DiskSource]]], ...] = (
            (volume.container_disk, self._container_disk),
            (volume.cloud_init_no_cloud, self._cloud_init),
            (volume.cloud_init_config_drive, self._cloud_init),
            (volume.empty_disk, self._empty_disk),
            (volume.persistent_volume_claim, self._claim),
            (volume.data_volume, self._claim),
            (volume.ephemeral, self._ephemeral),
            (volume.host_disk, self._host_disk),
            (volume.config_map, self._files),
            (volume.secret, self._files),
            (volume.sysprep, self._files),
            (volume.downward_api, self._files),
        )
        for present, prepare in kinds:
            if present is not None:
                return await prepare(vmi, volume, owner)
        raise UnsupportedVolume(f"volume {volume.name!r} is of a kind this node can't attach")

    def _own(self, vmi: VirtualMachineInstance, name: str) -> Path:
        return self._layout.guest_state(vmi.metadata.uid) / name

    async def _container_disk(self, vmi: VirtualMachineInstance, volume: Volume, owner: Owner) -> DiskSource:
        source = volume.container_disk
        if source is None:
            raise UnsupportedVolume(volume.name)
        credentials = None
        if source.image_pull_secret:
            field = f"volume {volume.name!r}: imagePullSecret"
            secret = await self._objects.secret(vmi.metadata.namespace, source.image_pull_secret, field)
            credentials = pull_credentials(secret, source.image, field)
        disk = await self._images.get(
            source.image,
            path=source.path or "",
            policy=source.image_pull_policy,
            credentials=credentials,
            tell=lambda reason, message: self._tell(vmi, reason, message),
        )
        backing = DiskSource(str(disk.path), disk.format, readonly=True)
        return await self._overlay(vmi, volume, backing, owner)

    async def _overlay(
        self, vmi: VirtualMachineInstance, volume: Volume, backing: DiskSource, owner: Owner
    ) -> DiskSource:
        path = self._own(vmi, f"{volume.name}.qcow2")
        await disk_images.create_overlay(path, Path(backing.path), backing.format)
        await asyncio.to_thread(_give, path, owner)
        return DiskSource(str(path), "qcow2", backing=backing)

    async def _empty_disk(self, vmi: VirtualMachineInstance, volume: Volume, owner: Owner) -> DiskSource:
        path = self._own(vmi, f"{volume.name}.qcow2")
        capacity = to_bytes(volume.empty_disk.capacity if volume.empty_disk is not None else 0)
        await disk_images.create_empty(path, capacity)
        await asyncio.to_thread(_give, path, owner)
        return DiskSource(str(path), "qcow2")

    async def _cloud_init(self, vmi: VirtualMachineInstance, volume: Volume, owner: Owner) -> DiskSource:
        source = volume.cloud_init_no_cloud or volume.cloud_init_config_drive
        if source is None:
            raise UnsupportedVolume(volume.name)
        field = f"volume {volume.name!r}"
        namespace = vmi.metadata.namespace
        keys = cloudinit.key_secrets(vmi, source)
        names = dict.fromkeys((*cloudinit.secret_names(source), *keys))
        secrets = {name: await self._objects.secret(namespace, name, field) for name in names}
        seed = cloudinit.seed(source, secrets, field)
        seed = seed._replace(public_keys=cloudinit.public_keys([secrets[name] for name in keys], field))
        path = self._own(vmi, f"{volume.name}.iso")
        if volume.cloud_init_no_cloud is not None:
            await iso.write(path, cloudinit.NO_CLOUD_LABEL, cloudinit.no_cloud(vmi, seed), owner)
        else:
            await iso.write(path, cloudinit.CONFIG_DRIVE_LABEL, cloudinit.config_drive(vmi, seed), owner)
        return DiskSource(str(path), "raw", discard=False)

    async def _files(self, vmi: VirtualMachineInstance, volume: Volume, owner: Owner) -> DiskSource:
        """A config map, a secret, fields of the VMI or a sysprep answer file as a CD-ROM."""
        field = f"volume {volume.name!r}"
        if volume.sysprep is not None:
            label, files = SYSPREP_LABEL, await self._answer_files(vmi.metadata.namespace, volume, field)
        else:
            label, files = await contents_of(self._objects, vmi, volume, field)
        path = self._own(vmi, f"{volume.name}.iso")
        await iso.write(path, label, files, owner)
        return DiskSource(str(path), "raw", readonly=True, discard=False)

    async def _answer_files(self, namespace: str, volume: Volume, field: str) -> dict[str, bytes]:
        source = volume.sysprep
        if source is not None and source.config_map is not None:
            files = await self._objects.config_map(namespace, source.config_map.name or "", field)
        elif source is not None and source.secret is not None:
            files = await self._objects.secret(namespace, source.secret.name or "", field)
        else:
            raise VolumeError(f"{field}: sysprep names neither a config map nor a secret")
        if not ANSWER_FILES & {name.lower() for name in files}:
            raise VolumeError(
                "Sysprep drive should contain autounattend.xml or unattend.xml but neither were found.", hint=field
            )
        return files

    async def _claim(self, vmi: VirtualMachineInstance, volume: Volume, owner: Owner) -> DiskSource:
        claim = volume.persistent_volume_claim
        path = await self._claim_disk(vmi.metadata.namespace, _claim_name(volume), owner, volume.name)
        source = await asyncio.to_thread(_lasting, path)
        return source._replace(readonly=bool(claim is not None and claim.read_only))

    async def _ephemeral(self, vmi: VirtualMachineInstance, volume: Volume, owner: Owner) -> DiskSource:
        claim = volume.ephemeral.persistent_volume_claim if volume.ephemeral is not None else None
        if claim is None:
            raise VolumeError(f"volume {volume.name!r}: ephemeral names no persistentVolumeClaim")
        path = await self._claim_disk(vmi.metadata.namespace, claim.claim_name, owner, volume.name)
        return await self._overlay(vmi, volume, DiskSource(path, "raw", readonly=True), owner)

    async def _claim_disk(self, namespace: str, name: str, owner: Owner, volume: str) -> str:
        capacity = await self._objects.claim_capacity(namespace, name)
        field = f"volume {volume!r}: claim {namespace}/{name}"
        parts = [safe_paths.component(namespace, field), safe_paths.component(name, field)]
        return await asyncio.to_thread(_claim_file, self._layout.volumes, parts, capacity, owner, field)

    async def _host_disk(self, vmi: VirtualMachineInstance, volume: Volume, owner: Owner) -> DiskSource:
        if volume.host_disk is None:
            raise UnsupportedVolume(volume.name)
        field = f"volume {volume.name!r}: hostDisk.path"
        await asyncio.to_thread(_host_file, volume.host_disk, owner, field, writes=_is_written(vmi, volume.name))
        found = await asyncio.to_thread(_lasting, volume.host_disk.path)
        return found._replace(keep_owner=owner is not None)


def _claim_name(volume: Volume) -> str:
    """The claim that the volume is, "" for another kind."""
    claim, data = volume.persistent_volume_claim, volume.data_volume
    return claim.claim_name if claim is not None else data.name if data is not None else ""


def _lasting(path: str) -> DiskSource:
    """A disk that outlives its guest, past the page cache where that works: the guest caches what it reads itself.

    Not so for overlays of images: many guests read the same one, and past the page cache each boot takes half as long
    again (13 to 14 s against 19 to 21 s for a guest of 30 MB under emulation).
    """
    file = Path(path)
    return DiskSource(
        path, "raw", direct_io=disk_images.takes_direct_io(file), block_sizes=disk_images.block_sizes(file)
    )


def _give(path: Path, owner: Owner) -> None:
    """Hand a file of ours, in a directory of ours, to QEMU's user."""
    if owner is None:
        return
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fchown(fd, *owner)
    finally:
        os.close(fd)


def _claim_file(volumes: Path, parts: list[str], capacity: int, owner: Owner, field: str) -> str:
    """The claim's disk image; made sparse, as large as the claim, when its directory is still empty."""
    place = volumes.joinpath(*parts)
    for directory in (place.parent, place):
        make_passable(directory)
    with safe_paths.directory(volumes, parts, field) as fd:
        found = safe_paths.regular_file(fd, DISK, field, str(place / DISK))
        if found is None:
            if capacity < disk_images.MEBIBYTE:
                raise VolumeError(f"{field}: its capacity is less than 1Mi")
            _create(fd, DISK, capacity, owner, field)
    return str(place / DISK)


def _is_written(vmi: VirtualMachineInstance, volume: str) -> bool:
    """Whether the guest may write to the disk of this volume."""
    spec = next((disk for disk in vmi.spec.domain.devices.disks if disk.name == volume), None)
    target = (spec.disk or spec.cdrom or spec.lun) if spec is not None else None
    return not (target is not None and target.readonly)


def _host_file(disk: HostDisk, owner: Owner, field: str, *, writes: bool) -> None:
    """`Disk` must be there; `DiskOrCreate` is made sparse, and belongs to QEMU's user only when it was made here.

    A file of the machine keeps its owner: QEMU's user gets at it only where that owner allows it. And a file is made
    only where QEMU's user could make it: we may write everywhere, whoever makes a VM may not.
    """
    *parents, name = safe_paths.parts_of(disk.path, field)
    with safe_paths.directory(Path("/"), parents, field) as fd:
        found = safe_paths.regular_file(fd, name, field, disk.path)
        if found is not None:
            _check_access(found, owner, field, disk.path, writes=writes)
            return
        if disk.type != "DiskOrCreate":
            raise VolumeError(f"{field}: {disk.path} does not exist", hint="create it, or use type: DiskOrCreate")
        _check_directory(fd, parents, owner, field)
        capacity = to_bytes(disk.capacity or 0)
        free = os.statvfs(f"/proc/self/fd/{fd}")
        available = free.f_bavail * free.f_frsize
        if capacity > available:
            raise VolumeError(
                f"unable to create {disk.path}, not enough space, demanded size {capacity} B is bigger than "
                f"available space {available} B"
            )
        if capacity < disk_images.MEBIBYTE:
            raise VolumeError(f"{field}: capacity {disk.capacity!r} is less than 1Mi")
        _create(fd, name, capacity, owner, field)


def _check_access(found: os.stat_result, owner: Owner, field: str, path: str, *, writes: bool) -> None:
    """QEMU's user must be allowed to open the file as it is; raises VolumeError."""
    if owner is None:
        return
    uid, gid = owner
    if not _allows(found, uid, gid, os.R_OK | os.W_OK if writes else os.R_OK):
        raise VolumeError(
            f"{field}: QEMU's user (uid {uid}, gid {gid}) may not {'write' if writes else 'read'} {path}",
            hint=f"if a guest may have this file: chown {uid}:{gid} {path}",
        )


def _check_directory(fd: int, parts: list[str], owner: Owner, field: str) -> None:
    """QEMU's user must be allowed to make files in the directory `fd`, and to get there; raises VolumeError."""
    if owner is None:
        return
    uid, gid = owner
    for above in range(len(parts) + 1):
        found = os.stat("./" + "../" * above, dir_fd=fd)
        path = "/" + "/".join(parts[: len(parts) - above])
        if not _allows(found, uid, gid, os.X_OK if above else os.W_OK | os.X_OK):
            raise VolumeError(
                f"{field}: QEMU's user (uid {uid}, gid {gid}) may not {'enter' if above else 'make files in'} {path}",
                hint=f"make a directory for disks (install -d -o {uid} -g {gid} DIRECTORY), or the disk yourself",
            )


def _allows(found: os.stat_result, uid: int, gid: int, wanted: int) -> bool:
    """Whether the mode lets this user (not its further groups) do what `wanted` says, in bits of os.access."""
    shift = 6 if found.st_uid == uid else 3 if found.st_gid == gid else 0
    return uid == 0 or (found.st_mode >> shift) & wanted == wanted


def _create(dir_fd: int, name: str, size: int, owner: Owner, field: str) -> None:
    try:
        disk_images.create_raw(name, size, dir_fd, owner)
    except OSError as error:
        raise VolumeError(f"{field}: can't create {name}: {error.strerror}") from None
