"""What a client may count on: the same assertions on our API server and on a real one.

The real one runs where KUBEBUILDER_ASSETS names a folder with etcd and kube-apiserver, as for envtest.
"""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from support.api_server import serve
from support.real_api_server import ASSETS, TOKEN, assets, serve_real

from virt_local.apiserver.protobuf import decode, encode

Json = dict[str, Any]
PROTOBUF = "application/vnd.kubernetes.protobuf"
MERGE, STRATEGIC, APPLY = (
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
GROUP = "both.example.com"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEFINITION: Json = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"gears.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": "gears", "kind": "Gear"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"teeth": {"type": "integer", "minimum": 3, "default": 8}},
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


class Answer(NamedTuple):
    code: int
    raw: bytes
    headers: Any

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def fields(self) -> set[str]:
        return {cause["field"] for cause in self.body["details"]["causes"]}


class Server:
    """Requests of its administrator, in a namespace made for the test."""

    def __init__(self, url: str, trust: ssl.SSLContext) -> None:
        self.url, self.trust, self.namespace = url, trust, ""

    def __call__(self, method: str, path: str, body: Any = None, content: str = "", accept: str = "") -> Answer:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": content or "application/json"}
        if accept:
            headers["Accept"] = accept
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        where = self.url + path.replace("~", f"/namespaces/{self.namespace}")
        request = urllib.request.Request(where, data, headers, method=method)  # noqa: S310  our own https URL
        try:
            with urllib.request.urlopen(request, context=self.trust, timeout=30) as answer:  # noqa: S310
                return Answer(answer.status, answer.read(), answer.headers)
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read(), error.headers)

    def made(self, path: str, body: Json) -> Json:
        answer = self("POST", path, body)
        assert answer.code == 201, answer.raw
        found: Json = answer.body
        return found


