"""OfflineVirtualMachine, the name of 2018, and VirtualMachine: one object, through kubectl and through virtctl."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support.api_server import Kubectl, Served, find_kubectl, serve

# As the user's document has it, up to the names.
MONGODB = """
apiVersion: kubevirt.io/v1alpha1
kind: OfflineVirtualMachine
metadata:
  name: mongodb
spec:
  running: false
  template:
    metadata:
      labels: {app: mongodb}
    spec:
      domain:
        resources: {requests: {memory: 64M}}
        devices:
          disks:
          - {name: root, volumeName: image, disk: {bus: virtio}}
      volumes:
      - name: image
        registryDisk: {image: 'registry.example/mongodb:1'}
"""
OLD, NEW = "offlinevirtualmachines.v1alpha1.kubevirt.io", "virtualmachines.v1.kubevirt.io"


@pytest.fixture(scope="module")
def admitting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with KubeVirt's kinds and admission."""
    folder = tmp_path_factory.mktemp("former") / "d"
    folder.mkdir()
    with serve(folder) as found:
        yield found


@pytest.fixture(scope="module")
def kubectl(admitting: Served, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    program = find_kubectl()
    if program is None:
        pytest.skip("no kubectl of 1.32 or newer on PATH")
    found = Kubectl(program, admitting.folder / "kubeconfig", tmp_path_factory.mktemp("home"))
    found.run("create", "-f", "-", stdin=MONGODB)
    return found


def test_both_names_show_one_object(kubectl: Kubectl) -> None:
    old = json.loads(kubectl("get", "ovm", "mongodb", "-o", "json"))
    new = json.loads(kubectl("get", "vm", "mongodb", "-o", "json"))
    assert (old.pop("apiVersion"), old.pop("kind")) == ("kubevirt.io/v1alpha1", "OfflineVirtualMachine")
    assert (new.pop("apiVersion"), new.pop("kind")) == ("kubevirt.io/v1", "VirtualMachine")
    assert old == new
    spec = new["spec"]["template"]["spec"]
    assert spec["volumes"] == [{"name": "image", "containerDisk": {"image": "registry.example/mongodb:1"}}]
    assert [disk["name"] for disk in spec["domain"]["devices"]["disks"]] == ["image"]


def test_the_table_and_the_warning_say_what_it_is(kubectl: Kubectl) -> None:
    shown = kubectl.run("get", "ovms")
    assert shown.stdout.split()[:4] == ["NAME", "AGE", "STATUS", "READY"]
    assert shown.stdout.splitlines()[1].split()[0] == "mongodb"
    assert "OfflineVirtualMachine is the former name of kubevirt.io/v1 VirtualMachine" in shown.stderr
    assert "mongodb" not in kubectl("get", "all").replace("virtualmachine.kubevirt.io/mongodb", "")


def test_a_change_under_one_name_is_seen_under_the_other(kubectl: Kubectl) -> None:
    kubectl("annotate", "ovm", "mongodb", "colour=red")
    assert kubectl("get", "vm", "mongodb", "-o", "jsonpath={.metadata.annotations.colour}") == "red"
    kubectl("patch", "vm", "mongodb", "--type=merge", "-p", '{"spec":{"running":true}}')
    assert kubectl("get", "ovm", "mongodb", "-o", "jsonpath={.spec.running}") == "true"
    kubectl("patch", "ovm", "mongodb", "--type=json", "-p", '[{"op":"replace","path":"/spec/running","value":false}]')
    assert kubectl("get", "vm", "mongodb", "-o", "jsonpath={.spec.running}") == "false"
    kubectl("apply", "-f", "-", "--server-side", "--force-conflicts", stdin=MONGODB.replace("app: mongodb", "app: db"))
    assert kubectl("get", "vm", "mongodb", "-o", "jsonpath={.spec.template.metadata.labels.app}") == "db"


def test_the_rules_are_those_of_today(kubectl: Kubectl) -> None:
    wrong = MONGODB.replace("64M", "many").replace("name: mongodb", "name: wrong")
    refused = kubectl.run("create", "-f", "-", stdin=wrong, ok=False)
    assert refused.returncode == 1
    assert 'spec.template.spec.domain.resources.requests.memory: Invalid value: "many"' in refused.stderr
    typo = MONGODB.replace("running: false", "runing: false").replace("name: mongodb", "name: typo")
    refused = kubectl.run("create", "-f", "-", stdin=typo, ok=False)
    assert 'unknown field "spec.runing"' in refused.stderr


def test_explain_and_watch_know_the_former_name(kubectl: Kubectl) -> None:
    assert "OfflineVirtualMachine" in kubectl("explain", "ovm")
    watching = kubectl.start("get", "ovm", "mongodb", "--watch", "-o", "name", "--request-timeout=20s")
    try:
        assert watching.stdout is not None
        assert watching.stdout.readline() == "offlinevirtualmachine.kubevirt.io/mongodb\n"
        kubectl("label", "vm", "mongodb", "watched=yes")
        assert watching.stdout.readline() == "offlinevirtualmachine.kubevirt.io/mongodb\n"
    finally:
        watching.kill()
        watching.communicate()


def test_deleted_under_one_name_is_gone_under_both(kubectl: Kubectl) -> None:
    other = MONGODB.replace("name: mongodb", "name: other")
    kubectl("create", "-f", "-", stdin=other)
    kubectl("delete", "ovm", "other", "--wait=false")
    assert kubectl("get", NEW, "other", "--ignore-not-found") == ""
    assert kubectl("get", OLD, "other", "--ignore-not-found") == ""
