"""The embedded API server with its admission and the controllers, and a node agent without a hypervisor."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from support.fake_node import FakeNode, add_node

from virt_api import app as subresources
from virt_api.admission import KubeVirtAdmission
from virt_controller.app import Options, run
from virt_kube.admission import UserInfo
from virt_kube.api import Json, KubeClient, NotFound
from virt_kube.http import HttpClient
from virt_kube.kubeconfig import ClientConfig
from virt_kube.resources import VIRTUAL_MACHINES
from virt_local import pki
from virt_local.apiserver.authn import Authenticator
from virt_local.apiserver.proxy import SubresourceBackend
from virt_local.apiserver.server import ApiServer
from virt_local.gc import GarbageCollector
from virt_local.store.store import Store
from virt_types import labels
from virt_types.crds import custom_resource_definitions

TOKENS = f'controller-token,{labels.CONTROLLER_USER},1,"{labels.SERVICE_ACCOUNTS_GROUP}"\n'


class Cluster:
    """A one-machine cluster whose node agent has no hypervisor."""

    def __init__(
        self, admin: KubeClient, agent: FakeNode, kubeconfig: Path, admission: KubeVirtAdmission, api: KubeClient
    ) -> None:
        self.admin = admin
        self.agent = agent
        self.kubeconfig = kubeconfig
        self.admission = admission
        self.api = api

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
    socket = folder / "a.sock"
    server = ApiServer(
        store, admission=admission, authenticator=Authenticator(tokens), subresources=SubresourceBackend(socket)
    )
    await server.bootstrap(custom_resource_definitions())
    certificates = pki.ensure(folder / "state")
    port = await server.start("127.0.0.1", 0, certificates.server_context())
    kubeconfig = folder / "kubeconfig"
    pki.write_kubeconfig(kubeconfig, certificates, f"https://127.0.0.1:{port}")
    group = labels.SERVICE_ACCOUNTS_GROUP
    api = server.client(UserInfo(labels.API_USER, (group,)))
    admission.connect(api)
    client: KubeClient = server.client(UserInfo(labels.CONTROLLER_USER, (group,)))
    if over_http:
        config = ClientConfig(
            server=f"https://127.0.0.1:{port}", ca_data=certificates.ca.read_bytes(), token="controller-token"
        )
        client = HttpClient(config)
    admin = server.client(UserInfo("virtctl-admin", ("system:masters",)))
    agent = FakeNode(server.client(UserInfo(labels.HANDLER_USER, (group, "system:node:node1"))), clock=time.time)
    await add_node(admin)
    work = [
        asyncio.create_task(GarbageCollector(store, server.registry, server.client()).run()),
        asyncio.create_task(run(client, options=Options())),
        asyncio.create_task(agent.run()),
        asyncio.create_task(subresources.serve(api, socket=socket, handler_socket=folder / "h.sock")),
    ]
    try:
        yield Cluster(admin, agent, kubeconfig, admission, api)
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await client.close()
        await server.stop()
        await store.close()
