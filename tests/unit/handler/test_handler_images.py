"""Container disks: references, manifests, registries and hostile layers."""

# ruff: noqa: ASYNC240  a test may block its own loop

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from virt_handler.errors import ImageError, ImagePullError, ImageRefused
from virt_handler.images import layers
from virt_handler.images import manifest as manifests
from virt_handler.images.reference import Reference, is_loopback, locate, parse
from virt_handler.images.store import ImageStore
from virt_handler.volumes import disk_images

DISK = bytes(range(256)) * 4 + bytes(1 << 20)
LAYER = "application/vnd.oci.image.layer.v1.tar"

REFERENCES = [
    ("cirros", "docker.io/library/cirros:latest"),
    ("kubevirt/cirros:v1", "docker.io/kubevirt/cirros:v1"),
    ("docker://quay.io/a/b", "quay.io/a/b:latest"),
    ("localhost/x:y", "localhost/x:y"),
    ("registry:5000/a/b:c", "registry:5000/a/b:c"),
    ("[::1]:5000/a", "[::1]:5000/a:latest"),
    (f"a/b@sha256:{'0' * 64}", f"docker.io/a/b@sha256:{'0' * 64}"),
    (f"a/b:v1@sha256:{'0' * 64}", f"docker.io/a/b@sha256:{'0' * 64}"),
]


@pytest.mark.parametrize(("text", "full"), REFERENCES)
def test_a_reference_is_filled_in_as_docker_does(text: str, full: str) -> None:
    assert str(parse(text)) == full


BAD = ["", "UPPER/case", "a b", "a/../b", "a//b", "a:", "a@sha256:12", "a@md5:x", "-x/y", "a\nb", "x" * 2000, "a/b:t/g"]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ImageRefused) as refused:
        parse(text)
    assert refused.value.reason == "InvalidImageName"


MIRRORS = [
    ({}, "https://registry-1.docker.io", "kubevirt/x", ""),
    ({"docker.io": "http://127.0.0.1:5000"}, "http://127.0.0.1:5000", "kubevirt/x", ""),
    ({"docker.io": "127.0.0.1:5000"}, "http://127.0.0.1:5000", "kubevirt/x", ""),
    ({"docker.io": "https://mirror/hub"}, "https://mirror", "hub/kubevirt/x", ""),
    ({"docker.io": "https://a", "docker.io/kubevirt": "https://b/kv"}, "https://b", "kv/x", ""),
    ({"docker.io/kube": "https://a"}, "https://registry-1.docker.io", "kubevirt/x", ""),
    ({"docker.io": "oci:/images"}, "", "", "/images"),
]


@pytest.mark.parametrize(("mirrors", "base", "repository", "layout"), MIRRORS)
def test_the_longest_mirror_prefix_wins(mirrors: dict[str, str], base: str, repository: str, layout: str) -> None:
    location = locate(parse("kubevirt/x:1"), mirrors, frozenset())
    assert (location.base, location.repository, location.layout) == (base, repository, layout)


def test_plain_http_is_for_this_machine_or_by_permission() -> None:
    assert locate(parse("localhost:5000/a"), {}, frozenset()).base == "http://localhost:5000"
    assert locate(parse("reg.lan:5000/a"), {}, frozenset()).base == "https://reg.lan:5000"
    assert locate(parse("reg.lan:5000/a"), {}, frozenset({"reg.lan:5000"})).base == "http://reg.lan:5000"
    with pytest.raises(ImageRefused, match="plain HTTP"):
        locate(parse("a/b"), {"docker.io": "http://far.example"}, frozenset())
    assert not is_loopback("localhost.evil.example")


