"""Selectors, JSONPath, ages and names: the small languages of the API, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from virt_kube.api import ApiError
from virt_local.apiserver.ages import duration
from virt_local.apiserver.builtins import BUILTINS
from virt_local.apiserver.jsonpath import compile_path
from virt_local.apiserver.metadata import name_problems
from virt_local.apiserver.negotiate import negotiate
from virt_local.apiserver.registry import version_rank
from virt_local.apiserver.routing import resource_route, split
from virt_local.apiserver.selectors import FieldSelector, LabelSelector, path_reader
from virt_types.names import qualified_name_problems

LABELS = {"app": "web", "tier": "1", "e.com/x": ""}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app", True),
        ("!app", False),
        ("!other", True),
        ("app=web", True),
        ("app==web,tier=1", True),
        ("app!=web", False),
        ("other!=web", True),
        ("app in (db, web)", True),
        ("app notin (db,web)", False),
        ("other notin (a)", True),
        ("e.com/x=", True),
        ("tier>0", True),
        ("tier<1", False),
        ("app>1", False),
    ],
)
def test_label_selectors(text: str, matches: bool) -> None:
    assert LabelSelector(text).matches(LABELS) is matches


@pytest.mark.parametrize(
    "text", ["a b", "a in x", "a in (", "=x", ",", "a===b", "-a=b", "a=-b", "a=b c", "a>x", "a=" + "x" * 64]
)
def test_broken_label_selectors_are_bad_requests(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        LabelSelector(text)
    assert refused.value.code == 400


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("metadata.name=a", True),
        ("metadata.name==a,spec.on=true", True),
        ("metadata.name!=a", False),
        ("spec.absent=", True),
        (r"spec.odd=x\,y", True),
    ],
)
def test_field_selectors(text: str, matches: bool) -> None:
    obj = {"metadata": {"name": "a"}, "spec": {"on": True, "odd": "x,y"}}
    readers = {path: path_reader(path) for path in ("metadata.name", "spec.on", "spec.absent", "spec.odd")}
    assert FieldSelector(text, readers).matches(obj) is matches


@pytest.mark.parametrize("text", ["spec.other=1", "metadata.name", "metadata.name=a=b"])
def test_broken_field_selectors_are_bad_requests(text: str) -> None:
    with pytest.raises(ApiError) as refused:
        FieldSelector(text, {"metadata.name": path_reader("metadata.name")})
    assert refused.value.code == 400


DOCUMENT = {
    "metadata": {"annotations": {"e.com/a.b": "x"}},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Paused", "status": "False"}], "n": [1, 2]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".status.n[0]", [1]),
        (".status.n[-1]", [2]),
        (".status.n[9]", []),
        (".status.n[*]", [1, 2]),
        ("{.status.n}", [[1, 2]]),
        ("status.n", [[1, 2]]),
        (".absent.deeper", []),
        (".metadata.annotations.e\\.com/a\\.b", ["x"]),
        (".metadata.annotations['e.com/a.b']", ["x"]),
        (".status.conditions[?(@.type=='Ready')].status", ["True"]),
        ('.status.conditions[?(@.type=="Paused")].status', ["False"]),
        (".status.conditions[?(@.type!='Ready')].type", ["Paused"]),
    ],
)
def test_json_paths(path: str, found: list[Any]) -> None:
    assert compile_path(path)(DOCUMENT) == found


def test_a_broken_json_path_says_where() -> None:
    with pytest.raises(ValueError, match=r"\[\?\(x\)\]"):
        compile_path(".a[?(x)]")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (0, "0s"), (119, "119s"), (120, "2m"), (200, "3m20s"), (600, "10m"), (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"), (9 * 3600, "9h"), (49 * 3600, "2d1h"), (9 * 86400, "9d"), (800 * 86400, "2y70d"),
    ],
)  # fmt: skip
def test_ages(seconds: int, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("plural", "name", "good"),
    [
        ("configmaps", "a.b-c", True),
        ("configmaps", "A", False),
        ("configmaps", "-a", False),
        ("configmaps", "x" * 253, True),
        ("configmaps", "x" * 254, False),
        ("configmaps", "../etc", False),
        ("configmaps", "a\nb", False),
        ("namespaces", "a.b", False),
        ("namespaces", "x" * 64, False),
        ("services", "1a", True),
        ("services", "a.b", False),
        ("events", "Any One", True),
        ("events", "a/b", False),
        ("services", "a1", True),
    ],
)
def test_names(plural: str, name: str, good: bool) -> None:
    assert (not name_problems(name, BUILTINS["", plural])) is good


@pytest.mark.parametrize(
    ("key", "good"),
    [("a", True), ("e.com/a", True), ("a/b/c", False), ("/a", False), ("a b", False), ("x" * 64, False)],
)
def test_label_keys(key: str, good: bool) -> None:
    assert (not qualified_name_problems(key)) is good


def test_versions_in_order_of_preference() -> None:
    names = ["v1alpha1", "v1", "v2beta1", "odd", "v2", "v1beta2"]
    assert sorted(names, key=version_rank) == ["v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "odd"]


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/namespaces", {}, ("list", "", "namespaces", "", "", "")),
        ("GET", "/api/v1/namespaces/a", {}, ("get", "", "namespaces", "a", "a", "")),
        ("PUT", "/api/v1/namespaces/a/finalize", {}, ("update", "", "namespaces", "a", "a", "finalize")),
        ("GET", "/api/v1/namespaces/a/pods", {"watch": "1"}, ("watch", "", "pods", "a", "", "")),
        ("GET", "/api/v1/pods", {"watch": "false"}, ("list", "", "pods", "", "", "")),
        ("GET", "/api/v1/watch/namespaces/a/pods", {}, ("watch", "", "pods", "a", "", "")),
        ("DELETE", "/apis/g/v1/namespaces/a/things", {}, ("deletecollection", "g", "things", "a", "", "")),
        ("PATCH", "/apis/g/v1/namespaces/a/things/b/status", {}, ("patch", "g", "things", "a", "b", "status")),
        ("GET", "/apis/g/v1/things/a%2Fb", {}, ("get", "g", "things", "", "a", "b")),
    ],
)
def test_routes(method: str, path: str, query: dict[str, str], expected: tuple[str, ...]) -> None:
    route = resource_route(method, split(path), query)
    assert route is not None
    assert (route.verb, route.group, route.plural, route.namespace, route.name, route.subresource) == expected


@pytest.mark.parametrize("path", ["/", "/api", "/api/v1", "/apis/g/v1", "/version", "/apis//v1/x/y"])
def test_what_is_no_resource(path: str) -> None:
    assert resource_route("GET", split(path), {}) is None


@pytest.mark.parametrize(
    ("accept", "kind", "media"),
    [
        ("", "", "application/json"),
        ("*/*", "", "application/json"),
        ("application/vnd.kubernetes.protobuf, application/json", "", "application/json"),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "Table", "application/json"),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", "", "application/json"),
        ("application/yaml", "", "application/yaml"),
    ],
)
def test_negotiation(accept: str, kind: str, media: str) -> None:
    found = negotiate(accept)
    assert (found.as_kind, found.type) == (kind, media)


@pytest.mark.parametrize("accept", ["text/html", "application/json;as=Frob;v=v1;g=meta.k8s.io"])
def test_nothing_acceptable(accept: str) -> None:
    with pytest.raises(ApiError) as refused:
        negotiate(accept)
    assert refused.value.code == 406
