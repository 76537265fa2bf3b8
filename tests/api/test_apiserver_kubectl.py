"""The real kubectl against the server as a process: the commands of a first hour."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.widgets import widget_definition

if TYPE_CHECKING:
    from support.api_server import Kubectl, Served

pytestmark = pytest.mark.kubectl

VM = """
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata:
  name: {name}
  labels: {{app: web}}
spec:
  running: false
  template:
    metadata: {{}}
    spec:
      domain:
        devices: {{}}
        resources:
          requests:
            memory: 64Mi
"""
CHILD = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
  ownerReferences:
  - {{apiVersion: kubevirt.io/v1, kind: VirtualMachine, name: {owner}, uid: {uid}, blockOwnerDeletion: true}}
"""


@pytest.fixture
def vm(kubectl: Kubectl, request: pytest.FixtureRequest) -> str:
    """The name of a VirtualMachine of this test's own."""
    name = "vm-" + request.node.name.removeprefix("test_").replace("_", "-").replace("[", "-").rstrip("]")[:40].lower()
    kubectl("create", "-f", "-", stdin=VM.format(name=name))
    return name


def test_create_validates_before_it_sends(kubectl: Kubectl) -> None:
    refused = kubectl.run("create", "-f", "-", stdin=VM.format(name="typo").replace("running:", "runing:"), ok=False)
    assert refused.returncode == 1
    assert 'unknown field "spec.runing"' in refused.stderr
    assert kubectl.run("get", "vm", "typo", ok=False).returncode == 1


def test_apply_creates_changes_and_leaves_alone(kubectl: Kubectl) -> None:
    for text, outcome in (
        (VM.format(name="applied"), "created"),
        (VM.format(name="applied"), "unchanged"),
        (VM.format(name="applied").replace("64Mi", "128Mi"), "configured"),
    ):
        assert kubectl("apply", "-f", "-", stdin=text) == f"virtualmachine.kubevirt.io/applied {outcome}\n"
    assert kubectl("diff", "-f", "-", stdin=VM.format(name="applied").replace("64Mi", "128Mi")) == ""


def test_apply_of_built_in_kinds(kubectl: Kubectl) -> None:
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}], selector: {a: b}}\n"
    assert kubectl("apply", "-f", "-", stdin=text).endswith("created\n")
    assert kubectl("apply", "-f", "-", stdin=text.replace("port: 80", "port: 81")).endswith("configured\n")
    ports = kubectl("get", "svc", "web", "-o", "jsonpath={.spec.ports[*].port} {.spec.clusterIP}").split()
    assert ports[0] == "81"
    assert ports[1].startswith("10.96.")


def test_get_prints_the_columns_of_the_kind(kubectl: Kubectl, vm: str) -> None:
    status = '{"status":{"printableStatus":"Running","ready":true,"conditions":[{"type":"Ready","status":"True"}]}}'
    kubectl("patch", "vm", vm, "--subresource=status", "--type=merge", "-p", status)
    header, row = kubectl("get", "vm", vm).splitlines()
    assert header.split() == ["NAME", "AGE", "STATUS", "READY"]
    assert row.split()[0] == vm
    assert row.split()[2:] == ["Running", "True"]
    assert kubectl("get", "virtualmachines", "-l", "app=web", "-o", "name").count(vm) == 1
    assert vm in kubectl("get", "vms", "-A", "-o", "wide")
    assert json.loads(kubectl("get", "vm", vm, "-o", "json"))["metadata"]["name"] == vm
    assert kubectl("get", "namespaces").splitlines()[1].split()[:2] == ["default", "Active"]


def test_get_w_follows(kubectl: Kubectl, vm: str) -> None:
    process = kubectl.start("get", "vm", vm, "-w")
    try:
        assert process.stdout is not None
        assert process.stdout.readline().split()[0] == "NAME"
        assert process.stdout.readline().split()[0] == vm
        kubectl(
            "patch", "vm", vm, "--subresource=status", "--type=merge", "-p", '{"status":{"printableStatus":"Paused"}}'
        )
        assert process.stdout.readline().split()[2] == "Paused"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def test_describe_shows_events(kubectl: Kubectl, vm: str) -> None:
    uid = kubectl("get", "vm", vm, "-o", "jsonpath={.metadata.uid}")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{vm}.1"},
        "involvedObject": {
            "apiVersion": "kubevirt.io/v1",
            "kind": "VirtualMachine",
            "name": vm,
            "namespace": "default",
            "uid": uid,
        },
        "type": "Normal",
        "reason": "SuccessfulCreate",
        "message": "Started the virtual machine",
        "source": {"component": "virt-controller"},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
    kubectl("create", "-f", "-", stdin=json.dumps(event))
    text = kubectl("describe", "vm", vm)
    assert "SuccessfulCreate" in text
    assert "Started the virtual machine" in text
    assert "Memory:  64Mi" in text
    assert "SuccessfulCreate" in kubectl("events", "--for", f"vm/{vm}")


