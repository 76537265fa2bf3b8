"""expand-spec and expand-vm-spec over HTTP: as recorded from KubeVirt, who may read what, and why a VM can't be."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from support.fake_kube import FakeKube

from virt_api.app import build
from virt_kube.api import Json, Resource
from virt_kube.resources import VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES, VIRTUAL_MACHINES

RECORDED = Path(__file__).parents[3].parent / "shared/data/oracle/subresources.jsonl"
BASE = "/apis/subresources.kubevirt.io/v1/namespaces/ns"
USER = {"X-Remote-User": "alice", "X-Remote-Group": "devs"}
SIZE = {"cpu": {"guest": 2}, "memory": {"guest": "128Mi"}}


class Reviewing(FakeKube):
    """Answers what users may read, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.allowed = True
        self.asked: list[Json] = []

    async def create(self, resource: Resource, namespace: str, body: Any) -> bytes:
        if resource.kind != "SubjectAccessReview":
            return await super().create(resource, namespace, body)
        self.asked.append(body["spec"])
        return json.dumps(body | {"status": {"allowed": self.allowed}}).encode()


@pytest.fixture
async def kube() -> Reviewing:
    kube = Reviewing()
    size = {"apiVersion": "instancetype.kubevirt.io/v1beta1", "metadata": {"name": "small"}, "spec": SIZE}
    await kube.create(VIRTUAL_MACHINE_CLUSTER_INSTANCETYPES, "", size)
    return kube


@pytest.fixture
async def http(kube: Reviewing) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(build(kube, handler_socket="unused"))) as client:
        yield client


def machine(domain: Json | None = None, name: str = "small", **more: Any) -> Json:
    spec = {
        "runStrategy": "Halted",
        "instancetype": {"name": name},
        "template": {"spec": {"domain": {"devices": {}, **(domain or {})}}},
    }
    metadata = {"name": "vm1", "namespace": "ns"}
    return {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine", "metadata": metadata, "spec": spec, **more}


def cases() -> list[Json]:
    if not RECORDED.exists():
        return []
    lines = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    return [case for case in lines if case["action"].startswith("expand-spec")]


@pytest.mark.skipif(not cases(), reason="the recorded answers are not beside this checkout")
async def test_as_recorded(kube: Reviewing, http: TestClient[Any, Any]) -> None:
    assert len(cases()) == 10
    for case in cases():
        request, response = case["request"], case["response"]
        namespace, _, name, _ = request["path"].split("/")[-4:]
        if response["code"] == 200:
            await kube.create(VIRTUAL_MACHINES, namespace, response["body"])
            stored = kube._objects["virtualmachines", namespace, name]
        headers = {"Accept": request["accept"]} if request.get("accept") else {}
        answer = await http.get(request["path"], headers=headers)
        assert answer.status == response["code"], case["case"]
        if answer.status == 200:
            assert await answer.json() == stored, case["case"]
            del kube._objects["virtualmachines", namespace, name]
        elif answer.status == 404:
            assert await answer.json() == response["body"], case["case"]


async def test_the_template_says_all(kube: Reviewing, http: TestClient[Any, Any]) -> None:
    given = machine()
    given["spec"]["template"]["spec"]["ofTomorrow"] = {"kept": True}
    await kube.create(VIRTUAL_MACHINES, "ns", given)
    answer = await http.get(f"{BASE}/virtualmachines/vm1/expand-spec", headers=USER)
    assert answer.status == 200
    spec = (await answer.json())["spec"]
    assert "instancetype" not in spec
    assert spec["template"]["spec"]["domain"]["memory"] == {"guest": "128Mi"}
    assert spec["template"]["spec"]["ofTomorrow"] == {"kept": True}
    (asked,) = kube.asked
    assert asked == {
        "user": "alice",
        "groups": ["devs"],
        "resourceAttributes": {
            "verb": "get",
            "group": "instancetype.kubevirt.io",
            "version": "v1beta1",
            "resource": "virtualmachineclusterinstancetypes",
            "namespace": "",
            "name": "small",
        },
    }


@pytest.mark.parametrize("headers", [USER, {}])
async def test_nobody_reads_by_way_of_a_vm(kube: Reviewing, http: TestClient[Any, Any], headers: Any) -> None:
    kube.allowed = False
    answer = await http.put(f"{BASE}/expand-vm-spec", json=machine(), headers=headers)
    assert (answer.status, "Subject not allowed to access resource" in (await answer.json())["message"]) == (403, True)


@pytest.mark.parametrize(
    ("vm", "message"),
    [
        (
            machine({"memory": {"guest": "1Gi"}}),
            "VM field(s) spec.template.spec.domain.memory.guest conflicts with selected instance type",
        ),
        (machine(name="nosuch"), 'virtualmachineclusterinstancetypes.instancetype.kubevirt.io "nosuch" not found'),
    ],
)
async def test_why_a_vm_can_not_be_expanded(
    kube: Reviewing, http: TestClient[Any, Any], vm: Json, message: str
) -> None:
    await kube.create(VIRTUAL_MACHINES, "ns", vm)
    stored = await http.get(f"{BASE}/virtualmachines/vm1/expand-spec", headers=USER)
    head = 'Operation cannot be fulfilled on virtualmachine.kubevirt.io "vm1": '
    assert (stored.status, (await stored.json())["message"]) == (409, head + message)
    given = await http.put(f"{BASE}/expand-vm-spec", json=vm, headers=USER)
    assert (given.status, (await given.json())["message"]) == (400, message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty request body"),
        (b"{", "Can not unmarshal Request body to struct, error: "),
        (b"[]", "Can not unmarshal Request body to struct, error: "),
        (b"{}", "Object is not a valid VirtualMachine"),
        (b'{"spec": {"template": 3}}', "Object is not a valid VirtualMachine"),
        (
            json.dumps(machine(metadata={"name": "a", "namespace": "other"})).encode(),
            "VM namespace must be empty or ns",
        ),
        (
            json.dumps(machine()).replace('"name": "small"', '"inferFromVolume": "root"').encode(),
            "spec.instancetype names none (inferFromVolume is resolved when the VM is created)",
        ),
        (
            json.dumps(machine()).replace('"name": "small"', '"name": "a", "kind": "Foo"').encode(),
            "got unexpected kind in",
        ),
    ],
)
async def test_bodies_that_are_no_vm(http: TestClient[Any, Any], body: bytes, message: str) -> None:
    answer = await http.put(f"{BASE}/expand-vm-spec", data=body, headers=USER)
    assert answer.status == 400
    assert (await answer.json())["message"].startswith(message)


async def test_a_body_does_not_say_to_which_revision_it_is_held(http: TestClient[Any, Any]) -> None:
    ref = {"name": "small", "kind": "VirtualMachineClusterInstancetype", "controllerRevisionRef": {"name": "another"}}
    vm = machine(status={"instancetypeRef": ref})
    answer = await http.put(f"{BASE}/expand-vm-spec", json=vm, headers=USER)
    assert (await answer.json())["spec"]["template"]["spec"]["domain"]["cpu"]["sockets"] == 2
