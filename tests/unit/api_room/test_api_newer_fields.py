"""Fields of a newer version in a template reach what older controllers of ours make from it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.fake_kube import FakeKube

from virt_api.admission import KubeVirtAdmission
from virt_kube.admission import AdmissionRequest, UserInfo
from virt_kube.api import Json, Resource
from virt_kube.resources import REPLICA_SETS, VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINE_POOLS, VIRTUAL_MACHINES
from virt_types import labels
from virt_types.codec import decode, encode, from_builtins, to_builtins
from virt_types.v1 import VirtualMachine, VirtualMachineInstanceReplicaSet, VirtualMachineInstanceSpec

CONTROLLER = UserInfo(labels.CONTROLLER_USER, (labels.SERVICE_ACCOUNTS_GROUP,))
NEWER = "fieldOfANewerVersion"
GUEST: Json = {
    NEWER: {"a": [1]},
    "domain": {
        NEWER: True,
        "memory": {"guest": "64Mi", NEWER: "x"},
        "cpu": {"cores": 1, "features": [{"name": "vmx", NEWER: 1}]},
        "devices": {NEWER: [], "disks": [{"name": "root", "disk": {"bus": "virtio", NEWER: 2}}, {"name": "b"}]},
    },
    "volumes": [
        {"name": "root", NEWER: 3, "emptyDisk": {"capacity": "1Gi"}},
        {"name": "b", "containerDisk": {"image": "i"}},
    ],
}
TEMPLATE: Json = {"metadata": {"labels": {"a": "b"}}, "spec": GUEST}
MACHINE: Json = {"runStrategy": "Halted", "template": TEMPLATE, NEWER: 4}


def count(obj: Any) -> int:
    """How many fields of the newer version there are."""
    if isinstance(obj, list):
        return sum(map(count, obj))
    return sum(count(value) + (key == NEWER) for key, value in obj.items()) if isinstance(obj, dict) else 0


async def stored(kube: FakeKube, resource: Resource, spec: Json) -> Json:
    metadata = {"name": "owner", "namespace": "ns"}
    created: Json = json.loads(await kube.create(resource, "ns", {"metadata": metadata, "spec": spec}))
    return created


def owned(owner: Json, resource: Resource) -> Json:
    reference = {"apiVersion": resource.api_version, "kind": resource.kind, "name": "owner", "controller": True}
    return {"name": "made", "ownerReferences": [reference | {"uid": owner["metadata"]["uid"]}]}


async def admitted(kube: FakeKube | None, resource: Resource, obj: Json, old: Json | None = None, **user: Any) -> Json:
    request = AdmissionRequest(
        operation="UPDATE" if old else "CREATE",
        group=resource.group,
        version=resource.version,
        plural=resource.plural,
        kind=resource.kind,
        namespace="ns",
        name="made",
        subresource="",
        obj=obj,
        old=old,
        user=user.get("user", CONTROLLER),
    )
    result = await KubeVirtAdmission(kube=kube).admit(request)
    assert result.obj is not None
    return result.obj


def as_known(spec: Json, type_: Any) -> Json:
    """What a controller makes of a template: only what its types know."""
    known = to_builtins(from_builtins(spec, type_))
    assert (count(spec) > 0, count(known)) == (True, 0)
    return known


@pytest.mark.parametrize("resource", [VIRTUAL_MACHINES, REPLICA_SETS], ids=lambda resource: resource.kind)
async def test_instances_have_the_templates_newer_fields(resource: Resource) -> None:
    kube = FakeKube()
    spec = MACHINE if resource is VIRTUAL_MACHINES else {"template": TEMPLATE, "selector": {}}
    metadata = owned(await stored(kube, resource, spec), resource)
    made = {"metadata": metadata, "spec": as_known(GUEST, VirtualMachineInstanceSpec)}
    got = await admitted(kube, VIRTUAL_MACHINE_INSTANCES, made)
    assert count(got["spec"]) == count(GUEST) == 7
    assert got["spec"]["domain"]["devices"]["disks"][0]["disk"][NEWER] == 2
    assert got["spec"]["volumes"][0][NEWER] == 3


async def test_machines_of_a_pool_have_them_at_first_and_when_they_follow() -> None:
    kube = FakeKube()
    owner = await stored(kube, VIRTUAL_MACHINE_POOLS, {"virtualMachineTemplate": {"spec": MACHINE}, "selector": {}})
    typed = from_builtins({"spec": MACHINE}, VirtualMachine)
    made = {"metadata": owned(owner, VIRTUAL_MACHINE_POOLS), "spec": to_builtins(typed)["spec"]}
    first = await admitted(kube, VIRTUAL_MACHINES, made)
    assert count(first["spec"]) == count(MACHINE) == 8
    changed = made | {"spec": made["spec"] | {"runStrategy": "Always"}}
    then = await admitted(kube, VIRTUAL_MACHINES, changed, first)
    assert count(then["spec"]) == 8
    assert then["spec"]["runStrategy"] == "Always"


async def test_only_from_the_very_owner_and_only_for_our_controller() -> None:
    kube = FakeKube()
    owner = await stored(kube, VIRTUAL_MACHINES, MACHINE)
    known = as_known(GUEST, VirtualMachineInstanceSpec)
    namesake = owned(owner | {"metadata": {"uid": "another"}}, VIRTUAL_MACHINES)
    for metadata, user in (
        (namesake, CONTROLLER),
        ({"name": "made"}, CONTROLLER),
        (owned(owner, VIRTUAL_MACHINES), UserInfo("alice")),
    ):
        got = await admitted(kube, VIRTUAL_MACHINE_INSTANCES, {"metadata": metadata, "spec": known}, user=user)
        assert count(got) == 0
    metadata = owned(owner, VIRTUAL_MACHINES)
    assert count(await admitted(None, VIRTUAL_MACHINE_INSTANCES, {"metadata": metadata, "spec": known})) == 0


async def test_what_is_plugged_into_an_instance_leaves_its_newer_fields_alone() -> None:
    old = {"metadata": {"name": "made"}, "spec": GUEST}
    plugged = {"name": "p", "persistentVolumeClaim": {"claimName": "c", "hotpluggable": True}}
    now = as_known(GUEST, VirtualMachineInstanceSpec)
    now["volumes"].append(plugged)
    now["domain"]["devices"]["disks"].append({"name": "p", "disk": {"bus": "scsi"}})
    got = await admitted(None, VIRTUAL_MACHINE_INSTANCES, {"metadata": {"name": "made"}, "spec": now}, old)
    assert count(got["spec"]) == count(GUEST)
    assert got["spec"]["volumes"][2] == plugged


async def test_an_owner_that_is_gone_or_strange_changes_nothing() -> None:
    kube = FakeKube()
    owner = await stored(kube, VIRTUAL_MACHINES, MACHINE)
    metadata = owned(owner, VIRTUAL_MACHINES)
    await kube.delete(VIRTUAL_MACHINES, "ns", "owner")
    known = as_known(GUEST, VirtualMachineInstanceSpec)
    assert count(await admitted(kube, VIRTUAL_MACHINE_INSTANCES, {"metadata": metadata, "spec": known})) == 0


def test_what_controllers_read_drops_them_without_complaint() -> None:
    """The reason for all of this."""
    replica_set = {"spec": {"template": TEMPLATE, "selector": {}}}
    assert count(to_builtins(decode(encode(replica_set), VirtualMachineInstanceReplicaSet))) == 0
