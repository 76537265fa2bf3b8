"""Reading an image's blobs: from a registry (distribution API v2) or from an OCI layout directory.

Each source yields a manifest by tag or digest and blobs by digest; what it yields is checked by `store`, except that a
manifest asked for by digest must have it. Every failure is an ImageError.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec

from virt_handler.errors import ImageError, ImagePullError, ImageRefused
from virt_handler.images import manifest as manifests
from virt_handler.images.reference import Location, is_loopback

CHUNK = 1 << 20
MAX_TOKEN = 1 << 16
MAX_REDIRECTS = 4
ACCEPT = ", ".join(manifests.INDEXES + manifests.MANIFESTS)
# Total time is unbounded (images are large); silence is not.
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class Credentials(NamedTuple):
    user: str
    password: str

    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


class Source(Protocol):
    async def manifest(self, version: str) -> bytes:
        """A manifest or index by tag or digest."""
        ...

    def blob(self, descriptor: manifests.Descriptor) -> AsyncIterator[bytes]:
        """A blob's bytes; never more than the descriptor says."""
        ...


class Layout:
    """A directory as `skopeo copy … oci:DIR` and `umoci` write it."""

    def __init__(self, location: Location) -> None:
        self._directory = Path(location.layout)
        self._reference = location.reference

    async def manifest(self, version: str) -> bytes:
        if version.startswith("sha256:"):
            return await asyncio.to_thread(self._read, self._blob_path(version), manifests.MAX_MANIFEST)
        index = manifests.read(
            await asyncio.to_thread(self._read, self._directory / "index.json", manifests.MAX_MANIFEST),
            str(self._reference),
        )
        return await self.manifest(self._entry(index).digest)

    async def blob(self, descriptor: manifests.Descriptor) -> AsyncIterator[bytes]:
        try:
            file = await asyncio.to_thread(self._blob_path(descriptor.digest).open, "rb")
            with contextlib.closing(file):
                while chunk := await asyncio.to_thread(file.read, CHUNK):
                    yield chunk
        except OSError as error:
            raise self._unreadable(descriptor.digest, error) from None

    def _entry(self, index: dict[str, object]) -> manifests.Descriptor:
        """The entry named by tag, repository:tag or the whole reference; an unnamed only one is meant too."""
        reference = self._reference
        names = {reference.tag, f"{reference.repository}:{reference.tag}", str(reference)}
        entries = index.get("manifests")
        found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        named = {
            str((entry.get("annotations") or {}).get("org.opencontainers.image.ref.name", "")): entry for entry in found
        }
        for name, entry in named.items():
            if name in names or (name == "" and len(found) == 1):
                return manifests.descriptor(entry, str(reference))
        raise ImagePullError(
            f"image {reference} is not in the OCI layout {self._directory}",
            hint=f"it has: {', '.join(sorted(filter(None, named)))[:300] or 'no named image'}",
        )

    def _blob_path(self, digest: str) -> Path:
        algorithm, _, value = digest.partition(":")
        return self._directory / "blobs" / algorithm / value

    def _read(self, path: Path, limit: int) -> bytes:
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise self._unreadable(path.name, error) from None
        if len(data) > limit:
            raise ImageRefused(f"image {self._reference}: {path} is larger than {limit} bytes")
        return data

    def _unreadable(self, what: str, error: OSError) -> ImageError:
        return ImagePullError(f"image {self._reference}: can't read {what} in {self._directory}: {error.strerror}")


