"""Filling a claim from a web server that may be slow, cut off, lying or hostile: real HTTP, qemu-img and files."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
import io
import lzma
import os
import re
import shutil
import ssl
import struct
import subprocess
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.fake_kube import FakeKube

from virt_handler.images.store import ImageStore
from virt_handler.volumes.objects import CONFIG_MAPS, SECRETS
from virt_kube.informer import Key
from virt_local import pki
from virt_local.claims import OWNER
from virt_local.datavolumes import download, place, sandbox
from virt_local.datavolumes.errors import (
    ChecksumMismatch,
    ContentRefused,
    FillError,
    NoSpace,
    NotSupported,
    SourceFailed,
    SourceNotReady,
    TooLarge,
)
from virt_local.datavolumes.fill import Filler
from virt_local.datavolumes.plan import Plan, Source
from virt_types.cdi.objects import ImportSourceHTTP
from virt_types.cdi.v1beta1 import DataVolumeBlankImage, DataVolumeSourcePVC, DataVolumeSourceRegistry

UID = "11111111-2222-3333-4444-555555555555"
MIB = 1 << 20
SIZE = 8 * MIB
NOISE = hashlib.shake_256(b"noise").digest(3 * MIB)
RAW = NOISE + bytes(MIB)
pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")

Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Web:
    """A server on loopback; `serve` answers, `seen` are the requests' headers."""

    def __init__(self) -> None:
        self.serve: Serve = self.not_found
        self.seen: list[Any] = []
        self.base = ""

    async def not_found(self, _request: web.Request) -> web.StreamResponse:
        raise web.HTTPNotFound

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request.headers)
        return await self.serve(request)

    def gives(self, content: bytes, **headers: str) -> None:
        async def serve(_request: web.Request) -> web.StreamResponse:
            return web.Response(body=content, headers=headers)

        self.serve = serve


