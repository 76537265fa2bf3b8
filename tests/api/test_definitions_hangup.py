"""A definition is whole, whenever its client hangs up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from virt_kube.api import Resource
from virt_local.apiserver.server import ApiServer
from virt_local.store import Record, Store

DEFINITIONS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition")
FOOS = Resource("example.com", "v1", "foos", "Foo")
SCHEMA = {"openAPIV3Schema": {"type": "object"}}
DEFINITION: Any = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "foos.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": SCHEMA}],
    },
}


async def test_a_client_that_hangs_up_leaves_no_half_definition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await Store.open(tmp_path / "store.db")
    server = ApiServer(store)
    await server.bootstrap([])
    client, began, put = server.client(), asyncio.Event(), store.put

    async def noticed(*arguments: Any, **more: Any) -> Record:
        began.set()
        return await put(*arguments, **more)

    monkeypatch.setattr(store, "put", noticed)
    creating = asyncio.create_task(client.create(DEFINITIONS, "", DEFINITION))
    await began.wait()
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    await asyncio.gather(*server._pipeline._defining)
    found = msgspec.json.decode(await client.get(DEFINITIONS, "", "foos.example.com"))
    conditions = {one["type"]: one["status"] for one in found["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    await client.create(FOOS, "default", {"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a"}})
    await server.stop()
    await store.close()
