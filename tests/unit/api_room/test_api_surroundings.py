"""Rules that look beyond the object: its guest, its guest's migrations, a claim of its name."""

from __future__ import annotations

from typing import Any

import pytest
from support.fake_kube import FakeKube

from virt_api.admission import KubeVirtAdmission
from virt_kube.admission import AdmissionRequest, UserInfo
from virt_kube.api import ApiError, BadRequest, Invalid, Json, Resource
from virt_kube.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    VIRTUAL_MACHINE_INSTANCE_MIGRATIONS,
    VIRTUAL_MACHINE_INSTANCES,
)
from virt_types import labels

ALICE = UserInfo("alice")
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
VOLUME = {"metadata": {"name": "d"}, "spec": {"source": {"blank": {}}, "pvc": CLAIM}}
MOVE = {"metadata": {"name": "m2"}, "spec": {"vmiName": "g"}}
GUEST = {"domain": {"devices": {}}, "volumes": [{"name": "root", "containerDisk": {"image": "i"}}]}


def asked(group: str, plural: str, kind: str, obj: Json, *old: Json, sub: str = "") -> AdmissionRequest:
    name = obj["metadata"]["name"]
    operation = "UPDATE" if old else "CREATE"
    return AdmissionRequest(operation, group, "v1", plural, kind, "ns", name, sub, obj, next(iter(old), None), ALICE)


async def put(kube: FakeKube, resource: Resource, name: str, **fields: Any) -> None:
    metadata = {"name": name, "namespace": "ns"} | fields.pop("metadata", {})
    await kube.create(resource, "ns", {"metadata": metadata} | fields)


async def of_volume(kube: FakeKube | None, volume: Json = VOLUME) -> ApiError | None:
    return await verdict(kube, asked("cdi.kubevirt.io", "datavolumes", "DataVolume", volume))


async def of_move(kube: FakeKube | None, move: Json = MOVE) -> ApiError | None:
    plural = VIRTUAL_MACHINE_INSTANCE_MIGRATIONS.plural
    return await verdict(kube, asked("kubevirt.io", plural, "VirtualMachineInstanceMigration", move))


async def verdict(kube: FakeKube | None, request: AdmissionRequest) -> ApiError | None:
    try:
        await KubeVirtAdmission(kube=kube).admit(request)
    except ApiError as error:
        return error
    return None


async def test_nothing_is_asked_where_nobody_can_answer() -> None:
    assert await of_volume(None) is None
    assert await of_move(None) is None


@pytest.mark.parametrize(
    ("of_claim", "of_the_volume", "taken"),
    [
        ({}, {}, False),
        ({labels.DV_POPULATED_FOR: "d"}, {}, True),
        ({labels.DV_POPULATED_FOR: "e"}, {}, False),
        ({labels.CLAIM_ADOPTION: "true"}, {}, True),
        ({}, {labels.CLAIM_ADOPTION: "true"}, True),
        ({}, {labels.CLAIM_ADOPTION: "false"}, False),
        ({}, {"cdi.kubevirt.io/storage.prePopulated": "d"}, True),
        ({}, {"cdi.kubevirt.io/storage.checkStaticVolume": ""}, True),
    ],
)
async def test_the_claim_of_a_data_volume(of_claim: Json, of_the_volume: Json, taken: bool) -> None:
    kube = FakeKube()
    assert await of_volume(kube) is None
    await put(kube, PERSISTENT_VOLUME_CLAIMS, "d", metadata={"annotations": of_claim}, spec=CLAIM)
    refusal = await of_volume(kube, VOLUME | {"metadata": {"name": "d", "annotations": of_the_volume}})
    if taken:
        assert refusal is None
        return
    assert isinstance(refusal, Invalid)
    assert refusal.status["details"]["causes"] == [
        {
            "reason": "FieldValueDuplicate",
            "message": "Destination PVC ns/d already exists",
            "field": "metadata.name",
        }
    ]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (None, 'the VMI "ns/g" does not exist'),
        ({"phase": "Succeeded"}, "Cannot migrate VMI in finalized state."),
        (
            {"phase": "Running", "conditions": [
                {"type": "LiveMigratable", "status": "False", "reason": "DisksNotLiveMigratable", "message": "no"}]},
            "Cannot migrate VMI, Reason: DisksNotLiveMigratable, Message: no",
        ),
        ({"phase": "Running"}, ""),
    ],
)  # fmt: skip
async def test_who_can_be_migrated(status: Json | None, message: str) -> None:
    kube = FakeKube()
    if status is not None:
        await put(kube, VIRTUAL_MACHINE_INSTANCES, "g", spec=GUEST, status=status)
    refusal = await of_move(kube)
    assert (refusal.message if refusal else "") == message
    assert refusal is None or isinstance(refusal, BadRequest)


