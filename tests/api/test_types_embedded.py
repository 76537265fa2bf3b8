"""Every CRD installs in the embedded API server, and the server answers what `virtctl validate` says offline."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from virt_api.admission import KubeVirtAdmission
from virt_kube.admission import UserInfo
from virt_kube.api import ApiError, KubeClient, Resource
from virt_local.apiserver.server import ApiServer
from virt_local.store.store import Store
from virt_types.check import judge, known_kind
from virt_types.crds import custom_resource_definitions
from virt_types.kinds import KINDS
from virt_types.manifest import load

SHARED = Path(__file__).resolve().parents[3] / "shared"
SELECTOR = {"matchLabels": {"a": "b"}}
LABELS = {"labels": {"a": "b"}}
GUEST = {"domain": {"memory": {"guest": "64Mi"}, "devices": {}}}
MACHINE = {"runStrategy": "Halted", "template": {"spec": GUEST}}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
SIZE = {"cpu": {"guest": 1}, "memory": {"guest": "1Gi"}}
# Kind -> a good spec, and specs that are refused: by the schema, and by a rule where there is one.
SPECS: dict[str, list[dict[str, Any]]] = {
    "VirtualMachine": [MACHINE, {"template": {"spec": GUEST}}, MACHINE | {"running": 1}],
    "VirtualMachineInstance": [GUEST, {}, GUEST | {"hostname": "A"}],
    "VirtualMachineInstanceReplicaSet": [
        {"selector": SELECTOR, "template": {"metadata": LABELS, "spec": GUEST}},
        {"template": {"spec": GUEST}},
        {"selector": SELECTOR, "template": {"spec": GUEST}},
    ],
    "VirtualMachineInstancePreset": [{"selector": SELECTOR, "domain": {"devices": {}}}, {}, {"selector": {}}],
    "VirtualMachineInstanceMigration": [{"vmiName": "a"}, {"vmiName": 1}, {}],
    "VirtualMachinePool": [
        {"selector": SELECTOR, "virtualMachineTemplate": {"metadata": LABELS, "spec": MACHINE}},
        {"selector": SELECTOR, "virtualMachineTemplate": {"spec": GUEST}},
        {"selector": SELECTOR, "virtualMachineTemplate": {"spec": MACHINE}},
    ],
    "VirtualMachineInstancetype": [SIZE, {"cpu": {"guest": 1}}],
    "VirtualMachineClusterInstancetype": [SIZE, {"memory": {"guest": "1Gi"}}],
    "VirtualMachinePreference": [{"cpu": {"preferredCPUTopology": "cores"}}, {"cpu": 1}],
    "VirtualMachineClusterPreference": [{}, {"devices": {"preferredDiskBus": 1}}],
    "DataVolume": [{"source": {"blank": {}}, "pvc": CLAIM}, {"source": 1}, {"source": {"blank": {}}}],
    "DataSource": [{"source": {"pvc": {"name": "a", "namespace": "b"}}}, {}],
}


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[KubeClient]:
    store = await Store.open(tmp_path / "store.db")
    server = ApiServer(store, admission=KubeVirtAdmission(require_node=False))
    await server.bootstrap(custom_resource_definitions(KINDS))
    yield server.client(UserInfo("virtctl-admin", ("system:masters",)))
    await store.close()


async def answer(admin: KubeClient, obj: dict[str, Any]) -> list[tuple[str, str]] | None:
    """The causes of a refusal, None when the object was created."""
    kind = known_kind(obj)
    assert kind is not None
    resource = Resource(kind.group, kind.version, kind.plural, kind.kind, namespaced=kind.namespaced)
    body = obj | {"metadata": obj["metadata"] | ({"namespace": "default"} if kind.namespaced else {})}
    try:
        created = json.loads(await admin.create(resource, "default" if kind.namespaced else "", body))
    except ApiError as error:
        causes = error.status.get("details", {}).get("causes", ())
        return sorted((cause.get("field", ""), cause["message"]) for cause in causes)
    assert created["metadata"]["uid"]
    return None


def said(obj: dict[str, Any]) -> list[tuple[str, str]] | None:
    """What is said offline, but for unknown fields, which a server drops unless the client asks for strictness."""
    verdict = judge(obj)
    causes = [cause for cause in verdict.causes if cause.reason != "FieldUnknown"]
    return None if verdict.accepted else sorted((cause.field, cause.message) for cause in causes)


def agrees(theirs: list[tuple[str, str]] | None, ours: list[tuple[str, str]] | None) -> bool:
    """The same verdict and causes; a server tells of the rules only once the schema is kept."""
    if theirs is None or ours is None:
        return theirs == ours
    return set(theirs) <= set(ours)


def test_every_kind_is_tried() -> None:
    assert set(SPECS) == {kind.kind for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
async def test_the_server_answers_as_judge_does(admin: KubeClient, kind: Any) -> None:
    for number, spec in enumerate(SPECS[kind.kind]):
        obj = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": f"a{number}"}, "spec": spec}
        theirs = await answer(admin, obj)
        assert (theirs is None) == (number == 0), (obj, theirs)
        if theirs is not None:
            theirs = [cause for cause in theirs if "some validation rules were not checked" not in cause[1]]
        assert agrees(theirs, said(obj))


async def test_kubevirts_examples(admin: KubeClient) -> None:
    folder = SHARED / "data/manifests"
    if not folder.is_dir():
        pytest.skip("no recorded data here: ../shared/data is missing")
    tried = 0
    for path in sorted(folder.glob("*.yaml")):
        for document in load(path.read_bytes(), path.name):
            if known_kind(document.obj) is not None:
                document.obj["metadata"]["name"] = f"a{tried}"  # two of them have the same
                assert agrees(await answer(admin, document.obj), said(document.obj)), path.name
                tried += 1
    assert tried > 40