class Registry:
    """A registry's HTTP API, with bearer tokens as it asks for them."""

    def __init__(
        self, session: aiohttp.ClientSession, location: Location, credentials: Credentials | None = None
    ) -> None:
        self._session = session
        self._reference = location.reference
        self._host = urlsplit(location.base).netloc
        self._url = f"{location.base}/v2/{location.repository}"
        self._repository = location.repository
        self._credentials = credentials
        self._authorization = ""

    async def manifest(self, version: str) -> bytes:
        async with self._get(f"{self._url}/manifests/{version}", accept=ACCEPT) as reply:
            return await self._bounded(reply, manifests.MAX_MANIFEST)

    async def blob(self, descriptor: manifests.Descriptor) -> AsyncIterator[bytes]:
        async with self._get(f"{self._url}/blobs/{descriptor.digest}") as reply:
            with self._mapped():
                async for chunk in reply.content.iter_chunked(CHUNK):
                    yield chunk

    @contextlib.asynccontextmanager
    async def _get(self, url: str, *, accept: str = "*/*") -> AsyncIterator[aiohttp.ClientResponse]:
        reply = await self._follow(url, accept)
        if reply.status == 401 and not self._authorization:
            challenge = reply.headers.get("WWW-Authenticate", "")
            reply.release()
            self._authorization = await self._authorize(challenge)
            reply = await self._follow(url, accept)
        try:
            if reply.status != 200:
                raise self._refusal(reply.status)
            yield reply
        finally:
            reply.release()

    async def _follow(self, url: str, accept: str) -> aiohttp.ClientResponse:
        """GET with a few redirects: our authorization stays with the registry's host; none may name loopback."""
        for _ in range(MAX_REDIRECTS):
            headers = {"Accept": accept}
            if self._authorization and urlsplit(url).netloc == self._host:
                headers["Authorization"] = self._authorization
            with self._mapped():
                reply = await self._session.get(url, headers=headers, allow_redirects=False, timeout=TIMEOUT)
            if reply.status not in {301, 302, 303, 307, 308}:
                return reply
            url = urljoin(url, reply.headers.get("Location", ""))
            reply.release()
            self._check_redirect(url)
        raise ImagePullError(
            f"image {self._reference}: registry {self._host} redirects more than {MAX_REDIRECTS} times"
        )

    def _check_redirect(self, url: str) -> None:
        target = urlsplit(url)
        plain = target.scheme != "https" and target.netloc != self._host
        inwards = is_loopback(target.netloc) and not is_loopback(self._host)
        if target.username is not None or plain or inwards:
            raise ImagePullError(
                f"image {self._reference}: registry {self._host} redirects to {target.netloc!r}, refused"
            )

    async def _authorize(self, challenge: str) -> str:
        scheme, _, rest = challenge.partition(" ")
        basic = self._credentials.basic() if self._credentials is not None else ""
        if scheme.lower() == "basic" and basic:
            return basic
        if scheme.lower() != "bearer":
            raise self._refusal(401)
        fields = dict(CHALLENGE.findall(rest))
        realm = fields.get("realm", "")
        self._check_redirect(realm)
        query = {"scope": fields.get("scope") or f"repository:{self._repository}:pull"}
        if service := fields.get("service"):
            query["service"] = service
        with self._mapped():
            async with self._session.get(
                realm,
                params=query,
                headers={"Authorization": basic} if basic else {},
                timeout=TIMEOUT,
                allow_redirects=False,
            ) as reply:
                if reply.status != 200:
                    raise self._refusal(reply.status)
                return f"Bearer {self._token(await self._bounded(reply, MAX_TOKEN))}"

    def _token(self, data: bytes) -> str:
        try:
            document = msgspec.json.decode(data)
            token = document.get("token") or document["access_token"]
        except (msgspec.DecodeError, AttributeError, KeyError):
            token = None
        if not isinstance(token, str) or not token.isprintable():
            raise ImagePullError(f"image {self._reference}: registry {self._host} gave no usable token")
        return token

    async def _bounded(self, reply: aiohttp.ClientResponse, limit: int) -> bytes:
        parts, size = [], 0
        with self._mapped():
            async for chunk in reply.content.iter_chunked(1 << 16):
                size += len(chunk)
                if size > limit:
                    raise ImageRefused(f"image {self._reference}: the registry's answer is larger than {limit} bytes")
                parts.append(chunk)
        return b"".join(parts)

    def _refusal(self, status: int) -> ImageError:
        what = {
            401: "wants a login (imagePullSecret), or the image does not exist",
            403: "does not allow it",
            404: "does not have it",
            429: "asks to come back later",
        }.get(status, f"answered HTTP {status}")
        return ImagePullError(f"image {self._reference}: registry {self._host} {what}")

    @contextlib.contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            text = str(error) or type(error).__name__
            raise ImagePullError(
                f"image {self._reference}: registry {self._host} can't be reached: {text}",
                hint="check the name, the network and --registry-mirror",
            ) from None