def tar(*entries: tuple[tarfile.TarInfo | str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for entry, content in entries:
            info = tarfile.TarInfo(entry) if isinstance(entry, str) else entry
            info.size = len(content) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def odd(name: str, kind: bytes, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry, b""


def extracted(tmp_path: Path, *blobs: bytes, want: layers.Wanted | None = None) -> dict[str, bytes]:
    target = tmp_path / "out"
    target.mkdir(exist_ok=True)
    for number, data in enumerate(blobs):
        blob = tmp_path / f"blob{number}"
        blob.write_bytes(data)
        layers.apply(blob, "", target, want or layers.Wanted())
    outside = {path.name for path in tmp_path.iterdir()} - {"out", *(f"blob{n}" for n in range(len(blobs)))}
    assert not outside
    return {path.name: path.read_bytes() for path in target.iterdir()}


HOSTILE = [
    odd("disk/link", tarfile.SYMTYPE, "/etc/passwd"),
    odd("disk/hard", tarfile.LNKTYPE, "disk/a.img"),
    odd("disk/fifo", tarfile.FIFOTYPE),
    odd("disk/dev", tarfile.BLKTYPE),
    odd("disk", tarfile.SYMTYPE, "/tmp"),
    ("../evil", b"x"),
    ("disk/../../evil", b"x"),
    ("/disk/../evil", b"x"),
    ("disk/sub/deep.img", b"x"),
    ("other/a.img", b"x"),
]


@pytest.mark.parametrize("entry", HOSTILE, ids=lambda entry: str(getattr(entry[0], "name", entry[0])))
def test_only_regular_files_of_the_disk_directory_come_out(tmp_path: Path, entry: Any) -> None:
    assert extracted(tmp_path, tar(entry, ("disk/a.img", b"good"))) == {"a.img": b"good"}


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path.parent / "victim"
    victim.write_bytes(b"safe")
    blob = tar(odd("disk/a.img", tarfile.SYMTYPE, str(victim)), ("disk/a.img", b"mine"))
    assert extracted(tmp_path, blob) == {"a.img": b"mine"}
    assert victim.read_bytes() == b"safe"


REMOVALS = ["disk/.wh.a.img", "disk/.wh..wh..opq", ".wh.disk"]


@pytest.mark.parametrize("whiteout", REMOVALS)
def test_an_upper_layer_removes_what_a_lower_one_had(tmp_path: Path, whiteout: str) -> None:
    assert extracted(tmp_path, tar(("disk/a.img", b"old")), tar((whiteout, b""), ("disk/b.img", b"new"))) == {
        "b.img": b"new"
    }


def test_a_named_path_is_taken_instead(tmp_path: Path) -> None:
    blob = tar(("disk/a.img", b"no"), ("images/b.img", b"yes"))
    assert extracted(tmp_path, blob, want=layers.wanted("/images/b.img")) == {"b.img": b"yes"}


@pytest.mark.parametrize("path", ["disk/a", "/../a", "/a/../b", "//a", "/a//b", "/a\nb", "/" + "x" * 5000])
def test_a_path_that_leaves_the_image_is_refused(path: str) -> None:
    with pytest.raises(ImageRefused) as refused:
        layers.wanted(path)
    assert refused.value.reason == "InvalidPath"


def test_zeroes_become_holes(tmp_path: Path) -> None:
    extracted(tmp_path, tar(("disk/a.img", bytes(8 << 20) + b"end")))
    found = (tmp_path / "out" / "a.img").stat()
    assert found.st_size == (8 << 20) + 3
    assert found.st_blocks * 512 < 1 << 20


def test_an_endless_header_is_refused_before_it_is_read(tmp_path: Path) -> None:
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = tarfile.XHDTYPE, 1 << 40
    with pytest.raises(ImageRefused, match="entry header"):
        extracted(tmp_path, entry.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MAX_ENTRIES", 3)
    with pytest.raises(ImageRefused, match="more than 3 entries"):
        extracted(tmp_path, tar(*((f"f{number}", b"") for number in range(5))))


@pytest.mark.parametrize("data", [b"", b"not a tar", gzip.compress(b"x", mtime=0)[:-5], bytes(range(256)) * 8])
@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_a_broken_layer_is_an_image_error(tmp_path: Path, data: bytes, compression: str) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(data)
    (tmp_path / "out").mkdir()
    if data == b"" and compression == "":
        return  # an empty stream is an empty archive to tarfile
    with pytest.raises(ImageError):
        layers.apply(blob, compression, tmp_path / "out", layers.Wanted())


class FakeRegistry:
    """The distribution API over one image, with whatever fault a test asks for."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.token = ""
        self.damage: Callable[[bytes], bytes] = lambda data: data
        self.pulls: list[str] = []
        self.base = ""
        self.manifest = b""

    def image(self, layer: bytes, media_type: str = LAYER, *, index: bool = False) -> None:
        entry = {"mediaType": media_type, "digest": self.put(layer), "size": len(layer)}
        self.manifest = json.dumps({"schemaVersion": 2, "layers": [entry]}).encode()
        if index:
            inner = {"digest": self.put(self.manifest), "size": len(self.manifest), "mediaType": manifests.MANIFESTS[0]}
            ours = inner | {"platform": {"os": "linux", "architecture": manifests.architecture()}}
            other = inner | {"digest": f"sha256:{'1' * 64}", "platform": {"os": "linux", "architecture": "s390x"}}
            self.manifest = json.dumps({"schemaVersion": 2, "manifests": [other, ours]}).encode()

    def put(self, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs[digest] = data
        return digest

    async def serve(self, request: web.Request) -> web.Response:
        if request.path == "/token":
            return web.json_response({"token": self.token})
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            challenge = f'Bearer realm="{self.base}/token",service="test",scope="repository:a/b:pull"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        kind, version = request.path.split("/")[-2:]
        self.pulls.append(f"{kind}/{version}")
        if kind == "manifests":
            data = self.blobs.get(version, self.manifest if version == "v1" else b"")
            return web.Response(body=data) if data else web.Response(status=404)
        return web.Response(body=self.damage(self.blobs[version]))


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    fake = FakeRegistry()
    app = web.Application()
    app.router.add_get("/{path:.*}", fake.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    fake.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield fake
    await runner.cleanup()


@pytest.fixture
async def store(tmp_path: Path, registry: FakeRegistry) -> AsyncIterator[ImageStore]:
    result = ImageStore(tmp_path, {"docker.io": registry.base}, frozenset())
    yield result
    await result.close()


PACKINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("tar", lambda data: data),
    ("tar+gzip", gzip.compress),
    ("tar+zstd", lambda data: subprocess.run(["zstd", "-c"], input=data, capture_output=True, check=True).stdout),
]


@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize(("ending", "pack"), PACKINGS, ids=[row[0] for row in PACKINGS])
async def test_an_image_is_pulled_whatever_its_packing(
    registry: FakeRegistry, store: ImageStore, ending: str, pack: Callable[[bytes], bytes], index: bool
) -> None:
    registry.image(pack(tar(("disk/d.img", DISK))), LAYER.replace("tar", ending), index=index)
    disk = await store.get("a/b:v1")
    assert disk.path.read_bytes() == DISK
    assert disk.format == "raw"
    assert disk.path.stat().st_mode & 0o777 == 0o444


async def test_the_disk_of_another_architecture_is_kept_beside_our_own(
    registry: FakeRegistry, store: ImageStore
) -> None:
    registry.image(tar(("disk/d.img", DISK)), index=True)
    ours = json.loads(registry.manifest)["manifests"][1]
    other = b"S390" + bytes(508)
    registry.image(tar(("disk/d.img", other)))
    theirs = {"digest": registry.put(registry.manifest), "size": len(registry.manifest)}
    theirs |= {"mediaType": manifests.MANIFESTS[0], "platform": {"os": "linux", "architecture": "s390x"}}
    registry.manifest = json.dumps({"schemaVersion": 2, "manifests": [theirs, ours]}).encode()
    assert (await store.get("a/b:v1", architecture="s390x")).path.read_bytes() == other
    assert (await store.get("a/b:v1")).path.read_bytes() == DISK
    assert (await store.get("a/b:v1", architecture="s390x")).path.read_bytes() == other
    with pytest.raises(ImageRefused, match="not for linux/ppc64le: it has linux/s390x, linux/"):
        await store.get("a/b:v1", architecture="ppc64le")


async def test_a_token_is_fetched_when_the_registry_asks(registry: FakeRegistry, store: ImageStore) -> None:
    registry.token = "secret"
    registry.image(tar(("disk/d.img", DISK)))
    assert (await store.get("a/b:v1")).path.exists()


async def test_what_is_here_is_not_pulled_again_but_always_asked_for(registry: FakeRegistry, store: ImageStore) -> None:
    registry.image(tar(("disk/d.img", DISK)))
    told: list[str] = []
    first = await store.get("a/b:v1", tell=lambda reason, _: told.append(reason))
    registry.pulls.clear()
    assert await store.get("a/b:v1", policy="IfNotPresent") == first
    assert await store.get("a/b:v1", policy="Never") == first
    assert registry.pulls == []
    assert await store.get("a/b:v1", policy="Always") == first
    assert registry.pulls == ["manifests/v1"]
    assert told == ["Pulling", "Pulled"]


async def test_of_two_that_pull_the_same_image_at_once_the_first_disk_stays(
    registry: FakeRegistry, store: ImageStore, tmp_path: Path
) -> None:
    """A guest may run on it already; the second name finds it done."""
    registry.image(tar(("disk/d.img", DISK)))
    inodes: list[int] = []

    def tell(reason: str, _message: str) -> None:
        if reason == "Pulled":
            inodes.extend(file.stat().st_ino for file in tmp_path.glob("sha256-*/d.img"))

    one, other = await asyncio.gather(store.get("a/b:v1", tell=tell), store.get("c/d:v1", tell=tell))
    assert len([pull for pull in registry.pulls if pull.startswith("blobs/")]) == 2
    assert one == other
    assert inodes == [one.path.stat().st_ino] * 2
    assert not list(tmp_path.glob(".partial-*"))


async def test_never_means_never(registry: FakeRegistry, store: ImageStore) -> None:
    with pytest.raises(ImagePullError) as refused:
        await store.get("a/b:v1", policy="Never")
    assert refused.value.reason == "ErrImageNeverPull"
    assert registry.pulls == []


DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda data: data[:-1],
    lambda data: data + b"x",
    lambda data: b"y" + data[1:],
]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_pull_never_becomes_an_image(
    registry: FakeRegistry, store: ImageStore, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    registry.image(tar(("disk/d.img", DISK)))
    registry.damage = damage
    with pytest.raises(ImagePullError):
        await store.get("a/b:v1")
    assert list(tmp_path.iterdir()) == []
    registry.damage = lambda data: data
    assert (await store.get("a/b:v1")).path.read_bytes() == DISK


REFUSED = [
    (tar(("etc/x", b"")), "no file found in folder /disk"),
    (tar(("disk/a", DISK), ("disk/b", DISK)), "more than one file found in folder /disk"),
    (tar(("disk/image.json", DISK)), "can't be named image.json"),
    (tar(("disk/a", b"hello")), "is no disk image"),
    (tar(("disk/a", gzip.compress(DISK))), "gzip compressed"),
]


@pytest.mark.parametrize(("layer", "text"), REFUSED)
async def test_an_image_without_one_disk_says_what_it_has(
    registry: FakeRegistry, store: ImageStore, tmp_path: Path, layer: bytes, text: str
) -> None:
    registry.image(layer)
    with pytest.raises(ImageRefused) as refused:
        await store.get("a/b:v1")
    assert text in refused.value.message
    assert "a/b:v1" in refused.value.message
    assert list(tmp_path.iterdir()) == []


async def test_an_unknown_image_and_a_dead_registry_are_named(store: ImageStore, tmp_path: Path) -> None:
    with pytest.raises(ImagePullError, match=r"docker.io/a/none:v2.*does not have it"):
        await store.get("a/none:v2")
    dead = ImageStore(tmp_path, {"docker.io": "http://127.0.0.1:1"}, frozenset())
    try:
        with pytest.raises(ImagePullError, match="can't be reached"):
            await dead.get("a/b:v1")
    finally:
        await dead.close()


def qcow2(tmp_path: Path, *options: str) -> Path:
    path = tmp_path / "d.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, str(path), "1M"], check=True)
    return path


async def test_a_plain_qcow2_is_accepted(tmp_path: Path) -> None:
    assert await disk_images.inspect(qcow2(tmp_path), "disk") == ("qcow2", 1 << 20)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("-b", "/etc/passwd", "-F", "raw", "-u"), "has a backing file"),
        (("-o", "data_file=/tmp/vh-data,data_file_raw=on"), "has an external data file"),
    ],
)
async def test_an_image_that_leads_elsewhere_is_refused(tmp_path: Path, options: tuple[str, ...], text: str) -> None:
    try:
        path = qcow2(tmp_path, *options)
    finally:
        Path("/tmp/vh-data").unlink(missing_ok=True)
    with pytest.raises(ImageRefused, match=text):
        await disk_images.inspect(path, "disk")


def test_a_reference_prints_as_it_is_pulled() -> None:
    assert str(Reference("r", "a/b", "t")) == "r/a/b:t"
