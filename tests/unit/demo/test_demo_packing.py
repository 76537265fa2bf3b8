"""The demo guest's initramfs and container disk, read back with independent programs."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from examples.demo import image, initramfs

ACCOUNT = initramfs.Account("ada", "secret", "$6$salt$hash")


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """The initramfs as cpio, an independent reader, unpacks it."""
    packed = initramfs.build(b"#busybox", {"virtio": b"driver"}, ["virtio"], ACCOUNT)
    command = ["cpio", "--extract", "--no-absolute-filenames", "--quiet"]
    done = subprocess.run(command, input=gzip.decompress(packed), cwd=tmp_path, capture_output=True, check=False)
    # Making the console's device node needs root; everything else must be there for anybody.
    assert done.returncode == 0 or b"dev/console" in done.stderr, done.stderr
    return tmp_path


def test_initramfs_unpacks_to_a_root_file_system(unpacked: Path) -> None:
    assert (unpacked / "bin/busybox").read_bytes() == b"#busybox"
    assert (unpacked / "modules/order").read_text() == "virtio.ko\n"
    assert (unpacked / "modules/virtio.ko").read_bytes() == b"driver"
    assert "ada:$6$salt$hash:" in (unpacked / "etc/shadow").read_text()
    assert (unpacked / "etc/shadow").stat().st_mode & 0o777 == 0o600
    assert "Log in as ada or root. Password: secret" in (unpacked / "etc/issue").read_text()
    for script in ("init", "etc/rc", "etc/udhcpc", "etc/acpi/PWRF/00000080"):
        assert (unpacked / script).stat().st_mode & 0o111, f"{script} must be executable"


@pytest.mark.parametrize("script", ["init", "etc/rc", "etc/udhcpc"])
def test_guest_scripts_parse(unpacked: Path, script: str) -> None:
    subprocess.run(["sh", "-n", unpacked / script], check=True)


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    disk = tmp_path / "disk.qcow2"
    disk.write_bytes(b"QFI\xfb" + bytes(1000))
    image.add(tmp_path / "layout", "kubevirt/one:latest", disk)
    return tmp_path / "layout"


def blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    """A blob whose digest and size are what its descriptor says."""
    algorithm, _, digest = descriptor["digest"].partition(":")
    content = (layout / "blobs" / algorithm / digest).read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest
    assert len(content) == descriptor["size"]
    return content


def test_layout_holds_one_layer_with_the_disk_owned_by_qemu(layout: Path) -> None:
    index = json.loads((layout / "index.json").read_text())
    [entry] = index["manifests"]
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "kubevirt/one:latest"
    manifest = json.loads(blob(layout, entry))
    [layer] = manifest["layers"]
    tar = gzip.decompress(blob(layout, layer))
    config = json.loads(blob(layout, manifest["config"]))
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(tar).hexdigest()}"]
    path = layout / "layer.tar"
    path.write_bytes(tar)
    with tarfile.open(path) as opened:
        entries = {member.name: (member.uid, member.gid, member.size) for member in opened}
    assert entries == {"disk": (107, 107, 0), "disk/disk.qcow2": (107, 107, 1004)}


def test_adding_again_replaces_the_image_of_that_name_only(layout: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.qcow2"
    other.write_bytes(b"QFI\xfb" + bytes(2000))
    image.add(layout, "kubevirt/two:latest", other)
    digest = image.add(layout, "kubevirt/one:latest", other)
    entries = json.loads((layout / "index.json").read_text())["manifests"]
    names = {entry["annotations"]["org.opencontainers.image.ref.name"]: entry["digest"] for entry in entries}
    assert names == {"kubevirt/one:latest": digest, "kubevirt/two:latest": digest}


def test_same_disk_makes_the_same_image(layout: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    assert image.add(tmp_path / "a", "x", disk) == image.add(tmp_path / "b", "x", disk)
