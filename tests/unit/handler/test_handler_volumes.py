"""Volumes: every kind prepared, and every path a user can bend."""

# ruff: noqa: ASYNC240  a test may block its own loop

from __future__ import annotations

import base64
import errno
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_mock import MockerFixture

from virt_handler.errors import ClaimNotFound, HandlerError, ImageRefused, ObjectNotFound, UnsafePath, VolumeError
from virt_handler.images.store import ImageStore
from virt_handler.layout import Layout
from virt_handler.volumes import cloudinit, disk_images, prepare, safe_paths
from virt_handler.volumes.credentials import pull_credentials
from virt_handler.volumes.objects import Objects
from virt_handler.volumes.prepare import Volumes
from virt_kube.api import NotFound, Resource
from virt_types.codec import from_builtins
from virt_types.v1 import Disk, DiskTarget, HostDisk, VirtualMachineInstance

UID = "5f5d0d4e-0000-4000-8000-000000000001"


class FakeApi:
    """Objects by kind and name, as an API would answer them."""

    def __init__(self, objects: dict[tuple[str, str], dict[str, Any]]) -> None:
        self.objects = objects

    async def get(self, resource: Resource, namespace: str, name: str) -> bytes:
        if (resource.kind, f"{namespace}/{name}") not in self.objects:
            raise NotFound(f"{resource.kind} {name}")
        return json.dumps(self.objects[resource.kind, f"{namespace}/{name}"]).encode()


