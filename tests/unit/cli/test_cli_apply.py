"""apply where others write too: strategic merge for Kubernetes' own kinds, conflicts, and failures in the middle."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_fake_api import FakeApi, status
from cli_program import Run
from hypothesis import given
from hypothesis import strategies as st

from virt_local.apiserver.strategic import strategic_patch
from virtctl import strategic

VM = "/apis/kubevirt.io/v1/namespaces/default/virtualmachines"
SERVICES = "/api/v1/namespaces/default/services"
RECORD = "kubectl.kubernetes.io/last-applied-configuration"

pytestmark = pytest.mark.usefixtures("kube")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("virtctl.commands.apply.RETRY_SECONDS", 0.0)


@pytest.fixture
def services(api: FakeApi) -> str:
    """The path of a service that somebody else has added a port to."""
    api.on("GET", "/api/v1", (200, {"resources": [{"name": "services", "kind": "Service", "namespaced": True}]}))
    return f"{SERVICES}/web"


def port(number: int, **more: Any) -> dict[str, Any]:
    return {"port": number, **more}


def service(*ports: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": list(ports), **more},
    }


def machine(name: str) -> dict[str, Any]:
    domain = {"devices": {}, "memory": {"guest": "64Mi"}}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name},
        "spec": {"runStrategy": "Halted", "template": {"spec": {"domain": domain}}},
    }


def stored(applied: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """An object as the server has it after `applied` was applied."""
    record = {"annotations": {RECORD: json.dumps(applied)}}
    return {**applied, "metadata": {**applied["metadata"], "namespace": "default", **record, **metadata}}


def files(tmp_path: Path, *documents: dict[str, Any]) -> str:
    path = tmp_path / "m.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    return str(path)


def test_ports_that_others_added_stay(api: FakeApi, virtctl: Run, services: str, tmp_path: Path) -> None:
    current = service(port(80, protocol="TCP", nodePort=31000), port(443, protocol="TCP"), port(9, protocol="TCP"))
    current["metadata"] = stored(service(port(80), port(443)))["metadata"]
    api.on("GET", services, (200, current))
    api.on("PATCH", services, (200, {**current, "spec": "changed"}))
    wanted = service(port(80, targetPort=8080), port(22))
    assert virtctl("apply", "-f", files(tmp_path, wanted)).out == "service/web configured\n"
    sent = api.seen[-1]
    assert sent.headers["content-type"] == "application/strategic-merge-patch+json"
    assert sent.json["spec"] == {
        "ports": [{"port": 80, "targetPort": 8080}, {"port": 22}, {"port": 443, "$patch": "delete"}],
        "$setElementOrder/ports": [{"port": 80}, {"port": 22}],
    }
    patched = strategic_patch(copy.deepcopy(current), sent.json)
    ports = {each["port"]: each for each in patched["spec"]["ports"]}
    assert ports.keys() == {80, 22, 9}
    assert ports[80] == {"port": 80, "protocol": "TCP", "nodePort": 31000, "targetPort": 8080}
    recorded = {**wanted, "metadata": {"name": "web", "namespace": "default", "annotations": {}}}
    assert json.loads(patched["metadata"]["annotations"][RECORD]) == recorded


def test_unchanged_in_spite_of_defaults(api: FakeApi, virtctl: Run, services: str, tmp_path: Path) -> None:
    wanted = service(port(80))
    current = stored(service(port(80, protocol="TCP", targetPort=80), clusterIP="10.0.0.1"))
    current["metadata"] = stored(wanted)["metadata"]
    api.on("GET", services, (200, current))
    assert virtctl("apply", "-f", files(tmp_path, wanted)).out == "service/web unchanged\n"
    assert "PATCH" not in [seen.method for seen in api.seen]


@pytest.mark.parametrize("metadata", [{}, {"annotations": {}}, {"annotations": {}, "namespace": "default"}])
def test_unchanged_after_any_program_applied_it(
    api: FakeApi, virtctl: Run, services: str, tmp_path: Path, metadata: dict[str, Any]
) -> None:
    wanted = service(port(80))
    applied = {**wanted, "metadata": {"name": "web", **metadata}}
    api.on("GET", services, (200, stored(applied)))
    assert virtctl("apply", "-f", files(tmp_path, wanted)).out == "service/web unchanged\n"


def test_unchanged_when_the_server_had_it_in_other_words(
    api: FakeApi, virtctl: Run, services: str, tmp_path: Path
) -> None:
    wanted = service(port(80), sessionAffinityConfig={"timeout": "1024Mi"})
    current = stored(wanted, resourceVersion="4")
    current = {**current, "spec": {**current["spec"], "sessionAffinityConfig": {"timeout": "1Gi"}}}
    api.on("GET", services, (200, current))
    api.on("PATCH", services, (200, {**current, "metadata": {**current["metadata"], "resourceVersion": "5"}}))
    assert virtctl("apply", "-f", files(tmp_path, wanted)).out == "service/web unchanged\n"
    assert api.seen[-1].method == "PATCH"


def test_two_ports_of_one_number_are_replaced(api: FakeApi, virtctl: Run, services: str, tmp_path: Path) -> None:
    before = service(port(53, protocol="TCP"), port(53, protocol="UDP"))
    api.on("GET", services, (200, stored(before)))
    api.on("PATCH", services, (200, {}))
    assert virtctl("apply", "-f", files(tmp_path, before)).out == "service/web unchanged\n"
    wanted = service(port(53, protocol="TCP"), port(53, protocol="UDP", name="dns"))
    virtctl("apply", "-f", files(tmp_path, wanted))
    patched = strategic_patch(copy.deepcopy(stored(before)), api.seen[-1].json)
    assert patched["spec"] == wanted["spec"]


def test_conflict_is_tried_anew_from_the_newer_object(api: FakeApi, virtctl: Run, tmp_path: Path) -> None:
    wanted = machine("vm1")
    halted = stored(wanted)
    halted["spec"] = {**halted["spec"], "runStrategy": "Always"}
    newer = {**halted, "spec": {**halted["spec"], "runStrategy": "Manual"}}
    api.on("GET", f"{VM}/vm1", (200, halted), (200, newer))
    conflict = status(409, "Conflict", "the object has been modified")
    api.on("PATCH", f"{VM}/vm1", conflict, (200, {}))
    result = virtctl("apply", "-f", files(tmp_path, wanted))
    assert result == (0, "virtualmachine.kubevirt.io/vm1 configured\n", "")
    assert [seen.method for seen in api.seen] == ["GET", "PATCH", "GET", "PATCH"]


def test_somebody_else_creates_it_first(api: FakeApi, virtctl: Run, tmp_path: Path) -> None:
    wanted = machine("vm1")
    api.on("GET", f"{VM}/vm1", status(404, "NotFound", "no"), (200, stored(wanted)))
    api.on("POST", VM, status(409, "AlreadyExists", "it exists"))
    assert virtctl("apply", "-f", files(tmp_path, wanted)).out == "virtualmachine.kubevirt.io/vm1 unchanged\n"


def test_conflict_without_end_is_an_error(api: FakeApi, virtctl: Run, tmp_path: Path) -> None:
    path = files(tmp_path, machine("vm1"))
    api.on("POST", VM, status(409, "Conflict", "always"))
    assert virtctl("apply", "-f", path)[:2] == (1, "")
    assert [seen.method for seen in api.seen].count("POST") == 5


def test_failure_in_the_middle_says_what_was_done(api: FakeApi, virtctl: Run, tmp_path: Path) -> None:
    dry = f"{VM}?fieldManager=kubectl-client-side-apply&fieldValidation=Strict&dryRun=All"
    api.on("POST", dry, (201, {}))
    api.on("GET", f"{VM}/a", (200, stored(machine("a"))))
    api.on("POST", VM, (201, {}), status(403, "Forbidden", "quota exceeded"))
    path = files(tmp_path, *(machine(name) for name in "abcd"))
    code, out, err = virtctl("apply", "-f", path)
    assert code == 1
    assert out == "virtualmachine.kubevirt.io/a unchanged\nvirtualmachine.kubevirt.io/b created\n"
    first, account = err.splitlines()
    assert first.endswith("quota exceeded")
    assert first.startswith(f"{path}:")
    assert account.startswith(
        "Done before: virtualmachine.kubevirt.io/a unchanged, virtualmachine.kubevirt.io/b created. "
        f"Not tried: virtualmachine.kubevirt.io/d ({path}:"
    )


def test_what_machines_refer_to_comes_first(api: FakeApi, virtctl: Run, tmp_path: Path) -> None:
    """A server looks it up when it judges a machine, which it can't do in a dry run either."""
    size = {
        "apiVersion": "instancetype.kubevirt.io/v1beta1",
        "kind": "VirtualMachineClusterInstancetype",
        "metadata": {"name": "small"},
        "spec": {"cpu": {"guest": 1}, "memory": {"guest": "64Mi"}},
    }
    sized = machine("vm1")
    sized["spec"] = {
        "runStrategy": "Halted",
        "instancetype": {"name": "small"},
        "template": {"spec": {"domain": {"devices": {}}}},
    }
    sizes = "/apis/instancetype.kubevirt.io/v1beta1/virtualmachineclusterinstancetypes"
    served = {"name": "virtualmachineclusterinstancetypes", "kind": size["kind"], "namespaced": False}
    api.on("GET", "/apis/instancetype.kubevirt.io/v1beta1", (200, {"resources": [served]}))
    api.on("POST", sizes, (201, {}))
    api.on("POST", VM, (201, {}))
    assert virtctl("apply", "-f", files(tmp_path, sized, size)).code == 0
    posts = [(seen.path.partition("?")[0], "dryRun" in seen.path) for seen in api.seen if seen.method == "POST"]
    assert posts == [(sizes, True), (sizes, False), (VM, False)]


