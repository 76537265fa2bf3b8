"""Server-side apply over HTTP: who owns what, conflicts, force, taking back, and the updates of others."""

from __future__ import annotations

from typing import Any

import pytest
from support.api_server import Api, Reply

PATH = "/api/v1/namespaces/default/configmaps/a"
SERVICE = "/api/v1/namespaces/default/services/s"


async def apply(api: Api, path: str, manager: str, body: dict[str, Any], *, force: bool = False) -> Reply:
    query = f"?fieldManager={manager}&force={str(force).lower()}"
    return await api("PATCH", path + query, body, content="application/apply-patch+yaml")


async def apply_data(api: Api, manager: str, data: dict[str, str], *, force: bool = False) -> Reply:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}
    return await apply(api, PATH, manager, body, force=force)


def owners(reply: Reply) -> dict[str, Any]:
    return {entry["manager"]: entry["fieldsV1"].get("f:data") for entry in reply.body["metadata"]["managedFields"]}


async def test_it_makes_the_object_and_again_changes_nothing(api: Api) -> None:
    made = await apply_data(api, "m1", {"a": "1"})
    again = await apply_data(api, "m1", {"a": "1"})
    assert (made.code, again.code) == (201, 200)
    assert made.rv == again.rv
    assert owners(again) == {"m1": {"f:a": {}}}


async def test_what_is_no_longer_said_goes_unless_another_says_it(api: Api) -> None:
    await apply_data(api, "m1", {"a": "1", "b": "2"})
    await apply_data(api, "m2", {"b": "2", "c": "3"})
    left = await apply_data(api, "m1", {})
    assert left.body["data"] == {"b": "2", "c": "3"}


async def test_a_conflict_names_owner_and_field_and_force_takes_it(api: Api) -> None:
    await apply_data(api, "m1", {"a": "1", "b": "1"})
    refused = await apply_data(api, "m2", {"a": "2", "b": "2"})
    assert (refused.code, refused.reason) == (409, "Conflict")
    assert [cause["field"] for cause in refused.body["details"]["causes"]] == [".data.a", ".data.b"]
    assert {cause["reason"] for cause in refused.body["details"]["causes"]} == {"FieldManagerConflict"}
    assert 'conflicts with "m1"' in refused.body["message"]
    forced = await apply_data(api, "m2", {"a": "2"}, force=True)
    assert forced.body["data"] == {"a": "2", "b": "1"}
    assert owners(forced) == {"m1": {"f:b": {}}, "m2": {"f:a": {}}}


async def test_updates_own_what_they_change(api: Api) -> None:
    await apply_data(api, "m1", {"a": "1"})
    changed = await api(
        "PATCH", PATH + "?fieldManager=editor", {"data": {"a": "2"}}, content="application/merge-patch+json"
    )
    assert owners(changed) == {"editor": {"f:a": {}}}
    refused = await apply_data(api, "m1", {"a": "1"})
    assert 'conflict with "editor" using v1: .data.a' in refused.body["message"]


async def test_objects_nobody_counted_belong_to_before_first_apply(api: Api) -> None:
    from virt_kube.api import Resource

    body = {"metadata": {"name": "a"}, "data": {"a": "1"}}
    await api.server.client().create(Resource("", "v1", "configmaps", "ConfigMap", namespaced=True), "default", body)
    assert "managedFields" not in (await api("GET", PATH)).body["metadata"]
    refused = await apply_data(api, "m1", {"a": "2"})
    assert 'conflict with "before-first-apply" using v1: .data.a' in refused.body["message"]
    assert (await apply_data(api, "m1", {"a": "2"}, force=True)).code == 200


async def test_list_elements_belong_to_who_said_them(api: Api) -> None:
    def service(*ports: dict[str, Any]) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": list(ports)}}

    await apply(api, SERVICE, "m1", service({"name": "a", "port": 80}))
    both = await apply(api, SERVICE, "m2", service({"name": "b", "port": 81}))
    assert [port["port"] for port in both.body["spec"]["ports"]] == [80, 81]
    refused = await apply(api, SERVICE, "m2", service({"name": "x", "port": 80}))
    assert '.spec.ports[port=80,protocol="TCP"].name' in refused.body["message"]
    left = await apply(api, SERVICE, "m1", service({"name": "c", "port": 82}))
    assert [port["port"] for port in left.body["spec"]["ports"]] == [81, 82]


async def test_status_is_owned_apart(api: Api) -> None:
    path = "/apis/example.com/v1/namespaces/default/widgets/w"
    body = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    await apply(api, path, "m1", {**body, "spec": {"size": 1}})
    await apply(api, path + "/status", "m2", {**body, "status": {"ready": True}})
    seen = await api("GET", path)
    assert seen.body["status"] == {"ready": True}
    entries = {entry["manager"]: entry for entry in seen.body["metadata"]["managedFields"]}
    assert entries["m1"]["fieldsV1"] == {"f:spec": {"f:size": {}}}
    assert (entries["m2"]["subresource"], entries["m2"]["fieldsV1"]) == ("status", {"f:status": {"f:ready": {}}})


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"kind": "Secret"}, 400, "invalid object type: /v1, Kind=Secret"),
        ({"metadata": {}}, 400, "name must be provided"),
        ({"metadata": {"name": "b"}}, 400, "does not match the name on the URL"),
        ({"metadata": {"name": "a", "managedFields": []}}, 400, "metadata.managedFields must be nil"),
        ({"bogus": 1}, 500, ".bogus: field not declared in schema"),
        ({"data": {"n": 5}}, 500, "failed to create typed patch object"),
    ],
)
async def test_what_is_refused(api: Api, change: dict[str, Any], code: int, text: str) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {}, **change}
    refused = await apply(api, PATH, "m1", body)
    assert refused.code == code
    assert text in refused.body["message"]


async def test_a_manager_is_required(api: Api) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    assert (await api("PATCH", PATH, body, content="application/apply-patch+yaml")).code == 422


async def test_many_updaters_become_one(api: Api) -> None:
    await apply_data(api, "m1", {"a": "1"})
    for number in range(15):
        last = await api(
            "PATCH",
            f"{PATH}?fieldManager=u{number}",
            {"data": {f"k{number}": "v"}},
            content="application/merge-patch+json",
        )
    names = [entry["manager"] for entry in last.body["metadata"]["managedFields"]]
    assert "ancient-changes" in names
    assert len(names) <= 12
    conflict = await apply_data(api, "m1", {"a": "1", "k0": "mine"})
    assert conflict.code == 409


async def test_dry_run_tells_and_does_nothing(api: Api) -> None:
    await apply_data(api, "m1", {"a": "1"})
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "2"}}
    shown = await api("PATCH", PATH + "?fieldManager=m1&dryRun=All", body, content="application/apply-patch+yaml")
    assert shown.body["data"] == {"a": "2"}
    assert (await api("GET", PATH)).body["data"] == {"a": "1"}
