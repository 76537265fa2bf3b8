"""Our programs in a real cluster: virt-api aggregated and asked as webhooks, virt-controller by its lease.

Runs where KUBEBUILDER_ASSETS names a folder with etcd and kube-apiserver.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from support.api_server import find_kubectl
from support.real_api_server import ASSETS, FRONT_PROXY, assets
from support.real_cluster import RealCluster, eventually, real_cluster

from virt_kube.certificates import Authority, Pair, Subject

SUBRESOURCES = "/apis/subresources.kubevirt.io/v1"
GUEST: dict[str, Any] = {"domain": {"devices": {"interfaces": [{"name": "default", "masquerade": {}}]}}}
GUEST |= {"networks": [{"name": "default", "pod": {}}]}
GUEST["domain"]["memory"] = {"guest": "64Mi"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    programs = assets()
    if programs is None:
        pytest.skip(f"{ASSETS} names no folder with etcd and kube-apiserver")
    if find_kubectl() is None:
        pytest.skip("no kubectl of 1.32 or newer on PATH")
    with real_cluster(tmp_path_factory.mktemp("rc"), programs) as running:
        yield running


def machine(name: str, strategy: str = "Halted", **spec: Any) -> str:
    vm = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": name},
        "spec": {"runStrategy": strategy, "template": {"spec": GUEST | spec}},
    }
    return json.dumps(vm)


def test_everybody_may_ask_for_the_version(cluster: RealCluster) -> None:
    answer = cluster.virtctl("version", user="carol")
    assert answer.returncode == 0, answer.stderr
    assert "Server Version: " in answer.stdout


def test_the_version_is_served_where_kubectl_looks_for_it(cluster: RealCluster) -> None:
    found = cluster.kubectl("api-resources", "--api-group=subresources.kubevirt.io", "--no-headers", "-o", "name")
    assert found == ""  # subresources only, which kubectl lists nowhere
    listed = json.loads(cluster.kubectl("get", "--raw", SUBRESOURCES))
    assert {"virtualmachines/start", "virtualmachineinstances/console"} <= {one["name"] for one in listed["resources"]}


def test_a_machine_is_stored_with_its_defaults(cluster: RealCluster) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=machine("defaults"))
    domain = cluster.get("vm", "defaults")["spec"]["template"]["spec"]["domain"]
    assert domain["machine"] == {"type": "q35"}
    assert domain["firmware"]["uuid"]
    assert domain["devices"]["interfaces"][0]["macAddress"]
    cluster.kubectl("apply", "-f", "-", stdin=machine("defaults"))
    again = cluster.get("vm", "defaults")
    assert (again["spec"]["template"]["spec"]["domain"], again["metadata"]["generation"]) == (domain, 1)


def test_what_admission_refuses_is_told_by_field(cluster: RealCluster) -> None:
    bad = machine("bad", volumes=[{"name": "a", "emptyDisk": {"capacity": "1Gi"}}] * 2)
    refused = cluster.kubectl.run("apply", "-f", "-", stdin=bad, ok=False)
    assert refused.returncode == 1
    assert 'The virtualmachine "bad" is invalid: spec.template.spec.volumes[1].name: ' in refused.stderr
    assert (
        "spec.template.spec.volumes[1] and spec.template.spec.volumes[0] must not have the same Name" in refused.stderr
    )


def test_an_old_spelling_is_stored_as_todays(cluster: RealCluster) -> None:
    old = json.loads(machine("old", volumes=[{"name": "a", "registryDisk": {"image": "i"}}]))
    old["apiVersion"] = "kubevirt.io/v1alpha2"
    disks = [{"name": "a", "volumeName": "a", "disk": {}}]
    old["spec"]["template"]["spec"]["domain"]["devices"]["disks"] = disks
    applied = cluster.kubectl.run("apply", "-f", "-", stdin=json.dumps(old))
    assert "is now deprecated" in applied.stderr
    assert "registryDisk" in applied.stderr
    spec = cluster.get("vm", "old")["spec"]["template"]["spec"]
    assert spec["volumes"] == [{"name": "a", "containerDisk": {"image": "i"}}]


def test_the_life_of_a_machine(cluster: RealCluster) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=machine("life"))
    started = cluster.virtctl("start", "life")
    assert started.stdout == "VM life was scheduled to start\n", started.stderr
    cluster.shows("Running", "life")
    first = cluster.get("vmi", "life")
    assert first["status"]["nodeName"] == "node1"
    assert cluster.virtctl("restart", "life").stdout == "VM life was scheduled to restart\n"
    eventually(lambda: _uid(cluster, "life") not in ("", first["metadata"]["uid"]))
    cluster.shows("Running", "life")
    assert cluster.virtctl("stop", "life").stdout == "VM life was scheduled to stop\n"
    cluster.shows("Stopped", "life")
    assert _uid(cluster, "life") == ""
    reasons = {one["reason"] for one in json.loads(cluster.kubectl("get", "events", "-o", "json"))["items"]}
    assert {"SuccessfulCreate", "SuccessfulDelete"} <= reasons
    cluster.kubectl("delete", "vm", "life", "--timeout=30s")


def _uid(cluster: RealCluster, name: str) -> str:
    return cluster.kubectl("get", "vmi", name, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}")


def test_nobody_writes_what_is_the_components(cluster: RealCluster) -> None:
    vmi = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "own"}, "spec": GUEST}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(vmi))
    patch = '{"status":{"phase":"Failed"},"spec":{"hostname":"x"}}'
    refused = cluster.kubectl.run("patch", "vmi", "own", "--type=merge", "-p", patch, ok=False)
    assert "update of VMI object is restricted" in refused.stderr
    cluster.kubectl("patch", "vmi", "own", "--type=merge", "-p", '{"status":{"phase":"Failed"}}')
    assert cluster.get("vmi", "own")["status"]["phase"] in ("Scheduled", "Running")
    cluster.kubectl("delete", "vmi", "own", "--timeout=30s")


@pytest.mark.parametrize(
    ("user", "may", "words"),
    [
        ("alice", True, ""),  # edit
        ("bob", False, 'User "bob" cannot update resource "virtualmachines/start"'),  # view
    ],
)
def test_who_may_start_a_machine(cluster: RealCluster, user: str, may: bool, words: str) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=machine(f"of-{user}"))
    answer = cluster.virtctl("start", f"of-{user}", user=user)
    assert (answer.returncode == 0, words in answer.stderr) == (may, True), answer.stderr


@pytest.fixture(scope="module")
def strangers(cluster: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair | None]:
    """Who else could knock at virt-api's door: nobody, a forged CA, another certificate of the right CA."""
    forged, folder = tmp_path_factory.mktemp("forged"), cluster.server.folder / "front"
    real = Authority(folder, "front-proxy-ca")
    return {
        "nobody": None,
        "a forged CA": Authority(forged, "front-proxy-ca").leaf(Subject("proxy", FRONT_PROXY)),
        "another name": real.leaf(Subject("other", "somebody-else")),
        "the front proxy": real.leaf(Subject("proxy", FRONT_PROXY)),
    }


