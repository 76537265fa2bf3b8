"""list, apply, delete, expose and version: requests, texts, and errors that come before anything is changed."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from cli_fake_api import FakeApi, Handler, status
from cli_program import Run
from hypothesis import given
from hypothesis import strategies as st

from virt_types.names import instance_id
from virtctl import merge

NS = "/apis/kubevirt.io/v1/namespaces/default"
VM, VMI = f"{NS}/virtualmachines", f"{NS}/virtualmachineinstances"
SERVICES = "/api/v1/namespaces/default/services"
CORE = "/api/v1"
RECORD = "kubectl.kubernetes.io/last-applied-configuration"

pytestmark = pytest.mark.usefixtures("kube")


def table(
    *rows: tuple[str, ...], namespace: str = "default", columns: str = "Name Age Status Ready*"
) -> dict[str, Any]:
    definitions = [{"name": c.strip("*"), "type": "string", "priority": int(c.endswith("*"))} for c in columns.split()]
    return {
        "kind": "Table",
        "metadata": {"resourceVersion": "5"},
        "columnDefinitions": definitions,
        "rows": [{"cells": list(r), "object": {"metadata": {"name": r[0], "namespace": namespace}}} for r in rows],
    }


def test_list_shows_the_servers_table(api: FakeApi, virtctl: Run) -> None:
    api.on("GET", VM, (200, table(("vm1", "5d", "Running", "True"), ("longer-name", "1m", "Stopped", "False"))))
    wanted = "NAME          AGE   STATUS\nvm1           5d    Running\nlonger-name   1m    Stopped\n"
    assert virtctl("list", "vms") == (0, wanted, "")
    assert api.seen[0].path == f"{VM}?limit=500"
    assert api.seen[0].headers["accept"].startswith("application/json;as=Table;v=v1;g=meta.k8s.io")
    assert virtctl("list", "vm", "-o", "wide").out.splitlines()[0].split() == ["NAME", "AGE", "STATUS", "READY"]
    assert virtctl("list", "vm", "-o", "name").out.splitlines()[0] == "virtualmachine.kubevirt.io/vm1"


def test_list_both_kinds(api: FakeApi, virtctl: Run) -> None:
    api.on("GET", VM, (200, table(("vm1", "5d", "Running", ""))))
    api.on("GET", VMI, (200, table(("vm1", "5d", "Running", ""))))
    names = [line.split()[0] for line in virtctl("list").out.splitlines() if line]
    assert names == ["NAME", "virtualmachine.kubevirt.io/vm1", "NAME", "virtualmachineinstance.kubevirt.io/vm1"]


def test_list_everywhere_by_label_over_pages(api: FakeApi, virtctl: Run) -> None:
    path = "/apis/kubevirt.io/v1/virtualmachines?labelSelector=app%3Dweb%2Ctier%21%3Ddb&limit=500"
    first = table(("a", "1d", "Running", ""), namespace="one")
    first["metadata"]["continue"] = "more+"
    api.on("GET", path, (200, first))
    api.on("GET", f"{path}&continue=more%2B", (200, table(("b", "1d", "Stopped", ""), namespace="two")))
    rows = [line.split() for line in virtctl("list", "vm", "-A", "-l", "app=web,tier!=db").out.splitlines()]
    assert rows[0][:2] == ["NAMESPACE", "NAME"]
    assert [row[:2] for row in rows[1:]] == [["one", "a"], ["two", "b"]]


def test_list_nothing(api: FakeApi, virtctl: Run) -> None:
    api.on("GET", VM, (200, table()))
    assert virtctl("list", "vm") == (0, "", "No resources found in default namespace.\n")


def test_list_of_a_server_that_prints_no_tables(api: FakeApi, virtctl: Run) -> None:
    api.on("GET", VM, (200, {"items": [{"metadata": {"name": "vm1"}}]}))
    api.on("GET", f"{VM}/vm1", (200, {"metadata": {"name": "vm1"}}))
    assert virtctl("list", "vm").out == "NAME\nvm1\n"
    assert virtctl("list", "vm", "vm1").out == "NAME\nvm1\n"


def test_list_documents(api: FakeApi, virtctl: Run) -> None:
    api.on("GET", VM, (200, {"items": [{"metadata": {"name": "vm1"}, "status": {"text": "a\nb"}}]}))
    document = json.loads(virtctl("list", "vm", "-o", "json").out)
    assert document["kind"] == "List"
    assert document["items"][0]["kind"] == "VirtualMachine"
    out = virtctl("list", "vm", "-o", "yaml").out
    assert yaml.safe_load(out) == document
    assert "text: |-\n" in out


def test_list_watch_follows_and_starts_anew_after_gone(api: FakeApi, virtctl: Run) -> None:
    def change(handler: Handler) -> None:
        handler.watch(
            {"type": "MODIFIED", "object": table(("vm1", "6d", "Stopped", ""))}, {"type": "ERROR", "object": {}}
        )

    api.on("GET", f"{VM}?limit=500", (200, table(("vm1", "5d", "Running", ""))))
    api.on("GET", f"{VM}?watch=true&resourceVersion=5", change)
    api.on("GET", f"{VM}?watch=true&resourceVersion=", status(403, "Forbidden", "enough"))
    result = virtctl("list", "vm", "-w")
    assert result.out == "NAME   AGE   STATUS\nvm1    5d    Running\nvm1    6d    Stopped\n"
    assert (result.code, result.err) == (1, "enough\n")


def test_names_can_not_drive_the_terminal(api: FakeApi, virtctl: Run) -> None:
    api.on("GET", VM, (200, table(("vm\x1b[2Jevil\x9b", "1d", "Running", ""))))
    assert "\x1b" not in virtctl("list", "vm").out
    api.on(
        "PUT",
        "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachines/x/start",
        status(409, "x", "a\x1b[2Jb"),
    )
    assert "\x1b" not in virtctl("start", "x").err


MANIFEST: dict[str, Any] = {
    "apiVersion": "kubevirt.io/v1",
    "kind": "VirtualMachine",
    "metadata": {"name": "vm1"},
    "spec": {
        "runStrategy": "Halted",
        "template": {
            "spec": {
                "domain": {
                    "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}]},
                    "resources": {"requests": {"memory": "64Mi"}},
                },
                "volumes": [{"name": "root", "containerDisk": {"image": "registry/image"}}],
            }
        },
    },
}


def manifest(tmp_path: Path, *documents: Any, name: str = "m.yaml") -> str:
    path = tmp_path / name
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    return str(path)


def changed(**spec: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(MANIFEST))
    copy["spec"].update(spec)
    return copy


def stored(manifest: dict[str, Any]) -> dict[str, Any]:
    """The object as a server has it: applied with kubectl, with defaults and a status."""
    copy: dict[str, Any] = json.loads(json.dumps(manifest))
    copy["metadata"]["annotations"] = {RECORD: json.dumps(manifest), "other": "kept"}
    copy["metadata"]["namespace"] = "default"
    copy["spec"]["template"]["spec"]["domain"]["machine"] = {"type": "q35"}
    copy["spec"]["template"]["spec"]["volumes"][0]["containerDisk"]["imagePullPolicy"] = "Always"
    return {**copy, "status": {"printableStatus": "Stopped"}}


def test_apply_creates(api: FakeApi, virtctl: Run, tmp_path: Path) -> None:
    api.on("POST", VM, (201, {}))
    assert virtctl("apply", "-f", manifest(tmp_path, MANIFEST)) == (0, "virtualmachine.kubevirt.io/vm1 created\n", "")
    sent = api.seen[-1]
    assert sent.path == f"{VM}?fieldManager=kubectl-client-side-apply&fieldValidation=Strict"
    body = sent.json
    record = body["metadata"]["annotations"].pop(RECORD)
    assert body == {**MANIFEST, "metadata": {"name": "vm1", "namespace": "default", "annotations": {}}}
    # To the letter what kubectl records, so that neither finds a change after the other.
    assert record == json.dumps(body, separators=(",", ":"), sort_keys=True) + "\n"


def test_apply_patches_only_what_changed(api: FakeApi, virtctl: Run, tmp_path: Path) -> None:
    before = changed(instancetype={"name": "small"})
    api.on("GET", f"{VM}/vm1", (200, stored(before)))
    api.on("PATCH", f"{VM}/vm1", (200, {}))
    assert virtctl("apply", "-f", manifest(tmp_path, changed(runStrategy="Always"))).out.endswith("/vm1 configured\n")
    sent = api.seen[-1]
    assert sent.headers["content-type"] == "application/merge-patch+json"
    assert sent.json["spec"] == {"runStrategy": "Always", "instancetype": None}
    assert list(sent.json["metadata"]["annotations"]) == [RECORD]


def test_apply_again_changes_nothing(api: FakeApi, virtctl: Run, tmp_path: Path) -> None:
    api.on("GET", f"{VM}/vm1", (200, stored(MANIFEST)))
    assert virtctl("apply", "-f", manifest(tmp_path, MANIFEST)).out == "virtualmachine.kubevirt.io/vm1 unchanged\n"
    assert [seen.method for seen in api.seen] == ["GET"]


def test_apply_reads_stdin_and_converts_old_manifests(
    api: FakeApi, virtctl: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = changed()
    old.update(apiVersion="kubevirt.io/v1alpha1", kind="OfflineVirtualMachine")
    api.on("POST", VM, (201, {}))
    with Path(manifest(tmp_path, old)).open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        result = virtctl("apply", "-f", "-")
    assert result.out == "virtualmachine.kubevirt.io/vm1 created\n"
    assert "stdin:1: kind: OfflineVirtualMachine is VirtualMachine today" in result.err
    assert api.seen[-1].json["apiVersion"] == "kubevirt.io/v1"


def test_apply_checks_all_on_the_server_before_it_creates_one(api: FakeApi, virtctl: Run, tmp_path: Path) -> None:
    second = {**MANIFEST, "metadata": {"name": "vm2"}}
    dry = f"{VM}?fieldManager=kubectl-client-side-apply&fieldValidation=Strict&dryRun=All"
    api.on("POST", dry, (201, {}), status(422, "Invalid", "vm2 is forbidden by quota"))
    path = manifest(tmp_path, MANIFEST, second)
    result = virtctl("apply", "-f", path)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"{path}:")
    assert "vm2 is forbidden by quota" in result.err
    assert all("dryRun=All" in seen.path for seen in api.seen if seen.method == "POST")


def test_apply_asks_the_server_for_kinds_that_are_not_ours(api: FakeApi, virtctl: Run, tmp_path: Path) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "other"}}
    api.on("GET", CORE, (200, {"resources": [{"name": "secrets", "kind": "Secret", "namespaced": True}]}))
    api.on("POST", "/api/v1/namespaces/other/secrets", (201, {}))
    assert virtctl("apply", "-f", manifest(tmp_path, secret)).out == "secret/s created\n"
    other = {**secret, "kind": "Nonsense"}
    path = manifest(tmp_path, other)
    assert virtctl("apply", "-f", path).err.startswith(f'{path}:1: no matches for kind "Nonsense" in version "v1"')
    path = manifest(tmp_path, secret)
    assert "does not match the namespace" in virtctl("apply", "-f", path, "-n", "mine").err


def disks(*names: str) -> dict[str, Any]:
    copy = changed()
    copy["spec"]["template"]["spec"]["domain"]["devices"]["disks"] = [{"name": n, "disk": {}} for n in names]
    return copy


def memory(value: Any) -> dict[str, Any]:
    copy = changed()
    copy["spec"]["template"]["spec"]["domain"]["resources"]["requests"]["memory"] = value
    return copy


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("a: [", "did not find expected node content"),
        ("[1, 2]", "m.yaml"),
        ({"kind": "VirtualMachine", "metadata": {"name": "x"}}, "apiVersion must be a string, not None"),
        ({"apiVersion": "v1", "kind": ["x"]}, "kind must be a string, not ['x']"),
        ({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": 7}}, "metadata.name must be a string, not 7"),
        ("", "no objects in"),
        (changed(runStrategy="Sometimes"), "spec.runStrategy"),
        (changed(runStrategy=7), "spec.runStrategy must be of type string, not integer"),
        (changed(nonsense=1), 'unknown field "spec.nonsense" (line '),
        (memory("12Q"), '"12Q"'),
        (disks("root", "root"), "disks[1].name"),
        (disks("other"), "other"),
    ],
)
def test_bad_manifest_is_one_paragraph_and_no_request(
    api: FakeApi, virtctl: Run, tmp_path: Path, document: Any, expected: str
) -> None:
    path = manifest(tmp_path, document) if isinstance(document, dict) else manifest(tmp_path)
    if isinstance(document, str):
        Path(path).write_text(document)
    result = virtctl("apply", "-f", path)
    assert (result.code, result.out) == (1, "")
    assert expected in result.err
    assert path in result.err
    assert "\n\n" not in result.err
    assert api.seen == []


def test_manifest_of_20_megabytes(api: FakeApi, virtctl: Run, tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"a: " + b"x" * (20 << 20))
    assert f"{path}: the manifest is larger than 16 MiB" in virtctl("apply", "-f", str(path)).err


@pytest.mark.parametrize(
    ("source", "expected"),
    [("/no/such", "/no/such: no such file"), ("http://x/y", "are not fetched from the network"), ("a\0b", "null byte")],
)
def test_sources_that_are_none(virtctl: Run, source: str, expected: str) -> None:
    assert expected in virtctl("apply", "-f", source).err


def test_directory(api: FakeApi, virtctl: Run, tmp_path: Path) -> None:
    api.on("POST", VM, (201, {}))
    folder = tmp_path / "manifests"
    folder.mkdir()
    assert "the directory has no manifest" in virtctl("apply", "-f", str(folder)).err
    manifest(folder, {**MANIFEST, "metadata": {"name": "b"}}, name="b.yml")
    manifest(folder, {**MANIFEST, "metadata": {"name": "a"}}, name="a.yaml")
    (folder / "README.md").write_text("not a manifest")
    out = virtctl("apply", "-f", str(folder)).out
    assert out == "virtualmachine.kubevirt.io/a created\nvirtualmachine.kubevirt.io/b created\n"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), JSON_VALUES.filter(lambda v: v is not None), max_size=4)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return value


@given(OBJECTS, OBJECTS, OBJECTS)
def test_patched_object_has_everything_wanted_and_nothing_dropped(last: Any, wanted: Any, current: Any) -> None:
    last, wanted, current = map(without_nulls, (last, wanted, current))
    result = merge.merged(current, merge.three_way(last, wanted, current))
    assert merge.covers(wanted, result)
    for name in last:
        if name not in wanted:
            assert name not in result
    for name in current:
        if name not in last and name not in wanted:
            assert result[name] == current[name]


@given(OBJECTS, OBJECTS)
def test_second_apply_has_nothing_to_do(wanted: Any, current: Any) -> None:
    wanted, current = without_nulls(wanted), without_nulls(current)
    result = merge.merged(current, merge.three_way({}, wanted, current))
    assert merge.three_way(wanted, wanted, result) == {}


def core(api: FakeApi) -> None:
    services = {
        "name": "services",
        "singularName": "service",
        "kind": "Service",
        "shortNames": ["svc"],
        "namespaced": True,
    }
    api.on("GET", CORE, (200, {"resources": [services, {"name": "services/status", "kind": "Service"}]}))


@pytest.mark.parametrize(
    ("arguments", "paths", "options"),
    [
        (["vm", "a", "b"], [f"{VM}/a", f"{VM}/b"], {"propagationPolicy": "Background"}),
        (["vm/a", "vmi/b"], [f"{VM}/a", f"{VMI}/b"], {"propagationPolicy": "Background"}),
        (["vm", "a", "--cascade=orphan"], [f"{VM}/a"], {"propagationPolicy": "Orphan"}),
        (["vm", "a", "--now"], [f"{VM}/a"], {"propagationPolicy": "Background", "gracePeriodSeconds": 1}),
        (
            ["svc", "a", "--grace-period=0"],
            [f"{SERVICES}/a"],
            {"propagationPolicy": "Background", "gracePeriodSeconds": 0},
        ),
    ],
)
def test_delete(api: FakeApi, virtctl: Run, arguments: list[str], paths: list[str], options: dict[str, Any]) -> None:
    core(api)
    for path in paths:
        api.on("DELETE", path, (200, {"kind": "Status", "details": {"uid": "u"}}))
    result = virtctl("delete", *arguments)
    assert (result.code, result.err) == (0, "")
    sent = [seen for seen in api.seen if seen.method == "DELETE"]
    assert [seen.path for seen in sent] == paths
    assert all(seen.json == {"apiVersion": "v1", "kind": "DeleteOptions", **options} for seen in sent)
    assert result.out.splitlines()[0].endswith('"a" deleted')


def test_delete_waits_until_it_is_gone_or_another(api: FakeApi, virtctl: Run) -> None:
    mine = {"metadata": {"uid": "mine", "finalizers": ["guard"]}, "status": {"printableStatus": "Terminating"}}
    api.on("DELETE", f"{VM}/a", (200, mine))
    api.on("GET", f"{VM}/a", (200, mine), (200, {"metadata": {"uid": "another"}}))
    assert virtctl("delete", "vm", "a").code == 0
    api.on("GET", f"{VM}/a", (200, mine))
    result = virtctl("delete", "vm", "a", "--timeout=0s")
    assert result.code == 1
    assert "timed out after 0s" in result.err
    assert "it is Terminating, held by guard" in result.err
    assert virtctl("delete", "vm", "a", "--no-wait").code == 0
    assert virtctl("delete", "vm", "a", "--wait=false").code == 0


def test_delete_waits_through_a_restart_of_the_server(api: FakeApi, virtctl: Run) -> None:
    def hang_up(handler: Handler) -> None:
        handler.close_connection = True

    mine = {"metadata": {"uid": "mine"}, "status": {"printableStatus": "Terminating"}}
    api.on("DELETE", f"{VM}/a", (200, mine))
    api.on("GET", f"{VM}/a", (200, mine), hang_up, hang_up, (200, {"metadata": {"uid": "another"}}))
    assert virtctl("delete", "vm", "a").code == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "name what to delete"),
        (["vm"], "no name was specified"),
        (["vm/"], '"vm/" is not KIND/NAME'),
        (["vm", "a", "--cascade=no"], "invalid cascade value (no)"),
        (["vm", "a", "--timeout=soon"], 'invalid argument "soon" for "--timeout" flag'),
        (["vm", "a", "--now", "--grace-period=3"], "--now and --grace-period cannot be specified together"),
        (["nonsense", "a"], 'the server doesn\'t have a resource type "nonsense"'),
        (["vm", "a"], 'virtualmachines.kubevirt.io "a" not found'),
    ],
)
def test_delete_errors(api: FakeApi, virtctl: Run, arguments: list[str], expected: str) -> None:
    core(api)
    result = virtctl("delete", *arguments)
    assert (result.code, result.out) == (1, "")
    if "not found" not in expected:
        assert "DELETE" not in [seen.method for seen in api.seen]
    assert expected in result.err


def test_delete_of_what_is_not_there(virtctl: Run, tmp_path: Path) -> None:
    assert virtctl("delete", "vm", "a", "--ignore-not-found") == (0, "", "")
    assert virtctl("delete", "-f", manifest(tmp_path, MANIFEST), "--ignore-not-found").code == 0


PORTS = {"networks": [{"name": "n", "pod": {}}], "domain": {"devices": {"interfaces": [{"name": "n", "ports": [{"port": 80}, {"port": 53, "protocol": "UDP"}]}]}}}  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("arguments", "spec"),
    [
        (
            ["virtualmachine", "--port", "27017", "--target-port", "22"],
            {"type": "ClusterIP", "ports": [{"port": 27017, "protocol": "TCP", "targetPort": 22}]},
        ),
        (
            ["VMS", "--port=1", "--target-port=http", "--port-name=p", "--protocol=udp", "--cluster-ip=None"],
            {
                "type": "ClusterIP",
                "clusterIP": "None",
                "ports": [{"port": 1, "protocol": "UDP", "name": "p", "targetPort": "http"}],
            },
        ),
        (
            ["vm", "--port=1", "--type=nodeport", "--node-port=30001", "--external-ip=1.2.3.4"],
            {
                "type": "NodePort",
                "externalIPs": ["1.2.3.4"],
                "ports": [{"port": 1, "protocol": "TCP", "nodePort": 30001}],
            },
        ),
        (
            ["vm", "--port=1", "--ip-family=ipv4,IPV6"],
            {
                "type": "ClusterIP",
                "ipFamilies": ["IPv4", "IPv6"],
                "ipFamilyPolicy": "PreferDualStack",
                "ports": [{"port": 1, "protocol": "TCP"}],
            },
        ),
        (
            ["vm"],
            {
                "type": "ClusterIP",
                "ports": [{"name": "port-1", "port": 80}, {"name": "port-2", "port": 53, "protocol": "UDP"}],
            },
        ),
    ],
)
def test_expose(api: FakeApi, virtctl: Run, arguments: list[str], spec: dict[str, Any]) -> None:
    exposed = {"metadata": {"uid": "u1"}, "spec": {"template": {"spec": PORTS}}}
    api.on("GET", f"{VM}/myvm", (200, exposed))
    api.on("POST", SERVICES, (201, {}))
    kind, *rest = arguments
    result = virtctl("expose", kind, "myvm", "--name", "svc", *rest)
    assert result == (0, f"Service svc successfully created for {kind.lower()} myvm\n", "")
    owner = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "name": "myvm",
        "uid": "u1",
        "controller": True,
        "blockOwnerDeletion": False,
    }
    assert api.seen[-1].json == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "svc", "ownerReferences": [owner]},
        "spec": {**spec, "selector": {"vmi.kubevirt.io/id": "myvm"}},
    }


def test_expose_takes_the_name_of_the_object_and_can_print(api: FakeApi, virtctl: Run) -> None:
    api.on("GET", f"{VM}/myvm", (200, {}))
    api.on("POST", f"{SERVICES}?dryRun=All", (201, {"kind": "Service", "metadata": {"name": "myvm"}}))
    result = virtctl("expose", "vm", "myvm", "--port=1", "--dry-run", "-o", "yaml")
    assert result == (0, "kind: Service\nmetadata:\n  name: myvm\n", "")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["pod", "x"], "unsupported resource type: pod"),
        (["vm", "x", "--protocol=sctp"], "unknown protocol: sctp"),
        (["vm", "x", "--type=ExternalName"], "type: ExternalName not supported"),
        (["vm", "x", "--type=x"], "unknown service type: x"),
        (["vm", "x", "--ip-family=ipv5"], "unknown IPFamily/s: ipv5"),
        (["vm", "x", "--ip-family-policy=x"], "unknown IPFamilyPolicy/s: x"),
        (["vm", "x", "--port=70000"], 'invalid argument "70000" for "--port" flag'),
        (["vm", "x", "--node-port=30000"], "--node-port needs --type NodePort or LoadBalancer"),
        (["vm", "x", "-o", "table"], 'unable to match a printer suitable for the output format "table"'),
        (["vm", "x", "--port=1"], 'error fetching VirtualMachine: virtualmachines.kubevirt.io "x" not found'),
    ],
)
def test_expose_errors(virtctl: Run, arguments: list[str], expected: str) -> None:
    result = virtctl("expose", *arguments)
    assert (result.code, result.out) == (1, "")
    assert expected in result.err


def test_expose_without_any_port(api: FakeApi, virtctl: Run) -> None:
    api.on("GET", f"{VM}/x", (200, {"spec": {"template": {"spec": {"domain": {}}}}}))
    assert "couldn't find port via --port flag or introspection" in virtctl("expose", "vm", "x").err


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({"matchLabels": {"a": "b"}}, ""),
        ({}, "without any selector labels"),
        ({"matchLabels": {"a": "b"}, "matchExpressions": [{}]}, "with match expressions"),
    ],
)
def test_expose_a_replica_set(api: FakeApi, virtctl: Run, selector: dict[str, Any], expected: str) -> None:
    api.on("GET", f"{NS}/virtualmachineinstancereplicasets/r", (200, {"spec": {"selector": selector}}))
    api.on("POST", SERVICES, (201, {}))
    result = virtctl("expose", "vmirs", "r", "--port=1")
    assert expected in result.err
    if not expected:
        assert api.seen[-1].json["spec"]["selector"] == {"a": "b"}


def test_instance_id_fits_a_label() -> None:
    assert instance_id("x" * 63) == "x" * 63
    assert instance_id("x" * 64) == "x" * 54 + "-bb2fa3ee"
    assert len(instance_id("y" * 200)) == 63


SERVER = {"gitVersion": "v1.9.0", "goVersion": "go1.24", "platform": "linux/amd64"}


def test_version(api: FakeApi, virtctl: Run) -> None:
    api.on("GET", "/apis/subresources.kubevirt.io/v1/version", (200, SERVER))
    client, server = virtctl("version").out.splitlines()
    assert client.startswith('Client Version: version.Info{GitVersion:"v')
    assert server == (
        'Server Version: version.Info{GitVersion:"v1.9.0", GitCommit:"", GitTreeState:"", BuildDate:"", '
        'GoVersion:"go1.24", Compiler:"", Platform:"linux/amd64"}'
    )
    document = json.loads(virtctl("version", "-o", "json").out)
    assert document["serverVersion"] == SERVER
    assert yaml.safe_load(virtctl("version", "-o", "yaml").out) == document


def test_version_without_a_server(api: FakeApi, virtctl: Run) -> None:
    result = virtctl("version", "--server=http://127.0.0.1:1")
    assert result.code == 1
    assert result.out.startswith("Client Version: ")
    assert result.err.startswith("failed to get server version: Unable to connect to the server: dial tcp 127.0.0.1:1")
    document = virtctl("version", "--server=http://127.0.0.1:1", "-o", "json")
    assert document.code == 1
    assert list(json.loads(document.out)) == ["clientVersion"]


def test_version_of_the_client_asks_nobody(
    api: FakeApi, virtctl: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, out, err = virtctl("version", "--client")
    assert (code, out.count("\n"), err) == (0, 1, "")
    assert api.seen == []
    broken = tmp_path / "broken"
    broken.write_text("a: [")
    monkeypatch.setenv("KUBECONFIG", str(broken))
    assert virtctl("version", "-c", "-o", "json").code == 0


def test_screenshot(api: FakeApi, virtctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachineinstances/vm1/vnc/screenshot"
    api.on("GET", f"{path}?moveCursor=false", (200, b"\x89PNG"))
    api.on("GET", f"{path}?moveCursor=true", status(400, "BadRequest", "VMI is not running"))
    file = tmp_path / "a.png"
    assert virtctl("vnc", "screenshot", "vm1", "-f", str(file)) == (0, "", "")
    assert file.read_bytes() == b"\x89PNG"
    assert virtctl("vnc", "screenshot", "vm1", "-mf", "-").err == "Can't access VMI vm1: VMI is not running\n"
    assert "Can't write image to a file" in virtctl("vnc", "screenshot", "vm1", "-f", str(tmp_path)).err
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=raw, flush=raw.flush))
    virtctl("vnc", "screenshot", "vm1", "-f", "-")
    assert raw.getvalue() == b"\x89PNG"
