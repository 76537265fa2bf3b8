"""virt-api on a network: whose word it takes, and how it follows certificates that change. Over real TLS."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from cryptography import x509
from support.fake_kube import FakeKube

from virt_api import front_proxy
from virt_api.app import serve_cluster
from virt_api.front_proxy import AUTHORITY, CONFIG_MAPS, NAME, NAMES, NAMESPACE, NoFrontProxy
from virt_api.serving import CertificateError, Serving, own_certificate
from virt_kube import certificates
from virt_kube.api import Resource
from virt_kube.certificates import Authority, Pair, Subject

DISCOVERY = "/apis/subresources.kubevirt.io/v1"
START = f"{DISCOVERY}/namespaces/default/virtualmachines/vm1/start"


class Reviewing(FakeKube):
    """Everybody may everything: this is about who they are."""

    async def create(self, resource: Resource, namespace: str, body: Any) -> bytes:
        if resource.plural == "subjectaccessreviews":
            return json.dumps(body | {"status": {"allowed": True}}).encode()
        return await super().create(resource, namespace, body)


class World(NamedTuple):
    kube: FakeKube
    serving: Serving
    url: str
    folder: Path
    proxies: Authority

    async def tell(self, authority: Authority, names: list[str]) -> None:
        data = {"data": {AUTHORITY: authority.pair.cert.read_text(), NAMES: json.dumps(names)}}
        await self.kube.patch(CONFIG_MAPS, NAMESPACE, NAME, data, kind="merge")

    async def ask(self, pair: Pair | None, method: str = "GET", path: str = DISCOVERY, **options: Any) -> int | str:
        """The code, or "TLS" where the handshake is refused."""
        context = ssl.create_default_context(cafile=self.folder / "own" / "ca.crt")
        if pair is not None:
            context.load_cert_chain(*pair)
        headers = {"X-Remote-User": "admin"}
        try:
            async with (
                aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as client,
                client.request(method, self.url + path, headers=headers, **options) as answer,
            ):
                return answer.status
        except (aiohttp.ClientError, OSError):
            return "TLS"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    kube = Reviewing()
    proxies = authority(tmp_path, "front")
    data = {AUTHORITY: proxies.pair.cert.read_text(), NAMES: '["front-proxy-client"]'}
    await kube.create(CONFIG_MAPS, NAMESPACE, {"metadata": {"name": NAME}, "data": data})
    serving = Serving(own_certificate(tmp_path / "own"), await front_proxy.read(kube))
    port = free_port()
    work = asyncio.create_task(
        serve_cluster(kube, address=("127.0.0.1", port), serving=serving, handler_socket=tmp_path / "h.sock")
    )
    world = World(kube, serving, f"https://localhost:{port}", tmp_path, proxies)
    async with asyncio.timeout(20):
        while await world.ask(None, path="/healthz") == "TLS":  # noqa: ASYNC110  it is about to listen
            await asyncio.sleep(0.01)
    yield world
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work


def authority(folder: Path, name: str) -> Authority:
    (folder / name).mkdir()
    return Authority(folder / name, name)


def free_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def test_only_the_front_proxy_is_believed(world: World) -> None:
    proxy = world.proxies.leaf(Subject("proxy", "front-proxy-client"))
    other = world.proxies.leaf(Subject("other", "somebody-else"))
    forged = authority(world.folder, "forged").leaf(Subject("proxy", "front-proxy-client"))
    asked = {"proxy": proxy, "other": other, "forged": forged, "nobody": None}
    assert {who: await world.ask(pair) for who, pair in asked.items()} == {
        "proxy": 200,
        "other": 401,
        "forged": "TLS",
        "nobody": 401,
    }
    assert await world.ask(None, "PUT", START) == 401
    assert await world.ask(proxy, "PUT", START) == 404  # no such machine
    assert await world.ask(None, path="/healthz") == 200
    assert await world.ask(None, "POST", "/validate", json={}) == 400
    assert await world.ask(None, path="/nothing") == 401


async def test_a_new_front_proxy_is_believed_and_the_former_is_not(world: World) -> None:
    former = world.proxies.leaf(Subject("proxy", "front-proxy-client"))
    new = authority(world.folder, "new")
    await world.tell(new, ["aggregator"])
    await world.serving.refresh(world.kube)
    assert await world.ask(former) == "TLS"
    assert await world.ask(new.leaf(Subject("proxy", "aggregator"))) == 200
    assert await world.ask(new.leaf(Subject("old", "front-proxy-client"))) == 401
    await world.tell(new, [])
    await world.serving.refresh(world.kube)
    assert await world.ask(new.leaf(Subject("old", "front-proxy-client"))) == 200  # no names: any


async def test_a_renewed_certificate_is_shown_without_a_restart(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (world.folder / "own" / "tls.crt").read_bytes()
    assert own_certificate(world.folder / "own").cert.read_bytes() == before
    monkeypatch.setattr(certificates, "RENEW_DAYS", certificates.LEAF_DAYS + 1)
    after = x509.load_pem_x509_certificate(own_certificate(world.folder / "own").cert.read_bytes())
    await world.serving.refresh(world.kube)
    port = int(world.url.rpartition(":")[2])
    shown = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    assert x509.load_pem_x509_certificate(shown.encode()).serial_number == after.serial_number


async def test_what_can_not_be_read_leaves_the_last_good_state(world: World) -> None:
    proxy = world.proxies.leaf(Subject("proxy", "front-proxy-client"))
    (world.folder / "own" / "tls.key").write_text("no key")
    with pytest.raises(CertificateError, match="can't be used"):
        await world.serving.refresh(world.kube)
    await world.kube.patch(CONFIG_MAPS, NAMESPACE, NAME, {"data": {AUTHORITY: None}}, kind="merge")
    with pytest.raises(NoFrontProxy):
        await world.serving.refresh(world.kube)
    assert await world.ask(proxy) == 200


@pytest.mark.parametrize("data", [None, {}, {AUTHORITY: "x", NAMES: "no list"}, {AUTHORITY: "x", NAMES: "1"}])
async def test_a_cluster_without_front_proxy_is_told_so(data: dict[str, str] | None) -> None:
    kube = FakeKube()
    if data is not None:
        await kube.create(CONFIG_MAPS, NAMESPACE, {"metadata": {"name": NAME}, "data": data})
    with pytest.raises(NoFrontProxy, match="names no front proxy"):
        await front_proxy.read(kube)
