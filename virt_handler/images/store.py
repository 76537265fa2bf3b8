"""The node's container disks: pulled once, kept by digest, shared read-only by every guest.

    IMAGES/refs/NAME.json      what a tag meant when it was last asked for
    IMAGES/DIGEST[-PATH]/      the disk files of one image, complete or not there at all
    IMAGES/.partial-*          a pull, or a removal, on its way; removed at start

An image's directory was last changed when it was last asked for; `collect` removes what nobody needs (`shelf`).

Called by `volumes.prepare`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import shutil
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple
from weakref import WeakValueDictionary

import aiohttp
import msgspec

from virt_handler.errors import ImagePullError, ImageRefused
from virt_handler.images import layers, shelf
from virt_handler.images import manifest as manifests
from virt_handler.images.reference import Reference, locate, parse
from virt_handler.images.sources import Credentials, Layout, Registry, Source
from virt_handler.model import DiskFormat
from virt_handler.volumes.disk_images import inspect
from virt_kube.durable import write_durably

log = logging.getLogger("virt_handler.images")

Policy = Literal["Always", "IfNotPresent", "Never"]
Tell = Callable[[str, str], None]
DESCRIPTION = "image.json"
SIMULTANEOUS_PULLS = 3


class DiskFile(msgspec.Struct, frozen=True):
    """One disk of an image. `size` is the guest's view, in bytes."""

    name: str
    format: DiskFormat
    size: int


class _Description(msgspec.Struct, frozen=True):
    image: str
    digest: str
    disk: DiskFile


class _Wish(NamedTuple):
    """What is asked of an image: its disk, at `path` or the only one; or, `plain`, the bytes of the file at `path`.

    `architecture`: whose disk, where the image has several; this machine's if empty.
    """

    path: str
    plain: bool = False
    architecture: str = ""

    @property
    def suffix(self) -> str:
        """Of the directory it is kept in: a file that was never looked into is no disk."""
        if not self.path and not self.architecture:
            return ""
        name = f"file:{self.path}" if self.plain else self.path
        name = f"{self.architecture}:{name}" if self.architecture else name
        return f"-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


class ContainerDisk(NamedTuple):
    path: Path
    format: DiskFormat
    digest: str


def default_policy(reference: Reference) -> Policy:
    """Kubernetes' rule: `latest` is always asked for, anything else once."""
    return "Always" if reference.tag == "latest" and not reference.digest else "IfNotPresent"


