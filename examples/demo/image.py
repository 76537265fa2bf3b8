"""Packs a disk as a container disk: a container image with nothing in it but `/disk/NAME`, owned by QEMU's user.

The image is added to an OCI image layout, a plain directory (github.com/opencontainers/image-spec, image-layout.md).
`virtctl local up --registry-mirror docker.io=oci:DIRECTORY` reads it; `skopeo copy oci:DIRECTORY:NAME docker://...`
pushes it to a registry.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

QEMU_USER = 107  # uid and gid that KubeVirt's container disks give the file

_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_REFERENCE = "org.opencontainers.image.ref.name"


def add(layout: Path, name: str, disk: Path, path: str = "disk/disk.qcow2") -> str:
    """Add `disk` as image `name` (e.g. `kubevirt/cirros-container-disk-demo:latest`); returns its manifest's digest."""
    (layout / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    (layout / "oci-layout").write_text(json.dumps({"imageLayoutVersion": "1.0.0"}))
    tar = _layer(disk, path)
    layer = _blob(layout, _LAYER, gzip.compress(tar, compresslevel=1, mtime=0))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _blob(layout, _CONFIG, json.dumps(config).encode()),
        "layers": [layer],
    }
    descriptor = _blob(layout, _MANIFEST, json.dumps(manifest).encode())
    digest = str(descriptor["digest"])
    _refer(layout / "index.json", name, descriptor)
    return digest


def _layer(disk: Path, path: str) -> bytes:
    """A tar with the disk at `path`; times and modes are fixed, so the same disk makes the same image."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        folder = tarfile.TarInfo(str(Path(path).parent))
        folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, 0o555, QEMU_USER, QEMU_USER
        tar.addfile(folder)
        entry = tarfile.TarInfo(path)
        entry.size, entry.mode, entry.uid, entry.gid = disk.stat().st_size, 0o440, QEMU_USER, QEMU_USER
        with disk.open("rb") as content:
            tar.addfile(entry, content)
    return packed.getvalue()


def _blob(layout: Path, media_type: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _refer(index: Path, name: str, descriptor: dict[str, Any]) -> None:
    content: dict[str, Any] = (
        json.loads(index.read_text()) if index.exists() else {"schemaVersion": 2, "mediaType": _INDEX}
    )
    others = [entry for entry in content.get("manifests", []) if entry.get("annotations", {}).get(_REFERENCE) != name]
    content["manifests"] = [*others, {**descriptor, "annotations": {_REFERENCE: name}}]
    index.write_text(json.dumps(content, indent=1))