def test_patch_edit_label_and_annotate(kubectl: Kubectl, vm: str, tmp_path: Path) -> None:
    patched = kubectl("patch", "vm", vm, "--type", "merge", "-p", '{"spec":{"running":true}}')
    assert patched == f"virtualmachine.kubevirt.io/{vm} patched\n"
    refused = kubectl.run("patch", "vm", vm, "-p", '{"spec":{"running":true}}', ok=False)
    assert "application/merge-patch+json" in refused.stderr, "strategic merge is not for custom resources"
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/running: true/running: false/" "$1"\n')
    editor.chmod(editor.stat().st_mode | stat.S_IXUSR)
    assert kubectl("edit", "vm", vm, EDITOR=str(editor)) == f"virtualmachine.kubevirt.io/{vm} edited\n"
    kubectl("label", "vm", vm, "tier=gold")
    kubectl("annotate", "vm", vm, "e.com/note=hello")
    found = json.loads(kubectl("get", "vm", vm, "-o", "json"))
    assert found["spec"]["running"] is False
    assert found["metadata"]["labels"] == {"app": "web", "tier": "gold"}
    assert found["metadata"]["annotations"] == {"e.com/note": "hello"}
    assert found["metadata"]["generation"] == 3


@pytest.mark.parametrize(("cascade", "stays"), [("background", False), ("foreground", False), ("orphan", True)])
def test_delete_cascades(kubectl: Kubectl, vm: str, cascade: str, stays: bool) -> None:
    uid = kubectl("get", "vm", vm, "-o", "jsonpath={.metadata.uid}")
    child = f"child-{cascade}"
    kubectl("create", "-f", "-", stdin=CHILD.format(name=child, owner=vm, uid=uid))
    assert kubectl("delete", "vm", vm, f"--cascade={cascade}") == f'virtualmachine.kubevirt.io "{vm}" deleted\n'
    if stays:
        time.sleep(0.3)
        assert kubectl("get", "configmap", child, "-o", "jsonpath={.metadata.ownerReferences}") == ""
    else:
        kubectl("wait", "--for=delete", f"configmap/{child}", "--timeout=10s")


def test_wait_for_a_condition(kubectl: Kubectl, vm: str) -> None:
    waiting = kubectl.start("wait", f"vm/{vm}", "--for=jsonpath={.status.printableStatus}=Running", "--timeout=20s")
    time.sleep(0.3)
    kubectl("patch", "vm", vm, "--subresource=status", "--type=merge", "-p", '{"status":{"printableStatus":"Running"}}')
    output, _ = waiting.communicate(timeout=20)
    assert (waiting.returncode, output) == (0, f"virtualmachine.kubevirt.io/{vm} condition met\n")


def test_generators_send_protobuf_and_are_understood(kubectl: Kubectl) -> None:
    kubectl("create", "namespace", "gen")
    kubectl("create", "secret", "generic", "s", "-n", "gen", "--from-literal=password=söcret")
    kubectl("create", "configmap", "c", "-n", "gen", "--from-literal=a=1", "--from-literal=b=")
    kubectl("create", "serviceaccount", "acc", "-n", "gen")
    kubectl("create", "service", "nodeport", "w", "-n", "gen", "--tcp=80:8080")
    assert (
        kubectl("get", "secret", "s", "-n", "gen", "-o", "jsonpath={.data.password} {.type}") == "c8O2Y3JldA== Opaque"
    )
    assert json.loads(kubectl("get", "cm", "c", "-n", "gen", "-o", "json"))["data"] == {"a": "1", "b": ""}
    port = json.loads(kubectl("get", "svc", "w", "-n", "gen", "-o", "json"))["spec"]["ports"][0]
    assert (port["port"], port["targetPort"], port["protocol"]) == (80, 8080, "TCP")
    assert kubectl("auth", "can-i", "delete", "vm") == "yes\n"
    assert "virtctl-admin" in kubectl("auth", "whoami")
    kubectl("delete", "namespace", "gen")
    assert kubectl.run("get", "namespace", "gen", ok=False).returncode == 1


def test_a_list_is_created_item_by_item(kubectl: Kubectl) -> None:
    items = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} for name in ("l1", "l2")]
    made = kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    assert made == "configmap/l1 created\nconfigmap/l2 created\n"


def test_explain_and_api_resources(kubectl: Kubectl) -> None:
    text = kubectl("explain", "vm.spec.template.spec.domain")
    assert "KIND:       VirtualMachine" in text
    assert "devices\t<" in text
    resources = {line.split()[0] for line in kubectl("api-resources").splitlines()}
    assert {"virtualmachines", "virtualmachineinstances", "configmaps", "customresourcedefinitions"} <= resources
    assert "kubevirt.io/v1" in kubectl("api-versions").split()


def test_scale_and_a_definition_of_ones_own(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=json.dumps(widget_definition("gears")))
    kubectl("wait", "crd/gears.example.com", "--for=condition=Established", "--timeout=10s")
    gear = {"apiVersion": "example.com/v1", "kind": "Gear", "metadata": {"name": "g"}, "spec": {"replicas": 1}}
    kubectl("create", "-f", "-", stdin=json.dumps(gear))
    assert kubectl("scale", "gear/g", "--replicas=3") == "gear.example.com/g scaled\n"
    assert kubectl("get", "ge", "g", "-o", "jsonpath={.spec.replicas}") == "3"
    kubectl("delete", "crd", "gears.example.com")
    assert kubectl.run("get", "gears", ok=False).returncode == 1


def test_who_am_i_and_version(kubectl: Kubectl, served: Served) -> None:
    assert "Server Version: v1.32" in kubectl("version")
    assert kubectl("get", "--raw", "/readyz") == "ok"
    assert stat.S_IMODE((served.folder / "kubeconfig").stat().st_mode) == 0o600
