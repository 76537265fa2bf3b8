"""One file from a web server into a scratch file: continued after a cut, and nothing the server says is believed.

A cut leaves the file and, beside it, what it is a part of; the next attempt asks for the rest, if the server still has
that very file. Endless, slow and lying servers end in a SourceFailed or TooLarge. Called by `fill`, and by
`uploads` for what clients send.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import os
import re
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec
from aiohttp.abc import ResolveResult
from yarl import URL

from virt_kube.threads import in_thread, opened
from virt_local.datavolumes import unpack
from virt_local.datavolumes.errors import ChecksumMismatch, NotSupported, SourceFailed, TooLarge
from virt_local.datavolumes.formats import HEAD
from virt_local.datavolumes.place import Place

BYTES, PART = "download", "download.json"
CHUNK = 1 << 20
MAX_REDIRECTS = 10
# Total time is unbounded (images are large); silence is not, nor a trickle that would hold a place for ever.
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)
SLOWEST_WINDOW, SLOWEST_BYTES = 120.0, 128 << 10
REDIRECTS = frozenset({301, 302, 303, 307, 308})
SPACE_CHECKS = 64
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
ALGORITHMS = ("md5", "sha1", "sha256", "sha512")
ANSWERS = {
    401: "wants a login (secretRef), or another one",
    403: "does not allow it",
    404: "does not have it",
    416: "does not have the rest of it",
    429: "asks to come back later",
}


class Request(NamedTuple):
    """`headers` go to the URL's own host only. `tls` None means the system's authorities."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    tls: ssl.SSLContext | None = None


class Part(msgspec.Struct):
    """What the bytes so far are a part of. `validator` is the ETag or date; without one nothing is continued."""

    url: str = ""
    validator: str = ""
    total: int = -1


# Called once with the first bytes and the length the server states (-1: it does not); raises to end it early.
OnHead = Callable[[bytes, int], None]
Report = Callable[[float], None]


def mirrored(url: str, mirrors: Mapping[str, str]) -> str:
    """Where to read `url`: below the mirror of the longest matching prefix, else where it says."""
    matches = [prefix for prefix in mirrors if url == prefix or url.startswith(f"{prefix.rstrip('/')}/")]
    if not matches:
        return url
    prefix = max(matches, key=len)
    return f"{mirrors[prefix].rstrip('/')}/{url.removeprefix(prefix).lstrip('/')}".rstrip("/")


def parse_checksum(text: str) -> tuple[str, str]:
    """Algorithm and hex digest; raises NotSupported."""
    algorithm, _, digest = text.partition(":")
    if algorithm not in ALGORITHMS:
        raise NotSupported(f"unsupported hash algorithm: {algorithm}", hint=f"use {', '.join(ALGORITHMS)}")
    return algorithm, digest.lower()


def verify(path: Path, checksum: str) -> None:
    """Raises ChecksumMismatch. Reads the whole file: call it in a thread."""
    algorithm, expected = parse_checksum(checksum)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    if found != expected:
        raise ChecksumMismatch(f"checksum mismatch: expected {algorithm}:{expected}, calculated {algorithm}:{found}")


async def download(request: Request, place: Place, *, limit: int, on_head: OnHead, report: Report) -> None:
    """Bring the file of `request` into the scratch file BYTES. Raises FillError."""
    part = await asyncio.to_thread(_read_part, place.scratch(PART))
    async with opened(partial(place.create, BYTES, keep=True)) as fd:
        have = os.fstat(fd).st_size if part.url == request.url and part.validator else 0
        if have and have == part.total:
            return
        async with _answer(request, have, part.validator) as answer:
            offset, told = _placed(answer, have)
            fresh = Part(request.url, _validator(answer), told)
            await in_thread(_begin, place, fd, offset, fresh)
            sink = Sink(place, limit, told, on_head, report)
            await Receiver(fd, offset, sink, answer.url.host or "").receive(answer.content.iter_any())


class Sink(NamedTuple):
    """Where the bytes go, and what is asked of them. `total` as in `Part`."""

    place: Place
    limit: int
    total: int
    on_head: OnHead
    report: Report


class Receiver:
    """Writes a body behind `size` bytes that are there already."""

    def __init__(self, fd: int, size: int, sink: Sink, host: str) -> None:
        self._fd, self._size, self._sink, self._host = fd, size, sink, host
        self._pending = b""
        self._looked = size > 0
        self._writes = 0
        self._window = (asyncio.get_running_loop().time(), 0)

    async def receive(self, body: AsyncIterable[bytes]) -> None:
        """Raises SourceFailed, TooLarge, and what `on_head` raises."""
        self._require_fit(self._sink.total)
        try:
            async for chunk in body:
                self._require_fit(self._size + len(self._pending) + len(chunk))
                self._require_pace(len(chunk))
                self._pending += chunk
                if len(self._pending) >= (CHUNK if self._looked else HEAD):
                    await self._flush()
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            await self._flush()
            text = "nothing came for a minute" if isinstance(error, TimeoutError) else str(error)
            raise SourceFailed(f"{self._host} was cut off after {self._told()}: {text}") from None
        await self._flush()
        if 0 <= self._sink.total != self._size:
            raise SourceFailed(f"{self._host} ended after {self._told()}")
        await in_thread(os.fsync, self._fd)

    async def _flush(self) -> None:
        if not self._looked:
            self._sink.on_head(self._pending[:HEAD], self._sink.total)
            self._looked = True
        if self._writes % SPACE_CHECKS == 0:
            await asyncio.to_thread(self._sink.place.require_space)
        self._writes += 1
        await in_thread(_append, self._fd, self._pending, self._size)
        self._size, self._pending = self._size + len(self._pending), b""
        if self._sink.total > 0:
            self._sink.report(100.0 * self._size / self._sink.total)

    def _told(self) -> str:
        return f"{self._size} of {self._sink.total} bytes" if self._sink.total >= 0 else f"{self._size} bytes"

    def _require_fit(self, size: int) -> None:
        if size > self._sink.limit:
            limit = self._sink.limit
            raise TooLarge(
                f"{self._host} sends {size} bytes or more, and {limit} are taken at most. A larger PVC is required"
            )

    def _require_pace(self, more: int) -> None:
        now, (since, counted) = asyncio.get_running_loop().time(), self._window
        self._window = (since, counted + more)
        if now - since > SLOWEST_WINDOW:
            if counted < SLOWEST_BYTES:
                raise SourceFailed(f"{self._host} sends too slowly: {counted} bytes in {now - since:.0f} s")
            self._window = (now, more)


