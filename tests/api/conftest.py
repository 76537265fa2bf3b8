"""A running API server for the tests of this folder: real store, real TLS, real HTTP, in the test's own event loop.

`api` is the server without KubeVirt admission (what Kubernetes itself does), `served` the same as a process.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from support.api_server import Api, Kubectl, Served, find_kubectl, serve
from support.widgets import widget_definition

from virt_local import pki
from virt_local.apiserver.authn import Authenticator
from virt_local.apiserver.builtins import FIRST_NAMESPACES
from virt_local.apiserver.server import ApiServer
from virt_local.apiserver.tokens import Tokens
from virt_local.gc import GarbageCollector
from virt_local.store import Store


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> pki.Pki:
    return pki.ensure(tmp_path_factory.mktemp("state"))


@pytest.fixture
async def api(tmp_path: Path, certificates: pki.Pki) -> AsyncIterator[Api]:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text('admin-token,admin,1,"system:masters"\nalice-token,alice,2,devs\n')
    store = await Store.open(tmp_path / "store.db")
    issuer = Tokens(store)
    server = ApiServer(store, authenticator=Authenticator(tokens, tokens=issuer), tokens=issuer)
    await server.bootstrap([widget_definition()])
    collector = asyncio.create_task(GarbageCollector(store, server.registry, server.client()).run())
    # Each namespace gets its own, made beside us.
    while len(store.keys("/serviceaccounts")) < len(FIRST_NAMESPACES):  # noqa: ASYNC110  a store, no event
        await asyncio.sleep(0.01)
    port = await server.start("127.0.0.1", 0, certificates.server_context())
    trust = ssl.create_default_context(cafile=str(certificates.ca))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust, limit=0)) as client:
        yield Api(f"https://127.0.0.1:{port}", client, server, store)
    collector.cancel()
    await asyncio.gather(collector, return_exceptions=True)
    await server.stop()
    await store.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("as") / "d"
    folder.mkdir()
    with serve(folder, "--no-admission") as found:
        yield found


@pytest.fixture(scope="module")
def kubectl(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    program = find_kubectl()
    if program is None:
        pytest.skip("no kubectl of 1.32 or newer on PATH")
    return Kubectl(program, served.folder / "kubeconfig", tmp_path_factory.mktemp("home"))