def test_an_instance_may_get_its_memory_from_a_preset(api: FakeApi, virtctl: Run, tmp_path: Path) -> None:
    instances = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances"
    instance = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "a", "labels": {"size": "small"}},
        "spec": {"domain": {"devices": {}}},
    }
    api.on("POST", instances, (201, {}))
    assert virtctl("apply", "-f", files(tmp_path, instance)).out.endswith("/a created\n")
    del instance["metadata"]["labels"]
    assert "no memory requested" in virtctl("apply", "-f", files(tmp_path, instance)).err


def test_status_of_a_manifest_is_nobodys_wish(api: FakeApi, virtctl: Run, tmp_path: Path) -> None:
    wanted = machine("vm1")
    api.on("GET", f"{VM}/vm1", (200, {**stored(wanted), "status": {"ready": True}}))
    path = files(tmp_path, {**wanted, "status": {"ready": False}})
    assert virtctl("apply", "-f", path).out == "virtualmachine.kubevirt.io/vm1 unchanged\n"


PORTS = st.dictionaries(
    st.integers(1, 5),
    st.dictionaries(st.sampled_from(["name", "targetPort", "protocol"]), st.sampled_from("xyz"), max_size=3),
    max_size=4,
).map(lambda found: [port(number, **fields) for number, fields in found.items()])
FINALIZERS = st.lists(st.sampled_from("abcd"), unique=True, max_size=4)
OBJECTS = st.builds(
    lambda ports, finalizers: {"spec": {"ports": ports}, "metadata": {"finalizers": finalizers}}, PORTS, FINALIZERS
)


@given(OBJECTS, OBJECTS, OBJECTS)
def test_patched_lists_have_what_is_wanted_and_keep_what_is_not_ours(last: Any, wanted: Any, current: Any) -> None:
    result = strategic_patch(copy.deepcopy(current), strategic.three_way(last, wanted, current))
    ours, aims, before, after = (
        {each["port"]: each for each in obj["spec"]["ports"]} for obj in (last, wanted, current, result)
    )
    for number, fields in aims.items():
        assert fields.items() <= after[number].items()
    assert after.keys() == aims.keys() | (before.keys() - ours.keys())
    assert all(after[number] == before[number] for number in before.keys() - ours.keys() - aims.keys())
    assert [number for number in after if number in aims] == list(aims)
    aimed, seen, dropped, found = (set(obj["metadata"]["finalizers"]) for obj in (wanted, current, last, result))
    assert found == aimed | (seen - dropped)
    assert strategic.three_way(wanted, wanted, result) == {}
