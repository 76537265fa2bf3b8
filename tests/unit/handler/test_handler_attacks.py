"""What a hostile guest, image, registry or neighbour may try, each met by the code that has to withstand it.

Links swapped in between a check and its use, sockets that are none, answers without end, readers that never read.
"""

# ruff: noqa: PTH208  a test may block its own loop

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import os
import socket
import tarfile
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from virt_handler import sockets, streams
from virt_handler.errors import ConsoleError, HandlerError, ImageError, ImagePullError, ImageRefused, VolumeError
from virt_handler.images import layers
from virt_handler.images import manifest as manifests
from virt_handler.images.reference import locate, parse
from virt_handler.images.sources import Registry
from virt_handler.images.store import ImageStore
from virt_handler.volumes import safe_paths

SECONDS = 0.5


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose paths fit a socket's address."""
    with tempfile.TemporaryDirectory(prefix="va") as path:
        yield Path(path)


def moments() -> Iterator[int]:
    """As many as fit into half a second, the other thread getting its turns."""
    ends = time.monotonic() + SECONDS
    for number in itertools.count():
        if time.monotonic() > ends:
            return
        if number % 50 == 0:
            time.sleep(0.001)
        yield number


@contextlib.contextmanager
def flipping(place: Path, good: Path, evil: Path) -> Iterator[None]:
    """While it lasts, `place` is now the one, now the other, without a moment of neither."""
    ended = threading.Event()

    def flip() -> None:
        while not ended.is_set():
            for turn in (good, evil):
                spare = place.with_name("spare")
                if turn.is_symlink():
                    spare.symlink_to(turn.readlink())
                else:
                    os.link(turn, spare)
                spare.rename(place)

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_file_that_turns_into_a_link_is_never_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"secret")
    work = tmp_path / "work"
    work.mkdir()
    good, evil = tmp_path / "good", tmp_path / "evil"
    good.write_bytes(b"disk")
    evil.symlink_to(victim)
    sizes, refused = set(), 0
    with flipping(work / "disk.img", good, evil):
        for _ in moments():
            try:
                with safe_paths.directory(tmp_path, ["work"], "field") as fd:
                    found = safe_paths.regular_file(fd, "disk.img", "field", "shown")
            except VolumeError:
                refused += 1  # a link, or a file of two names
            else:
                sizes.add(found.st_size if found is not None else None)
    assert refused > 0
    assert len(b"secret") not in sizes


def test_a_directory_that_turns_into_a_link_is_never_entered(tmp_path: Path) -> None:
    victim, work = tmp_path / "victim", tmp_path / "work"
    for path in (victim, work):
        path.mkdir()
    good, evil = tmp_path / "good", tmp_path / "evil"
    good.write_bytes(b"no directory at all")
    evil.symlink_to(victim)
    entered, refused = set(), 0
    with flipping(work / "ns", good, evil):
        for _ in moments():
            try:
                with safe_paths.directory(tmp_path, ["work", "ns"], "field") as fd:
                    entered.add(os.fstat(fd).st_ino)
            except VolumeError:
                refused += 1
    assert refused > 0
    assert not entered