@pytest.fixture(scope="module", params=["embedded", "real"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("both") / "d"
    folder.mkdir()
    if request.param == "embedded":
        tokens = folder.parent / "tokens.csv"
        tokens.write_text(f'{TOKEN},admin,1,"system:masters"\n')
        with serve(folder, "--no-admission", "--no-crds", "--token-auth-file", str(tokens)) as served:
            trust = ssl.create_default_context(cafile=str(served.folder / "pki" / "ca.crt"))
            yield established(Server(served.url, trust))
        return
    programs = assets()
    if programs is None:
        pytest.skip(f"{ASSETS} names no folder with etcd and kube-apiserver")
    with serve_real(folder, programs) as served:
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE  # its certificate is of its own making
        yield established(Server(served.url, trust))


def established(server: Server) -> Server:
    server.made(DEFINITIONS, DEFINITION)
    assert eventually(lambda: server("GET", f"/apis/{GROUP}/v1/gears").code == 200)
    return server


@pytest.fixture
def server(running: Server) -> Server:
    running.namespace = f"both-{uuid.uuid4().hex[:8]}"
    running.made("/api/v1/namespaces", {"metadata": {"name": running.namespace}})
    return running


def gear(name: str, **spec: Any) -> Json:
    return {"apiVersion": f"{GROUP}/v1", "kind": "Gear", "metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize(
    ("plural", "body", "fields"),
    [
        ("configmaps", {"data": {"a b": "c"}}, {"data[a b]"}),
        ("configmaps", {"data": {"k": "v"}, "binaryData": {"k": ""}}, {"data[k]"}),
        ("secrets", {"type": "kubernetes.io/tls"}, {"data[tls.crt]", "data[tls.key]"}),
        ("services", {"spec": {}}, {"spec.ports"}),
        ("services", {"spec": {"type": "ExternalName"}}, {"spec.externalName"}),
        (
            "services",
            {"spec": {"ports": [{"port": 1}, {"port": 70000, "name": "b"}]}},
            {"spec.ports[0].name", "spec.ports[1].port", "spec.ports[1].targetPort"},
        ),
        ("services", {"spec": {"ports": [{"port": 1, "nodePort": 30001}]}}, {"spec.ports[0].nodePort"}),
        ("persistentvolumeclaims", {"spec": {}}, {"spec.accessModes", "spec.resources[storage]"}),
        ("events", {"involvedObject": {"namespace": "elsewhere"}}, {"involvedObject.namespace"}),
        ("pods", {"spec": {"containers": []}}, {"spec.containers"}),
        ("pods", {"spec": {"containers": [{"name": "A"}]}}, {"spec.containers[0].name", "spec.containers[0].image"}),
    ],
)
def test_each_wrong_field_of_a_built_in_kind_is_named(
    server: Server, plural: str, body: Json, fields: set[str]
) -> None:
    refused = server("POST", f"/api/v1~/{plural}", {"metadata": {"name": "x"}, **body})
    assert (refused.code, refused.body["reason"]) == (422, "Invalid"), refused.raw
    assert refused.fields == fields


@pytest.mark.parametrize(
    ("kind", "body", "shown"),
    [
        ("Secret", {"stringData": {"k": "v"}}, {"data": {"k": "dg=="}, "type": "Opaque"}),
        ("ConfigMap", {"data": {}, "immutable": False}, {"immutable": False}),
    ],
)
def test_a_protobuf_body_is_read_and_answered(server: Server, kind: str, body: Json, shown: Json) -> None:
    sent = encode(json.dumps({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, **body}).encode())
    made = server("POST", f"/api/v1~/{kind.lower()}s", sent, PROTOBUF, f"{PROTOBUF},application/json")
    assert made.code == 201, made.raw
    assert made.headers["Content-Type"] == PROTOBUF
    found = decode(made.raw, kind)
    assert {key: value for key, value in found.items() if key not in ("apiVersion", "kind", "metadata")} == shown
    assert found["metadata"]["namespace"] == server.namespace


def test_a_service_gets_what_it_left_out(server: Server) -> None:
    spec = server.made("/api/v1~/services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})["spec"]
    assert spec["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert spec["clusterIPs"] == [spec["clusterIP"]]
    kept = {key: spec[key] for key in ("type", "sessionAffinity", "internalTrafficPolicy", "ipFamilyPolicy")}
    assert kept == {
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ipFamilyPolicy": "SingleStack",
    }
    patched = server("PATCH", "/api/v1~/services/s", {"spec": {"clusterIP": "10.0.0.9"}}, MERGE)
    assert patched.code == 422
    assert "spec.clusterIPs[0]" in patched.fields


def test_a_strategic_patch_merges_by_key(server: Server) -> None:
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 443}]
    server.made("/api/v1~/services", {"metadata": {"name": "s"}, "spec": {"ports": ports}})
    patch = {"spec": {"ports": [{"port": 443, "targetPort": 8443}]}}
    found = server("PATCH", "/api/v1~/services/s", patch, STRATEGIC).body["spec"]["ports"]
    assert [(port["port"], port["targetPort"]) for port in found] == [(80, 80), (443, 8443)]
    assert server("PATCH", f"/apis/{GROUP}/v1~/gears/x", {}, STRATEGIC).code == 415


def test_both_event_groups_show_one_event(server: Server) -> None:
    event = {"metadata": {"name": "e"}, "involvedObject": {"namespace": server.namespace}, "message": "m", "count": 2}
    made = server.made("/api/v1~/events", event)
    assert (made["firstTimestamp"], made["reportingComponent"]) == (None, "")
    newer = server("GET", "/apis/events.k8s.io/v1~/events/e").body
    assert (newer["note"], newer["deprecatedCount"], newer["eventTime"]) == ("m", 2, None)
    assert "message" not in newer


def test_a_custom_resource_is_defaulted_checked_and_pruned(server: Server) -> None:
    path = f"/apis/{GROUP}/v1~/gears"
    answer = server("POST", path, gear("a") | {"extra": 1})
    assert answer.body["spec"] == {"teeth": 8}
    assert 'unknown field \\"extra\\"' in answer.headers["Warning"]
    refused = server("POST", path, gear("b", teeth=2))
    assert (refused.code, refused.fields) == (422, {"spec.teeth"})
    strict = server("POST", f"{path}?fieldValidation=Strict", gear("b", tooth=2))
    assert (strict.code, strict.body["reason"]) == (400, "BadRequest")
    assert 'unknown field "spec.tooth"' in strict.body["message"]


def test_status_and_spec_have_their_own_writers(server: Server) -> None:
    path = f"/apis/{GROUP}/v1~/gears"
    made = server.made(path, gear("a") | {"status": {"turns": 1}})
    assert "status" not in made
    assert made["metadata"]["generation"] == 1
    changed = server("PATCH", f"{path}/a/status", {"status": {"turns": 2}, "spec": {"teeth": 9}}, MERGE).body
    assert (changed["status"], changed["spec"], changed["metadata"]["generation"]) == ({"turns": 2}, {"teeth": 8}, 1)
    changed = server("PATCH", f"{path}/a", {"status": {"turns": 3}, "spec": {"teeth": 9}}, MERGE).body
    assert (changed["status"], changed["spec"], changed["metadata"]["generation"]) == ({"turns": 2}, {"teeth": 9}, 2)


def test_an_apply_conflicts_with_what_others_own(server: Server) -> None:
    path = f"/apis/{GROUP}/v1~/gears/a"
    assert server("PATCH", f"{path}?fieldManager=one", gear("a", teeth=9), APPLY).code == 201
    refused = server("PATCH", f"{path}?fieldManager=two", gear("a", teeth=10), APPLY)
    assert (refused.code, refused.fields) == (409, {".spec.teeth"})
    assert refused.body["details"]["causes"][0]["reason"] == "FieldManagerConflict"
    assert server("PATCH", f"{path}?fieldManager=two&force=true", gear("a", teeth=10), APPLY).code == 200


def test_kubectl_goes_on_server_side_with_what_it_applied_before(server: Server) -> None:
    path, noted = f"/apis/{GROUP}/v1~/gears", json.dumps(gear("a", teeth=9))
    first = gear("a", teeth=9)
    first["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": noted}
    server.made(f"{path}?fieldManager=kubectl-client-side-apply", first)
    assert server("PATCH", f"{path}/a?fieldManager=other", gear("a", teeth=10), APPLY).code == 409
    applied = server("PATCH", f"{path}/a?fieldManager=kubectl", gear("a", teeth=10), APPLY)
    assert applied.code == 200, applied.raw
    again = json.loads(applied.body["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"])
    assert again["spec"] == {"teeth": 10}
    server("PATCH", f"{path}/a?fieldManager=edit", {"spec": {"teeth": 11}}, MERGE)
    refused = server("PATCH", f"{path}/a?fieldManager=kubectl", gear("a", teeth=12), APPLY)
    assert (refused.code, refused.fields) == (409, {".spec.teeth"}), "somebody else's since"


def test_metadata_alone_comes_as_protobuf_too(server: Server) -> None:
    server.made(f"/apis/{GROUP}/v1~/gears", gear("alone"))
    only = f"{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    found = server("GET", f"/apis/{GROUP}/v1~/gears", accept=only)
    assert (found.code, found.headers["Content-Type"]) == (200, PROTOBUF)
    assert b"PartialObjectMetadataList" in found.raw
    assert b"alone" in found.raw
    whole = server("GET", f"/apis/{GROUP}/v1~/gears", accept=PROTOBUF)
    assert whole.code == 406


def test_a_schema_is_kept_by_its_hash_only(server: Server) -> None:
    path = f"/openapi/v3/apis/{GROUP}/v1"
    assert "immutable" not in (server("GET", path).headers["Cache-Control"] or "")
    found = server("GET", f"{path}?hash=of-yesterday")  # sent on to today's
    assert (found.code, found.headers["Cache-Control"]) == (200, "public, immutable")


def test_health_tells_what_it_is_made_of(server: Server) -> None:
    told = server("GET", "/readyz?verbose").raw.decode()
    assert told.startswith("[+]ping ok\n")
    assert told.endswith("readyz check passed\n")
    assert server("GET", "/readyz/ping").raw == b"ok"
    assert server("GET", "/readyz/nothing").code == 404


def test_what_is_out_of_date_is_warned_of(server: Server) -> None:
    made = server("POST", "/api/v1~/endpoints", {"metadata": {"name": "e"}, "subsets": []})
    assert "Endpoints is deprecated in v1.33+" in made.headers["Warning"]
    spec = {"ports": [{"port": 1}], "externalIPs": ["1.2.3.4"]}
    made = server("POST", "/api/v1~/services", {"metadata": {"name": "s"}, "spec": spec})
    assert "spec.externalIPs is deprecated" in made.headers["Warning"]


def test_a_stale_update_is_refused_and_a_finalizer_holds(server: Server) -> None:
    path = "/api/v1~/configmaps"
    made = server.made(path, {"metadata": {"name": "a", "finalizers": ["e.com/f"]}})
    server("PATCH", f"{path}/a", {"data": {"k": "v"}}, MERGE)
    assert server("PUT", f"{path}/a", made).body["reason"] == "Conflict"
    assert server("DELETE", f"{path}/a").body["metadata"]["deletionTimestamp"]
    again = server("POST", path, {"metadata": {"name": "a"}})
    assert again.body["message"].startswith("object is being deleted: ")
    assert server("PATCH", f"{path}/a", {"metadata": {"finalizers": None}}, MERGE).code == 200
    assert server("GET", f"{path}/a").code == 404


def test_definitions_are_checked(server: Server) -> None:
    wrong = json.loads(json.dumps(DEFINITION))
    wrong["metadata"]["name"] = f"wheels.{GROUP}"
    wrong["spec"]["names"] = {"plural": "wheels", "kind": "Wheel"}
    schema = wrong["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"] = {"properties": {"a": {"type": "array"}}}
    refused = server("POST", DEFINITIONS, wrong)
    at = "spec.validation.openAPIV3Schema.properties[spec]"
    assert refused.code == 422
    assert refused.fields == {f"{at}.type", f"{at}.properties[a].items"}
    changed = server("PATCH", f"{DEFINITIONS}/gears.{GROUP}", {"spec": {"scope": "Cluster"}}, MERGE)
    assert (changed.code, changed.fields) == (422, {"spec.scope"})


@pytest.mark.parametrize(
    ("accept", "code", "content"),
    [
        ("application/yaml", 200, "application/yaml"),
        (f"{PROTOBUF},application/json", 200, PROTOBUF),
        ("text/html", 406, "application/json"),
        ("application/json;as=Table;v=v1;g=meta.k8s.io", 200, "application/json"),
    ],
)
def test_answers_come_as_asked_for(server: Server, accept: str, code: int, content: str) -> None:
    answer = server("GET", "/api/v1~/configmaps", accept=accept)
    assert (answer.code, answer.headers["Content-Type"].partition(";")[0]) == (code, content)


def another(running: Server, plural: str, kind: str, spec: Json) -> str:
    """Define one more kind, whose objects have this spec; returns the path of its objects."""
    definition = json.loads(json.dumps(DEFINITION))
    definition["metadata"]["name"] = f"{plural}.{GROUP}"
    definition["spec"]["names"] = {"plural": plural, "kind": kind}
    schema = {"type": "object", "properties": {"spec": spec}}
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = schema
    running.made(DEFINITIONS, definition)
    assert eventually(lambda: running("GET", f"/apis/{GROUP}/v1/{plural}").code == 200)
    return f"/apis/{GROUP}/v1~/{plural}"


def eventually(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, "it never comes"
        time.sleep(0.05)
    return True


def cog(kind: str, **spec: Any) -> Json:
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": {"name": "a"}, "spec": spec}


def test_rules_of_a_definition_hold_for_values_and_changes(server: Server) -> None:
    numbers = {name: {"type": "integer"} for name in ("min", "max")}
    rules = [
        {"rule": "!has(self.max) || self.min <= self.max", "message": "min above max"},
        {"rule": "self.min >= oldSelf.min", "message": "min may only grow"},
    ]
    spec = {"type": "object", "properties": numbers, "x-kubernetes-validations": rules}
    path = another(server, "cogs", "Cog", spec)
    refused = server("POST", path, cog("Cog", min=3, max=2))
    assert (refused.code, refused.fields) == (422, {"spec"})
    assert "spec: Invalid value: min above max" in refused.body["message"].replace('"object": ', "")
    server.made(path, cog("Cog", min=3))
    assert server("PATCH", f"{path}/a", {"spec": {"min": 4}}, MERGE).code == 200
    shrunk = server("PATCH", f"{path}/a", {"spec": {"min": 2}}, MERGE)
    assert (shrunk.code, shrunk.fields) == (422, {"spec"})


def test_old_objects_are_shown_as_the_new_schema_has_them(server: Server) -> None:
    path = another(server, "spokes", "Spoke", {"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    server.made(path, cog("Spoke", anything=1))
    spec = {"type": "object", "properties": {"size": {"type": "integer", "default": 3}}}
    strict = {"type": "object", "properties": {"spec": spec}}
    patch = [{"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": strict}]
    changed = server("PATCH", f"{DEFINITIONS}/spokes.{GROUP}", patch, "application/json-patch+json")
    assert changed.code == 200, changed.raw
    assert eventually(lambda: server("GET", f"{path}/a").body["spec"] == {"size": 3})
    assert server("GET", path).body["items"][0]["spec"] == {"size": 3}
    watched = server("GET", f"{path}?watch=true&timeoutSeconds=1")
    assert json.loads(watched.raw.splitlines()[0])["object"]["spec"] == {"size": 3}
