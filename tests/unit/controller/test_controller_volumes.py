"""VMs that bring disks along: their DataVolumes are made, waited for, adopted, and told of when they fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from support.fake_kube import FakeKube, loop_clock
from support.fake_node import FakeNode, add_node

from virt_controller.app import Options, run
from virt_kube.api import Json, ListPage, NotFound, Resource
from virt_kube.resources import (
    DATA_SOURCES,
    DATA_VOLUMES,
    PERSISTENT_VOLUME_CLAIMS,
    SUBJECT_ACCESS_REVIEWS,
    VIRTUAL_MACHINE_INSTANCES,
    VIRTUAL_MACHINES,
)

pytestmark = pytest.mark.looptime
HTTP = {"source": {"http": {"url": "http://127.0.0.1/disk.qcow2"}}, "storage": {"resources": {"requests": {}}}}
NAMES = {"name": "disk", "labels": {"tier": "db"}, "annotations": {"note": "mine"}}


class Cluster:
    """The controllers before one API; the tests play the importer."""

    def __init__(self, kube: FakeKube) -> None:
        self.kube = kube
        self.agent = FakeNode(kube)

    async def create(self, spec: Json | None = None, *, strategy: str = "Always", **meta: Any) -> None:
        template = {"spec": {"domain": {"firmware": {"uuid": "u"}, "memory": {"guest": "64Mi"}, "devices": {}}}}
        template["spec"]["volumes"] = [{"name": "root", "dataVolume": {"name": "disk"}}]
        volumes = [{"metadata": NAMES, "spec": spec or HTTP}]
        body = {"runStrategy": strategy, "template": template, "dataVolumeTemplates": volumes}
        await self.kube.create(VIRTUAL_MACHINES, "default", {"metadata": {"name": "vm1", **meta}, "spec": body})
        await asyncio.sleep(1)

    async def import_is(self, phase: str, *conditions: Json) -> None:
        status = {"status": {"phase": phase, "conditions": list(conditions)}}
        await self.kube.patch(DATA_VOLUMES, "default", "disk", status, kind="merge")
        await asyncio.sleep(1)

    async def bind(self) -> None:
        claim = {"metadata": {"name": "disk"}}
        await self.kube.create(PERSISTENT_VOLUME_CLAIMS, "default", claim)
        bound = {"status": {"phase": "Bound"}}
        await self.kube.patch(PERSISTENT_VOLUME_CLAIMS, "default", "disk", bound, kind="merge", subresource="status")
        await asyncio.sleep(1)

    @property
    def status(self) -> Json:
        vm = self.kube.find(VIRTUAL_MACHINES, "default", "vm1")
        assert vm is not None
        return vm.get("status", {})

    @property
    def printable(self) -> str | None:
        return self.status.get("printableStatus")

    def condition(self, type_: str, *, of: Json | None = None) -> Json:
        conditions = (of or self.status).get("conditions", [])
        return next((each for each in conditions if each["type"] == type_), {})

    def volume(self) -> Json:
        volume = self.kube.find(DATA_VOLUMES, "default", "disk")
        assert volume is not None
        return volume

    def vmi(self) -> Json | None:
        return self.kube.find(VIRTUAL_MACHINE_INSTANCES, "default", "vm1")

    def events(self, reason: str) -> list[str]:
        return [each["message"] for each in self.kube.objects("events") if each["reason"] == reason]


@pytest.fixture
def kube() -> FakeKube:
    return FakeKube()


@pytest.fixture
async def cluster(kube: FakeKube) -> AsyncIterator[Cluster]:
    cluster = Cluster(kube)
    await add_node(kube)
    tasks = [
        asyncio.create_task(run(kube, options=Options(clock=loop_clock, jitter=lambda: 0.0))),
        asyncio.create_task(cluster.agent.run()),
    ]
    yield cluster
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_template_becomes_a_data_volume_of_the_vm(cluster: Cluster) -> None:
    await cluster.create()
    vm = cluster.kube.find(VIRTUAL_MACHINES, "default", "vm1")
    meta = cluster.volume()["metadata"]
    assert vm is not None
    assert meta["labels"] == {"tier": "db", "kubevirt.io/created-by": vm["metadata"]["uid"]}
    assert meta["annotations"] == {"note": "mine", "cdi.kubevirt.io/allowClaimAdoption": "true"}
    assert [(owner["kind"], owner["uid"]) for owner in meta["ownerReferences"]] == [
        ("VirtualMachine", vm["metadata"]["uid"])
    ]
    assert cluster.volume()["spec"]["source"] == HTTP["source"]
    assert cluster.events("SuccessfulDataVolumeCreate") == ["Created DataVolume disk"]


async def test_the_start_waits_until_the_import_is_done(cluster: Cluster) -> None:
    await cluster.create()
    await cluster.import_is("ImportInProgress")
    assert cluster.vmi() is None
    assert cluster.printable == "Provisioning"
    ready = cluster.condition("Ready")
    assert ready["message"] == "VMI does not exist: waits for DataVolume disk (ImportInProgress)"
    await cluster.bind()
    await cluster.import_is("Succeeded")
    assert cluster.printable == "Running"
    assert cluster.condition("DataVolumesReady")["reason"] == "AllDVsReady"


async def test_a_volume_that_waits_for_its_consumer_gets_one(cluster: Cluster) -> None:
    await cluster.create()
    await cluster.import_is("WaitForFirstConsumer")
    vmi = cluster.vmi()
    assert vmi is not None
    assert "nodeName" not in vmi["status"]
    assert cluster.condition("DataVolumesReady", of=vmi["status"])["reason"] == "NotAllDVsReady"
    assert cluster.condition("Synchronized", of=vmi["status"])["reason"] == "FailedPvcNotFound"
    await cluster.bind()
    await cluster.import_is("ImportInProgress")
    assert cluster.printable == "Provisioning"
    waits = "waits for DataVolume default/disk to be filled (now ImportInProgress)"
    assert waits in cluster.condition("Ready")["message"]
    await cluster.import_is("Succeeded")
    assert cluster.printable == "Running"


@pytest.mark.parametrize(
    ("phase", "conditions", "event"),
    [
        ("Failed", [], "DataVolume disk failed to import disk image"),
        (
            "Pending",
            [{"type": "Bound", "status": "False", "reason": "ErrExceededQuota"}],
            "DataVolume disk exceeds quota limits",
        ),
    ],
)
async def test_an_import_that_fails_is_told(cluster: Cluster, phase: str, conditions: list[Json], event: str) -> None:
    await cluster.create()
    await cluster.import_is(phase, *conditions)
    assert cluster.events("FailedDataVolumeImport") == [event]
    assert cluster.vmi() is None
    assert event in cluster.condition("Ready")["message"]
    await asyncio.sleep(600)
    told = [each.get("count", 1) for each in cluster.kube.objects("events") if each["message"] == event]
    assert told == [1]
    again = asyncio.create_task(run(cluster.kube, options=Options(clock=loop_clock, jitter=lambda: 0.0)))
    await asyncio.sleep(5)
    assert cluster.events("FailedDataVolumeImport") == [event]
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)


async def test_a_worker_that_fails_again_and_again_is_quoted(cluster: Cluster) -> None:
    await cluster.create()
    why = "127.0.0.1 does not have it"
    await cluster.import_is(
        "ImportInProgress", {"type": "Running", "status": "False", "reason": "Error", "message": why}
    )
    assert cluster.condition("Ready")["message"].endswith(f": waits for DataVolume disk (ImportInProgress: {why})")


@pytest.mark.parametrize(
    ("phase", "conditions", "printable"),
    [
        ("Failed", [], "DataVolumeError"),
        ("ImportInProgress", [{"type": "Running", "status": "False", "reason": "Error"}], "DataVolumeError"),
        ("ImportInProgress", [{"type": "Running", "status": "False", "reason": "Pending"}], "Provisioning"),
        ("WaitForFirstConsumer", [{"type": "Bound", "status": "True"}], "Provisioning"),
        ("PendingPopulation", [], "Stopped"),
        ("Succeeded", [], "Stopped"),
    ],
)
async def test_what_a_halted_vm_shows_of_its_import(
    cluster: Cluster, phase: str, conditions: list[Json], printable: str
) -> None:
    await cluster.create(strategy="Halted")
    await cluster.import_is(phase, *conditions)
    assert cluster.printable == printable


async def test_creation_may_be_postponed_until_the_vm_starts(cluster: Cluster) -> None:
    annotations = {"kubevirt.io/immediate-data-volume-creation": "false"}
    await cluster.create(strategy="Halted", annotations=annotations)
    assert cluster.kube.objects("datavolumes") == []
    await cluster.kube.patch(VIRTUAL_MACHINES, "default", "vm1", {"spec": {"runStrategy": "Always"}}, kind="merge")
    await asyncio.sleep(1)
    assert cluster.volume()


async def test_an_ownerless_volume_is_adopted_and_somebody_elses_used(kube: FakeKube, cluster: Cluster) -> None:
    await kube.create(DATA_VOLUMES, "default", {"metadata": {"name": "disk"}, "status": {"phase": "Succeeded"}})
    await cluster.create()
    assert [owner["kind"] for owner in cluster.volume()["metadata"]["ownerReferences"]] == ["VirtualMachine"]
    assert cluster.events("SuccessfulDataVolumeCreate") == []


async def test_a_volume_of_somebody_else_is_left_to_him(kube: FakeKube, cluster: Cluster) -> None:
    other = msgspec.json.decode(await kube.create(DATA_SOURCES, "default", {"metadata": {"name": "other"}}))
    owner = {"kind": "DataSource", "name": "other", "uid": other["metadata"]["uid"], "controller": True}
    owner["apiVersion"] = DATA_SOURCES.api_version
    kube_volume = {"metadata": {"name": "disk", "ownerReferences": [owner]}, "status": {"phase": "Succeeded"}}
    await kube.create(DATA_VOLUMES, "default", kube_volume)
    await cluster.create()
    await cluster.bind()
    assert cluster.volume()["metadata"]["ownerReferences"] == [owner]
    assert cluster.printable == "Running"


async def test_the_disk_of_a_former_vm_is_not_started_from(kube: FakeKube, cluster: Cluster) -> None:
    """Deleted and applied again at once: garbage collection has yet to take the old disk away."""
    owner = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "name": "vm1", "uid": "former"}
    old = {"name": "disk", "ownerReferences": [{**owner, "controller": True}], "finalizers": ["held"]}
    await kube.create(DATA_VOLUMES, "default", {"metadata": old, "status": {"phase": "Succeeded"}})
    await cluster.bind()
    await cluster.create()
    assert cluster.vmi() is None
    assert cluster.condition("Ready")["message"].endswith(": waits for a former DataVolume disk to be gone")
    await kube.delete(DATA_VOLUMES, "default", "disk")
    await asyncio.sleep(1)
    assert cluster.vmi() is None
    await kube.patch(DATA_VOLUMES, "default", "disk", {"metadata": {"finalizers": None}}, kind="merge")
    await asyncio.sleep(1)
    assert cluster.volume()["metadata"]["ownerReferences"][0]["uid"] != "former"
    await cluster.import_is("Succeeded")
    assert cluster.printable == "Running"


async def test_a_claim_that_is_being_deleted_is_not_used(kube: FakeKube, cluster: Cluster) -> None:
    claim = {"metadata": {"name": "disk", "finalizers": ["kubernetes.io/pvc-protection"]}}
    await kube.create(PERSISTENT_VOLUME_CLAIMS, "default", claim)
    bound = {"status": {"phase": "Bound"}}
    await kube.patch(PERSISTENT_VOLUME_CLAIMS, "default", "disk", bound, kind="merge", subresource="status")
    await kube.delete(PERSISTENT_VOLUME_CLAIMS, "default", "disk")
    volumes = [{"name": "root", "persistentVolumeClaim": {"claimName": "disk"}}]
    body = {"metadata": {"name": "vm1"}, "spec": {"domain": {"devices": {}}, "volumes": volumes}}
    await kube.create(VIRTUAL_MACHINE_INSTANCES, "default", body)
    await asyncio.sleep(1)
    vmi = cluster.vmi()
    assert vmi is not None
    assert vmi["status"]["phase"] == "Pending"
    assert "this one is being deleted" in cluster.condition("Ready", of=vmi["status"])["message"]


SOURCE_REF = {"sourceRef": {"kind": "DataSource", "name": "golden"}, "storage": {}}


async def test_a_source_ref_is_resolved_when_the_volume_is_made(kube: FakeKube, cluster: Cluster) -> None:
    await kube.create(
        DATA_SOURCES, "default", {"metadata": {"name": "golden"}, "spec": {"source": {"pvc": {"name": "image"}}}}
    )
    await cluster.create(SOURCE_REF)
    spec = cluster.volume()["spec"]
    assert "sourceRef" not in spec
    assert spec["source"] == {"pvc": {"namespace": "default", "name": "image"}}
    assert cluster.events("SourcePVCNotAvailabe") == [
        "Source PVC default/image not available: Target PVC disk will remain unpopulated until source is created"
    ]


async def test_a_source_ref_to_nothing_is_a_failure_until_it_exists(kube: FakeKube, cluster: Cluster) -> None:
    await cluster.create(SOURCE_REF)
    failure = cluster.condition("Failure")
    assert failure["reason"] == "FailedDataVolumeCreate"
    assert failure["message"].startswith("Error creating DataVolume disk: ")
    assert cluster.kube.objects("datavolumes") == []
    await kube.create(
        DATA_SOURCES, "default", {"metadata": {"name": "golden"}, "spec": {"source": {"pvc": {"name": "image"}}}}
    )
    await asyncio.sleep(120)
    assert cluster.volume()
    assert cluster.condition("Failure") == {}


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_claim_of_another_namespace_needs_the_right(
    kube: FakeKube, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    asked: list[Json] = []
    create = kube.create

    async def review(resource: Resource, namespace: str, body: Json) -> bytes:
        if resource != SUBJECT_ACCESS_REVIEWS:
            return await create(resource, namespace, body)
        asked.append(body["spec"])
        return msgspec.json.encode({**body, "status": {"allowed": allowed}})

    monkeypatch.setattr(kube, "create", review)
    await cluster.create({"source": {"pvc": {"namespace": "images", "name": "golden"}}, "storage": {}})
    assert asked[0]["user"] == "system:serviceaccount:default:default"
    assert asked[0]["resourceAttributes"]["namespace"] == "images"
    assert bool(cluster.kube.objects("datavolumes")) == allowed
    reason = cluster.condition("Failure").get("reason")
    assert reason == (None if allowed else "UnauthorizedDataVolumeCreate")


async def test_a_stand_alone_vmi_fails_with_its_disk(kube: FakeKube, cluster: Cluster) -> None:
    spec = {"domain": {"devices": {}}, "volumes": [{"name": "root", "dataVolume": {"name": "disk"}}]}
    await kube.create(DATA_VOLUMES, "default", {"metadata": {"name": "disk"}, "status": {"phase": "Failed"}})
    await kube.create(VIRTUAL_MACHINE_INSTANCES, "default", {"metadata": {"name": "vm1"}, "spec": spec})
    await asyncio.sleep(1)
    vmi = cluster.vmi()
    assert vmi is not None
    assert (vmi["status"]["phase"], vmi["status"]["reason"]) == ("Failed", "FailedDataVolumeImport")
    assert cluster.events("FailedDataVolumeImport") == ["DataVolume disk failed to import disk image"]
    await kube.delete(VIRTUAL_MACHINE_INSTANCES, "default", "vm1")
    await asyncio.sleep(1)
    assert cluster.vmi() is None


class WithoutCdi(FakeKube):
    """An API that has no DataVolumes, until `installed`."""

    installed = False

    async def list(self, resource: Resource, namespace: str = "", **selectors: str) -> ListPage:
        if resource == DATA_VOLUMES and not self.installed:
            raise NotFound("the server could not find the requested resource")
        return await super().list(resource, namespace, **selectors)


class TestWithoutDataVolumes:
    @pytest.fixture
    def kube(self) -> WithoutCdi:
        return WithoutCdi()

    async def test_a_vm_without_templates_runs(self, cluster: Cluster) -> None:
        domain = {"firmware": {"uuid": "u"}, "devices": {}}
        spec = {"runStrategy": "Always", "template": {"spec": {"domain": domain}}}
        await cluster.kube.create(VIRTUAL_MACHINES, "default", {"metadata": {"name": "vm1"}, "spec": spec})
        await asyncio.sleep(1)
        assert cluster.printable == "Running"

    async def test_templates_wait_for_the_kind_to_be_installed(self, kube: WithoutCdi, cluster: Cluster) -> None:
        await cluster.create()
        assert "this cluster has no DataVolumes" in cluster.condition("Ready")["message"]
        assert cluster.vmi() is None
        kube.installed = True
        await asyncio.sleep(130)
        assert cluster.volume()