async def test_one_migration_of_a_guest_at_a_time() -> None:
    kube = FakeKube()
    await put(kube, VIRTUAL_MACHINE_INSTANCES, "g", spec=GUEST, status={"phase": "Running"})
    for name, spec, status in (
        ("other", {"vmiName": "h"}, {"phase": "Running"}),
        ("done", {"vmiName": "g"}, {"phase": "Failed"}),
    ):
        await put(kube, VIRTUAL_MACHINE_INSTANCE_MIGRATIONS, name, spec=spec, status=status)
    assert await of_move(kube) is None
    await put(kube, VIRTUAL_MACHINE_INSTANCE_MIGRATIONS, "m1", metadata={"uid": "u1"}, spec={"vmiName": "g"})
    refusal = await of_move(kube)
    assert refusal is not None
    assert "in-flight migration detected. Active migration job (" in refusal.message
    assert refusal.message.endswith(") is currently already in progress for VMI g.")


async def test_a_migration_is_labelled_with_its_guest() -> None:
    plural = VIRTUAL_MACHINE_INSTANCE_MIGRATIONS.plural
    request = asked("kubevirt.io", plural, "VirtualMachineInstanceMigration", MOVE)
    result = await KubeVirtAdmission().admit(request)
    assert result.obj is not None
    assert result.obj["metadata"] == {"name": "m2", "labels": {labels.VMI_NAME: "g"}}


def with_request(*requests: Json) -> Json:
    template = {"spec": GUEST}
    return {
        "kind": "VirtualMachine", "metadata": {"name": "g"}, "spec": {"runStrategy": "Always", "template": template},
        "status": {"volumeRequests": list(requests)},
    }  # fmt: skip


TAKEN = "conflicts with an existing volume of the same name on currently running vmi"
ADD = {
    "addVolumeOptions": {
        "name": "plugged",
        "disk": {"name": "plugged", "disk": {"bus": "scsi"}},
        "volumeSource": {"persistentVolumeClaim": {"claimName": "c"}},
    }
}


@pytest.mark.parametrize(
    ("volumes", "migration", "messages"),
    [
        ([], None, []),
        (
            [{"name": "plugged", "emptyDisk": {"capacity": "1Gi"}}],
            None,
            [f"AddVolume request for [plugged] {TAKEN}"],
        ),
        ([], {"migrationUid": "u"}, ["Cannot handle volume requests while VMI migration is in progress"]),
        ([], {"migrationUid": "u", "completed": True}, []),
    ],
)
async def test_volume_requests_are_held_against_the_guest(
    volumes: list[Json], migration: Json | None, messages: list[str]
) -> None:
    kube = FakeKube()
    status = {"phase": "Running"} | ({"migrationState": migration} if migration else {})
    await put(kube, VIRTUAL_MACHINE_INSTANCES, "g", spec=GUEST | {"volumes": volumes}, status=status)
    request = asked("kubevirt.io", "virtualmachines", "VirtualMachine", with_request(ADD), with_request(), sub="status")
    refusal = await verdict(kube, request)
    causes = refusal.status["details"]["causes"] if refusal else []
    assert [cause["message"] for cause in causes] == messages
