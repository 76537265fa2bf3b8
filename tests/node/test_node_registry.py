"""Container disks from a real registry: what skopeo pushed is what a guest gets."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from node_cluster import boot_sector, write_layout

from virt_handler.errors import ImagePullError
from virt_handler.images.store import ImageStore

pytestmark = pytest.mark.skipif(
    not (shutil.which("docker-registry") and shutil.which("skopeo")), reason="needs docker-registry and skopeo"
)

CONFIG = """version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: %s}}
http: {addr: 127.0.0.1:%d}
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """host:port of a registry that has kubevirt/boot:v1, gzip compressed as pushed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "config.yml"
    config.write_text(CONFIG % (tmp_path / "storage", port))
    server = subprocess.Popen(["docker-registry", "serve", str(config)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        write_layout(tmp_path / "layout", "v1", boot_sector())
        target = f"docker://127.0.0.1:{port}/kubevirt/boot:v1"
        command = ["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "--dest-compress-format", "gzip"]
        subprocess.run([*command, f"oci:{tmp_path / 'layout'}:v1", target], check=True, capture_output=True)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


async def test_an_image_skopeo_pushed_is_pulled(registry: str, tmp_path: Path) -> None:
    images = tmp_path / "images"
    await asyncio.to_thread(images.mkdir)
    store = ImageStore(images, {"docker.io": f"http://{registry}"}, frozenset())
    try:
        direct = await store.get(f"{registry}/kubevirt/boot:v1")
        mirrored = await store.get("kubevirt/boot:v1")
        assert direct.digest == mirrored.digest
        assert await asyncio.to_thread(mirrored.path.read_bytes) == boot_sector()
        assert await store.get(f"kubevirt/boot@{direct.digest}") == direct
        with pytest.raises(ImagePullError, match="does not have it"):
            await store.get("kubevirt/boot:v2")
    finally:
        await store.close()
