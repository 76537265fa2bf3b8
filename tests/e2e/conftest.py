"""One cluster for the whole e2e run, with directories of its own and an OCI layout as its mirror of docker.io."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.demo import guest, image
from tests.e2e.e2e_cluster import Cluster

CIRROS_IMAGE = "kubevirt/cirros-container-disk-demo:latest"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_arguments: object) -> None:
        """Nothing: tests have their own words."""


@pytest.fixture(scope="session")
def image_url() -> Iterator[str]:
    """The demo guest's disk on a web server of ours."""
    image = guest.build().path
    handler = functools.partial(_Quiet, directory=str(image.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/{image.name}"
        server.shutdown()


@pytest.fixture(scope="session")
def cluster(image_url: str) -> Iterator[Cluster]:
    if os.geteuid() != 0:
        pytest.skip("the e2e tests build guests and use libvirt's system daemon: they need root")
    work = Path(tempfile.mkdtemp(prefix="vt-e2e-", dir="/tmp"))
    work.chmod(0o755)
    image.add(work / "images", CIRROS_IMAGE, guest.build().path)
    running = Cluster(work, image_url)
    running.up()
    try:
        yield running
    finally:
        running.down()
        shutil.rmtree(work)


@pytest.fixture
def vm(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A name for a VirtualMachine of one test; whatever is left of it is deleted afterwards."""
    name = request.node.name.removeprefix("test_").split("[")[0].replace("_", "-")[:40].rstrip("-")
    yield name
    cluster.kubectl("delete", "vm,vmi,service", name, "--ignore-not-found", "--wait=true", timeout=120)