def knock(cluster: RealCluster, pair: Pair | None, method: str, path: str, body: str = "") -> tuple[int, str]:
    """A request past the API server, claiming to be its administrator; 0 where TLS itself says no."""
    context = ssl.create_default_context(cafile=cluster.folder / "virt-api" / "ca.crt")
    if pair is not None:
        context.load_cert_chain(*pair)
    connection = http.client.HTTPSConnection("localhost", cluster.port, context=context, timeout=20)
    headers = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters", "Content-Type": "application/json"}
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (ssl.SSLError, ConnectionError):
        return 0, ""
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("who", "code"), [("nobody", 401), ("a forged CA", 0), ("another name", 401), ("the front proxy", 404)]
)
def test_only_the_front_proxy_says_who_asks(
    cluster: RealCluster, strangers: dict[str, Pair | None], who: str, code: int
) -> None:
    path = f"{SUBRESOURCES}/namespaces/default/virtualmachines/none/start"
    assert knock(cluster, strangers[who], "PUT", path)[0] == code
    # Health and webhooks answer without a certificate, as an API server calls them.
    if who == "nobody":
        assert knock(cluster, None, "GET", "/healthz")[0] == 200
        assert knock(cluster, None, "POST", "/validate", "{}")[0] == 400
        assert knock(cluster, None, "GET", SUBRESOURCES)[0] == 401


def test_controllers_go_on_after_the_api_server_was_away(cluster: RealCluster) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=machine("before", "Always"))
    cluster.shows("Running", "before")
    cluster.server.stop()
    cluster.server.start()
    eventually(lambda: cluster.virtctl("stop", "before").returncode == 0)
    cluster.shows("Stopped", "before")
    cluster.kubectl("apply", "-f", "-", stdin=machine("after", "Always"))
    cluster.shows("Running", "after")
    lease = json.loads(cluster.kubectl("get", "lease", "virt-controller", "-n", "kubevirt", "-o", "json"))
    assert lease["spec"]["holderIdentity"]
