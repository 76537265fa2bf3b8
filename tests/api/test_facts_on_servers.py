"""What a real kube-apiserver was asked and ours now answers alike: one line for each fact, held against both."""

from __future__ import annotations

from typing import Any

import pytest
from test_both_servers import APPLY, GROUP, MERGE, STRATEGIC, Server, gear, running, server

__all__ = ["running", "server"]  # the fixtures
JSON_PATCH = "application/json-patch+json"
MAPS, GEARS = "/api/v1~/configmaps", f"/apis/{GROUP}/v1~/gears"
DRY = "?dryRun=All"


def config_map(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, **fields}


@pytest.mark.parametrize(
    ("path", "body", "code", "why"),
    [
        (
            "/api/v1~/services",
            {"spec": {"ports": [{"port": 1.0}]}},
            400,
            "number 1.0 into Go struct field ServicePort.",
        ),
        (
            "/api/v1~/events",
            {"count": 1 << 31},
            400,
            "number 2147483648 into Go struct field Event.count of type int32",
        ),
        ("/api/v1~/services", {"spec": {"ports": [{"port": 1}], "externalIPs": ["x"]}}, 422, "spec.externalIPs[0]"),
        ("/api/v1~/services", {"spec": {"ports": [{"port": 1}], "trafficDistribution": "x"}}, 422, "PreferSameZone"),
        (
            "/apis/rbac.authorization.k8s.io/v1~/rolebindings",
            {"subjects": [{"kind": "User", "name": "u", "apiGroup": "x"}], "roleRef": {"kind": "Role", "name": "a/b"}},
            422,
            "roleRef.name: Invalid value: \"a/b\": may not contain '/'",
        ),
        (MAPS, {"metadata": {"name": "a", "generateName": "A_"}}, 422, "metadata.generateName"),
        (MAPS, {"metadata": {"name": "a", "finalizers": ["orphan", "foregroundDeletion"]}}, 422, "cannot be both set"),
        (MAPS, {"metadata": {"name": "x" * 254}}, 422, "must be no more than 253 characters"),
        ("/api/v1/namespaces", {"metadata": {"name": "a.b"}}, 422, "must not contain dots"),
        (MAPS, {"apiVersion": "v2", "kind": "ConfigMap"}, 400, 'no kind "ConfigMap" is registered for version "v2"'),
    ],
)
def test_what_is_refused(server: Server, path: str, body: dict[str, Any], code: int, why: str) -> None:
    answer = server("POST", path + DRY, {"metadata": {"name": "a"}, **body})
    assert (answer.code, why in answer.body["message"]) == (code, True), answer.body["message"]


@pytest.mark.parametrize(
    ("path", "body", "part", "value"),
    [
        (MAPS, {"data": {"k": None}}, "data", {"k": ""}),
        (MAPS, {"binaryData": {"k": [1, 2]}}, "binaryData", {"k": "AQI="}),
        ("/apis/rbac.authorization.k8s.io/v1~/roles", {"rules": []}, "rules", None),
        ("/api/v1~/serviceaccounts", {"secrets": [{"name": "s", "kind": "Secret"}]}, "secrets", [{"name": "s"}]),
        ("/apis/coordination.k8s.io/v1~/leases", {"spec": {"strategy": "x"}}, "spec", {}),
        (GEARS, {**gear("a", teeth=5), "status": "x"}, "spec", {"teeth": 5}),
    ],
)
def test_what_becomes_of_it(server: Server, path: str, body: dict[str, Any], part: str, value: Any) -> None:
    answer = server("POST", path + DRY, {"metadata": {"name": "a"}, **body})
    assert (answer.code, answer.body[part]) == (201, value)


