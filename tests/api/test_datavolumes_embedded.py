"""DataVolumes on the embedded API: claims made and filled, waiting, copying, uploading, crashing, deleting."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from virt_api.admission import KubeVirtAdmission
from virt_kube.admission import UserInfo
from virt_kube.api import ApiError, Forbidden, Invalid, KubeClient, NotFound, Resource
from virt_kube.events import EventRecorder
from virt_kube.resources import DATA_SOURCES, DATA_VOLUMES, EVENTS, PERSISTENT_VOLUME_CLAIMS, VIRTUAL_MACHINE_INSTANCES
from virt_local import pki
from virt_local.apiserver.server import ApiServer
from virt_local.claims import PERSISTENT_VOLUMES, PROVISIONER, STORAGE_CLASSES
from virt_local.components import CDI_GROUP, CDI_USER, LOCAL_USER
from virt_local.datavolumes import uploads, workers
from virt_local.datavolumes.admission import DataVolumeAdmission
from virt_local.datavolumes.app import Options, UploadServers, run
from virt_local.gc import GarbageCollector
from virt_local.storage import LocalStorage
from virt_local.store import Store
from virt_types import labels
from virt_types.crds import custom_resource_definitions

pytestmark = pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")

MIB = 1 << 20
CONTENT = bytes(range(256)) * (4 * MIB // 256)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")


class Cluster:
    """An API with its garbage collector, storage and importer; a web server that gives CONTENT, slowly if told."""

    def __init__(self, home: Path, api: ApiServer) -> None:
        self.home, self.api = home, api
        self.volumes = home / "volumes"
        self.admin: KubeClient = api.client(UserInfo("admin", ("system:masters",)))
        self.url = ""
        self.pace = 0.0
        self.served = 0
        self.tls = pki.upload_context(home)
        self._importer: asyncio.Task[None] | None = None

    def as_user(self, name: str, *groups: str) -> KubeClient:
        return self.api.client(UserInfo(name, ("system:authenticated", *groups)))

    async def start(self) -> None:
        ready = asyncio.Event()
        servers = UploadServers(self.home / "importer.sock", "127.0.0.1", self.tls)
        options = Options(self.volumes, self.home / "imports", {}, {}, servers)
        self._importer = asyncio.create_task(run(self.as_user(CDI_USER, CDI_GROUP), options, ready.set))
        await ready.wait()

    async def stop(self) -> None:
        if self._importer is not None:
            self._importer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._importer

    async def give(self, request: web.Request) -> web.StreamResponse:
        """CONTENT, from where it is asked for."""
        self.served += 1
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        headers = {"ETag": '"v1"', "Content-Length": str(len(CONTENT) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for at in range(start, len(CONTENT), MIB // 2):
                await response.write(CONTENT[at : at + MIB // 2])
                await asyncio.sleep(self.pace)
        return response

    async def create(self, name: str, source: dict[str, Any], *, client: KubeClient | None = None, **more: Any) -> None:
        storage = {"resources": {"requests": {"storage": "8Mi"}}}
        spec = {"source": source, "storage": storage} | more.pop("spec", {})
        metadata = {"name": name} | more
        body = {"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": metadata, "spec": spec}
        await (client or self.admin).create(DATA_VOLUMES, "default", body)

    async def find(self, resource: Resource, name: str, namespace: str = "default") -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(await self.admin.get(resource, namespace, name))
        except NotFound:
            return {}
        return found

    async def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.find(DATA_VOLUMES, name)).get("status", {})
        return found

    async def reached(self, name: str, phase: str) -> dict[str, Any]:
        async def there() -> bool:
            return (await self.status(name)).get("phase") == phase

        try:
            await until(there)
        except TimeoutError:
            pytest.fail(f"{name} is not {phase} but {await self.status(name)}")
        return await self.status(name)

    async def events(self, name: str) -> list[tuple[str, str]]:
        found = [json.loads(item) for item in (await self.admin.list(EVENTS, "default")).items]
        return [(each["reason"], each["message"]) for each in found if each["involvedObject"]["name"] == name]

    def disk(self, name: str) -> Path:
        return self.volumes / "default" / name / "disk.img"


async def until(check: Callable[[], Awaitable[Any]], seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110  the world outside tells nobody when it is done
            await asyncio.sleep(0.05)


def condition(status: dict[str, Any], type_: str) -> dict[str, Any]:
    return next(each for each in status["conditions"] if each["type"] == type_)


@pytest.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    monkeypatch.setattr(workers, "NEWS", 0.05)
    home = Path(tempfile.mkdtemp(prefix="dv", dir="/tmp"))
    home.chmod(0o711)  # noqa: ASYNC240  nothing runs yet
    await asyncio.to_thread(pki.ensure, home)
    store = await Store.open(home / "store.db")
    holder: list[ApiServer] = []
    inner = KubeVirtAdmission()
    admission = DataVolumeAdmission(inner, lambda: holder[0].client(UserInfo(CDI_USER, (CDI_GROUP,))))
    api = ApiServer(store, admission=admission)
    holder.append(api)
    inner.connect(api.client())
    await api.bootstrap(custom_resource_definitions())
    cluster = Cluster(home, api)
    local = cluster.as_user(LOCAL_USER)
    events = EventRecorder(local, "virt-local")
    tasks = [
        asyncio.create_task(GarbageCollector(store, api.registry, api.client()).run()),
        asyncio.create_task(events.run()),
        asyncio.create_task(LocalStorage(local, cluster.volumes, events).run()),
    ]
    app = web.Application()
    app.router.add_get("/image", cluster.give)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    cluster.url = f"http://127.0.0.1:{runner.addresses[0][1]}/image"
    await cluster.start()
    yield cluster
    await cluster.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await runner.cleanup()
    await api.stop()
    await store.close()
    shutil.rmtree(home)


async def test_an_import_from_first_to_last(cluster: Cluster) -> None:
    cluster.pace = 0.15
    seen: list[str] = []
    await cluster.create("web", {"http": {"url": cluster.url}}, labels={"app": "x"})
    while (status := await cluster.status("web")).get("phase") != "Succeeded":
        if status.get("progress") not in {None, *seen}:
            seen.append(status["progress"])
        await asyncio.sleep(0.02)
    assert seen[0] == "N/A"
    moving = [float(text.removesuffix("%")) for text in seen[1:]]
    assert len(moving) >= 3
    assert moving == sorted(moving)
    assert status["progress"] == "100.0%"
    assert status["claimName"] == "web"
    told = {each["type"]: (each["status"], each.get("reason", "")) for each in status["conditions"]}
    assert told == {"Bound": ("True", "Bound"), "Ready": ("True", ""), "Running": ("False", "Completed")}
    claim = await cluster.find(PERSISTENT_VOLUME_CLAIMS, "web")
    assert claim["spec"]["resources"]["requests"]["storage"] == str(-(-8 * MIB * 106 // 100)), "8Mi and 6 % (spec 7.2)"
    assert claim["metadata"]["labels"] == {"app": "x"}
    assert claim["metadata"]["annotations"][labels.CLAIM_FILL_PHASE] == "Succeeded"
    assert await asyncio.to_thread(cluster.disk("web").read_bytes) == CONTENT + bytes(4 * MIB)

    async def all_told() -> bool:
        return len(await cluster.events("web")) >= 5

    await until(all_told)
    assert {
        ("ImportScheduled", "Import into web scheduled"),
        ("ImportInProgress", "Import into web in progress"),
        ("ImportSucceeded", "Successfully imported into PVC web"),
    } <= set(await cluster.events("web"))


async def test_a_deleted_data_volume_takes_everything_along(cluster: Cluster) -> None:
    cluster.pace = 0.3
    await cluster.create("web", {"http": {"url": cluster.url}})
    await cluster.reached("web", "ImportInProgress")
    await cluster.admin.delete(DATA_VOLUMES, "default", "web")

    async def gone() -> bool:
        claim = await cluster.find(PERSISTENT_VOLUME_CLAIMS, "web")
        volumes = (await cluster.admin.list(PERSISTENT_VOLUMES)).items
        return not claim and not volumes and not cluster.disk("web").parent.exists()

    await until(gone)


async def test_an_importer_that_dies_is_continued_and_never_shows_half_a_disk(cluster: Cluster) -> None:
    cluster.pace = 0.2
    await cluster.create("web", {"http": {"url": cluster.url}})
    part = cluster.disk("web").parent / ".filling" / "download"

    async def begun() -> bool:
        return part.exists() and part.stat().st_size >= MIB

    await until(begun)
    await cluster.stop()
    assert not cluster.disk("web").exists()
    claim = await cluster.find(PERSISTENT_VOLUME_CLAIMS, "web")
    assert labels.CLAIM_FILL_PHASE not in claim["metadata"]["annotations"]
    cluster.pace = 0
    await cluster.start()
    await cluster.reached("web", "Succeeded")
    assert cluster.served == 2
    assert (await asyncio.to_thread(cluster.disk("web").read_bytes))[: 4 * MIB] == CONTENT
    assert not part.parent.exists()


async def test_trouble_is_visible_and_ends_by_itself(cluster: Cluster) -> None:
    missing = cluster.url.replace("/image", "/later")
    await cluster.create("web", {"http": {"url": missing}})

    async def failed() -> bool:
        return (await cluster.status("web")).get("restartCount", 0) >= 1

    await until(failed)
    status = await cluster.status("web")
    assert status["phase"] == "ImportInProgress"
    running = condition(status, "Running")
    assert (running["status"], running["reason"]) == ("False", "Error")
    assert "Unable to process data: 127.0.0.1 does not have it" in running["message"]
    assert "Tried again at 2" in running["message"]


async def test_a_wrong_checksum_is_the_end(cluster: Cluster) -> None:
    await cluster.create("web", {"http": {"url": cluster.url, "checksum": "md5:00"}})
    status = await cluster.reached("web", "Failed")
    assert "checksum mismatch: expected md5:00, calculated md5:" in condition(status, "Running")["message"]
    await asyncio.sleep(0.2)
    assert (await cluster.status("web"))["phase"] == "Failed"
    assert cluster.served == 1


async def test_a_claim_that_waits_for_its_first_consumer(cluster: Cluster) -> None:
    await cluster.admin.create(
        STORAGE_CLASSES,
        "",
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "late"},
            "provisioner": PROVISIONER,
            "volumeBindingMode": "WaitForFirstConsumer",
        },
    )
    storage = {"storageClassName": "late", "resources": {"requests": {"storage": "8Mi"}}}
    await cluster.create("waits", {"blank": {}}, spec={"storage": storage})
    await cluster.create("forced", {"blank": {}}, spec={"storage": storage}, annotations={labels.IMMEDIATE_BINDING: ""})
    await cluster.reached("waits", "WaitForFirstConsumer")
    await cluster.reached("forced", "Succeeded")
    vmi = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "user"},
        "spec": {
            "domain": {"devices": {"disks": [{"name": "d", "disk": {}}]}, "memory": {"guest": "64Mi"}},
            "volumes": [{"name": "d", "dataVolume": {"name": "waits"}}],
        },
    }
    await cluster.admin.create(VIRTUAL_MACHINE_INSTANCES, "default", vmi)
    await cluster.reached("waits", "Succeeded")


async def test_a_claim_that_was_there_is_adopted_or_left_alone(cluster: Cluster) -> None:
    for name in ("mine", "theirs"):
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Mi"}}},
        }
        await cluster.admin.create(PERSISTENT_VOLUME_CLAIMS, "default", claim)
    with pytest.raises(ApiError, match="already exists"):
        await cluster.create("theirs", {"http": {"url": cluster.url}})
    await cluster.create("mine", {"http": {"url": cluster.url}}, annotations={labels.CLAIM_ADOPTION: "true"})
    await cluster.reached("mine", "Succeeded")
    owners = (await cluster.find(PERSISTENT_VOLUME_CLAIMS, "mine"))["metadata"]["ownerReferences"]
    assert [owner["kind"] for owner in owners] == ["DataVolume"]
    assert cluster.served == 0


async def test_a_copy_through_a_data_source(cluster: Cluster) -> None:
    source = {"spec": {"source": {"pvc": {"namespace": "default", "name": "golden"}}}}
    meta = {"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataSource", "metadata": {"name": "named"}}
    await cluster.admin.create(DATA_SOURCES, "default", meta | source)
    reference = {"sourceRef": {"kind": "DataSource", "name": "named"}, "storage": {}, "source": None}
    await cluster.create("copy", {}, spec=reference)

    async def says(reason: str) -> bool:
        found = (await cluster.find(DATA_SOURCES, "named")).get("status", {}).get("conditions", [])
        return any(each["type"] == "Ready" and each["reason"] == reason for each in found)

    await until(lambda: says("NotFound"))
    await cluster.reached("copy", "Pending")
    suits = {"instancetype.kubevirt.io/default-instancetype": "small"}
    await cluster.create("golden", {"http": {"url": cluster.url}}, labels={"app": "x"} | suits)
    await until(lambda: says("Ready"))
    await cluster.reached("copy", "Succeeded")
    assert (await asyncio.to_thread(cluster.disk("copy").read_bytes))[: 4 * MIB] == CONTENT
    assert (await cluster.find(DATA_SOURCES, "named"))["metadata"]["labels"] == suits
    assert ("CloneSucceeded", "Successfully cloned from default/golden into default/copy") in await cluster.events(
        "copy"
    )


async def test_who_may_copy_from_another_namespace(cluster: Cluster) -> None:
    for name in ("images",):
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await cluster.admin.create(NAMESPACES, "", body)
    await grant(cluster, "default", "edit", "ada")
    ada = cluster.as_user("ada")
    source = {"pvc": {"namespace": "images", "name": "golden"}}
    with pytest.raises(Forbidden, match="User ada has insufficient permissions in clone source namespace images"):
        await cluster.create("copy", source, client=ada)
    forged = {"virtctl.local/authorized-source": "images/golden"}
    with pytest.raises(Forbidden):
        await cluster.create("copy", source, client=ada, annotations=forged)
    # Neither by a DataSource that is pointed elsewhere afterwards.
    named = {"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataSource", "metadata": {"name": "named"}}
    near = {"spec": {"source": {"pvc": {"namespace": "default", "name": "own"}}}}
    await ada.create(DATA_SOURCES, "default", named | near)
    reference = {"sourceRef": {"kind": "DataSource", "name": "named"}, "storage": {}, "source": None}
    await cluster.create("sly", {}, client=ada, spec=reference, annotations=forged)
    far = {"spec": {"source": {"pvc": {"namespace": "images"}}}}
    await ada.patch(DATA_SOURCES, "default", "named", far, kind="merge")
    status = await cluster.reached("sly", "Failed")
    assert "nobody with the right to copy images/own" in condition(status, "Running")["message"]
    await grant(cluster, "images", "edit", "ada")
    await cluster.create("copy", source, client=ada)
    stored = await cluster.find(DATA_VOLUMES, "copy")
    assert stored["metadata"]["annotations"]["virtctl.local/authorized-source"] == "images/golden"


async def grant(cluster: Cluster, namespace: str, role: str, user: str) -> None:
    body = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{role}-{user}"},
        "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": role, "apiGroup": "rbac.authorization.k8s.io"},
    }
    await cluster.admin.create(ROLE_BINDINGS, namespace, body)


@pytest.mark.parametrize("kind", ["s3", "gcs", "imageio", "vddk", "snapshot"])
async def test_sources_nothing_here_reads(cluster: Cluster, kind: str) -> None:
    needed = {"s3": {"url": "s3://a/b"}, "gcs": {"url": "gs://a/b"}, "imageio": {"url": "http://x", "diskId": "1"}}
    body = needed.get(kind, {"namespace": "default", "name": "x"} if kind == "snapshot" else {})
    with pytest.raises(Invalid, match=rf"spec\.source\.{kind}: this machine has nothing that reads it"):
        await cluster.create("no", {kind: body})


async def test_block_volumes_are_refused_by_field(cluster: Cluster) -> None:
    storage = {"volumeMode": "Block", "resources": {"requests": {"storage": "8Mi"}}}
    await cluster.create("block", {"blank": {}}, spec={"storage": storage})
    status = await cluster.reached("block", "Failed")
    message = "spec.storage.volumeMode: Block is not supported by storage class local: use Filesystem"
    assert condition(status, "Bound")["message"] == message


class Client:
    """What `virtctl image-upload` sends."""

    def __init__(self, cluster: Cluster, session: aiohttp.ClientSession) -> None:
        self._cluster, self._session = cluster, session
        self.base = ""

    async def token(self, name: str, code: int = 201) -> str:
        connector = aiohttp.UnixConnector(path=str(self._cluster.home / "importer.sock"))
        async with aiohttp.ClientSession(connector=connector) as api:
            async with api.get("http://x/apis/cdi.kubevirt.io/v1beta1/cdiconfigs/config") as answer:
                self.base = (await answer.json())["status"]["uploadProxyURL"]
            path = "/apis/upload.cdi.kubevirt.io/v1beta1/namespaces/default/uploadtokenrequests"
            body = {"metadata": {"generateName": "token-for-virtctl-"}, "spec": {"pvcName": name}}
            async with api.post(f"http://x{path}", json=body) as answer:
                assert answer.status == code
                found: str = (await answer.json()).get("status", {}).get("token", "") if code == 201 else ""
                return found

    async def send(self, token: str, body: Any, *, path: str = "upload-async", method: str = "POST") -> tuple[int, str]:
        trust = ssl.create_default_context(cafile=str(self._cluster.home / "pki" / "ca.crt"))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{self.base}/v1beta1/{path}"
        sent = io.BytesIO(body) if isinstance(body, bytes) else body
        async with self._session.request(method, url, data=sent, headers=headers, ssl=trust) as answer:
            return answer.status, await answer.text()


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(cluster, session)


@pytest.mark.parametrize("path", ["upload", "upload-async", "upload-form"])
async def test_an_upload(cluster: Cluster, client: Client, path: str) -> None:
    await cluster.create("up", {"upload": {}})
    await cluster.reached("up", "UploadReady")
    token = await client.token("up")
    assert (await client.send(token, b"", path=path, method="HEAD"))[0] == 200
    assert await client.send(token, b"<html>no image</html>" * 40, path="upload") == (
        400,
        "the upload is no disk image: no known format, and its 840 bytes are not whole sectors\n",
    )
    assert (await cluster.status("up"))["phase"] == "UploadReady"
    body: Any = CONTENT
    if path == "upload-form":
        body = aiohttp.FormData()
        body.add_field("file", io.BytesIO(CONTENT), filename="disk.img")
    assert await client.send(token, body, path=path) == (200, "")
    await cluster.reached("up", "Succeeded")
    assert (await asyncio.to_thread(cluster.disk("up").read_bytes))[: 4 * MIB] == CONTENT
    assert (await client.send(token, CONTENT))[0] == 503, "once is enough"


async def test_an_upload_into_a_claim(cluster: Cluster, client: Client) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "up", "annotations": {labels.UPLOAD_TARGET: "", labels.CLAIM_CONTENT_TYPE: "kubevirt"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Mi"}}},
    }
    await cluster.admin.create(PERSISTENT_VOLUME_CLAIMS, "default", claim)

    async def annotation(name: str, value: str) -> bool:
        found = await cluster.find(PERSISTENT_VOLUME_CLAIMS, "up")
        return bool(found["metadata"]["annotations"].get(name) == value)

    await until(lambda: annotation(labels.CLAIM_FILL_READY, "true"))
    assert await client.send(await client.token("up"), CONTENT) == (200, "")
    await until(lambda: annotation(labels.CLAIM_FILL_PHASE, "Succeeded"))
    assert (await asyncio.to_thread(cluster.disk("up").read_bytes))[: 4 * MIB] == CONTENT


async def test_uploads_without_a_good_token(cluster: Cluster, client: Client) -> None:
    await client.token("nowhere", code=404)
    await cluster.create("up", {"upload": {}})
    await cluster.reached("up", "UploadReady")
    token = await client.token("up")
    head, payload, signature = token.split(".")
    for bad in ("", "x", f"{head}.{payload}.AAAA", f"{head}.{payload[:-2]}AA.{signature}"):
        assert (await client.send(bad, CONTENT))[0] == 401
    assert (await cluster.status("up"))["phase"] == "UploadReady"


async def test_an_upload_that_falls_silent(cluster: Cluster, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "SILENCE", 0.2)
    await cluster.create("up", {"upload": {}})
    await cluster.reached("up", "UploadReady")
    enough = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield CONTENT[:MIB]
        await enough.wait()

    sending = asyncio.create_task(client.send(await client.token("up"), stalling(), path="upload"))

    async def told() -> bool:
        return "nothing came for a minute" in condition(await cluster.status("up"), "Running").get("message", "")

    await until(told)
    enough.set()
    await asyncio.gather(sending, return_exceptions=True)


async def test_an_upload_that_breaks_off(cluster: Cluster, client: Client) -> None:
    await cluster.create("up", {"upload": {}})
    await cluster.reached("up", "UploadReady")
    token = await client.token("up")

    async def half() -> AsyncIterator[bytes]:
        yield CONTENT[:MIB]
        raise OSError("gone")

    with pytest.raises((OSError, aiohttp.ClientError)):
        await client.send(token, half(), path="upload")

    async def told() -> bool:
        return "was cut off" in condition(await cluster.status("up"), "Running").get("message", "")

    await until(told)
    assert os.listdir(cluster.disk("up").parent) == ["claim-uid"]  # noqa: PTH208  names are what matters
    assert (await client.send(token, CONTENT, path="upload"))[0] == 200
    await cluster.reached("up", "Succeeded")
