"""Each request behind an API server that only authenticates is one SubjectAccessReview."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from multidict import CIMultiDict, CIMultiDictProxy
from support.fake_kube import FakeKube
from yarl import URL

from virt_api import authorize
from virt_api.app import build
from virt_kube.api import Resource
from virt_local.apiserver.proxy import subresource_attributes

BASE = "/apis/subresources.kubevirt.io/v1"
VMI = f"{BASE}/namespaces/ns/virtualmachineinstances/vm"
ASKED = {"group": "subresources.kubevirt.io", "version": "v1"}
OF_VMI = ASKED | {"namespace": "ns", "resource": "virtualmachineinstances", "name": "vm"}


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", BASE, None),
        ("GET", f"{BASE}/version", None),
        ("GET", "/healthz", None),
        ("POST", "/validate", None),
        ("PUT", f"{VMI}/pause", OF_VMI | {"verb": "update", "subresource": "pause"}),
        ("GET", f"{VMI}/vnc/screenshot", OF_VMI | {"verb": "get", "subresource": "vnc/screenshot"}),
        ("GET", f"{VMI}/portforward/22/tcp", OF_VMI | {"verb": "get", "subresource": "portforward"}),
        ("PUT", f"{VMI}/evacuate/cancel", OF_VMI | {"verb": "update", "subresource": "evacuate/cancel"}),
        ("DELETE", f"{VMI}/pause", OF_VMI | {"verb": "delete", "subresource": "pause"}),
        (
            "PUT",
            f"{BASE}/namespaces/ns/expand-vm-spec",
            ASKED | {"verb": "update", "namespace": "ns", "resource": "expand-vm-spec"},
        ),
        ("GET", f"{BASE}/start-cluster-profiler", ASKED | {"verb": "get", "resource": "start-cluster-profiler"}),
    ],
)
def test_what_is_asked(method: str, path: str, expected: Any) -> None:
    assert authorize.attributes(method, path) == expected
    if expected is not None:  # the one-machine API server asks for the same, before it forwards
        there = subresource_attributes(method, path.strip("/").split("/"))
        assert {name: value for name, value in there._asdict().items() if value} | {"version": "v1"} == expected


def test_who_asks() -> None:
    headers = CIMultiDict({"X-Remote-User": "jane"})
    for name, value in (("X-Remote-Group", "a"), ("x-remote-group", "b"), ("X-Remote-Extra-Example.org%2fScopes", "s")):
        headers.add(name, value)
    assert authorize.spec(CIMultiDictProxy(headers), {"verb": "get"}) == {
        "user": "jane",
        "groups": ["a", "b"],
        "extra": {"example.org/scopes": ["s"]},
        "resourceAttributes": {"verb": "get"},
    }


class Reviewing(FakeKube):
    """Allows what jane asks for."""

    async def create(self, resource: Resource, namespace: str, body: Any) -> bytes:
        if resource.plural != "subjectaccessreviews":
            return await super().create(resource, namespace, body)
        allowed = body["spec"]["user"] == "jane"
        return json.dumps(body | {"status": {"allowed": allowed, "reason": "" if allowed else "no role"}}).encode()


@pytest.mark.parametrize(
    ("user", "code", "text"),
    [
        ("", 401, "no X-Remote-User"),
        ("jane", 404, 'virtualmachineinstance.kubevirt.io "vm" not found'),
        (
            "joe",
            403,
            'virtualmachineinstances/pause.subresources.kubevirt.io "vm" is forbidden: User "joe" cannot update '
            'resource "virtualmachineinstances/pause" in API group "subresources.kubevirt.io" '
            'in the namespace "ns": no role',
        ),
    ],
)
async def test_who_may(user: str, code: int, text: str) -> None:
    app = build(Reviewing(), handler_socket="unused", reviewing=True)
    async with TestClient(TestServer(app)) as http:
        headers = {"X-Remote-User": user} if user else {}
        async with http.put(f"{VMI}/pause", headers=headers) as reply:
            assert (reply.status, text in (await reply.json())["message"]) == (code, True)
        slashed = URL(f"{BASE}/namespaces/ns/virtualmachineinstances/vm%2Fx/pause", encoded=True)
        async with http.put(slashed, headers=headers) as reply:
            assert reply.status == {"": 401, "joe": 403}.get(user, 400)
        async with http.get(f"{BASE}/version") as reply:
            assert reply.status == 200
