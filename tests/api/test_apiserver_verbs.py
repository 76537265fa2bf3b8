"""What each verb does, over HTTP and TLS, held against the rules of a real server (k8s.io/apiserver)."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from support.api_server import Api

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"


def config_map(name: str, **meta: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **meta}, "data": {"k": "v"}}


def widget(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec}


async def test_create_sets_what_the_server_owns(api: Api) -> None:
    made = await api("POST", CONFIGMAPS, config_map("a", creationTimestamp="2001-01-01T00:00:00Z", uid="mine"))
    meta = made.body["metadata"]
    assert made.code == 201
    assert meta["uid"] != "mine"
    assert meta["creationTimestamp"] > "2020"
    assert meta["namespace"] == "default"
    assert (await api("GET", CONFIGMAPS + "/a")).body == made.body


async def test_generate_name_appends_five_letters(api: Api) -> None:
    body = {"metadata": {"generateName": "job-"}}
    names = {(await api("POST", CONFIGMAPS, body)).body["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("job-") and len(name) == 9 for name in names)


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "reason"),
    [
        ("POST", CONFIGMAPS, config_map("taken"), 409, "AlreadyExists"),
        ("POST", CONFIGMAPS, config_map("Bad_Name"), 422, "Invalid"),
        ("POST", CONFIGMAPS, config_map("x", labels={"a b": "c"}), 422, "Invalid"),
        ("POST", CONFIGMAPS, config_map("x", namespace="other"), 400, "BadRequest"),
        ("POST", CONFIGMAPS, config_map("x", resourceVersion="5"), 500, ""),
        ("POST", CONFIGMAPS, "{", 400, "BadRequest"),
        ("POST", CONFIGMAPS, "[1]", 400, "BadRequest"),
        ("POST", CONFIGMAPS, "[" * 100_000, 400, "BadRequest"),
        ("POST", CONFIGMAPS + "?dryRun=Some", config_map("x"), 422, "Invalid"),
        ("POST", "/api/v1/namespaces/nowhere/configmaps", config_map("x"), 404, "NotFound"),
        ("POST", WIDGETS, {**widget("x"), "apiVersion": "example.com/v9"}, 400, "BadRequest"),
        ("POST", WIDGETS, {**widget("x"), "kind": "Gadget"}, 422, "Invalid"),
        ("POST", WIDGETS, widget("x", size="big"), 422, "Invalid"),
        ("POST", WIDGETS, widget("x", size=0), 422, "Invalid"),
        ("PUT", WIDGETS + "/nobody", widget("nobody"), 404, "NotFound"),
        ("PUT", CONFIGMAPS + "/taken", config_map("other"), 400, "BadRequest"),
        ("GET", CONFIGMAPS + "?labelSelector=a%20b", None, 400, "BadRequest"),
        ("GET", CONFIGMAPS + "?fieldSelector=data.k%3Dv", None, 400, "BadRequest"),
        ("GET", CONFIGMAPS + "?continue=nonsense", None, 400, "BadRequest"),
        ("GET", CONFIGMAPS + "?resourceVersion=99999999", None, 504, "Timeout"),
        ("GET", CONFIGMAPS + "?resourceVersion=1&resourceVersionMatch=Exact", None, 410, "Expired"),
        ("DELETE", CONFIGMAPS + "/taken?propagationPolicy=Bogus", None, 422, "Invalid"),
        ("DELETE", "/api/v1/namespaces/default", None, 403, "Forbidden"),
        ("GET", "/api/v1/nothings", None, 404, "NotFound"),
        ("PATCH", CONFIGMAPS, {}, 405, "MethodNotAllowed"),
    ],
)
async def test_refusals(api: Api, *, method: str, path: str, body: Any, code: int, reason: str) -> None:
    await api("POST", CONFIGMAPS, config_map("taken"))
    before = api.store.revision
    refused = await api(method, path, body)
    assert (refused.code, refused.reason) == (code, reason)
    assert refused.body["kind"] == "Status"
    assert refused.body["code"] == code
    assert api.store.revision == before, "a refused request must leave nothing behind"


async def test_a_body_over_three_mebibytes_is_refused(api: Api) -> None:
    body = config_map("big")
    body["data"]["k"] = "x" * (3 * 1024 * 1024)
    assert (await api("POST", CONFIGMAPS, body)).code == 413


async def test_put_with_a_stale_version_conflicts_and_an_unchanged_one_writes_nothing(api: Api) -> None:
    first = (await api("POST", CONFIGMAPS, config_map("a"))).body
    second = await api("PUT", CONFIGMAPS + "/a", {**first, "data": {"k": "w"}})
    assert second.code == 200
    stale = await api("PUT", CONFIGMAPS + "/a", {**first, "data": {"k": "x"}})
    assert (stale.code, stale.reason) == (409, "Conflict")
    again = await api("PUT", CONFIGMAPS + "/a", second.body)
    assert again.rv == second.rv


async def test_generation_counts_the_spec_and_status_is_apart(api: Api) -> None:
    made = await api("POST", WIDGETS, {**widget("w", size=1), "status": {"ready": True}})
    assert made.body["metadata"]["generation"] == 1
    assert "status" not in made.body
    assert made.body["spec"]["color"] == "red", "the schema's default"
    labelled = await api.merge(WIDGETS + "/w", {"metadata": {"labels": {"a": "b"}}})
    assert labelled.body["metadata"]["generation"] == 1
    resized = await api.merge(WIDGETS + "/w", {"spec": {"size": 2}, "status": {"ready": True}})
    assert resized.body["metadata"]["generation"] == 2
    assert "status" not in resized.body
    ready = await api.merge(WIDGETS + "/w/status", {"spec": {"size": 9}, "status": {"ready": True}})
    assert ready.body["status"] == {"ready": True}
    assert ready.body["spec"]["size"] == 2
    assert ready.body["metadata"]["generation"] == 2


async def test_field_validation(api: Api) -> None:
    body = widget("w", size=1, typo=True)
    strict = await api("POST", WIDGETS + "?fieldValidation=Strict", body)
    assert strict.code == 400
    why = 'strict decoding error: unknown field "spec.typo"'
    assert strict.body["message"] == f'Widget in version "v1" cannot be handled as a Widget: {why}'
    warned = await api("POST", WIDGETS, body)
    assert warned.code == 201
    assert warned.headers.getall("Warning") == ['299 - "unknown field \\"spec.typo\\""']
    assert "typo" not in warned.body["spec"]
    quiet = await api("POST", WIDGETS + "?fieldValidation=Ignore", widget("w2", typo=True))
    assert "Warning" not in quiet.headers


async def test_a_duplicate_key_is_told_with_its_path(api: Api) -> None:
    body = '{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"},"spec":{"size":1,"size":2}}'
    assert (await api("POST", WIDGETS + "?fieldValidation=Strict", body)).code == 400
    warned = await api("POST", WIDGETS, body)
    assert warned.headers.getall("Warning") == ['299 - "duplicate field \\"spec.size\\""']


@pytest.mark.parametrize(
    ("query", "extra", "code", "warnings"),
    [
        ("", {"spec": {"typo": 1}}, 201, ['299 - "unknown field \\"spec.typo\\""']),
        ("?fieldValidation=Strict", {"spec": {"typo": 1}}, 400, []),
        ("", {"spec": {"ports": "none"}}, 400, []),
        ("", {"spec": {"ports": [{"port": "80"}]}}, 400, []),
        ("", {"spec": {"ports": [{"port": 80, "targetPort": "http"}]}}, 201, []),
    ],
)
async def test_built_in_kinds_are_checked_like_others(
    api: Api, query: str, extra: dict[str, Any], code: int, warnings: list[str]
) -> None:
    body = {"metadata": {"name": "s"}, "spec": {"clusterIP": "None", **extra["spec"]}}
    made = await api("POST", "/api/v1/namespaces/default/services" + query, body)
    assert made.code == code, made.body
    assert made.headers.getall("Warning", []) == warnings


async def test_a_patch_that_makes_a_built_in_object_unreadable_is_refused(api: Api) -> None:
    await api("POST", CONFIGMAPS, config_map("a"))
    assert (await api.merge(CONFIGMAPS + "/a", {"data": {"k": ["v"]}})).code == 422
    assert (await api("GET", CONFIGMAPS + "/a")).body["data"] == {"k": "v"}


async def test_openapi_explains_built_in_kinds(api: Api) -> None:
    schemas = (await api("GET", "/openapi/v3/api/v1")).body["components"]["schemas"]
    ports = schemas["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"]
    assert ports["items"]["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.core.v1.ServicePort"}]
    assert ports["description"]


async def test_dry_run_stores_nothing(api: Api) -> None:
    before = api.store.revision
    made = await api("POST", CONFIGMAPS + "?dryRun=All", config_map("a"))
    assert made.code == 201
    assert "resourceVersion" not in made.body["metadata"]
    assert api.store.revision == before


async def test_json_patch_guards_with_test(api: Api) -> None:
    made = await api("POST", CONFIGMAPS, config_map("a"))

    async def patch(*operations: dict[str, Any]) -> Any:
        return await api("PATCH", CONFIGMAPS + "/a", list(operations), content="application/json-patch+json")

    guard = {"op": "test", "path": "/metadata/resourceVersion", "value": made.rv}
    assert (await patch(guard, {"op": "replace", "path": "/data/k", "value": "w"})).body["data"] == {"k": "w"}
    assert (await patch(guard, {"op": "remove", "path": "/data"})).code == 422
    assert (await api("GET", CONFIGMAPS + "/a")).body["data"] == {"k": "w"}


async def test_strategic_patch_is_for_built_in_kinds(api: Api) -> None:
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "name": "a"}], "selector": {"x": "y"}}}
    await api("POST", "/api/v1/namespaces/default/services", service)
    patch = {"spec": {"ports": [{"port": 81, "name": "b"}]}}
    kind = "application/strategic-merge-patch+json"
    merged = await api("PATCH", "/api/v1/namespaces/default/services/s", patch, content=kind)
    assert sorted(port["port"] for port in merged.body["spec"]["ports"]) == [80, 81]
    await api("POST", WIDGETS, widget("w"))
    assert (await api("PATCH", WIDGETS + "/w", patch, content=kind)).code == 415


async def test_racing_patches_all_land(api: Api) -> None:
    await api("POST", CONFIGMAPS, config_map("a"))
    answers = await asyncio.gather(*(api.merge(CONFIGMAPS + "/a", {"data": {f"k{n}": "v"}}) for n in range(20)))
    assert {answer.code for answer in answers} == {200}
    assert len((await api("GET", CONFIGMAPS + "/a")).body["data"]) == 21


async def test_only_one_of_racing_creates_wins(api: Api) -> None:
    answers = await asyncio.gather(*(api("POST", CONFIGMAPS, config_map("a")) for _ in range(10)))
    assert sorted(answer.code for answer in answers) == [201] + [409] * 9


async def test_delete_waits_for_finalizers(api: Api) -> None:
    made = await api("POST", WIDGETS, {**widget("w"), "metadata": {"name": "w", "finalizers": ["e.com/f"]}})
    waiting = await api("DELETE", WIDGETS + "/w")
    assert waiting.body["metadata"]["deletionTimestamp"]
    assert waiting.body["metadata"]["generation"] == 2
    assert (await api.merge(WIDGETS + "/w", {"metadata": {"finalizers": ["e.com/f", "e.com/g"]}})).code == 422
    assert (await api("POST", WIDGETS, widget("w"))).code == 409
    done = await api.merge(WIDGETS + "/w", {"metadata": {"finalizers": None}})
    assert done.code == 200
    assert (await api("GET", WIDGETS + "/w")).code == 404
    assert made.body["metadata"]["uid"] == done.body["metadata"]["uid"]


async def test_delete_preconditions(api: Api) -> None:
    made = await api("POST", CONFIGMAPS, config_map("a"))
    wrong = {"preconditions": {"uid": "11111111-2222-3333-4444-555555555555"}}
    assert (await api("DELETE", CONFIGMAPS + "/a", wrong)).code == 409
    right = {"preconditions": {"uid": made.body["metadata"]["uid"], "resourceVersion": made.rv}}
    gone = await api("DELETE", CONFIGMAPS + "/a", right)
    assert (gone.body["status"], gone.body["details"]["uid"]) == ("Success", made.body["metadata"]["uid"])


async def test_delete_collection_takes_what_the_selector_matches(api: Api) -> None:
    for name, label in (("a", "x"), ("b", "x"), ("c", "y")):
        await api("POST", CONFIGMAPS, config_map(name, labels={"l": label}))
    gone = await api("DELETE", CONFIGMAPS + "?labelSelector=l%3Dx")
    assert [item["metadata"]["name"] for item in gone.body["items"]] == ["a", "b"]
    left = await api("GET", CONFIGMAPS)
    assert [item["metadata"]["name"] for item in left.body["items"]] == ["c"]


async def test_pages_show_one_moment(api: Api) -> None:
    for name in "abcde":
        await api("POST", CONFIGMAPS, config_map(name))
    first = (await api("GET", CONFIGMAPS + "?limit=2")).body
    assert first["metadata"]["remainingItemCount"] == 3
    await api("DELETE", CONFIGMAPS + "/c")
    await api("POST", CONFIGMAPS, config_map("ca"))
    names, token = [item["metadata"]["name"] for item in first["items"]], first["metadata"]["continue"]
    while token:
        page = (await api("GET", f"{CONFIGMAPS}?limit=2&continue={token}")).body
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        names += [item["metadata"]["name"] for item in page["items"]]
        token = page["metadata"].get("continue")
    assert names == ["a", "b", "c", "d", "e"]


async def test_scale_reads_and_writes_replicas(api: Api) -> None:
    await api("POST", WIDGETS, widget("w", replicas=2))
    assert (await api("GET", WIDGETS + "/w/scale")).body["spec"] == {"replicas": 2}
    scaled = await api.merge(WIDGETS + "/w/scale", {"spec": {"replicas": 5}})
    assert scaled.body["kind"] == "Scale"
    assert (await api("GET", WIDGETS + "/w")).body["spec"]["replicas"] == 5
    assert (await api.merge(WIDGETS + "/w/scale", {"spec": {"replicas": -1}})).code == 422


async def test_services_get_addresses_of_their_own(api: Api) -> None:
    path = "/api/v1/namespaces/default/services"

    async def make(name: str, **spec: Any) -> Any:
        return await api("POST", path, {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **spec}})

    made = await asyncio.gather(*(make(f"s{n}", type="NodePort") for n in range(10)))
    addresses = {one.body["spec"]["clusterIP"] for one in made}
    ports = {one.body["spec"]["ports"][0]["nodePort"] for one in made}
    assert len(addresses) == len(ports) == 10
    assert all(address.startswith("127.96.") for address in addresses)
    assert all(30000 <= port <= 32767 for port in ports)
    assert (await make("t", clusterIP=next(iter(addresses)))).code == 422
    assert (await make("t", type="NodePort", ports=[{"port": 80, "nodePort": 80}])).code == 422
    kept = await api.merge(path + "/s0", {"spec": {"selector": {"a": "b"}}})
    assert kept.body["spec"]["clusterIP"] == made[0].body["spec"]["clusterIP"]
    assert kept.body["spec"]["ports"] == made[0].body["spec"]["ports"]


async def test_events_of_both_groups_are_one(api: Api) -> None:
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "VirtualMachine", "name": "vm1", "namespace": "default", "uid": "u"},
        "reason": "Started",
        "message": "it runs",
        "type": "Normal",
    }
    await api("POST", "/api/v1/namespaces/default/events", event)
    seen = (await api("GET", "/apis/events.k8s.io/v1/namespaces/default/events/e")).body
    assert (seen["note"], seen["regarding"]["name"]) == ("it runs", "vm1")
    base = "/api/v1/namespaces/default/events?fieldSelector="
    for selector, count in (
        ("involvedObject.name%3Dvm1,reason%3DStarted", 1),
        ("involvedObject.uid%3Dother", 0),
        ("type!%3DNormal", 0),
    ):
        assert len((await api("GET", base + selector)).body["items"]) == count


async def test_yaml_both_ways(api: Api) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y\ndata:\n  k: 'yes'\n"
    assert (await api("POST", CONFIGMAPS, text, content="application/yaml")).code == 201
    shown = await api("GET", CONFIGMAPS + "/y", Accept="application/yaml")
    assert 'k: "yes"' in shown.body


async def test_tables_and_metadata_views(api: Api) -> None:
    await api("POST", WIDGETS, widget("w", size=3))
    table = (await api("GET", WIDGETS, Accept="application/json;as=Table;v=v1;g=meta.k8s.io")).body
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Color", "Size"]
    assert table["rows"][0]["cells"] == ["w", "red", 3]
    partial = (
        await api("GET", WIDGETS, Accept="application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
    ).body
    assert partial["items"][0].keys() == {"kind", "apiVersion", "metadata"}
    assert (await api("GET", WIDGETS, Accept="text/html")).code == 406


@pytest.mark.parametrize(
    ("path", "token", "code"),
    [
        ("/livez", "", 200),
        ("/version", "", 200),
        ("/api", "", 403),
        (CONFIGMAPS, "", 403),
        (CONFIGMAPS, "wrong", 401),
        ("/apis", "alice-token", 200),
        (CONFIGMAPS, "alice-token", 403),
        (CONFIGMAPS, "admin-token", 200),
    ],
)
async def test_who_may_look(api: Api, path: str, token: str, code: int) -> None:
    headers = {"Authorization": f"Bearer {token}"} if token else {"Authorization": ""}
    assert (await api("GET", path, **headers)).code == code


async def test_access_reviews(api: Api) -> None:
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    about = {"spec": {"resourceAttributes": {"verb": "get", "group": "kubevirt.io", "resource": "virtualmachines"}}}
    for token, allowed in (("admin-token", True), ("alice-token", False)):
        answer = await api("POST", path, about, Authorization=f"Bearer {token}")
        assert (answer.code, answer.body["status"]["allowed"]) == (201, allowed)


async def test_aggregated_discovery_knows_its_etag(api: Api) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    first = await api("GET", "/apis", Accept=accept)
    groups = [item["metadata"]["name"] for item in first.body["items"]]
    assert "example.com" in groups
    assert (await api("GET", "/apis", Accept=accept, If_None_Match=first.headers["ETag"])).code == 304
    await api("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com")
    await asyncio.sleep(0.2)
    after = await api("GET", "/apis", Accept=accept, If_None_Match=first.headers["ETag"])
    assert after.code == 200
    assert "example.com" not in [item["metadata"]["name"] for item in after.body["items"]]


async def test_openapi_shows_the_schema_and_how_to_patch(api: Api) -> None:
    index = json.loads((await api("GET", "/openapi/v3")).body)["paths"]  # said to be text, as by a real server
    document = (await api("GET", index["apis/example.com/v1"]["serverRelativeURL"])).body
    schema = document["components"]["schemas"]["com.example.v1.Widget"]
    assert schema["properties"]["spec"]["properties"]["color"]["default"] == "red"
    patch = document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"]
    assert "fieldValidation" in {parameter["name"] for parameter in patch["parameters"]}
    assert patch["x-kubernetes-group-version-kind"] == {"group": "example.com", "kind": "Widget", "version": "v1"}


async def test_large_answers_are_packed(api: Api) -> None:
    body = config_map("big")
    body["data"]["k"] = "x" * 200_000
    await api("POST", CONFIGMAPS, body)
    answer = await api("GET", CONFIGMAPS + "/big", Accept_Encoding="gzip")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.body["data"]["k"] == "x" * 200_000


async def test_impersonation_is_for_administrators_and_takes_their_rights_away(api: Api) -> None:
    assert (await api("GET", CONFIGMAPS, Impersonate_User="alice")).code == 403
    as_master = await api("GET", CONFIGMAPS, Impersonate_User="eve", Impersonate_Group="system:masters")
    assert as_master.code == 200
    alice = "Bearer alice-token"
    assert (await api("GET", "/apis", Authorization=alice, Impersonate_User="admin")).code == 403


async def test_openapi_as_protobuf_is_empty_and_well_formed(api: Api) -> None:
    accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    url = api.base + "/openapi/v2"
    headers = {"Authorization": "Bearer admin-token", "Accept": accept}
    async with api.client.get(url, headers=headers) as answer:
        body = await answer.read()
    assert answer.status == 200
    assert body.startswith(b"\x0a\x032.0")
