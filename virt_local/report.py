"""What `virtctl local status` shows: processes, components, the API, the node and its guests.

Read from RUN/local.json and asked of the API with the standard library only; each question has a deadline.
"""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import platform
from typing import Any
from urllib.parse import urlsplit

import msgspec

from virt_kube.kubeconfig import KubeconfigError, load
from virt_local.errors import NotRunning
from virt_local.register import Process, Register
from virt_local.settings import Places

TIMEOUT = 5.0
VMI_LIST = "/apis/kubevirt.io/v1/virtualmachineinstances"
LIBRARIES = ("virtctl", "libvirt-python", "aiohttp")


class Node(msgspec.Struct):
    name: str
    schedulable: bool


class Guest(msgspec.Struct):
    namespace: str
    name: str
    phase: str
    address: str = ""


class Report(msgspec.Struct, rename="camel"):
    """`health` is the API server's own word, or why it can't be asked."""

    processes: list[Process]
    server: str = ""
    health: str = ""
    kubeconfig: str = ""
    nodes: list[Node] = msgspec.field(default_factory=list)
    guests: list[Guest] = msgspec.field(default_factory=list)
    versions: dict[str, str] = msgspec.field(default_factory=dict)


def report(places: Places) -> Report:
    """Ask everything; raises NotRunning when no supervisor lives."""
    processes = Register(places.register).processes()
    if not processes:
        raise NotRunning(f"the cluster is not up (no process in {places.register})", hint="Start it: virtctl local up")
    found = Report(processes, kubeconfig=str(places.kubeconfig), versions=versions())
    try:
        with Api(places) as api:
            found.server = api.server
            found.health = api.text("/readyz")
            found.nodes = [_node(item) for item in api.items("/api/v1/nodes")]
            found.guests = [_guest(item) for item in api.items(VMI_LIST)]
    except (OSError, http.client.HTTPException, ValueError, KubeconfigError) as err:
        found.health = f"no answer: {err}"
    return found


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


class Api:
    """A few GETs as the administrator."""

    def __init__(self, places: Places) -> None:
        config = load(str(places.kubeconfig))
        self.server = config.server
        url = urlsplit(config.server)
        self._connection = http.client.HTTPSConnection(
            url.hostname or "", url.port, timeout=TIMEOUT, context=config.ssl_context()
        )

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def text(self, path: str) -> str:
        self._connection.request("GET", path, headers={"Accept": "application/json"})
        reply = self._connection.getresponse()
        body = reply.read().decode(errors="replace")
        return body if reply.status == 200 else f"{reply.status} {reply.reason}"

    def items(self, path: str) -> list[Any]:
        return list(json.loads(self.text(path))["items"] or ())


def _node(item: Any) -> Node:
    labels = item["metadata"].get("labels", {})
    return Node(item["metadata"]["name"], labels.get("kubevirt.io/schedulable") == "true")


def _guest(item: Any) -> Guest:
    status = item.get("status", {})
    interfaces = status.get("interfaces") or [{}]
    meta = item["metadata"]
    return Guest(meta["namespace"], meta["name"], status.get("phase", ""), interfaces[0].get("ipAddress", ""))
