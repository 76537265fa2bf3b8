"""A cluster as an operator makes one with what this project has: a real API server, our CRDs and roles, our programs.

The hypervisor is faked (`fake_node`); virt-api and virt-controller run as the programs they are, each as its own
service account with the rights of manifests/rbac.yaml and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.api_server import Kubectl, find_kubectl
from support.fake_node import FakeNode, add_node
from support.real_api_server import TOKEN, RealServer, serve_real

from virt_kube.api import ApiError
from virt_kube.clock import rfc3339
from virt_kube.http import HttpClient
from virt_kube.kubeconfig import ClientConfig
from virt_kube.resources import NODES
from virt_types import labels

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
BIN = Path(sys.executable).parent
NODE = "node1"
WITHIN = 120  # seconds, for whatever is waited for
COMPONENTS = {"virt-api": labels.API_USER, "virt-controller": labels.CONTROLLER_USER}
_GROUPS = f"system:serviceaccounts,{labels.SERVICE_ACCOUNTS_GROUP}"
# token, user, uid, groups
ACCOUNTS = (
    *(f'{name}-token,{user},1,"{_GROUPS}"' for name, user in COMPONENTS.items()),
    "alice-token,alice,2,editors",
    "bob-token,bob,3,viewers",
    "carol-token,carol,4,nobody",
)
# A whole cluster has these in its own roles `edit` and `view`; what aggregates them is not part of an API server.
BINDINGS = {"editors": "kubevirt.io:edit", "viewers": "kubevirt.io:view"}


class RealCluster:
    """What a test asks of it; `kubectl` and `virtctl` speak as the administrator or as whoever is named."""

    def __init__(self, server: RealServer, folder: Path, port: int) -> None:
        self.server, self.folder, self.port = server, folder, port
        self.kubectl = Kubectl(_kubectl(), self.kubeconfig("admin"), folder)

    def kubeconfig(self, user: str) -> Path:
        path = self.folder / f"{user}.kubeconfig"
        cluster = {"server": self.server.url, "insecure-skip-tls-verify": True}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": user}}],
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": TOKEN if user == "admin" else f"{user}-token"}}],
        }
        path.write_text(json.dumps(config))
        return path

    def virtctl(self, *arguments: str, user: str = "admin") -> subprocess.CompletedProcess[str]:
        command = [BIN / "virtctl", "--kubeconfig", self.kubeconfig(user), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=WITHIN, check=False)

    def get(self, what: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", what, name, "-o", "json"))
        return found

    def shows(self, wanted: str, name: str) -> dict[str, Any]:
        """The VM once its status is as wanted."""
        vm: dict[str, Any] = {}

        def there() -> bool:
            vm.update(self.get("vm", name))
            return bool(vm.get("status", {}).get("printableStatus") == wanted)

        eventually(there, lambda: f"still {vm.get('status')}")
        return vm


def eventually(holds: Callable[[], bool], otherwise: Callable[[], str] = lambda: "it never comes") -> None:
    end = time.monotonic() + WITHIN
    while not holds():
        assert time.monotonic() < end, otherwise()
        time.sleep(0.1)


def _kubectl() -> str:
    program = find_kubectl()
    assert program is not None, "no kubectl of 1.32 or newer on PATH"
    return program


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def real_cluster(folder: Path, programs: Path) -> Iterator[RealCluster]:
    """Installed in the order docs/cluster.md tells: definitions and roles, the programs, then who they are."""
    port = _free_port()
    with serve_real(folder, programs, ACCOUNTS) as server, contextlib.ExitStack() as running:
        cluster = RealCluster(server, folder, port)
        # One at a time and without the whole OpenAPI for each: a busy machine takes its time.
        for manifest in (*sorted((MANIFESTS / "crds").iterdir()), MANIFESTS / "rbac.yaml"):
            cluster.kubectl("create", "--validate=false", "-f", str(manifest))
        for group, role in BINDINGS.items():
            cluster.kubectl("create", "clusterrolebinding", group, f"--clusterrole={role}", f"--group={group}")
        certificates = folder / "virt-api"
        listen = ["--listen", f"127.0.0.1:{port}", "--cert-dir", str(certificates)]
        running.enter_context(_program("virt-api", cluster, *listen, "--handler-socket", str(folder / "h.sock")))
        eventually((certificates / "tls.crt").exists, (folder / "virt-api.log").read_text)
        address = ["--address", f"localhost:{port}", "--ca-file", str(certificates / "ca.crt")]
        told = subprocess.run([BIN / "virt-api", "manifests", *address], capture_output=True, text=True, check=True)
        cluster.kubectl("create", "--validate=false", "-f", "-", stdin=told.stdout)
        cluster.kubectl("wait", "--for=condition=Available", "--timeout=60s", "apiservice/v1.subresources.kubevirt.io")
        running.enter_context(_program("virt-controller", cluster, "--leader-elect", "-v"))
        running.enter_context(_node(cluster))
        yield cluster


@contextlib.contextmanager
def _program(name: str, cluster: RealCluster, *arguments: str) -> Iterator[None]:
    command = [BIN / name, "--kubeconfig", cluster.kubeconfig(name), *arguments]
    with (cluster.folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "HOME": "/"})
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


@contextlib.contextmanager
def _node(cluster: RealCluster) -> Iterator[None]:
    """A node whose agent answers at once, in a thread's loop; its token is bound to the node, as admission asks."""
    begun, stop = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_live(cluster, begun, stop)))
    thread.start()
    try:
        assert begun.wait(WITHIN), "the node did not register"
        yield
    finally:
        stop.set()
        thread.join(20)


async def _live(cluster: RealCluster, begun: threading.Event, stop: threading.Event) -> None:
    admin = HttpClient(ClientConfig(server=cluster.server.url, insecure=True, token=TOKEN))
    await add_node(admin, NODE, heartbeat=rfc3339(time.time()))
    # A new node begins as not ready, and nobody here takes that off it as kube-controller-manager does.
    await admin.patch(NODES, "", NODE, {"spec": {"taints": None}}, kind="merge")
    bound = ("--bound-object-kind=Node", f"--bound-object-name={NODE}")
    token = await asyncio.to_thread(cluster.kubectl, "create", "token", "virt-handler", "-n", "kubevirt", *bound)
    agent = HttpClient(ClientConfig(server=cluster.server.url, insecure=True, token=token.strip()))
    node = FakeNode(agent, NODE, clock=time.time)
    begun.set()
    work: asyncio.Task[None] | None = None
    while not stop.is_set():
        if work is None or work.done():  # the API server went away
            if work is not None:
                assert isinstance(work.exception(), ApiError), work.exception()
            work = asyncio.create_task(node.run())
        await asyncio.sleep(0.5)
    if work is not None:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    await admin.close()
    await agent.close()