def _append(fd: int, block: bytes, offset: int) -> None:
    unpack.write_sparse(fd, block, offset)
    os.ftruncate(fd, offset + len(block))


def _placed(answer: aiohttp.ClientResponse, have: int) -> tuple[int, int]:
    """Where the body belongs, and how long the file is as a whole (-1: nobody says)."""
    if answer.status != 206:
        length = answer.content_length
        return 0, -1 if length is None else length
    found = CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != have:
        raise SourceFailed(f"{answer.url.host} answered with another part than was asked for")
    return have, -1 if found[2] == "*" else int(found[2])


def _validator(answer: aiohttp.ClientResponse) -> str:
    etag = answer.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified", "")


def _read_part(path: Path) -> Part:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Part)
    except (OSError, msgspec.MsgspecError):
        return Part()


def _begin(place: Place, fd: int, offset: int, part: Part) -> None:
    """Note what is coming before it comes; drop what it does not continue."""
    os.ftruncate(fd, offset)
    place.require_space(max(0, part.total - offset))
    note = place.create(PART)
    try:
        os.write(note, msgspec.json.encode(part))
    finally:
        os.close(note)


@contextlib.asynccontextmanager
async def _answer(request: Request, have: int, validator: str) -> AsyncIterator[aiohttp.ClientResponse]:
    """A 200, or a 206 that continues `have` bytes; redirects are followed with care."""
    origin, guard = _parsed(request.url), _Guard()
    connector = aiohttp.TCPConnector(ssl=request.tls or True, resolver=guard, limit=1, force_close=True)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        url = origin
        for _ in range(MAX_REDIRECTS):
            await guard.check(url, first=url is origin)
            own = url.origin() == origin.origin()
            headers = [("Accept-Encoding", "identity"), ("User-Agent", "virtctl"), *(request.headers if own else ())]
            if have:
                headers += [("Range", f"bytes={have}-"), ("If-Range", validator)]
            try:
                answer = await session.get(
                    url,
                    headers=headers,
                    allow_redirects=False,
                    timeout=TIMEOUT,
                )
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                raise _unreachable(url, error) from None
            async with answer:
                if answer.status not in REDIRECTS:
                    if answer.status not in {200, 206} or (answer.status == 206 and not have):
                        what = ANSWERS.get(answer.status, f"answered HTTP {answer.status}")
                        raise SourceFailed(f"{url.host} {what}: {url.with_query(None)}")
                    yield answer
                    return
                url = _redirected(url, answer.headers.get("Location", ""))
    raise SourceFailed(f"{origin.host} redirects more than {MAX_REDIRECTS} times")


def _unreachable(url: URL, error: Exception) -> SourceFailed:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = f"{url.host} can't be trusted: {error.certificate_error}"
        return SourceFailed(why, hint="name its authority with certConfigMap")
    if isinstance(error, aiohttp.ClientConnectorError) and error.os_error.strerror:
        text = error.os_error.strerror
    else:
        text = str(error) or type(error).__name__
    return SourceFailed(f"{url.host} can't be reached: {text}", hint="check the URL and the network")


def _parsed(text: str) -> URL:
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise NotSupported(f"{text[:200]!r} is not a URL that is served: http://… or https://…")
    return url


def _redirected(url: URL, location: str) -> URL:
    try:
        target = url.join(URL(location))
    except ValueError:
        target = URL()
    downwards = url.scheme == "https" and target.scheme != "https"
    if target.scheme not in {"http", "https"} or not target.host or target.user or downwards:
        raise SourceFailed(f"{url.host} redirects to {location[:200]!r}, refused")
    return target


class _Guard(aiohttp.ThreadedResolver):
    """Resolves names, and keeps requests from where no image is: link-local addresses (a cloud's metadata), and, for a
    server elsewhere that redirects, this machine's own services.
    """

    def __init__(self) -> None:
        super().__init__()
        self._first = True
        self._inwards = False

    async def check(self, url: URL, *, first: bool) -> None:
        """For hosts that are addresses: those are never resolved."""
        self._first = first
        with contextlib.suppress(ValueError):
            self._require(url.host or "", ipaddress.ip_address(url.host or ""))

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await super().resolve(host, port, family)
        for entry in found:
            self._require(host, ipaddress.ip_address(entry["host"].partition("%")[0]))
        return found

    def _require(self, host: str, address: Any) -> None:
        address = getattr(address, "ipv4_mapped", None) or address
        if self._first:
            self._inwards |= address.is_loopback
        inwards = address.is_loopback and not self._inwards
        if address.is_link_local or address.is_multicast or address.is_unspecified or inwards:
            raise SourceFailed(f"{host} leads to {address}, where no image is read from")