class ImageStore:
    """Container disks below `directory`. `tls` instead of the system's authorities."""

    def __init__(
        self,
        directory: Path,
        mirrors: Mapping[str, str],
        insecure: frozenset[str],
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._directory = directory
        self._tls = tls
        self._mirrors = mirrors
        self._insecure = insecure
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # of who pulls now
        self._slots = asyncio.Semaphore(SIMULTANEOUS_PULLS)
        self._session: aiohttp.ClientSession | None = None
        self._shelf = threading.Lock()  # taking an image and removing one exclude each other

    async def get(
        self,
        image: str,
        *,
        path: str = "",
        policy: str | None = None,
        credentials: Credentials | None = None,
        architecture: str = "",
        tell: Tell = lambda _reason, _message: None,
    ) -> ContainerDisk:
        """The disk of an image, pulled if need be; `tell(reason, message)` hears of pulling. Raises ImageError."""
        return await self._get(image, _Wish(path, architecture=architecture), policy, credentials, tell)

    async def file(
        self,
        image: str,
        path: str,
        *,
        policy: str | None = None,
        credentials: Credentials | None = None,
        tell: Tell = lambda _reason, _message: None,
    ) -> Path:
        """One file out of an image, whatever it holds: a kernel, say. Raises ImageError."""
        return (await self._get(image, _Wish(path, plain=True), policy, credentials, tell)).path

    async def _get(
        self, image: str, wish: _Wish, policy: str | None, credentials: Credentials | None, tell: Tell
    ) -> ContainerDisk:
        reference, want = parse(image), layers.wanted(wish.path)
        lock = self._locks.setdefault(f"{reference}\0{wish.suffix}", asyncio.Lock())
        async with lock:
            chosen = policy or default_policy(reference)
            digest = reference.digest or ("" if chosen == "Always" else await asyncio.to_thread(self._known, reference))
            found = await asyncio.to_thread(self._take, digest, wish) if digest else None
            if found is None and chosen == "Never":
                raise ImagePullError(
                    f"image {image} is not on this node, and its imagePullPolicy is Never", reason="ErrImageNeverPull"
                )
            if found is None:
                found = await self._pull(image, reference, want, wish, credentials, tell)
            else:
                tell("Pulled", f'Container image "{image}" already present on machine')
            return found

    def sweep(self) -> None:
        """Remove what a killed pull left."""
        for leftover in self._directory.glob(".partial-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def collect(self, guests: Path, limits: shelf.Limits = shelf.DEFAULT) -> None:
        """Remove images that no guest below `guests` rests on, by `limits`; when in doubt, none."""
        now = time.time()
        try:
            with self._shelf:
                chosen = shelf.choose(shelf.look(self._directory), shelf.references(guests), now, limits)
                for image in chosen:  # in one step: an image is whole or not there
                    (self._directory / image.name).rename(self._directory / f".partial-{image.name}")
        except OSError as error:
            log.warning("images not collected error=%s", error)
            return
        for image in chosen:
            shutil.rmtree(self._directory / f".partial-{image.name}", ignore_errors=True)
            log.info(
                "image removed name=%s bytes=%d idle_days=%.1f", image.name, image.size, (now - image.used) / shelf.DAY
            )
        self._forget_tags(limits.unused, now)

    def _forget_tags(self, unused: float, now: float) -> None:
        """Tags nobody asked for in as long a time, whose image is gone."""
        for file in (self._directory / "refs").glob("*.json"):
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                digest = msgspec.json.decode(file.read_bytes(), type=dict[str, str]).get("digest", "")
                gone = not any(self._directory.glob(f"{digest.replace(':', '-')}*"))
                if gone and now - file.stat().st_mtime > unused:
                    file.unlink()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _pull(  # noqa: PLR0917  private, called once
        self,
        image: str,
        reference: Reference,
        want: layers.Wanted,
        wish: _Wish,
        credentials: Credentials | None,
        tell: Tell,
    ) -> ContainerDisk:
        source = self._source(reference, credentials)
        digest, manifest = await self._manifest(source, reference, wish.architecture)
        found = await asyncio.to_thread(self._take, digest, wish)
        if found is None:
            began = time.monotonic()
            tell("Pulling", f'Pulling image "{image}"')
            async with self._slots:
                found = await self._fetch(source, image, digest, manifests.layers(manifest, image), want, wish)
            seconds = time.monotonic() - began
            tell("Pulled", f'Successfully pulled image "{image}" in {seconds:.1f}s, {found.path.name}')
            log.info("image pulled image=%s digest=%s seconds=%.1f", reference, digest, seconds)
        else:
            tell("Pulled", f'Container image "{image}" already present on machine')
        await asyncio.to_thread(self._remember, reference, digest)
        return found

    def _source(self, reference: Reference, credentials: Credentials | None) -> Source:
        location = locate(reference, self._mirrors, self._insecure)
        if location.layout:
            return Layout(location)
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._tls or True)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return Registry(self._session, location, credentials)

    async def _manifest(self, source: Source, reference: Reference, architecture: str) -> tuple[str, dict[str, object]]:
        """The digest the tag stands for now, and the manifest for the architecture."""
        image = str(reference)
        data = await source.manifest(reference.version)
        digest = manifests.digest_of(data)
        if reference.digest and digest != reference.digest:
            raise ImagePullError(f"image {image}: the manifest's digest is {digest}")
        document = manifests.read(data, image)
        if manifests.is_index(document):
            chosen = manifests.choose(document, image, architecture)
            data = await source.manifest(chosen.digest)
            if manifests.digest_of(data) != chosen.digest:
                raise ImagePullError(f"image {image}: the manifest {chosen.digest} has another digest")
            document = manifests.read(data, image)
        return digest, document

    async def _fetch(  # noqa: PLR0917  private, called once
        self,
        source: Source,
        image: str,
        digest: str,
        wanted_layers: list[manifests.Descriptor],
        want: layers.Wanted,
        wish: _Wish,
    ) -> ContainerDisk:
        work = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=".partial-", dir=self._directory))
        try:
            disks = work / "disks"
            await asyncio.to_thread(disks.mkdir, mode=0o711)
            await asyncio.to_thread(disks.chmod, 0o711)
            for layer in wanted_layers:
                blob = work / "blob"
                await _download(source, layer, blob, image)
                await asyncio.to_thread(layers.apply, blob, layer.compression, disks, want)
                await asyncio.to_thread(blob.unlink)
            file = await asyncio.to_thread(_only_file, disks, image, wish.path)
            if wish.plain:
                disk = DiskFile(file.name, "raw", file.stat().st_size)
            else:
                inspected = await inspect(file, f"{file.name} of image {image}")
                disk = DiskFile(file.name, inspected.format, inspected.virtual_size)
            description = msgspec.json.encode(_Description(image, digest, disk))
            await asyncio.to_thread(self._publish, disks, description, digest, wish)
        finally:
            await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)
        return ContainerDisk(self._place(digest, wish) / disk.name, disk.format, digest)

    def _publish(self, disks: Path, description: bytes, digest: str, wish: _Wish) -> None:
        """One of several that pulled the same image is first, and a guest may run on its disk from then on."""
        write_durably(disks / DESCRIPTION, description)
        place = self._place(digest, wish)
        with self._shelf:
            if self._load(digest, wish) is not None:
                return
            if place.exists():  # of an earlier layout, or damaged
                shutil.rmtree(place)
            disks.rename(place)

    def _place(self, digest: str, wish: _Wish) -> Path:
        return self._directory / f"{digest.replace(':', '-')}{wish.suffix}"

    def _take(self, digest: str, wish: _Wish) -> ContainerDisk | None:
        """The image, and a note that it was asked for."""
        with self._shelf:
            found = self._load(digest, wish)
            if found is not None:
                os.utime(found.path.parent)
            return found

    def _load(self, digest: str, wish: _Wish) -> ContainerDisk | None:
        place = self._place(digest, wish)
        try:
            known = msgspec.json.decode((place / DESCRIPTION).read_bytes(), type=_Description)
        except (OSError, msgspec.MsgspecError):
            return None
        file = place / known.disk.name
        return ContainerDisk(file, known.disk.format, digest) if file.is_file() else None

    def _reference_file(self, reference: Reference) -> Path:
        return self._directory / "refs" / f"{hashlib.sha256(str(reference).encode()).hexdigest()}.json"

    def _known(self, reference: Reference) -> str:
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            known = msgspec.json.decode(self._reference_file(reference).read_bytes(), type=dict[str, str])
            return known.get("digest", "")
        return ""

    def _remember(self, reference: Reference, digest: str) -> None:
        file = self._reference_file(reference)
        file.parent.mkdir(mode=0o700, exist_ok=True)
        write_durably(file, msgspec.json.encode({"image": str(reference), "digest": digest}))


