"""Everything served that is not a resource: version, health, discovery, OpenAPI."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from virt_kube.api import Json
from virt_local.apiserver.discovery import Discovery
from virt_local.apiserver.negotiate import DISCOVERY, PROTOBUF, YAML, Media, negotiate
from virt_local.apiserver.openapi import OpenApi
from virt_local.apiserver.protobuf import encode
from virt_local.apiserver.status import no_such_resource, not_acceptable, unavailable

# kubectl allows one minor of skew, and vendors' dispatchers pick their kubectl.1.NN by it.
MAJOR, MINOR = "1", "32"
GIT_VERSION = "v1.32.0+virtctl"
_VERSION: Json = {
    "major": MAJOR,
    "minor": MINOR,
    "emulationMajor": MAJOR,
    "emulationMinor": MINOR,
    "minCompatibilityMajor": MAJOR,
    "minCompatibilityMinor": MINOR,
    "gitVersion": GIT_VERSION,
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "cpython",
    "platform": "linux/amd64",
}
_JSON = "application/json"
_CHECKS = ("ping", "store")  # what health is made of
# kubectl asks for OpenAPI v2 as protobuf before it sends a `kind: List`. In a document without definitions it finds
# nothing to check its items against, and leaves validation to the server, which does it for every item.
# (gnostic's openapi.v2.Document: 1 swagger, 2 info {1 title, 2 version}, 8 paths.)
_V2_PROTOBUF = b"\x0a\x032.0\x12\x13\x0a\x0aKubernetes\x12\x05v1.32\x42\x00"
_V2_TAG = f'"{hashlib.sha256(_V2_PROTOBUF).hexdigest().upper()}"'
_V2_PROTOBUF_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


class Page(NamedTuple):
    body: bytes
    content_type: str = _JSON
    etag: str = ""
    headers: Mapping[str, str] = {}
    any_method: bool = False  # served whatever the method is
    status: int = 200


class Documents:
    """`ready` says whether the store can be used."""

    def __init__(self, discovery: Discovery, openapi: OpenApi, ready: Callable[[], bool]) -> None:
        self._discovery = discovery
        self._openapi = openapi
        self._ready = ready

    def find(  # noqa: PLR0911  one line for each path
        self, parts: list[str], accept: str, query: Mapping[str, str], address: str
    ) -> Page | None:
        """None: there is no such path. `address` is where the client thinks the server is, as HOST:PORT."""
        match parts:
            case [""]:
                return _page({"paths": self._paths()})
            case ["version"]:
                return _page(_VERSION)
            case ["healthz" | "livez" | "readyz" as asked]:
                return self._health(asked, verbose="verbose" in query)
            case ["healthz" | "livez" | "readyz" as asked, check] if check in _CHECKS:
                return self._health(asked, verbose=False)
            case ["api"]:
                return self._roots(accept, core=True, address=address)
            case ["apis"]:
                return self._roots(accept, core=False, address="")
            case ["api", version]:
                return self._resources("", version, accept)
            case ["apis", group]:
                found = self._discovery.group(group)
                custom = not self._discovery.builtin(group)
                return _negotiated(found.body, accept)._replace(any_method=custom) if found else None
            case ["apis", group, version]:
                return self._resources(group, version, accept)
            case ["openapi", *rest]:
                protobuf = bool(accept) and "json" not in accept and "*/*" not in accept
                return self._open(rest, protobuf=protobuf, state=query.get("hash", ""))
        return None

    def _health(self, asked: str, *, verbose: bool) -> Page:
        if not self._ready():
            raise unavailable("the store is closed")
        told = "".join(f"[+]{check} ok\n" for check in _CHECKS) + f"{asked} check passed\n"
        return Page(told.encode() if verbose else b"ok", "text/plain; charset=utf-8", any_method=True)

    def _paths(self) -> list[str]:
        return ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]

    def _roots(self, accept: str, *, core: bool, address: str) -> Page:
        media = negotiate(accept, DISCOVERY, protobuf=True)
        if media.as_kind:
            document = self._discovery.aggregated(media.version, core=core)
            kind = f"{_JSON};g={media.group};v={media.version};as={media.as_kind}"
            return Page(document.body, kind, document.etag, {"Cache-Control": "public", "Vary": "Accept"})
        if core:
            addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
            body = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}
            return _in_format(msgspec.json.encode(body), media)._replace(headers={"Vary": "Accept"})
        return _in_format(self._discovery.groups().body, media)._replace(headers={"Vary": "Accept"})

    def _resources(self, group: str, version: str, accept: str) -> Page | None:
        found = self._discovery.resources(group, version)
        if found is not None:
            return _negotiated(found.body, accept)
        if group == "" or self._discovery.serves(group):
            raise no_such_resource()
        return None

    def _open(self, rest: list[str], *, protobuf: bool, state: str) -> Page | None:
        match rest:
            case ["v2"] if protobuf:
                return Page(_V2_PROTOBUF, _V2_PROTOBUF_TYPE, _V2_TAG, headers={"Vary": "Accept"})
            case _ if protobuf:
                raise not_acceptable([_JSON])
            case ["v2"]:
                found = self._openapi.v2()
                return Page(found.body, etag=f'"{found.hash}"', headers={"Vary": "Accept"})
            case ["v3"]:
                return Page(self._openapi.index().body, "text/plain; charset=utf-8")  # so labelled by a real server
            case ["v3", *path]:
                return self._group_version("/".join(path), state)
        return None

    def _group_version(self, path: str, state: str) -> Page:
        """`state` is the hash asked for: what it names never changes, and who asks for another is sent to today's."""
        document = self._openapi.group_version(path)
        if document is None:
            return Page(b"", "text/plain; charset=utf-8", status=404)
        if state and state != self._openapi.state:
            place = f"/openapi/v3/{path}?hash={self._openapi.state}"
            return Page(b"", "text/plain; charset=utf-8", headers={"Location": place}, status=301)
        kept = {"Cache-Control": "public, immutable"} if state else {}
        return Page(document.body, etag=f'"{document.hash}"', headers={**kept, "Vary": "Accept"})


def _page(body: Json, headers: Mapping[str, str] | None = None) -> Page:
    return Page(msgspec.json.encode(body), headers=headers or {})


def _negotiated(body: bytes, accept: str) -> Page:
    return _in_format(body, negotiate(accept, set(), builtin=True, protobuf=True))


def _in_format(body: bytes, media: Media) -> Page:
    if media.type == PROTOBUF:
        return Page(encode(body), PROTOBUF)
    if media.type == YAML:
        from virt_local.apiserver.yaml_out import to_yaml

        return Page(to_yaml(body), YAML)
    return Page(body)