def encoded(**values: str) -> dict[str, Any]:
    return {"data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}}


OBJECTS = {
    ("PersistentVolumeClaim", "default/claim"): {"spec": {"resources": {"requests": {"storage": "3Mi"}}}},
    ("PersistentVolumeClaim", "default/bound"): {
        "metadata": {"name": "bound"},
        "status": {"capacity": {"storage": "5Mi"}},
    },
    ("Secret", "default/seed"): encoded(userData="#cloud-config from secret", networkdata="version: 2"),
    ("Secret", "default/keys"): encoded(
        ann="ssh-ed25519 AAAA ann\n", bob="# at work\nssh-rsa BBBB bob\nssh-rsa CCCC bob\n"
    ),
    ("Secret", "default/more"): encoded(ann="ssh-ed25519 AAAA ann", eve="ssh-rsa DDDD eve"),
    ("Secret", "default/binary"): {"data": {"key": base64.b64encode(b"\xff\0").decode()}},
    ("Secret", "other/seed"): encoded(userdata="of another namespace"),
    ("ConfigMap", "default/config"): {
        "data": {"app.conf": "x=1"},
        "binaryData": {"b": base64.b64encode(b"\0\1").decode()},
    },
    ("ConfigMap", "default/answers"): {"data": {"Autounattend.XML": "<xml/>"}},
}


def vmi(volume: dict[str, Any], **spec: Any) -> VirtualMachineInstance:
    return from_builtins(
        {
            "metadata": {"name": "vm.one", "namespace": "default", "uid": UID},
            "spec": {"volumes": [{"name": "vol"} | volume], "domain": {"firmware": {"uuid": "u-1"}}} | spec,
        },
        VirtualMachineInstance,
    )


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    with tempfile.TemporaryDirectory(prefix="vh", dir="/tmp") as run:  # socket paths are short
        result = Layout(tmp_path / "state", Path(run))
        result.prepare()
        result.make_guest(UID, None)
        yield result


async def prepared(layout: Layout, volume: dict[str, Any], **spec: Any) -> Any:
    images = ImageStore(layout.images, {}, frozenset())
    volumes = Volumes(layout, images, Objects(FakeApi(OBJECTS)), lambda *_: None)  # type: ignore[arg-type]
    return (await volumes.prepare(vmi(volume, **spec), None))["vol"]


def iso_file(path: str, name: str) -> bytes:
    command = ["xorriso", "-osirrox", "on", "-indev", path, "-extract_single", f"/{name}", "/dev/stdout"]
    out = Path(path).with_suffix(".out")
    command[-1] = str(out)
    subprocess.run(command, check=True, capture_output=True)
    try:
        return out.read_bytes()
    finally:
        out.unlink()


def volume_id(path: str) -> str:
    with Path(path).open("rb") as file:
        file.seek(0x8000 + 40)
        return file.read(32).decode().strip()


async def test_an_empty_disk_is_made_once_and_kept(layout: Layout) -> None:
    source = await prepared(layout, {"emptyDisk": {"capacity": "2.5Mi"}})
    assert source.format == "qcow2"
    path = Path(source.path)
    assert disk_images.check_qcow2(path.read_bytes()[:4096], "it") == 2 << 20
    before = path.stat().st_ino
    await prepared(layout, {"emptyDisk": {"capacity": "2.5Mi"}})
    assert path.stat().st_ino == before


async def test_a_no_cloud_seed_is_private_and_complete(layout: Layout) -> None:
    source = await prepared(layout, {"cloudInitNoCloud": {"userData": "#cloud-config\npassword: geheim"}})
    assert volume_id(source.path) == "cidata"
    assert Path(source.path).stat().st_mode & 0o777 == 0o600
    assert iso_file(source.path, "user-data") == b"#cloud-config\npassword: geheim"
    assert json.loads(iso_file(source.path, "meta-data")) == {"instance-id": "u-1", "local-hostname": "vm"}
    assert [path.name for path in Path(source.path).parent.iterdir()] == ["vol.iso"]


async def test_a_seed_from_a_secret_is_of_the_own_namespace(layout: Layout) -> None:
    refs = {"secretRef": {"name": "seed"}, "networkDataSecretRef": {"name": "seed"}}
    source = await prepared(layout, {"cloudInitNoCloud": refs})
    assert iso_file(source.path, "user-data") == b"#cloud-config from secret"
    assert iso_file(source.path, "network-config") == b"version: 2"
    with pytest.raises(ObjectNotFound, match="Secret default/nothing does not exist"):
        await prepared(layout, {"cloudInitNoCloud": {"secretRef": {"name": "nothing"}}})


def ssh_keys(secret: str, method: str) -> dict[str, Any]:
    return {"sshPublicKey": {"source": {"secret": {"secretName": secret}}, "propagationMethod": {method: {}}}}


@pytest.mark.parametrize(
    ("method", "other", "file", "field"),
    [
        ("noCloud", "configDrive", "meta-data", "public-keys"),
        ("configDrive", "noCloud", "openstack/latest/meta_data.json", "public_keys"),
    ],
)
async def test_ssh_keys_are_in_the_seed_they_are_meant_for(
    layout: Layout, method: str, other: str, file: str, field: str
) -> None:
    seed = {f"cloudInit{method[0].upper()}{method[1:]}": {"userData": "x"}}
    source = await prepared(layout, seed, accessCredentials=[ssh_keys("keys", method), ssh_keys("more", method)])
    keys = ["ssh-ed25519 AAAA ann", "ssh-rsa BBBB bob", "ssh-rsa CCCC bob", "ssh-rsa DDDD eve"]
    assert json.loads(iso_file(source.path, file))[field] == {str(n): key for n, key in enumerate(keys)}
    source = await prepared(layout, seed, accessCredentials=[ssh_keys("keys", other)])
    assert field not in json.loads(iso_file(source.path, file))
    with pytest.raises(ObjectNotFound, match="Secret default/nobody does not exist"):
        await prepared(layout, seed, accessCredentials=[ssh_keys("nobody", method)])
    with pytest.raises(VolumeError, match="accessCredentials is not text"):
        await prepared(layout, seed, accessCredentials=[ssh_keys("binary", method)])


async def test_a_configuration_drive_has_openstacks_layout(layout: Layout) -> None:
    encoded_data = base64.b64encode(b"echo hi").decode()
    source = await prepared(layout, {"cloudInitConfigDrive": {"userDataBase64": encoded_data}}, hostname="box")
    assert volume_id(source.path) == "config-2"
    assert iso_file(source.path, "openstack/latest/user_data") == b"echo hi"
    meta = json.loads(iso_file(source.path, "openstack/latest/meta_data.json"))
    assert (meta["hostname"], meta["uuid"], meta["instance_id"]) == ("box", "u-1", "vm.one.default")


async def test_config_maps_and_answer_files_are_cdroms(layout: Layout) -> None:
    source = await prepared(layout, {"configMap": {"name": "config"}})
    assert volume_id(source.path) == "cfgdata"
    assert (iso_file(source.path, "app.conf"), iso_file(source.path, "b")) == (b"x=1", b"\0\1")
    source = await prepared(layout, {"sysprep": {"configMap": {"name": "answers"}}})
    assert volume_id(source.path) == "unattendCD"
    with pytest.raises(VolumeError, match=r"unattend\.xml but neither were found"):
        await prepared(layout, {"sysprep": {"configMap": {"name": "config"}}})


async def test_a_claims_disk_is_made_when_its_directory_is_empty(layout: Layout) -> None:
    source = await prepared(layout, {"persistentVolumeClaim": {"claimName": "claim"}})
    assert source.path == str(layout.volumes / "default" / "claim" / "disk.img")
    assert Path(source.path).stat().st_size == 3 << 20
    Path(source.path).write_bytes(b"data")
    await prepared(layout, {"persistentVolumeClaim": {"claimName": "claim"}})
    assert Path(source.path).read_bytes() == b"data"


DIRECT = [(None, True), (errno.EINVAL, False), (errno.EACCES, None)]


@pytest.mark.parametrize(("code", "works"), DIRECT)
async def test_a_lasting_disk_is_tried_past_the_page_cache(
    layout: Layout, mocker: MockerFixture, code: int | None, works: bool | None
) -> None:
    real = os.open

    def opened(path: Any, flags: int, *more: Any, **named: Any) -> int:
        if not flags & os.O_DIRECT:
            return real(path, flags, *more, **named)
        if code is not None:
            raise OSError(code, os.strerror(code), str(path))
        return real(path, flags & ~os.O_DIRECT, *more, **named)

    mocker.patch("virt_handler.volumes.disk_images.os.open", opened)
    source = await prepared(layout, {"persistentVolumeClaim": {"claimName": "claim"}})
    assert source.direct_io is works
    assert source.block_sizes == (os.statvfs(layout.volumes).f_bsize,) * 3


async def test_an_overlay_stays_in_the_page_cache(layout: Layout) -> None:
    source = await prepared(layout, {"ephemeral": {"persistentVolumeClaim": {"claimName": "bound"}}})
    assert source.direct_io is None


async def test_an_ephemeral_volume_leaves_its_claim_alone(layout: Layout) -> None:
    source = await prepared(layout, {"ephemeral": {"persistentVolumeClaim": {"claimName": "bound"}}})
    assert source.format == "qcow2"
    assert (source.backing.format, source.backing.readonly) == ("raw", True)
    assert Path(source.backing.path).stat().st_size == 5 << 20


async def test_a_missing_claim_is_waited_for(layout: Layout) -> None:
    with pytest.raises(ClaimNotFound) as missing:
        await prepared(layout, {"persistentVolumeClaim": {"claimName": "none"}})
    assert missing.value.message == "PVC default/none does not exist, waiting for it to appear"
    assert (missing.value.reason, missing.value.fatal) == ("FailedPvcNotFound", False)


def replace_by_link(place: Path, target: Path) -> None:
    place.symlink_to(target)


def replace_by_hard_link(place: Path, target: Path) -> None:
    os.link(target, place)


def replace_by_fifo(place: Path, _target: Path) -> None:
    os.mkfifo(place)


def replace_by_directory(place: Path, _target: Path) -> None:
    place.mkdir()


SWAPS = [replace_by_link, replace_by_hard_link, replace_by_fifo, replace_by_directory]


@pytest.mark.parametrize("swap", SWAPS)
async def test_a_claims_disk_that_is_something_else_is_refused(layout: Layout, tmp_path: Path, swap: Any) -> None:
    secret = tmp_path / "shadow"
    secret.write_bytes(b"root")
    place = layout.volumes / "default" / "claim"
    place.mkdir(parents=True)
    swap(place / "disk.img", secret)
    with pytest.raises(UnsafePath):
        await prepared(layout, {"persistentVolumeClaim": {"claimName": "claim"}})
    assert secret.read_bytes() == b"root"


@pytest.mark.parametrize("swap", SWAPS)
async def test_a_host_disk_that_is_something_else_is_refused(layout: Layout, tmp_path: Path, swap: Any) -> None:
    secret = tmp_path / "shadow"
    secret.write_bytes(b"root")
    swap(tmp_path / "disk.img", secret)
    for kind in ("Disk", "DiskOrCreate"):
        with pytest.raises(UnsafePath):
            await prepared(layout, {"hostDisk": {"path": str(tmp_path / "disk.img"), "type": kind, "capacity": "1Mi"}})


async def test_a_host_disk_behind_a_linked_directory_is_refused(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(UnsafePath, match="through a link"):
        await prepared(
            layout, {"hostDisk": {"path": f"{tmp_path}/link/d.img", "type": "DiskOrCreate", "capacity": "1Mi"}}
        )


async def test_a_host_disk_is_made_only_when_asked_and_never_given_away(layout: Layout, tmp_path: Path) -> None:
    path = tmp_path / "host.img"
    with pytest.raises(VolumeError, match="does not exist"):
        await prepared(layout, {"hostDisk": {"path": str(path), "type": "Disk"}})
    await prepared(layout, {"hostDisk": {"path": str(path), "type": "DiskOrCreate", "capacity": "2Mi"}})
    assert path.stat().st_size == 2 << 20
    path.chmod(0o640)
    before = path.stat()
    await prepared(layout, {"hostDisk": {"path": str(path), "type": "Disk"}})
    assert (path.stat().st_mode, path.stat().st_uid) == (before.st_mode, before.st_uid)


@pytest.mark.parametrize(
    ("mode", "mine", "readonly", "may"),
    [
        (0o600, "nobody", False, False),
        (0o644, "nobody", False, False),
        (0o644, "nobody", True, True),
        (0o666, "nobody", False, True),
        (0o600, "user", False, True),
        (0o660, "group", False, True),
        (0o640, "group", False, False),
    ],
)
async def test_a_host_disk_needs_its_owner_to_let_qemu_in(  # noqa: PLR0917  pytest passes them by name
    layout: Layout, tmp_path: Path, mode: int, mine: str, readonly: bool, may: bool
) -> None:
    path = tmp_path / "host.img"
    path.write_bytes(bytes(1 << 20))
    path.chmod(mode)
    stat = path.stat()
    qemu = (stat.st_uid + (mine != "user"), stat.st_gid + (mine != "group"))
    volumes = Volumes(layout, ImageStore(layout.images, {}, frozenset()), Objects(FakeApi(OBJECTS)), lambda *_: None)  # type: ignore[arg-type]
    asked = vmi({"hostDisk": {"path": str(path), "type": "Disk"}})
    asked.spec.domain.devices.disks = [Disk(name="vol", disk=DiskTarget(readonly=readonly))]
    if may:
        assert (await volumes.prepare(asked, qemu))["vol"].keep_owner
    else:
        with pytest.raises(VolumeError, match="may not"):
            await volumes.prepare(asked, qemu)
    assert (path.stat().st_mode, path.stat().st_uid) == (stat.st_mode, stat.st_uid)


async def test_a_host_disk_larger_than_the_file_system_is_refused(layout: Layout, tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="not enough space, demanded size"):
        await prepared(layout, {"hostDisk": {"path": f"{tmp_path}/d", "type": "DiskOrCreate", "capacity": "4Ei"}})


PATHS = ["", "a", "/", "/a/", "//a", "/a//b", "/a/../b", "/./a", "/a\0b", "/a\nb", "/" + "x/" * 4096 + "x"]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_is_not_plain_is_refused(path: str) -> None:
    with pytest.raises(UnsafePath):
        safe_paths.parts_of(path, "field")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0", "x" * 300])
def test_a_volume_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(UnsafePath):
        safe_paths.component(name, "field")


MAGICS = [(magic, name) for magic, name in disk_images.FOREIGN_MAGIC.items()]


@pytest.mark.parametrize(("magic", "name"), MAGICS)
async def test_foreign_formats_are_named(tmp_path: Path, magic: bytes, name: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(magic.ljust(1024, b"\0"))
    with pytest.raises(ImageRefused, match=name):
        await disk_images.inspect(path, "disk")


def header(**fields: int) -> bytes:
    values = dict.fromkeys(("version", "backing", "backing_size", "cluster_bits", "size", "encryption", "l1"), 0)
    values |= {"version": 3, "cluster_bits": 16, "size": 1 << 20, "l1": 1} | fields
    features = values.pop("features", 0)
    return disk_images.QCOW2_HEADER.pack(b"QFI\xfb", *values.values(), 0, 0, 0, 0, 0, features, 0, 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 1},
        {"backing": 100},
        {"encryption": 2},
        {"features": 1 << 2},
        {"features": 1 << 40},
        {"size": 1 << 60},
        {"l1": 1 << 30},
        {"cluster_bits": 60},
    ],
)
def test_a_qcow2_header_that_asks_for_more_than_a_disk_is_refused(fields: dict[str, int]) -> None:
    assert disk_images.check_qcow2(header(), "it") == 1 << 20
    with pytest.raises(ImageRefused):
        disk_images.check_qcow2(header(**fields), "it")


def test_a_login_is_for_its_registry_only() -> None:
    auth = base64.b64encode(b"me:pass:word").decode()
    secret = {".dockerconfigjson": json.dumps({"auths": {"https://reg.lan:5000/v2/": {"auth": auth}}}).encode()}
    assert pull_credentials(secret, "reg.lan:5000/a", "f") == ("me", "pass:word")
    assert pull_credentials(secret, "quay.io/a/b", "f") is None
    for broken in ({}, {".dockerconfigjson": b"[]"}, {".dockerconfigjson": b"{"}):
        with pytest.raises(VolumeError):
            pull_credentials(broken, "a/b", "f")


def test_broken_base64_names_its_field() -> None:
    source = vmi({"cloudInitNoCloud": {"userDataBase64": "%%%"}}).spec.volumes[0].cloud_init_no_cloud
    assert source is not None
    with pytest.raises(HandlerError, match=r"f\.userDataBase64 is not base64"):
        cloudinit.seed(source, {}, "f")


async def test_a_host_disk_is_made_only_where_qemu_could_make_it(layout: Layout, tmp_path: Path) -> None:
    """The agent is root: without this, whoever makes a VM would put files into /etc/profile.d."""
    place = tmp_path / "closed" / "open"
    place.mkdir(parents=True)
    found = place.stat()
    stranger, friend = (found.st_uid + 1, found.st_gid + 1), (found.st_uid + 1, found.st_gid)
    shut = [
        (stranger, 0o711, 0o755, "make files in"),
        (stranger, 0o700, 0o777, "enter"),
        (friend, 0o750, 0o750, "make"),
    ]
    volumes = Volumes(layout, ImageStore(layout.images, {}, frozenset()), Objects(FakeApi(OBJECTS)), lambda *_: None)  # type: ignore[arg-type]
    asked = vmi({"hostDisk": {"path": f"{place}/d.img", "type": "DiskOrCreate", "capacity": "1Mi"}})
    for user, outer, inner, why in shut:
        place.parent.chmod(outer)
        place.chmod(inner)
        with pytest.raises(VolumeError, match=rf"hostDisk\.path: QEMU's user .* may not {why}"):
            await volumes.prepare(asked, user)
        assert list(place.iterdir()) == []


def test_where_qemus_user_may_make_files_a_disk_is_made(tmp_path: Path) -> None:
    path = tmp_path / "d.img"
    for user in ((os.geteuid(), os.getegid()), None):
        prepare._host_file(HostDisk(path=str(path), type="DiskOrCreate", capacity="1Mi"), user, "f", writes=True)
        assert path.stat().st_size == 1 << 20
        path.unlink()


@pytest.mark.parametrize("step", ["truncate", "fchown", "fsync", "link"])
def test_a_disk_that_cant_be_made_leaves_nothing_that_looks_like_one(
    tmp_path: Path, mocker: MockerFixture, step: str
) -> None:
    """Nor does an end in mid-step: until the last one, nothing has the disk's name."""
    seen: list[bool] = []

    def fail(*_: object, **__: object) -> None:
        seen.append((tmp_path / "disk.img").exists())
        raise OSError(errno.EFBIG, "too large")

    mocker.patch(f"os.{step}", fail)
    fd = os.open(tmp_path, os.O_PATH)
    try:
        with pytest.raises(OSError, match="too large"):
            disk_images.create_raw("disk.img", 1 << 20, fd, (os.geteuid(), os.getegid()))
    finally:
        os.close(fd)
    assert (seen, list(tmp_path.iterdir())) == ([False], [])


async def test_what_was_read_of_a_claim_is_told_by_volume(layout: Layout) -> None:
    objects = Objects(FakeApi(OBJECTS))  # type: ignore[arg-type]
    volumes = Volumes(layout, ImageStore(layout.images, {}, frozenset()), objects, lambda *_: None)
    machine = vmi({"dataVolume": {"name": "bound"}})
    assert volumes.claims(machine) == {}
    await volumes.prepare(machine, None)
    (found,) = volumes.claims(machine).items()
    assert found[0] == "vol"
    assert (found[1].claim_name, found[1].volume_mode, found[1].capacity) == ("bound", "Filesystem", {"storage": "5Mi"})