async def _download(source: Source, layer: manifests.Descriptor, target: Path, image: str) -> None:
    """One blob, its size and digest checked while it streams."""
    checksum, size = hashlib.sha256(), 0
    file = await asyncio.to_thread(target.open, "xb")
    try:
        async for chunk in source.blob(layer):
            size += len(chunk)
            if size > layer.size:
                raise ImagePullError(f"image {image}: layer {layer.digest} is longer than its {layer.size} bytes")
            await asyncio.to_thread(_consume, file, checksum, chunk)
    finally:
        await asyncio.to_thread(file.close)
    if size != layer.size or f"sha256:{checksum.hexdigest()}" != layer.digest:
        raise ImagePullError(
            f"image {image}: layer {layer.digest} came damaged ({size} of {layer.size} bytes)",
            hint="the registry or something on the way changed it; it will be tried again",
        )


def _consume(file: object, checksum: object, chunk: bytes) -> None:
    checksum.update(chunk)  # type: ignore[attr-defined]
    file.write(chunk)  # type: ignore[attr-defined]


def _only_file(directory: Path, image: str, path: str) -> Path:
    """The one disk, by KubeVirt's rule; raises ImageRefused naming image, place and rule."""
    files = sorted(directory.iterdir())
    if len(files) == 1 and files[0].name == DESCRIPTION:
        raise ImageRefused(f"image {image}: its disk can't be named {DESCRIPTION}", hint="call it disk.img")
    if len(files) == 1:
        return files[0]
    if path:
        raise ImageRefused(f"image {image} has no regular file {path}", hint="check the path")
    if not files:
        raise ImageRefused(
            f"image {image}: no file found in folder /disk, no disk present",
            hint="a container disk has one disk image (raw or qcow2, no link) in /disk, or containerDisk.path names it",
        )
    names = ", ".join(file.name for file in files[:8])
    raise ImageRefused(
        f"image {image}: more than one file found in folder /disk, only one disk is allowed: {names}",
        hint="choose one with containerDisk.path: /disk/NAME",
    )
