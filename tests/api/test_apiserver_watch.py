"""Watches over HTTP: what comes first, what selectors make of a change, bookmarks, ends and resumption."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from virt_kube.admission import UserInfo
from virt_kube.api import Forbidden, Gone, Invalid, NotFound, Resource

if TYPE_CHECKING:
    from support.api_server import Api

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")


async def put(api: Api, name: str, label: str = "", **data: str) -> Any:
    body = {"metadata": {"name": name, "labels": {"l": label} if label else {}}, "data": data}
    found = await api("POST", CONFIGMAPS, body)
    if found.code == 409:
        found = await api("PUT", f"{CONFIGMAPS}/{name}", body)
    return found


def shown(event: dict[str, Any]) -> tuple[str, str]:
    return event["type"], event["object"]["metadata"].get("name", "")


async def ended(api: Api, path: str) -> list[dict[str, Any]]:
    """All events of a watch that ends by itself."""
    events = []
    async with api.watch(path) as stream:
        while (event := await asyncio.wait_for(stream.get(), 10)) is not None:
            events.append(event)
    return events


async def test_without_a_version_the_present_comes_first(api: Api) -> None:
    await put(api, "a")
    async with api.watch(CONFIGMAPS + "?watch=1") as events:
        assert shown(await events.get()) == ("ADDED", "a")
        await put(api, "b")
        assert shown(await events.get()) == ("ADDED", "b")
        await put(api, "a", k="v")
        assert shown(await events.get()) == ("MODIFIED", "a")
        await api("DELETE", CONFIGMAPS + "/a")
        gone = await events.get()
        assert shown(gone) == ("DELETED", "a")
        assert int(gone["object"]["metadata"]["resourceVersion"]) == api.store.revision


async def test_from_a_version_every_change_since_comes_in_order(api: Api) -> None:
    since = (await put(api, "a")).rv
    await put(api, "a", k="1")
    await put(api, "b")
    await api("DELETE", CONFIGMAPS + "/a")
    found = await ended(api, f"{CONFIGMAPS}?watch=1&resourceVersion={since}&timeoutSeconds=1")
    assert [shown(event) for event in found] == [("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a")]


async def test_leaving_and_entering_a_selector(api: Api) -> None:
    async with api.watch(CONFIGMAPS + "?watch=1&labelSelector=l%3Dx") as events:
        await asyncio.sleep(0.1)
        await put(api, "a", "y")
        await put(api, "a", "x")
        await put(api, "a", "y")
        entered, left = await events.get(), await events.get()
        assert (entered["type"], left["type"]) == ("ADDED", "DELETED")
        assert left["object"]["metadata"]["labels"] == {"l": "x"}, "the old content"
        assert left["object"]["metadata"]["resourceVersion"] == str(api.store.revision), "the new revision"


async def test_the_last_finalizer_gone_is_a_deletion_with_the_last_stored_state(api: Api) -> None:
    held = {"metadata": {"name": "a", "finalizers": ["e.com/hold"]}}
    since = (await api("POST", CONFIGMAPS, held)).rv
    await api("DELETE", CONFIGMAPS + "/a")
    await api.merge(CONFIGMAPS + "/a", {"metadata": {"finalizers": None}})
    found = await ended(api, f"{CONFIGMAPS}?watch=1&resourceVersion={since}&timeoutSeconds=1")
    assert [event["type"] for event in found] == ["MODIFIED", "DELETED"]
    assert found[1]["object"]["metadata"]["finalizers"] == ["e.com/hold"]
    assert found[1]["object"]["metadata"]["resourceVersion"] == str(api.store.revision)


async def test_initial_events_end_with_a_marked_bookmark(api: Api) -> None:
    await put(api, "a")
    query = (
        "?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
    )
    found = await ended(api, CONFIGMAPS + query)
    assert [event["type"] for event in found[:2]] == ["ADDED", "BOOKMARK"]
    assert found[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    refused = await api("GET", CONFIGMAPS + "?watch=1&sendInitialEvents=true")
    assert refused.code == 422


async def test_a_bookmark_comes_before_the_end(api: Api) -> None:
    rv = (await put(api, "a")).rv
    await api("POST", "/api/v1/namespaces", {"metadata": {"name": "other"}})
    query = f"?watch=1&resourceVersion={rv}&allowWatchBookmarks=true&timeoutSeconds=1"
    (bookmark,) = await ended(api, CONFIGMAPS + query)
    assert bookmark["type"] == "BOOKMARK"
    assert int(bookmark["object"]["metadata"]["resourceVersion"]) > int(rv), "it moves on without events of its kind"


async def test_a_version_behind_the_kept_history_is_gone(api: Api) -> None:
    (event,) = await ended(api, CONFIGMAPS + "?watch=1&resourceVersion=1")
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_watching_as_a_table_heads_only_the_first(api: Api) -> None:
    await put(api, "a")
    await put(api, "b")
    headers = {"Authorization": "Bearer admin-token", "Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    url = api.base + CONFIGMAPS + "?watch=1&timeoutSeconds=1"
    async with api.client.get(url, headers=headers) as answer:
        events = [json.loads(line)["object"] async for line in answer.content]
    assert [bool(event["columnDefinitions"]) for event in events] == [True, False]


async def test_a_hundred_watchers_see_the_same(api: Api) -> None:
    async def count() -> int:
        async with api.watch(CONFIGMAPS + "?watch=1&timeoutSeconds=30") as events:
            return len([await events.get() for _ in range(50)])

    watchers = [asyncio.create_task(count()) for _ in range(100)]
    await asyncio.sleep(0.5)
    await asyncio.gather(*(put(api, f"n{number}") for number in range(50)))
    assert await asyncio.wait_for(asyncio.gather(*watchers), 20) == [50] * 100


async def test_a_client_that_leaves_frees_its_watch(api: Api) -> None:
    async with api.watch(CONFIGMAPS + "?watch=1"):
        await asyncio.sleep(0.2)
        assert len(api.store._watches["/configmaps"]) == 1
    for _ in range(50):
        if not api.store._watches["/configmaps"]:
            break
        await asyncio.sleep(0.05)
    assert not api.store._watches["/configmaps"]


async def test_the_in_process_client_speaks_the_same_language(api: Api) -> None:
    client = api.server.client()
    made = json.loads(await client.create(CONFIG_MAP, "default", {"metadata": {"name": "a", "labels": {"l": "x"}}}))
    page = await client.list(CONFIG_MAP, "default", label_selector="l=x")
    assert [json.loads(item)["kind"] for item in page.items] == ["ConfigMap"]
    stream = client.watch(CONFIG_MAP, "default", resource_version=page.resource_version)
    following = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    patched = await client.patch(CONFIG_MAP, "default", "a", {"data": {"k": "v"}}, kind="merge")
    event = await asyncio.wait_for(following, 5)
    assert event.type == "MODIFIED"
    assert event.object is not None
    assert event.object == patched
    await stream.aclose()  # type: ignore[attr-defined]
    await client.delete(CONFIG_MAP, "default", "a", uid=made["metadata"]["uid"])
    with pytest.raises(NotFound):
        await client.get(CONFIG_MAP, "default", "a")
    with pytest.raises(Gone):
        await anext(client.watch(CONFIG_MAP, "", resource_version="1"))
    with pytest.raises(Invalid):
        await client.create(CONFIG_MAP, "default", {"metadata": {"name": "No Good"}})
    handler = api.server.client(UserInfo("system:serviceaccount:kubevirt:virt-handler", ("system:authenticated",)))
    with pytest.raises(Forbidden):
        await handler.create(CONFIG_MAP, "default", {"metadata": {"name": "b"}})
