"""Owners, dependents, namespaces and definitions: what goes with what, and what stays."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from support.api_server import Api

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"


async def make(api: Api, name: str, *owners: Any, **meta: Any) -> Any:
    references = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": True,
        }
        for owner in owners
    ]
    made = await api("POST", CONFIGMAPS, {"metadata": {"name": name, "ownerReferences": references, **meta}})
    assert made.code == 201
    return made.body


async def names(api: Api) -> list[str]:
    return [item["metadata"]["name"] for item in (await api("GET", CONFIGMAPS)).body["items"]]


async def eventually(api: Api, *expected: str) -> None:
    deadline = time.monotonic() + 5
    while (found := await names(api)) != list(expected):
        assert time.monotonic() < deadline, f"{found} instead of {list(expected)}"
        await asyncio.sleep(0.02)


async def delete(api: Api, name: str, policy: str) -> Any:
    return await api("DELETE", f"{CONFIGMAPS}/{name}", {"propagationPolicy": policy})


async def test_background_takes_the_owner_first_and_then_all_below(api: Api) -> None:
    owner = await make(api, "owner")
    child = await make(api, "child", owner)
    await make(api, "grandchild", child)
    await make(api, "stranger")
    assert (await delete(api, "owner", "Background")).body["status"] == "Success"
    await eventually(api, "stranger")


async def test_an_object_with_another_living_owner_stays(api: Api) -> None:
    first, second = await make(api, "first"), await make(api, "second")
    await make(api, "shared", first, second)
    await delete(api, "first", "Background")
    await eventually(api, "second", "shared")
    deadline = time.monotonic() + 5
    while len((await api("GET", CONFIGMAPS + "/shared")).body["metadata"]["ownerReferences"]) != 1:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    await delete(api, "second", "Background")
    await eventually(api)


async def test_orphans_stay_without_their_owner(api: Api) -> None:
    await make(api, "child", await make(api, "owner"))
    await delete(api, "owner", "Orphan")
    await eventually(api, "child")
    await asyncio.sleep(0.2)
    left = (await api("GET", CONFIGMAPS + "/child")).body
    assert "ownerReferences" not in left["metadata"]


async def test_foreground_waits_for_dependents_that_block(api: Api) -> None:
    owner = await make(api, "owner")
    await make(api, "child", owner, finalizers=["e.com/hold"])
    await delete(api, "owner", "Foreground")
    await asyncio.sleep(0.3)
    assert await names(api) == ["child", "owner"]
    assert (await api("GET", CONFIGMAPS + "/child")).body["metadata"]["deletionTimestamp"]
    await api.merge(CONFIGMAPS + "/child", {"metadata": {"finalizers": None}})
    await eventually(api)


@pytest.mark.parametrize("name", ["owner", "never-was"])
async def test_an_owner_that_does_not_exist_owns_nothing(api: Api, name: str) -> None:
    await make(api, "child", {"metadata": {"name": name, "uid": "11111111-2222-3333-4444-555555555555"}})
    await eventually(api)


async def test_a_namespace_empties_itself(api: Api) -> None:
    await api("POST", "/api/v1/namespaces", {"metadata": {"name": "team"}})
    inside = "/api/v1/namespaces/team/configmaps"
    await api("POST", inside, {"metadata": {"name": "plain"}})
    await api("POST", inside, {"metadata": {"name": "held", "finalizers": ["e.com/hold"]}})
    gone = await api("DELETE", "/api/v1/namespaces/team")
    assert gone.body["status"]["phase"] == "Terminating"
    refused = await api("POST", inside, {"metadata": {"name": "late"}})
    assert refused.code == 403
    assert refused.body["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    await asyncio.sleep(0.2)
    assert (await api("GET", inside + "/plain")).code == 404
    assert (await api("GET", "/api/v1/namespaces/team")).code == 200
    await api.merge(inside + "/held", {"metadata": {"finalizers": None}})
    deadline = time.monotonic() + 5
    while (await api("GET", "/api/v1/namespaces/team")).code != 404:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_a_definition_takes_its_objects_along(api: Api) -> None:
    await api(
        "POST", WIDGETS, {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {}}
    )
    await api("DELETE", DEFINITION)
    deadline = time.monotonic() + 5
    while (await api("GET", DEFINITION)).code != 404:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert (await api("GET", WIDGETS)).code == 404
    assert not api.store.objects("example.com/widgets")
