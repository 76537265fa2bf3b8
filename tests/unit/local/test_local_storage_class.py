"""The storage class `local` against an in-memory API: claims bind, are kept while used, and go with their files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support.fake_kube import FakeKube

from virt_kube.api import Json
from virt_kube.events import EventRecorder
from virt_kube.resources import PERSISTENT_VOLUME_CLAIMS, VIRTUAL_MACHINE_INSTANCES
from virt_local.claims import PERSISTENT_VOLUMES, PROVISIONER, STORAGE_CLASSES
from virt_local.storage import IN_USE_FINALIZER, LocalStorage
from virt_types import labels


@pytest.fixture
async def kube(tmp_path: Path) -> AsyncIterator[FakeKube]:
    kube = FakeKube()
    events = EventRecorder(kube, "virt-local")
    tasks = [
        asyncio.create_task(LocalStorage(kube, tmp_path / "volumes", events).run()),
        asyncio.create_task(events.run()),
    ]
    yield kube
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  the world outside tells nobody when it is done
            await asyncio.sleep(0.01)


async def claim(kube: FakeKube, name: str = "data", **spec: Any) -> None:
    base = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}
    body = {"metadata": {"name": name, "namespace": "default"}, "spec": base | spec}
    await kube.create(PERSISTENT_VOLUME_CLAIMS, "default", body)


def found(kube: FakeKube, name: str = "data") -> Json:
    return kube.find(PERSISTENT_VOLUME_CLAIMS, "default", name) or {}


def phase(kube: FakeKube, name: str = "data") -> str:
    return str(found(kube, name).get("status", {}).get("phase", ""))


def user(name: str, claim_name: str) -> Json:
    """An instance with the claim as its disk."""
    volume = {"name": "disk", "persistentVolumeClaim": {"claimName": claim_name}}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"volumes": [volume]}}


async def test_a_claim_becomes_a_sparse_image(kube: FakeKube, tmp_path: Path) -> None:
    await claim(kube)
    await until(lambda: phase(kube) == "Bound")
    image = tmp_path / "volumes/default/data/disk.img"
    assert image.stat().st_size == 64 << 20
    assert image.stat().st_blocks == 0
    bound = found(kube)
    assert IN_USE_FINALIZER in bound["metadata"]["finalizers"]
    assert bound["status"]["capacity"] == {"storage": "64Mi"}
    volume = kube.find(PERSISTENT_VOLUMES, "", bound["spec"]["volumeName"])
    assert volume is not None
    assert volume["spec"]["claimRef"]["uid"] == bound["metadata"]["uid"]
    assert kube.find(STORAGE_CLASSES, "", "local") is not None


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"volumeMode": "Block"}, "volumeMode Block is not supported"),
        ({"resources": {}}, "requests.storage is missing"),
    ],
)
async def test_a_claim_that_can_not_be_says_why(kube: FakeKube, spec: Json, why: str) -> None:
    await claim(kube, **spec)
    await until(lambda: kube.objects("events"))
    event = kube.objects("events")[0]
    assert (event["type"], event["reason"]) == ("Warning", "ProvisioningFailed")
    assert why in event["message"]
    assert phase(kube) == ""


async def test_claims_of_other_classes_are_left_alone(kube: FakeKube, tmp_path: Path) -> None:
    await claim(kube, "other", storageClassName="fast")
    await claim(kube, "ours", storageClassName="local")
    await until(lambda: phase(kube, "ours") == "Bound")
    assert phase(kube, "other") == ""
    assert not (tmp_path / "volumes/default/other").exists()


@pytest.mark.parametrize(
    "volume",
    [
        {"persistentVolumeClaim": {"claimName": "data"}},
        {"dataVolume": {"name": "data"}},
        {"ephemeral": {"persistentVolumeClaim": {"claimName": "data"}}},
    ],
    ids=lambda volume: next(iter(volume)),
)
async def test_a_claim_in_use_waits_for_its_guest(kube: FakeKube, tmp_path: Path, volume: Json) -> None:
    await claim(kube)
    await until(lambda: phase(kube) == "Bound")
    volumes = [{"name": "d", **volume}]
    vmi = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "vm", "namespace": "default"},
        "spec": {"volumes": volumes},
        "status": {"phase": "Running"},
    }
    await kube.create(VIRTUAL_MACHINE_INSTANCES, "default", vmi)
    await asyncio.sleep(0.1)
    await kube.delete(PERSISTENT_VOLUME_CLAIMS, "default", "data")
    await asyncio.sleep(0.2)
    assert (tmp_path / "volumes/default/data/disk.img").exists()
    assert found(kube)["metadata"]["deletionTimestamp"]
    patch = {"status": {"phase": "Succeeded"}}
    await kube.patch(VIRTUAL_MACHINE_INSTANCES, "default", "vm", patch, kind="merge")
    await until(lambda: not found(kube))
    assert not (tmp_path / "volumes/default").exists()
    assert not kube.objects("persistentvolumes")


async def test_files_of_another_claim_are_never_touched(kube: FakeKube, tmp_path: Path) -> None:
    directory = tmp_path / "volumes/default/data"
    directory.mkdir(parents=True)
    (directory / "claim-uid").write_text("somebody-else")
    (directory / "disk.img").write_bytes(b"precious")
    await claim(kube)
    await until(lambda: kube.objects("events"))
    assert "another claim" in kube.objects("events")[0]["message"]
    assert (directory / "disk.img").read_bytes() == b"precious"
    assert phase(kube) == ""


async def test_a_claim_of_a_waiting_class_is_bound_for_its_first_user(kube: FakeKube, tmp_path: Path) -> None:
    waiting = {"metadata": {"name": "late"}, "provisioner": PROVISIONER, "volumeBindingMode": "WaitForFirstConsumer"}
    await kube.create(STORAGE_CLASSES, "", waiting)
    await claim(kube, storageClassName="late")
    await claim(kube, "other", storageClassName="somebody-elses")
    await until(lambda: kube.objects("events"))
    assert kube.objects("events")[0]["reason"] == "WaitForFirstConsumer"
    assert phase(kube) == ""
    await kube.create(VIRTUAL_MACHINE_INSTANCES, "default", user("vm", "data"))
    await until(lambda: phase(kube) == "Bound")
    assert found(kube)["spec"]["storageClassName"] == "late"
    assert phase(kube, "other") == ""


async def test_a_claim_that_is_to_be_filled_gets_no_image(kube: FakeKube, tmp_path: Path) -> None:
    body = {"metadata": {"name": "data", "namespace": "default", "annotations": {labels.UPLOAD_TARGET: ""}}}
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}
    await kube.create(PERSISTENT_VOLUME_CLAIMS, "default", body | {"spec": spec})
    await until(lambda: phase(kube) == "Bound")
    assert [path.name for path in (tmp_path / "volumes/default/data").iterdir()] == ["claim-uid"]


async def test_a_claim_grows_when_nothing_uses_it(kube: FakeKube, tmp_path: Path) -> None:
    await claim(kube)
    await until(lambda: phase(kube) == "Bound")
    await kube.create(VIRTUAL_MACHINE_INSTANCES, "default", user("vm", "data"))
    more = {"spec": {"resources": {"requests": {"storage": "96Mi"}}}}
    await kube.patch(PERSISTENT_VOLUME_CLAIMS, "default", "data", more, kind="merge")
    await until(lambda: any(each["reason"] == "FileSystemResizeRequired" for each in kube.objects("events")))
    image = tmp_path / "volumes/default/data/disk.img"
    assert image.stat().st_size == 64 << 20
    ended = {"status": {"phase": "Succeeded"}}
    await kube.patch(VIRTUAL_MACHINE_INSTANCES, "default", "vm", ended, kind="merge")
    await until(lambda: found(kube)["status"]["capacity"] == {"storage": "96Mi"})
    assert image.stat().st_size == 96 << 20
    less = {"spec": {"resources": {"requests": {"storage": "32Mi"}}}}
    await kube.patch(PERSISTENT_VOLUME_CLAIMS, "default", "data", less, kind="merge")
    await asyncio.sleep(0.05)
    assert image.stat().st_size == 96 << 20, "and never shrinks"