async def test_a_socket_swapped_for_a_link_leads_nowhere_else(short: Path) -> None:
    """CVE-2026-7374: the console's socket becomes a link to a service of the host."""
    connections: dict[str, int] = {"guest": 0, "host": 0}

    def serve(name: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(str(short / name))
        sock.listen(128)
        sock.setblocking(False)
        return sock

    guest, host = serve("guest"), serve("host")
    evil = short / "evil"
    evil.symlink_to(short / "host")
    run = short / "run"
    run.mkdir()
    with flipping(run / "serial0", short / "guest", evil):
        for _ in moments():
            with contextlib.suppress(ConsoleError):
                _, writer = await sockets.connect(str(run / "serial0"), "console")
                writer.close()
            for name, sock in (("guest", guest), ("host", host)):
                with contextlib.suppress(BlockingIOError):
                    while True:
                        sock.accept()[0].close()
                        connections[name] += 1
    guest.close()
    host.close()
    assert connections["guest"] > 0
    assert connections["host"] == 0


def plant_fifo(path: Path) -> None:
    os.mkfifo(path)


def plant_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def plant_directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("plant", [plant_fifo, plant_link, plant_directory])
def test_a_console_log_that_is_something_else_shows_nothing(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    plant(tmp_path / "serial0.log")
    began = time.monotonic()
    assert streams.read_tail(tmp_path / "serial0.log", 100) == b""
    assert time.monotonic() - began < 1


class Stuck:
    """A client that takes nothing any more."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.reads = asyncio.Event()

    async def send_bytes(self, data: bytes) -> None:
        await self.reads.wait()
        self.taken.append(data)


async def test_a_reader_that_never_reads_costs_the_guest_nothing_and_us_little() -> None:
    reader, client = asyncio.StreamReader(limit=1 << 16), Stuck()
    pump = asyncio.create_task(streams._pump_lossy(reader, client))  # type: ignore[arg-type]
    line = b"x" * (1 << 16)
    for _ in range(200):  # more than twelve times the backlog
        reader.feed_data(line)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while reader._buffer:  # type: ignore[attr-defined]  # noqa: ASYNC110  all was taken from the guest
            await asyncio.sleep(0.01)
    reader.feed_data(b"the last words")
    reader.feed_eof()
    client.reads.set()
    async with asyncio.timeout(5):
        await pump
    kept = b"".join(client.taken)
    assert len(kept) <= streams.BACKLOG + 2 * len(line)
    assert kept.endswith(b"the last words")


class Endless:
    """A registry whose answers never end, or lead round and round."""

    def __init__(self) -> None:
        self.base = ""
        self.sent = 0
        self.challenges = False

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if "circle" in request.path:
            raise web.HTTPFound(request.path_qs)
        if self.challenges and request.path != "/token":
            return web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{self.base}/token"'})
        reply = web.StreamResponse()
        await reply.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await reply.write(b" " * (1 << 16))
                self.sent += 1 << 16
        return reply


@pytest.fixture
async def endless() -> AsyncIterator[Endless]:
    fake, app = Endless(), web.Application()
    app.router.add_get("/{path:.*}", fake.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    fake.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


@pytest.mark.parametrize("challenges", [False, True])
async def test_an_answer_without_end_is_cut_off(endless: Endless, tmp_path: Path, challenges: bool) -> None:
    endless.challenges = challenges
    store = ImageStore(tmp_path, {"docker.io": endless.base}, frozenset())
    try:
        async with asyncio.timeout(20):
            with pytest.raises(ImageRefused, match="larger than"):
                await store.get("a/b:v1")
    finally:
        await store.close()
    assert endless.sent < 64 << 20
    assert os.listdir(tmp_path) == []


async def test_a_circle_of_redirects_is_left(endless: Endless, tmp_path: Path) -> None:
    store = ImageStore(tmp_path, {"docker.io": endless.base}, frozenset())
    try:
        with pytest.raises(ImagePullError, match="redirects more than"):
            await store.get("circle/b:v1")
    finally:
        await store.close()


REDIRECTS = [
    "http://169.254.169.254/latest/meta-data",
    "https://127.0.0.1/",
    "https://localhost:6443/",
    "https://[::1]/",
    "http://registry.example.com/plain",
    "https://user:password@cdn.example.com/",
    "file:///etc/passwd",
    "ftp://cdn.example.com/",
    "",
]


@pytest.mark.parametrize("url", REDIRECTS)
def test_a_registry_leads_only_to_public_https(url: str) -> None:
    location = locate(parse("registry.internal/a/b:v1"), {}, frozenset())
    with pytest.raises(ImagePullError, match="refused"):
        Registry(None, location)._check_redirect(url)  # type: ignore[arg-type]


def layer(path: Path, size: int, *, sparse: bool = False) -> Path:
    """A gzip layer whose one disk is `size` bytes: zeroes, or what does not compress."""
    entry = tarfile.TarInfo("disk/d.img")
    entry.size = size
    blob = path / "blob"
    with gzip.open(blob, "wb", compresslevel=1) as file:
        file.write(entry.tobuf())
        for _ in range(size >> 20):
            file.write(bytes(1 << 20) if sparse else os.urandom(1 << 20))
        file.write(bytes(1024))
    (path / "out").mkdir()
    return blob


def test_a_bomb_that_unpacks_beyond_the_largest_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "MAX_DISK", 4 << 20)
    blob = layer(tmp_path, 8 << 20, sparse=True)
    assert blob.stat().st_size < 64 << 10
    with pytest.raises(ImageRefused, match="is larger than"):
        layers.apply(blob, "gzip", tmp_path / "out", layers.Wanted())


def test_a_full_disk_is_said_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MIN_FREE", 1 << 60)
    with pytest.raises(ImagePullError, match="no space left"):
        layers.apply(layer(tmp_path, 1 << 20), "gzip", tmp_path / "out", layers.Wanted())


MANIFESTS: list[bytes] = [
    b"[" * 100_000,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b'{"layers": 7}',
    b'{"layers": [{"digest": "sha256:../../../etc/passwd", "size": 1}]}',
    b'{"layers": [{"digest": "md5:00", "size": 1}]}',
    b'{"layers": [{"digest": "sha256:%s", "size": -1}]}' % (b"0" * 64),
    b'{"manifests": [{"digest": "sha256:..%2f", "size": 1}]}',
    b"\xff\xfe",
    b"null",
    b"1e999",
]


@pytest.mark.parametrize("data", MANIFESTS, ids=lambda data: data[:40].decode(errors="replace"))
def test_a_manifest_that_makes_no_sense_is_an_image_error(data: bytes) -> None:
    def understood() -> Any:
        document = manifests.read(data, "image")
        return manifests.choose(document, "image") if manifests.is_index(document) else manifests.layers(document, "i")

    with pytest.raises(ImageError):
        understood()


async def test_a_guests_socket_that_accepts_nobody_holds_nobody(short: Path) -> None:
    """Its backlog is full: connecting must fail, not hang the agent."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind(str(short / "serial0"))
    sock.listen(0)

    async def connect_all() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(8):
                _, writer = await sockets.connect(str(short / "serial0"), "console")
                stack.callback(writer.close)

    began = time.monotonic()
    with pytest.raises(HandlerError):
        await connect_all()
    assert time.monotonic() - began < sockets.DEADLINE + 2
    sock.close()
