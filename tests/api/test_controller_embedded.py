"""The controllers against the embedded API server, with real admission: over HTTPS as a program, and in process."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.fake_node import FakeNode, add_node

from virt_api.admission import KubeVirtAdmission
from virt_controller.app import Options, run
from virt_kube.admission import UserInfo
from virt_kube.api import Json, KubeClient, NotFound
from virt_kube.http import HttpClient
from virt_kube.kubeconfig import ClientConfig
from virt_kube.resources import EVENTS, VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from virt_local import pki
from virt_local.apiserver.authn import Authenticator
from virt_local.apiserver.server import ApiServer
from virt_local.gc import GarbageCollector
from virt_local.store.store import Store
from virt_types import labels
from virt_types.crds import custom_resource_definitions

TOKENS = f'controller-token,{labels.CONTROLLER_USER},1,"{labels.SERVICE_ACCOUNTS_GROUP},system:masters"\n'


class Cluster:
    """A one-machine cluster whose node agent has no hypervisor."""

    def __init__(self, admin: KubeClient, agent: FakeNode) -> None:
        self.admin = admin
        self.agent = agent

    async def vm(self, name: str = "vm1") -> Json:
        found: Json = json.loads(await self.admin.get(VIRTUAL_MACHINES, "default", name))
        return found

    async def shows(self, wanted: str, name: str = "vm1") -> Json:
        """The VM once `printableStatus` is as wanted."""
        vm: Json = {}
        for _ in range(400):
            vm = await self.vm(name)
            if vm.get("status", {}).get("printableStatus") == wanted:
                return vm
            await asyncio.sleep(0.02)
        raise AssertionError(f"still {vm.get('status')}")

    async def gone(self, name: str = "vm1") -> None:
        for _ in range(400):
            try:
                await self.vm(name)
            except NotFound:
                return
            await asyncio.sleep(0.02)
        raise AssertionError("never deleted")


@asynccontextmanager
async def cluster(folder: Path, *, over_http: bool) -> AsyncIterator[Cluster]:
    store = await Store.open(folder / "store.db")
    tokens = folder / "tokens.csv"
    tokens.write_text(TOKENS)
    admission = KubeVirtAdmission(require_node=False)
    server = ApiServer(store, admission=admission, authenticator=Authenticator(tokens))
    await server.bootstrap(custom_resource_definitions())
    certificates = pki.ensure(folder / "state")
    port = await server.start("127.0.0.1", 0, certificates.server_context())
    group = labels.SERVICE_ACCOUNTS_GROUP
    client: KubeClient = server.client(UserInfo(labels.CONTROLLER_USER, (group, "system:masters")))
    if over_http:
        config = ClientConfig(
            server=f"https://127.0.0.1:{port}", ca_data=certificates.ca.read_bytes(), token="controller-token"
        )
        client = HttpClient(config)
    admin = server.client(UserInfo("virtctl-admin", ("system:masters",)))
    agent = FakeNode(server.client(UserInfo(labels.HANDLER_USER, (group, "system:masters"))), clock=time.time)
    await add_node(admin)
    work = [
        asyncio.create_task(GarbageCollector(store, server.registry, server.client()).run()),
        asyncio.create_task(run(client, options=Options())),
        asyncio.create_task(agent.run()),
    ]
    try:
        yield Cluster(admin, agent)
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await client.close()
        await server.stop()
        await store.close()


def machine(**spec: Any) -> Json:
    disk = {"name": "root", "disk": {"bus": "virtio"}}
    domain = {"devices": {"disks": [disk]}, "memory": {"guest": "64Mi"}}
    volumes = [{"name": "root", "containerDisk": {"image": "registry.example/disk:1"}}]
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"domain": domain, "volumes": volumes}}
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {"name": "vm1", "namespace": "default"},
        "spec": {**spec, "template": template},
    }


async def is_gone(check: Callable[[], Any]) -> bool:
    try:
        await check()
    except NotFound:
        return True
    return False


@pytest.mark.parametrize("over_http", [True, False], ids=["https", "in-process"])
async def test_the_life_of_a_vm(tmp_path: Path, over_http: bool) -> None:
    async with cluster(tmp_path, over_http=over_http) as c:
        await c.admin.create(VIRTUAL_MACHINES, "default", machine(runStrategy="Halted"))
        stopped = await c.shows("Stopped")
        identity = stopped["spec"]["template"]["spec"]["domain"]["firmware"]
        assert labels.VM_FINALIZER in stopped["metadata"]["finalizers"]

        await c.admin.patch(VIRTUAL_MACHINES, "default", "vm1", {"spec": {"runStrategy": "Always"}}, kind="merge")
        running = await c.shows("Running")
        assert (running["status"]["created"], running["status"]["runStrategy"]) == (True, "Always")
        vmi = json.loads(await c.admin.get(VIRTUAL_MACHINE_INSTANCES, "default", "vm1"))
        assert vmi["spec"]["domain"]["firmware"] == identity
        assert vmi["metadata"]["labels"][labels.NODE_NAME] == "node1"
        phases = [each["phase"] for each in vmi["status"]["phaseTransitionTimestamps"]]
        assert phases == ["Pending", "Scheduled", "Running"]

        await c.agent.end("default", "vm1", "Succeeded")
        for _ in range(400):
            if len(c.agent.started) == 2:
                break
            await asyncio.sleep(0.02)
        assert len(set(c.agent.started)) == 2
        await c.shows("Running")

        await c.admin.patch(VIRTUAL_MACHINES, "default", "vm1", {"spec": {"runStrategy": "Halted"}}, kind="merge")
        await c.shows("Stopped")
        for _ in range(400):
            if await is_gone(lambda: c.admin.get(VIRTUAL_MACHINE_INSTANCES, "default", "vm1")):
                break
            await asyncio.sleep(0.02)
        events = [json.loads(item) for item in (await c.admin.list(EVENTS, "default")).items]
        reasons = {event["reason"] for event in events if event["involvedObject"]["uid"] == stopped["metadata"]["uid"]}
        assert reasons == {"SuccessfulCreate", "SuccessfulDelete"}

        await c.admin.delete(VIRTUAL_MACHINES, "default", "vm1")
        await c.gone()


async def test_orphaned_and_adopted_again(tmp_path: Path) -> None:
    async with cluster(tmp_path, over_http=False) as c:
        await c.admin.create(VIRTUAL_MACHINES, "default", machine(runStrategy="Always"))
        await c.shows("Running")
        before = json.loads(await c.admin.get(VIRTUAL_MACHINE_INSTANCES, "default", "vm1"))
        await c.admin.delete(VIRTUAL_MACHINES, "default", "vm1", propagation="Orphan")
        await c.gone()
        left = json.loads(await c.admin.get(VIRTUAL_MACHINE_INSTANCES, "default", "vm1"))
        assert left["metadata"]["uid"] == before["metadata"]["uid"]
        assert not left["metadata"].get("ownerReferences")
        await c.admin.create(VIRTUAL_MACHINES, "default", machine(runStrategy="Always"))
        vm = await c.shows("Running")
        adopted = json.loads(await c.admin.get(VIRTUAL_MACHINE_INSTANCES, "default", "vm1"))
        assert adopted["metadata"]["uid"] == before["metadata"]["uid"]
        assert adopted["metadata"]["ownerReferences"][0]["uid"] == vm["metadata"]["uid"]
        assert len(c.agent.started) == 1
