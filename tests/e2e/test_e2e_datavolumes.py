"""A machine that brings its own disk: from a web server, from a registry, uploaded; and boots from it."""

from __future__ import annotations

import json
import re
import ssl
import urllib.request
from pathlib import Path

import pytest

from examples.demo import guest
from tests.e2e.e2e_cluster import DOCUMENTED_URL, EXAMPLES, NAMESPACE, ROOT, Cluster, eventually

pytestmark = [pytest.mark.guest, pytest.mark.libvirt, pytest.mark.kubectl]


@pytest.fixture
def seeds() -> Path:
    """The users' documents."""
    found = ROOT.parent / "shared" / "seeds"
    if not found.is_dir():
        pytest.skip(f"no documents at {found}")
    return found


def machine(name: str, url: str) -> str:
    """The example with a disk from the web, as a document's reader would write it."""
    template = {
        "metadata": {"name": f"{name}-root"},
        "spec": {
            "source": {"http": {"url": url}},
            "pvc": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "256Mi"}}},
        },
    }
    disks = [{"name": "root", "disk": {"bus": "virtio"}}]
    spec = {
        "terminationGracePeriodSeconds": 0,
        "domain": {"memory": {"guest": "96Mi"}, "devices": {"disks": disks}},
        "volumes": [{"name": "root", "dataVolume": {"name": f"{name}-root"}}],
    }
    whole = {"runStrategy": "Always", "dataVolumeTemplates": [template], "template": {"spec": spec}}
    kind = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachine"}
    return json.dumps({**kind, "metadata": {"name": name}, "spec": whole})


def phase(cluster: Cluster, name: str) -> str:
    found = cluster.get("dv", name)
    return str((found or {}).get("status", {}).get("phase", ""))


def test_a_guest_boots_from_an_imported_image(cluster: Cluster, vm: str) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=machine(vm, cluster.image_url))
    cluster.wait_printable(vm, "Running", within=90)
    assert "Succeeded" in cluster.kubectl("get", "dv", f"{vm}-root", "--no-headers").stdout
    instance = cluster.get("vmi", vm)
    assert instance is not None
    log = next(cluster.work.glob(f"state/node/vmis/{instance['metadata']['uid']}/*.log"))
    eventually(lambda: "login:" in log.read_text(errors="replace"), within=150, what="the guest up")
    cluster.kubectl("delete", "vm", vm, "--wait=true", timeout=120)
    claim = cluster.work / "state/volumes" / NAMESPACE / f"{vm}-root"
    eventually(lambda: not claim.exists(), within=30, what="the disk gone with its machine")
    assert cluster.get("dv", f"{vm}-root") is None


def test_the_example_runs(cluster: Cluster) -> None:
    path = str(EXAMPLES / "vm-datavolume.yaml")
    cluster.kubectl("apply", "-f", path)
    try:
        cluster.wait_printable("vm-datavolume", "Running", within=90)
        assert phase(cluster, "vm-datavolume-root") == "Succeeded"
    finally:
        cluster.kubectl("delete", "-f", path, "--wait=true", timeout=120)


def test_the_documents_machine_runs_as_it_stands(cluster: Cluster, seeds: Path) -> None:
    """VM and DataSource of the users' documents, their URL led to loopback by --http-mirror."""
    page = next(seeds.glob("002_*.txt")).read_text()
    blocks = re.split(r"^\s*```.*\n", page, flags=re.MULTILINE)
    manifest = next(block for block in blocks if block.lstrip().startswith("apiVersion"))
    assert DOCUMENTED_URL in manifest
    cluster.kubectl("apply", "-f", "-", stdin=manifest)
    try:
        cluster.wait_printable("my-vm-with-http-data-volume", "Running", within=90)
        assert phase(cluster, "my-http-data-volume") == "Succeeded"
    finally:
        cluster.kubectl("delete", "--wait=true", "-f", "-", stdin=manifest, timeout=120)


def test_an_upload_through_the_api_server(cluster: Cluster) -> None:
    """The requests of `virtctl image-upload`, one by one."""
    volume = {
        "apiVersion": "cdi.kubevirt.io/v1beta1",
        "kind": "DataVolume",
        "metadata": {"name": "uploaded"},
        "spec": {"source": {"upload": {}}, "storage": {"resources": {"requests": {"storage": "64Mi"}}}},
    }
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(volume))
    try:
        eventually(lambda: phase(cluster, "uploaded") == "UploadReady", within=30, what="ready for the upload")
        config = json.loads(cluster.kubectl("get", "--raw", "/apis/cdi.kubevirt.io/v1beta1/cdiconfigs/config").stdout)
        request = {"metadata": {"generateName": "token-for-virtctl-"}, "spec": {"pvcName": "uploaded"}}
        path = f"/apis/upload.cdi.kubevirt.io/v1beta1/namespaces/{NAMESPACE}/uploadtokenrequests"
        answer = cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(request)).stdout
        token = json.loads(answer)["status"]["token"]
        trust = ssl.create_default_context(cafile=str(cluster.work / "state/pki/ca.crt"))
        sent = urllib.request.Request(  # noqa: S310  our own https
            config["status"]["uploadProxyURL"] + "/v1beta1/upload-async",
            data=Path(guest.build().path).read_bytes(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"},
        )
        with urllib.request.urlopen(sent, context=trust, timeout=60) as reply:  # noqa: S310  our own https
            assert reply.status == 200
        eventually(lambda: phase(cluster, "uploaded") == "Succeeded", within=30, what="the upload converted")
    finally:
        cluster.kubectl("delete", "dv", "uploaded", "--ignore-not-found")