@pytest.mark.parametrize(
    ("content", "patch", "code", "why"),
    [
        (JSON_PATCH, ["x"], 400, "cannot unmarshal string into Go value of type handlers.jsonPatchOp"),
        (JSON_PATCH, [{"op": "add", "path": "data/n", "value": "x"}], 200, ""),
        (JSON_PATCH, [{"op": "add", "path": "data", "value": {}}], 422, "the server rejected our request"),
        (JSON_PATCH, [{"op": "copy", "from": "/data/absent", "path": "/data/n"}], 200, ""),
        (
            JSON_PATCH,
            [{"op": "move", "from": "/data/absent", "path": "/data/n"}],
            422,
            "the server rejected our request",
        ),
        (JSON_PATCH, [{"op": "remove", "path": "/apiVersion"}], 400, "name must be provided"),
        (STRATEGIC, {"data": {"$patch": "merge"}}, 500, "unknown patch type: merge in map: map[$patch:merge]"),
        (STRATEGIC, {"data": {"$retainKeys": ["b"], "c": "1"}}, 400, "invalid patch format of retainKeys"),
        (STRATEGIC, {"kind": "Secret"}, 200, ""),
        (MERGE, {"kind": "Gear"}, 422, "patch: Invalid value"),
        (APPLY, config_map(data={"a": 5}), 500, ".data.a: expected string, got &value.valueUnstructured{Value:5}"),
        (APPLY, config_map(data=[]), 500, ".data: expected map, got &{[]}"),
        (APPLY, config_map(data=None), 200, ""),
    ],
)
def test_patches(server: Server, content: str, patch: Any, code: int, why: str) -> None:
    server.made(MAPS, config_map(data={"a": "1"}))
    answer = server("PATCH", f"{MAPS}/a{DRY}&fieldManager=m", patch, content)
    assert (answer.code, why in answer.body.get("message", "")) == (code, True), answer.body.get("message")


def test_what_a_patch_takes_from_a_custom_resource(server: Server) -> None:
    server.made(GEARS, gear("g"))
    asked = {"kind": 422, "apiVersion": 500, "metadata/name": 400}
    for path, code in asked.items():
        assert server("PATCH", f"{GEARS}/g", [{"op": "remove", "path": f"/{path}"}], JSON_PATCH).code == code, path
    strict = server("PATCH", f"{GEARS}/g?fieldValidation=Strict", {"spec": {"bogus": 1}}, MERGE)
    assert (strict.code, 'unknown field "spec.bogus"' in strict.body["message"]) == (422, True)
    assert server("PATCH", f"{GEARS}/g", {"status": "no object"}, MERGE).code == 200, "it is not written here"


def test_a_manager_who_owns_nothing_is_not_named(server: Server) -> None:
    first = server("PATCH", f"{MAPS}/a?fieldManager=m", config_map(data={"k": "1"}), APPLY)
    assert [entry["manager"] for entry in first.body["metadata"]["managedFields"]] == ["m"]
    last = server("PATCH", f"{MAPS}/a?fieldManager=m", config_map(), APPLY)
    assert (last.code, "managedFields" in last.body["metadata"], "data" in last.body) == (200, False, False)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=-1", 200),
        ("limit=1&resourceVersion=0", 200),
        ("continue=abc", 400),
        ("sendInitialEvents=true", 422),
        ("timeoutSeconds=abc", 400),
        ("labelSelector=a+in+(b+c)", 400),
        ("labelSelector=a%3Db%2C", 400),
        ("labelSelector=a%3E99999999999999999999", 400),
        ("fieldSelector=metadata.name%3Da%5Cb", 400),
    ],
)
def test_lists(server: Server, query: str, code: int) -> None:
    for name in "ab":
        server.made(MAPS, {"metadata": {"name": name}})
    answer = server("GET", f"{MAPS}?{query}")
    assert answer.code == code
    assert code != 200 or len(answer.body["items"]) >= 2, "no limit"


@pytest.mark.parametrize(
    ("query", "body", "code"),
    [
        ("", {"propagationPolicy": ""}, 422),
        ("", {"gracePeriodSeconds": "x"}, 400),
        ("", {"dryRun": "All"}, 400),
        ("", {"preconditions": {"uid": ""}}, 409),
        ("", {"orphanDependents": False}, 202),
        ("?propagationPolicy=bogus", {"kind": "DeleteOptions"}, 200),
        ("?propagationPolicy=bogus", None, 422),
    ],
)
def test_deletes(server: Server, query: str, body: Any, code: int) -> None:
    server.made(MAPS, {"metadata": {"name": "a", "finalizers": ["example.com/hold"]}})
    assert server("DELETE", f"{MAPS}/a{query}", body).code == code
    server("PATCH", f"{MAPS}/a", {"metadata": {"finalizers": None}}, MERGE)
