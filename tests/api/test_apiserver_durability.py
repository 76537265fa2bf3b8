"""Power cuts under load, over HTTP: what was acknowledged is there; and whoever fell behind catches up.

`nox -s powercut -- ROUNDS` cuts as often as one likes.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import random
import signal
import ssl
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import pytest
from support.api_server import Served, serve

from virt_kube.api import Gone, Resource
from virt_kube.http import HttpClient
from virt_kube.informer import Informer
from virt_local import pki
from virt_local.apiserver.server import ApiServer
from virt_local.store import Store, compaction
from virt_types import codec
from virt_types.meta import Base, ObjectMeta

if TYPE_CHECKING:
    from virt_local.pki import Pki

ROUNDS = int(os.environ.get("POWERCUT_ROUNDS", "6"))
WRITERS = 4
PATH = "/api/v1/namespaces/default/configmaps"


class Client:
    def __init__(self, served: Served) -> None:
        trust = ssl.create_default_context(cafile=str(served.folder / "pki" / "ca.crt"))
        trust.load_cert_chain(served.folder / "pki" / "admin.crt", served.folder / "pki" / "admin.key")
        address = urlsplit(served.url)
        self._connection = http.client.HTTPSConnection(str(address.hostname), address.port, context=trust, timeout=20)

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        data = json.dumps(body) if body is not None else None
        self._connection.request(method, path, data, {"Content-Type": "application/json"})
        with self._connection.getresponse() as answer:
            found = json.loads(answer.read())
        assert answer.status < 300, found
        return found

    def close(self) -> None:
        self._connection.close()


def write_until_cut(served: Served, name: str, number: int, kept: dict[str, tuple[int, int]]) -> None:
    """Count upwards in one object; `kept` holds what was acknowledged: resourceVersion and number."""
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(Client(served)) as client:
        while True:
            number += 1
            body = {"metadata": {"name": name}, "data": {"number": str(number), "pad": "x" * 2_000}}
            made = client("PUT" if name in kept else "POST", f"{PATH}/{name}" if name in kept else PATH, body)
            kept[name] = (int(made["metadata"]["resourceVersion"]), number)


def test_a_power_cut_under_load_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """The process dies at any moment, again and again, on the same store; each time all of it is looked at."""
    folder = tmp_path / "d"
    folder.mkdir()
    kept: dict[str, tuple[int, int]] = {}
    for _ in range(ROUNDS):
        with serve(folder, "--no-admission", "--no-crds") as served:
            check(served, kept)
            numbers = {f"w{each}": kept.get(f"w{each}", (0, 0))[1] for each in range(WRITERS)}
            threads = [threading.Thread(target=write_until_cut, args=(served, *item, kept)) for item in numbers.items()]
            for thread in threads:
                thread.start()
            time.sleep(random.uniform(0.1, 0.6))  # noqa: S311  any moment will do
            os.kill(served.pid, signal.SIGKILL)
            for thread in threads:
                thread.join()
    assert len(kept) == WRITERS
    with serve(folder, "--no-admission", "--no-crds") as served:
        check(served, kept)


def check(served: Served, kept: dict[str, tuple[int, int]]) -> None:
    """Every object is at least as new as its last acknowledgement, and the watch from there tells the same."""
    with contextlib.closing(Client(served)) as client:
        found = client("GET", PATH)
        assert int(found["metadata"]["resourceVersion"]) >= max((rev for rev, _ in kept.values()), default=0)
        objects = {item["metadata"]["name"]: item for item in found["items"]}
        for name, (rev, number) in kept.items():
            assert int(objects[name]["metadata"]["resourceVersion"]) >= rev
            assert int(objects[name]["data"]["number"]) in (number, number + 1), "that one may have come unanswered"
            kept[name] = (int(objects[name]["metadata"]["resourceVersion"]), int(objects[name]["data"]["number"]))


CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")


class Busy(Base, kw_only=True):
    kind: str = "ConfigMap"
    api_version: str = "v1"
    metadata: ObjectMeta
    data: dict[str, str] = msgspec.field(default_factory=dict)


class Short:
    """A server that forgets history quickly."""

    def __init__(self, server: ApiServer, url: str, kubeconfig: Path) -> None:
        self.server, self.url, self.kubeconfig = server, url, kubeconfig

    async def write(self, times: int) -> None:
        client = self.server.client()
        for number in range(times):
            patch = {"data": {"number": str(number)}}
            await client.patch(CONFIG_MAPS, "default", "busy", patch, kind="merge")

    def cut(self) -> None:
        """Every connection breaks."""
        assert self.server._listener is not None
        for connection in self.server._listener.connections:
            if connection.transport is not None:
                connection.transport.abort()


@pytest.fixture
async def short(tmp_path: Path, certificates: Pki, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Short]:
    monkeypatch.setattr(compaction, "EVERY", 50)
    store = await Store.open(tmp_path / "store.db", window=20)
    server = ApiServer(store)
    await server.bootstrap([])
    port = await server.start("127.0.0.1", 0, certificates.server_context())
    url = f"https://127.0.0.1:{port}"
    pki.write_kubeconfig(tmp_path / "kubeconfig", certificates, url)
    await server.client().create(CONFIG_MAPS, "default", {"metadata": {"name": "busy"}, "data": {}})
    yield Short(server, url, tmp_path / "kubeconfig")
    await server.stop()
    await store.close()


async def test_a_watcher_behind_the_horizon_is_told_and_finds_its_way(short: Short) -> None:
    client = HttpClient.from_kubeconfig(str(short.kubeconfig), None)
    page = await client.list(CONFIG_MAPS, "default")
    await short.write(200)
    assert short.server.store.compacted > int(page.resource_version)
    stream = client.watch(CONFIG_MAPS, "default", resource_version=page.resource_version)
    with pytest.raises(Gone) as gone:
        await anext(aiter(stream))
    assert gone.value.message.startswith("too old resource version")
    again = await client.list(CONFIG_MAPS, "default")
    assert b'"number":"199"' in again.items[-1]
    await client.close()


async def test_an_informer_cut_off_for_too_long_lists_again(short: Short) -> None:
    client = HttpClient.from_kubeconfig(str(short.kubeconfig), None)
    informer: Informer[Busy] = Informer(client, CONFIG_MAPS, lambda data: codec.decode(data, Busy))
    task = asyncio.create_task(informer.run())
    async with asyncio.timeout(10):
        await informer.synced.wait()
    short.cut()
    await short.write(200)
    async with asyncio.timeout(20):
        while (busy := informer.get("default", "busy")) is None or busy.data.get("number") != "199":  # noqa: ASYNC110  a cache
            await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await client.close()


async def test_the_file_stays_bounded_however_much_is_written(short: Short) -> None:
    path = short.server.store._log.path
    await short.write(400)
    begin = path.stat().st_size
    await short.write(1_200)
    await asyncio.sleep(0.2)
    assert path.stat().st_size < begin + (1 << 20)