@contextlib.asynccontextmanager
async def running(server: Web, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    server.base = f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield
    finally:
        await runner.cleanup()


@pytest.fixture
async def server() -> AsyncIterator[Web]:
    found = Web()
    async with running(found):
        yield found


class Bench:
    """A claim's directory and who fills it."""

    def __init__(self, root: Path) -> None:
        self.kube = FakeKube()
        self.volumes = root / "volumes"
        self.images = root / "images"
        self.images.mkdir()
        self.user = ""
        self.directory = self.claim("data")
        self.mirrors: dict[str, str] = {}
        self.registry_mirrors: dict[str, str] = {}
        self.heard: list[float] = []

    def claim(self, name: str) -> Path:
        directory = self.volumes / "default" / name
        directory.mkdir(parents=True)
        for path in (self.volumes, directory.parent, directory):
            path.chmod(0o711)
        (directory / OWNER).write_text(UID)
        return directory

    @contextlib.asynccontextmanager
    async def store(self, tls: ssl.SSLContext | None) -> AsyncIterator[ImageStore]:
        store = ImageStore(self.images, self.registry_mirrors, frozenset(), tls=tls)
        try:
            yield store
        finally:
            await store.close()

    async def fill(self, source: Source, **more: Any) -> None:
        filler = Filler(self.kube, self.volumes, self.store, self.mirrors, lambda _key: self.user)
        plan = Plan(Key("default", "data"), UID, source, SIZE, SIZE)._replace(**more)
        await filler.fill(plan, 0, self.heard.append)

    @property
    def disk(self) -> bytes:
        return (self.directory / "disk.img").read_bytes()

    def names(self) -> set[str]:
        return {path.name for path in self.directory.iterdir()}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    for path in (tmp_path, *tmp_path.parents[:3]):
        with contextlib.suppress(PermissionError):
            path.chmod(path.stat().st_mode | 0o011)  # the user that qemu-img runs as must get through
    return Bench(tmp_path)


def image(tmp_path: Path, kind: str, *options: str, content: bytes = RAW) -> bytes:
    (tmp_path / "source.raw").write_bytes(content)
    target = tmp_path / f"source.{kind}"
    command = ["qemu-img", "convert", "-f", "raw", "-O", kind, *options, str(tmp_path / "source.raw"), str(target)]
    subprocess.run(command, check=True, capture_output=True)
    return target.read_bytes()


def packed(content: bytes, how: str) -> bytes:
    if how == "zst":
        return subprocess.run(["zstd", "-q", "-c"], input=content, capture_output=True, check=True).stdout
    return {"": lambda data: data, "gz": gzip.compress, "xz": lambda data: lzma.compress(data, preset=0)}[how](content)


@pytest.mark.parametrize("how", ["", "gz", "xz", "zst"])
@pytest.mark.parametrize("kind", ["raw", "qcow2"])
async def test_an_image_becomes_the_claims_disk(bench: Bench, server: Web, tmp_path: Path, kind: str, how: str) -> None:
    server.gives(packed(image(tmp_path, kind) if kind != "raw" else RAW, how))
    await bench.fill(ImportSourceHTTP(url=f"{server.base}/image"))
    assert bench.disk == RAW + bytes(SIZE - len(RAW)), "grown to the size asked for, with zeroes"
    assert bench.names() == {OWNER, "disk.img"}
    found = (bench.directory / "disk.img").stat()
    assert (found.st_uid, found.st_mode & 0o777) == (os.geteuid(), 0o600)
    assert found.st_blocks * 512 < SIZE, "zeroes take no room"
    assert bench.heard == sorted(bench.heard)


@pytest.mark.parametrize("kind", ["vmdk", "vdi", "vpc", "vhdx"])
async def test_other_formats_are_converted(bench: Bench, server: Web, tmp_path: Path, kind: str) -> None:
    server.gives(image(tmp_path, kind))
    await bench.fill(ImportSourceHTTP(url=f"{server.base}/image"), available=2 * SIZE)
    assert bench.disk[: len(RAW)] == RAW


async def test_done_is_done(bench: Bench, server: Web) -> None:
    server.gives(RAW)
    await bench.fill(ImportSourceHTTP(url=f"{server.base}/image"))
    await bench.fill(ImportSourceHTTP(url=f"{server.base}/image"))
    assert len(server.seen) == 1


async def test_a_blank_disk(bench: Bench) -> None:
    await bench.fill(DataVolumeBlankImage())
    assert bench.disk == bytes(SIZE)
    assert (bench.directory / "disk.img").stat().st_blocks == 0


async def test_preallocation_takes_the_room_at_once(bench: Bench) -> None:
    await bench.fill(DataVolumeBlankImage(), preallocate=True)
    assert (bench.directory / "disk.img").stat().st_blocks * 512 >= SIZE


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
async def test_a_checksum_is_of_the_bytes_as_sent(bench: Bench, server: Web, algorithm: str) -> None:
    sent = packed(RAW, "gz")
    server.gives(sent)
    url = f"{server.base}/image.gz"
    with pytest.raises(ChecksumMismatch, match=f"checksum mismatch: expected {algorithm}:00, calculated {algorithm}:"):
        await bench.fill(ImportSourceHTTP(url=url, checksum=f"{algorithm}:00"))
    assert bench.names() == {OWNER}
    await bench.fill(ImportSourceHTTP(url=url, checksum=f"{algorithm}:{hashlib.new(algorithm, sent).hexdigest()}"))
    assert bench.disk[: len(RAW)] == RAW


async def test_an_unknown_checksum_is_refused_before_anything_is_fetched(bench: Bench, server: Web) -> None:
    with pytest.raises(NotSupported, match="unsupported hash algorithm: crc32"):
        await bench.fill(ImportSourceHTTP(url=server.base, checksum="crc32:00"))
    assert server.seen == []


class Cutting:
    """Sends the first `cut` bytes of what is asked for and hangs up, once; then all of it."""

    def __init__(self, server: Web, content: bytes, cut: int, *, ranges: bool = True, etag: str = '"one"') -> None:
        self.content, self.cut, self.ranges, self.etag = content, cut, ranges, etag
        server.serve = self.serve

    async def serve(self, request: web.Request) -> web.StreamResponse:
        asked = request.headers.get("Range", "")
        fresh = request.headers.get("If-Range") == self.etag
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges and fresh else 0
        headers = {"ETag": self.etag, "Content-Length": str(len(self.content) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        body = self.content[start:]
        if self.cut:
            await response.write(body[: self.cut])
            self.cut = 0
            assert request.transport is not None
            request.transport.abort()
            return response
        await response.write(body)
        return response


async def test_a_cut_is_continued_where_it_was(bench: Bench, server: Web) -> None:
    Cutting(server, RAW, 2 * MIB)
    source = ImportSourceHTTP(url=f"{server.base}/image")
    with pytest.raises(SourceFailed, match=r"was cut off after \d+ of 4194304 bytes"):
        await bench.fill(source)
    await bench.fill(source)
    assert bench.disk[: len(RAW)] == RAW
    begun = int(server.seen[1]["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < begun <= 2 * MIB


@pytest.mark.parametrize("change", ["etag", "ranges", "validator"])
async def test_what_has_changed_or_can_not_be_continued_begins_anew(bench: Bench, server: Web, change: str) -> None:
    etag = "" if change == "validator" else '"one"'
    other = bytes(reversed(RAW))
    sender = Cutting(server, RAW, 2 * MIB, ranges=change != "ranges", etag=etag)
    source = ImportSourceHTTP(url=f"{server.base}/image")
    with pytest.raises(SourceFailed):
        await bench.fill(source)
    sender.content = other
    if change == "etag":
        sender.etag = '"two"'
    await bench.fill(source)
    assert bench.disk[: len(other)] == other


async def test_a_length_that_lies(bench: Bench, server: Web) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(4 * MIB)})
        await response.prepare(request)
        await response.write(RAW[: 3 * MIB])
        assert request.transport is not None
        request.transport.close()
        return response

    server.serve = serve
    with pytest.raises(SourceFailed, match="of 4194304 bytes"):
        await bench.fill(ImportSourceHTTP(url=server.base))
    assert "disk.img" not in bench.names()


async def test_an_endless_stream_ends(bench: Bench, server: Web) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(NOISE)
        return response

    server.serve = serve
    with pytest.raises(TooLarge, match="A larger PVC is required"):
        await bench.fill(ImportSourceHTTP(url=server.base))
    assert bench.names() == {OWNER}


async def test_a_trickle_does_not_hold_a_place_for_ever(
    bench: Bench, server: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b"x")
                await asyncio.sleep(0.02)
        return response

    monkeypatch.setattr(download, "SLOWEST_WINDOW", 0.2)
    server.serve = serve
    with pytest.raises(SourceFailed, match="sends too slowly"):
        await bench.fill(ImportSourceHTTP(url=server.base))


def with_header(content: bytes, offset: int, value: bytes) -> bytes:
    return content[:offset] + value + content[offset + len(value) :]


HOSTILE: list[tuple[str, Callable[[Path], bytes], str]] = [
    ("an error page", lambda _: b"<html>come back later</html>", "no disk image"),
    ("nothing", lambda _: b"", "no disk image"),
    ("a zip archive", lambda _: b"PK\x03\x04" + bytes(1020), "a zip archive"),
    ("a LUKS volume", lambda _: b"LUKS\xba\xbe" + bytes(1018), "a LUKS volume"),
    (
        "a backing file",
        lambda path: with_header(
            with_header(image(path, "qcow2"), 8, struct.pack(">QI", 1024, 11)), 1024, b"/etc/passwd"
        ),
        "has a backing file",
    ),
    ("an external data file", lambda path: with_header(image(path, "qcow2"), 72, struct.pack(">Q", 4)), "data file"),
    (
        "a claim of petabytes",
        lambda path: with_header(image(path, "qcow2"), 24, struct.pack(">Q", 1 << 50)),
        "impossible",
    ),
    (
        "extents elsewhere",
        lambda path: with_header(image(path, "vmdk"), 12, bytes(8)),
        "lists other files",
    ),
    (
        "a parent",
        lambda path: with_header(image(path, "vmdk"), 512, b'parentFileNameHint="/etc/shadow"\n'),
        "with a parent",
    ),
    ("a differencing disk", lambda path: with_header(image(path, "vpc"), 60, struct.pack(">I", 4)), "differencing"),
    ("a truncated qcow2", lambda path: image(path, "qcow2")[:200_000], "damaged or incomplete"),
    ("compressed twice", lambda _: packed(packed(RAW, "gz"), "gz"), "compressed twice"),
    ("a damaged gz", lambda _: packed(RAW, "gz")[:-1000], "is damaged"),
    ("a damaged xz", lambda _: packed(RAW, "xz")[:-1000], "is damaged"),
    ("a damaged zst", lambda _: packed(RAW, "zst")[:-1000], "is damaged"),
]


@pytest.mark.parametrize(("make", "why"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
async def test_what_is_refused(
    bench: Bench, server: Web, tmp_path: Path, make: Callable[[Path], bytes], why: str
) -> None:
    server.gives(make(tmp_path))
    with pytest.raises(ContentRefused, match=why):
        await bench.fill(ImportSourceHTTP(url=f"{server.base}/image"))
    assert bench.names() == {OWNER}, "nothing is left, least of all a disk"


@pytest.mark.parametrize("how", ["gz", "xz", "zst"])
async def test_a_bomb_fills_nothing(bench: Bench, server: Web, how: str) -> None:
    bomb = packed(bytes(96 * MIB), how)
    assert len(bomb) < MIB
    server.gives(bomb)
    with pytest.raises(TooLarge, match="A larger PVC is required"):
        await bench.fill(ImportSourceHTTP(url=f"{server.base}/bomb"))
    assert bench.names() == {OWNER}


@pytest.mark.parametrize("kind", ["raw", "qcow2", "vmdk"])
async def test_a_disk_larger_than_the_claim(bench: Bench, server: Web, tmp_path: Path, kind: str) -> None:
    content = bytes(9 * MIB)
    server.gives(content if kind == "raw" else image(tmp_path, kind, content=content))
    with pytest.raises(
        TooLarge, match="virtual image size 9437184 is larger than the reported available storage 8388608"
    ):
        await bench.fill(ImportSourceHTTP(url=f"{server.base}/image"))


async def test_a_large_image_is_refused_by_its_first_bytes(bench: Bench, server: Web, tmp_path: Path) -> None:
    """What the header tells is enough: the rest is not even fetched."""
    head, gone = image(tmp_path, "qcow2", content=bytes(9 * MIB))[: 1 << 17], asyncio.Event()

    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(head)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.sleep(30)
        gone.set()
        return response

    server.serve = serve
    with pytest.raises(TooLarge):
        await asyncio.wait_for(bench.fill(ImportSourceHTTP(url=f"{server.base}/image")), 10)


async def test_login_and_headers_stay_with_their_server(bench: Bench, server: Web) -> None:
    await bench.kube.create(SECRETS, "default", secret("login", accessKeyId="ada", secretKey="s3cret"))
    await bench.kube.create(SECRETS, "default", secret("header", any="X-Token: hidden"))
    other = Web()
    other.gives(RAW)

    async def redirect(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(f"{other.base}/real")

    server.serve = redirect
    async with running(other):
        await bench.fill(
            ImportSourceHTTP(
                url=f"{server.base}/image",
                secret_ref="login",
                extra_headers=["X-Plain: yes"],
                secret_extra_headers=["header"],
            )
        )
    first, second = server.seen[0], other.seen[0]
    assert first["Authorization"] == "Basic " + base64.b64encode(b"ada:s3cret").decode()
    assert (first["X-Plain"], first["X-Token"]) == ("yes", "hidden")
    assert not {"Authorization", "X-Plain", "X-Token"} & set(second)
    assert bench.disk[: len(RAW)] == RAW


def secret(name: str, **values: str) -> dict[str, Any]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"metadata": {"name": name, "namespace": "default"}, "data": data}


async def test_what_is_missing_is_said_by_field(bench: Bench, server: Web) -> None:
    source = ImportSourceHTTP(url=server.base, secret_ref="login")
    with pytest.raises(SourceFailed, match=r"spec\.source\.http\.secretRef: Secret default/login does not exist"):
        await bench.fill(source)
    await bench.kube.create(SECRETS, "default", secret("login", user="ada"))
    with pytest.raises(SourceNotReady, match="lacks accessKeyId or secretKey"):
        await bench.fill(source)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://169.254.169.254/meta-data"])
async def test_redirects_to_where_no_image_is(bench: Bench, server: Web, target: str) -> None:
    async def redirect(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(target)

    server.serve = redirect
    with pytest.raises(SourceFailed, match=r"refused|where no image is read from"):
        await bench.fill(ImportSourceHTTP(url=server.base))


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest", "http://[fe80::1]/x", "http://0.0.0.0/x"])
async def test_addresses_of_no_server(bench: Bench, url: str) -> None:
    with pytest.raises(SourceFailed, match="where no image is read from"):
        await bench.fill(ImportSourceHTTP(url=url))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "gopher://x", "no url", "http://"])
async def test_urls_that_are_none(bench: Bench, url: str) -> None:
    with pytest.raises(NotSupported, match="is not a URL that is served"):
        await bench.fill(ImportSourceHTTP(url=url))


async def test_a_round_of_redirects_ends(bench: Bench, server: Web) -> None:
    async def redirect(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(str(request.url))

    server.serve = redirect
    with pytest.raises(SourceFailed, match="more than 10 times"):
        await bench.fill(ImportSourceHTTP(url=server.base))


@pytest.mark.parametrize(
    ("status", "why"), [(401, "wants a login"), (403, "does not allow"), (404, "does not have it"), (503, "HTTP 503")]
)
async def test_answers_that_are_no_image(bench: Bench, server: Web, status: int, why: str) -> None:
    async def serve(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="no")

    server.serve = serve
    with pytest.raises(SourceFailed, match=why):
        await bench.fill(ImportSourceHTTP(url=f"{server.base}/image?token=hidden"))


async def test_certificates(bench: Bench, tmp_path: Path) -> None:
    authority = await asyncio.to_thread(pki.ensure, tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.server.cert, authority.server.key)
    secure = Web()
    secure.gives(RAW)
    async with running(secure, context):
        with pytest.raises(SourceFailed, match=r"can't be trusted: .*certificate"):
            await bench.fill(ImportSourceHTTP(url=secure.base))
        texts = {"metadata": {"name": "ca", "namespace": "default"}, "data": {"ca.crt": authority.ca.read_text()}}
        await bench.kube.create(CONFIG_MAPS, "default", texts)
        await bench.fill(ImportSourceHTTP(url=secure.base, cert_config_map="ca"))
        assert bench.disk[: len(RAW)] == RAW
        (bench.directory / "disk.img").unlink()
        await bench.fill(ImportSourceHTTP(url=secure.base, insecure_skip_verify=True))
        assert bench.disk[: len(RAW)] == RAW


async def test_a_mirror_stands_for_a_prefix(bench: Bench, server: Web) -> None:
    server.gives(RAW)
    bench.mirrors = {"http://example.com/path": server.base, "http://example.com": "http://127.0.0.1:1"}
    await bench.fill(ImportSourceHTTP(url="http://example.com/path/to/your/image.qcow2"))
    assert bench.disk[: len(RAW)] == RAW


async def test_a_full_disk_leaves_no_junk(bench: Bench, server: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    server.gives(RAW)
    monkeypatch.setattr(place, "MIN_FREE", 1 << 60)
    with pytest.raises(NoSpace, match="no space left"):
        await bench.fill(ImportSourceHTTP(url=server.base))
    assert bench.names() == {OWNER}


async def test_another_claims_directory_is_left_alone(bench: Bench, server: Web) -> None:
    (bench.directory / OWNER).write_text("somebody else")
    with pytest.raises(SourceNotReady, match="another claim's"):
        await bench.fill(DataVolumeBlankImage())
    assert bench.names() == {OWNER}


async def test_a_claim_that_goes_meanwhile_takes_the_import_along(bench: Bench, server: Web) -> None:
    async def serve(_request: web.Request) -> web.StreamResponse:
        await asyncio.to_thread(shutil.rmtree, bench.directory)
        return web.Response(body=RAW)

    server.serve = serve
    with pytest.raises(FillError):
        await bench.fill(ImportSourceHTTP(url=server.base))
    assert not bench.directory.exists()


async def test_a_copy_of_a_claim(bench: Bench) -> None:
    source = bench.claim("golden")
    with (source / "disk.img").open("wb") as file:
        file.write(NOISE)
        file.truncate(SIZE)
    reference = DataVolumeSourcePVC(namespace="default", name="golden")
    bench.user = "writer"
    with pytest.raises(SourceNotReady, match="in use by machine writer"):
        await bench.fill(reference)
    bench.user = ""
    await bench.fill(reference)
    assert bench.disk == NOISE + bytes(SIZE - len(NOISE))
    assert (bench.directory / "disk.img").stat().st_blocks * 512 < SIZE
    (bench.directory / "disk.img").unlink()
    with pytest.raises(TooLarge):
        await bench.fill(reference, available=SIZE - 512)


def archive(*entries: tuple[str, bytes | None, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content, link in entries:
            entry = tarfile.TarInfo(name)
            if link:
                entry.type, entry.linkname = tarfile.SYMTYPE, link
            elif content is None:
                entry.type = tarfile.DIRTYPE
            else:
                entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content or b""))
    return buffer.getvalue()


@pytest.mark.parametrize("how", ["", "gz", "xz"])
async def test_an_archive_is_unpacked(bench: Bench, server: Web, how: str) -> None:
    content = archive(("./", None, ""), ("dir/a.txt", b"a", ""), ("b.txt", b"bb", ""), ("evil", None, "/etc/passwd"))
    server.gives(packed(content, how))
    await bench.fill(ImportSourceHTTP(url=server.base), archive=True)
    assert bench.names() == {OWNER, "files"}
    assert (bench.directory / "files").stat().st_mode & 0o777 == 0o700
    shared = bench.directory / "files/root"
    assert {path.name for path in shared.iterdir()} == {"dir", "b.txt"}, "links are left out"
    assert (shared / "dir/a.txt").read_bytes() == b"a"


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ("../outside", ContentRefused),
        ("a/../../b", ContentRefused),
        (OWNER, ContentRefused),
        ("/" + OWNER, ContentRefused),
    ],
)
async def test_an_archive_that_reaches_out(bench: Bench, server: Web, entry: str, error: type[FillError]) -> None:
    server.gives(archive((entry, b"x", "")))
    with pytest.raises(error):
        await bench.fill(ImportSourceHTTP(url=server.base), archive=True)
    assert bench.names() == {OWNER}
    assert (bench.directory / OWNER).read_text() == UID


@pytest.mark.parametrize("url", ["oci-archive:/x.tar", "registry.example.org/image", ""])
async def test_registries_that_are_none(bench: Bench, url: str) -> None:
    with pytest.raises(NotSupported, match=r"spec\.source\.registry\.url"):
        await bench.fill(DataVolumeSourceRegistry(url=url))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_programs_that_read_images_have_next_to_no_rights(tmp_path: Path) -> None:
    async def told(*program: str) -> str:
        found = await sandbox.run(program, sandbox.Limits(cpu=5), sandbox.user_of(3), what="x")
        return found.decode().strip()

    assert await told("id", "-u") == await told("id", "-g") == str(sandbox.FIRST_UID + 3)
    rights = await told("grep", "-E", "^Cap(Eff|Bnd|Prm)|^NoNewPrivs", "/proc/self/status")
    assert {line.split()[1] for line in rights.splitlines()} == {"0" * 16, "1"}
    limits = dict(re.findall(r"^(Max .*?)  +(\S+)", await told("cat", "/proc/self/limits"), re.MULTILINE))
    assert limits["Max address space"] == str(sandbox.MEMORY)
    assert (limits["Max file size"], limits["Max cpu time"], limits["Max open files"]) == ("0", "5", "64")
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o600)
    with pytest.raises(ContentRefused, match="Permission denied"):
        await told("cat", str(tmp_path / "secret"))
