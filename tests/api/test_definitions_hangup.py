"""A definition is whole, whenever its client hangs up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from virt_kube.api import Resource
from virt_local.apiserver.server import ApiServer
from virt_local.store import Store

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


async def test_a_client_that_hangs_up_leaves_no_half_definition(tmp_path: Path) -> None:
    store = await Store.open(tmp_path / "store.db")
    server = ApiServer(store)
    await server.bootstrap([])
    client = server.client()
    creating = asyncio.create_task(client.create(DEFINITIONS, "", DEFINITION))
    while not store._pending:
        await asyncio.sleep(0)
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    async with asyncio.timeout(5):
        while (
            "conditions"
            not in (found := msgspec.json.decode(await client.get(DEFINITIONS, "", "foos.example.com")))["status"]
        ):
            await asyncio.sleep(0.01)
    assert {one["type"]: one["status"] for one in found["status"]["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }
    await client.create(FOOS, "default", {"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "a"}})
    await server.stop()
    await store.close()
