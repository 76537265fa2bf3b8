"""A claim filled from a real registry with TLS and a login: by tag, by digest, and what is said when it can't be."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from node_cluster import boot_sector, write_layout
from support.fake_kube import FakeKube

from virt_handler.images.store import ImageStore
from virt_handler.volumes.objects import CONFIG_MAPS, SECRETS
from virt_kube.informer import Key
from virt_local import pki
from virt_local.claims import OWNER
from virt_local.datavolumes.errors import ContentRefused, FillError, SourceFailed, TooLarge
from virt_local.datavolumes.fill import Filler
from virt_local.datavolumes.plan import Plan
from virt_types.cdi.v1beta1 import DataVolumeSourceRegistry

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("docker-registry", "skopeo", "qemu-img", "perl"))),
    reason="needs docker-registry, skopeo, qemu-img and perl",
)

CONFIG = """version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {root}/storage}}}}
auth: {{htpasswd: {{realm: here, path: {root}/htpasswd}}}}
http: {{addr: "127.0.0.1:{port}", tls: {{certificate: {cert}, key: {key}}}}}
"""
USER, PASSWORD = "ada", "s3cret"
MIB = 1 << 20


class Found(NamedTuple):
    """host:port, the authority's certificate, and the digest of boot:v1."""

    host: str
    authority: str
    digest: str


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    root = tmp_path_factory.mktemp("registry")
    certificates = pki.ensure(root)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = f'print crypt("{PASSWORD}", "\\$2b\\$05\\$abcdefghijklmnopqrstuu")'
    hashed = subprocess.run(["perl", "-e", words], check=True, capture_output=True, text=True).stdout
    (root / "htpasswd").write_text(f"{USER}:{hashed}\n")
    pair = certificates.server
    (root / "config.yml").write_text(CONFIG.format(root=root, port=port, cert=pair.cert, key=pair.key))
    server = subprocess.Popen(["docker-registry", "serve", str(root / "config.yml")], stderr=subprocess.DEVNULL)
    host = f"127.0.0.1:{port}"
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        write_layout(root / "layout", "v1", boot_sector())
        skopeo = ["skopeo", "--insecure-policy"]
        login = ["--dest-tls-verify=false", f"--dest-creds={USER}:{PASSWORD}", "--dest-compress-format", "gzip"]
        target = f"docker://{host}/team/boot:v1"
        subprocess.run([*skopeo, "copy", *login, f"oci:{root}/layout:v1", target], check=True, capture_output=True)
        ask = [*skopeo, "inspect", "--tls-verify=false", f"--creds={USER}:{PASSWORD}", "--format={{.Digest}}", target]
        digest = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
        yield Found(host, certificates.ca.read_text(), digest)
    finally:
        server.terminate()
        server.wait(10)


class Bench:
    """A claim, the secrets and config maps of its namespace, and who fills it."""

    def __init__(self, root: Path, registry: Found) -> None:
        self.kube = FakeKube()
        self.directory = root / "volumes/default/data"
        self.directory.mkdir(parents=True)
        (self.directory / OWNER).write_text("uid")
        self.images = root / "images"
        self.images.mkdir()
        self.mirrors = {"registry.example.org": f"https://{registry.host}"}
        for path in (root, *root.parents[:3], root / "volumes", root / "volumes/default", self.directory, self.images):
            with contextlib.suppress(PermissionError):
                path.chmod(path.stat().st_mode | 0o011)  # the user that qemu-img runs as must get through
        self.filler = Filler(self.kube, root / "volumes", self._store, {}, lambda _key: "")

    @contextlib.asynccontextmanager
    async def _store(self, tls: ssl.SSLContext | None) -> AsyncIterator[ImageStore]:
        store = ImageStore(self.images, self.mirrors, frozenset(), tls=tls)
        try:
            yield store
        finally:
            await store.close()

    async def put(self, resource: Any, name: str, **values: str) -> None:
        def stored(text: str) -> str:
            return base64.b64encode(text.encode()).decode() if resource is SECRETS else text

        data = {key: stored(value) for key, value in values.items()}
        await self.kube.create(resource, "default", {"metadata": {"name": name, "namespace": "default"}, "data": data})

    async def fill(self, url: str, *, size: int = 2 * MIB, **source: Any) -> None:
        plan = Plan(Key("default", "data"), "uid", DataVolumeSourceRegistry(url=url, **source), size, size)
        await self.filler.fill(plan, 0, lambda _percent: None)


async def test_a_claim_from_a_registry(registry: Found, tmp_path: Path) -> None:
    bench = await asyncio.to_thread(Bench, tmp_path, registry)
    await bench.put(CONFIG_MAPS, "authority", **{"ca.crt": registry.authority})
    await bench.put(SECRETS, "login", accessKeyId=USER, secretKey=PASSWORD)
    await bench.put(SECRETS, "wrong", accessKeyId=USER, secretKey="guess")
    url = "docker://registry.example.org/team/boot"
    wrong: list[tuple[dict[str, str], type[FillError], str]] = [
        ({"secret_ref": "login"}, SourceFailed, "can't be reached"),
        ({"cert_config_map": "authority"}, SourceFailed, "wants a login"),
        ({"cert_config_map": "authority", "secret_ref": "wrong"}, SourceFailed, "wants a login"),
        ({"cert_config_map": "authority", "secret_ref": "none"}, SourceFailed, "Secret default/none does not exist"),
    ]
    for source, error, why in wrong:
        with pytest.raises(error, match=why):
            await bench.fill(f"{url}:v1", **source)
    good = {"cert_config_map": "authority", "secret_ref": "login"}
    with pytest.raises(SourceFailed, match="does not have it"):
        await bench.fill(f"{url}:v2", **good)
    with pytest.raises(TooLarge, match="virtual image size 1048576 is larger"):
        await bench.fill(f"{url}:v1", size=MIB // 2, **good)
    assert [path.name for path in bench.directory.iterdir() if path.name != ".filling"] == [OWNER]
    disk = bench.directory / "disk.img"
    for version in (":v1", f"@{registry.digest}"):
        await bench.fill(url + version, **good)
        assert await asyncio.to_thread(disk.read_bytes) == boot_sector() + bytes(MIB)
        disk.unlink()


async def test_an_image_without_its_one_disk(registry: Found, tmp_path: Path) -> None:
    bench = await asyncio.to_thread(Bench, tmp_path, registry)
    with pytest.raises((ContentRefused, SourceFailed), match="is no image reference"):
        await bench.fill("docker://NO SUCH/Image")


async def test_a_path_of_this_machine_is_no_source(registry: Found, tmp_path: Path) -> None:
    """CDI reads oci-archive: inside a worker's pod; here it would be any file of the host."""
    bench = await asyncio.to_thread(Bench, tmp_path, registry)
    with pytest.raises(FillError, match="is not read here") as refused:
        await bench.fill("oci-archive:/etc/shadow")
    assert "--registry-mirror" in refused.value.hint
