"""One attempt to fill a claim from its source. What a failed attempt leaves is of use to the next, or is removed.

Called by `workers`, which tries again; `disk` makes the disk of what each source brings.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from virt_handler.errors import HandlerError
from virt_handler.images.sources import Credentials
from virt_handler.images.store import ImageStore
from virt_handler.volumes.credentials import KEY as DOCKER_CONFIG
from virt_handler.volumes.credentials import pull_credentials
from virt_handler.volumes.objects import Objects
from virt_kube.api import ApiError, KubeClient
from virt_kube.informer import Key
from virt_kube.threads import in_thread
from virt_local.claims import directory_of
from virt_local.datavolumes import copy, disk, download, sandbox
from virt_local.datavolumes.errors import FillError, NoSpace, NotSupported, SourceFailed, SourceNotReady
from virt_local.datavolumes.place import Place
from virt_local.datavolumes.plan import Plan
from virt_types.cdi.objects import ImportSourceHTTP
from virt_types.cdi.v1beta1 import DataVolumeBlankImage, DataVolumeSourcePVC, DataVolumeSourceRegistry

# Of a transfer followed by a conversion, the part of the progress that the transfer is.
TRANSFER_SHARE = 80.0
USER_KEY, PASSWORD_KEY = "accessKeyId", "secretKey"
DOCKER = "docker://"
# A path would be one of the host's, read with root's rights for whoever may create a DataVolume.
NO_ARCHIVE = "write docker://…; an image in a directory of this machine is served with --registry-mirror HOST=oci:DIR"
Report = Callable[[float], None]
UsedBy = Callable[[Key], str]


class Filler:
    """Fills claims below `volumes`. `used_by` names a machine that uses a claim right now, or is "" when none does."""

    def __init__(
        self,
        client: KubeClient,
        volumes: Path,
        images: Callable[[ssl.SSLContext | None], contextlib.AbstractAsyncContextManager[ImageStore]],
        mirrors: Mapping[str, str],
        used_by: UsedBy,
    ) -> None:
        self._objects = Objects(client)
        self._volumes = volumes
        self._images = images
        self._mirrors = mirrors
        self._used_by = used_by

    @contextlib.asynccontextmanager
    async def place(self, plan: Plan, slot: int) -> AsyncIterator[Place]:
        """The claim's directory, cleared of what the next attempt has no use for. Raises FillError."""
        directory = directory_of(self._volumes, plan.claim.namespace, plan.claim.name)
        place = Place(directory, plan.uid, sandbox.user_of(slot))
        try:
            await asyncio.to_thread(place.open)
            yield place
        except asyncio.CancelledError:
            raise  # by a stop of the whole cluster, say: what there is will be continued
        except SourceFailed:
            raise
        except FillError:
            await asyncio.to_thread(place.clear)
            raise
        except HandlerError as error:
            raise SourceFailed(error.message, hint=error.hint) from None
        except ApiError as error:
            raise SourceNotReady(error.message) from None
        except OSError as error:
            await asyncio.to_thread(place.clear)
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise NoSpace(f"no space left in {directory}", hint="free space in the state directory") from None
            raise FillError(f"can't write to {directory}: {error.strerror or error}") from None
        else:
            await asyncio.to_thread(place.clear)

    async def fill(self, plan: Plan, slot: int, report: Report) -> None:
        """Done already is done. Raises FillError."""
        async with self.place(plan, slot) as place:
            if not plan.archive and await asyncio.to_thread(lambda: place.is_filled):
                return
            match plan.source:
                case DataVolumeBlankImage():
                    await disk.blank(place, plan)
                case ImportSourceHTTP():
                    await self._http(plan, plan.source, place, report)
                case DataVolumeSourceRegistry():
                    await self._registry(plan, plan.source, place, report)
                case DataVolumeSourcePVC():
                    await self._clone(plan, plan.source, place, report)
                case _:
                    raise NotSupported("nothing is fetched for an upload")

    async def _http(self, plan: Plan, source: ImportSourceHTTP, place: Place, report: Report) -> None:
        if source.checksum:
            download.parse_checksum(source.checksum)
        request = await self._request(plan.claim.namespace, source)
        what = f"the image of {urlsplit(request.url).hostname}"
        await download.download(
            request,
            place,
            limit=disk.largest_file(plan),
            on_head=lambda head, total: disk.check_head(head, total, plan, what),
            report=lambda percent: report(percent * TRANSFER_SHARE / 100),
        )
        if source.checksum:
            await asyncio.to_thread(download.verify, place.scratch(download.BYTES), source.checksum)
        await disk.install(place, download.BYTES, plan, what, rest(report))

    async def _request(self, namespace: str, source: ImportSourceHTTP) -> download.Request:
        headers = [_header(text, "extraHeaders") for text in source.extra_headers]
        for name in source.secret_extra_headers:
            secret = await self._objects.secret(namespace, name, "spec.source.http.secretExtraHeaders")
            headers += [_header(value.decode(errors="replace"), f"secret {name}") for value in secret.values()]
        login = await self._login(namespace, source.secret_ref, "spec.source.http.secretRef")
        if login is not None:
            headers.append(("Authorization", login.basic()))
        tls = await self._tls(namespace, source.cert_config_map, "spec.source.http.certConfigMap")
        if source.insecure_skip_verify:
            tls = ssl.create_default_context()
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        return download.Request(download.mirrored(source.url, self._mirrors), tuple(headers), tls)

    async def _registry(self, plan: Plan, source: DataVolumeSourceRegistry, place: Place, report: Report) -> None:
        field = "spec.source.registry"
        if not (source.url or "").startswith(DOCKER):
            raise NotSupported(f"{field}.url: {(source.url or '')[:200]!r} is not read here", hint=NO_ARCHIVE)
        namespace, image = plan.claim.namespace, (source.url or "").removeprefix(DOCKER)
        credentials = None
        if source.secret_ref:
            secret = await self._objects.secret(namespace, source.secret_ref, f"{field}.secretRef")
            if DOCKER_CONFIG in secret:
                credentials = pull_credentials(secret, image, f"{field}.secretRef")
            else:
                credentials = await self._login(namespace, source.secret_ref, f"{field}.secretRef")
        tls = await self._tls(namespace, source.cert_config_map, f"{field}.certConfigMap")
        async with self._images(tls) as images:
            architecture = (source.platform.architecture if source.platform is not None else None) or ""
            found = await images.get(image, credentials=credentials, architecture=architecture)
            report(TRANSFER_SHARE)
            await disk.install_image(place, found.path, plan, f"the image {image}", rest(report))

    async def _clone(self, plan: Plan, source: DataVolumeSourcePVC, place: Place, report: Report) -> None:
        origin = Key(source.namespace or plan.claim.namespace, source.name)
        self._require_unused(origin)
        image = directory_of(self._volumes, *origin) / copy.IMAGE
        await copy.clone(image, place, plan, report)
        self._require_unused(origin)  # one that began meanwhile may have written what was half copied
        await in_thread(partial(place.publish, disk.DISK, plan.size, preallocate=plan.preallocate))

    def _require_unused(self, origin: Key) -> None:
        user = self._used_by(origin)
        if user:
            text = f"the source {origin} is in use by machine {user}: stop it and the copy begins"
            raise SourceNotReady(text, reason="CloneSourceInUse")

    async def _login(self, namespace: str, name: str | None, field: str) -> Credentials | None:
        if not name:
            return None
        secret = await self._objects.secret(namespace, name, field)
        if USER_KEY not in secret or PASSWORD_KEY not in secret:
            raise SourceNotReady(f"{field}: secret {namespace}/{name} lacks {USER_KEY} or {PASSWORD_KEY}")
        return Credentials(*(secret[key].decode(errors="replace") for key in (USER_KEY, PASSWORD_KEY)))

    async def _tls(self, namespace: str, name: str | None, field: str) -> ssl.SSLContext | None:
        """The system's authorities and those of a config map; None when there is none."""
        if not name:
            return None
        texts = await self._objects.config_map(namespace, name, field)
        context = ssl.create_default_context()
        try:
            for value in texts.values():
                context.load_verify_locations(cadata=value.decode())
        except (ssl.SSLError, ValueError):
            raise SourceNotReady(f"{field}: config map {namespace}/{name} holds what is no certificate") from None
        return context


def rest(report: Report) -> Report:
    """For what comes after the transfer."""
    return lambda percent: report(TRANSFER_SHARE + percent * (100 - TRANSFER_SHARE) / 100)


def _header(text: str, field: str) -> tuple[str, str]:
    name, colon, value = text.strip().partition(":")
    if not colon or not name.isascii() or not f"{name}{value}".isprintable():
        raise NotSupported(f"{field}: a header is written Name: value")
    return name.strip(), value.strip()
