"""Who may say who asks: in a cluster, only the front proxy that the API server names in a ConfigMap of its own.

`virt_api.app` installs the gate where it listens on a network; on a unix socket the file's mode is the gate.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from virt_api import refusals
from virt_kube.api import Json, KubeClient, NotFound, Resource
from virt_types.errors import VirtError

log = logging.getLogger("virt_api.front_proxy")

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"
AUTHORITY, NAMES = "requestheader-client-ca-file", "requestheader-allowed-names"
# An API server calls webhooks without a certificate, and kubelet asks for health.
OPEN = frozenset({"/healthz", "/mutate", "/validate"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class NoFrontProxy(VirtError):
    """The cluster does not say by which certificate its API server is known."""

    reason = "NoFrontProxy"


class FrontProxy(NamedTuple):
    """`authority`: PEM of the CA that signs the proxy's certificate; `names`: its common names, empty is any.

    The names of the headers are in the ConfigMap too, but an aggregating API server always says X-Remote-*.
    """

    authority: str
    names: frozenset[str] = frozenset()

    def is_(self, common_name: str) -> bool:
        return bool(common_name) and (not self.names or common_name in self.names)


async def read(client: KubeClient) -> FrontProxy:
    """As the API server tells it. Raises NoFrontProxy and ApiError."""
    try:
        found = msgspec.json.decode(await client.get(CONFIG_MAPS, NAMESPACE, NAME))
    except NotFound:
        found = {}
    return of(found.get("data") or {})


def of(data: Json) -> FrontProxy:
    try:
        authority, names = data[AUTHORITY], json.loads(data.get(NAMES) or "[]")
        return FrontProxy(authority, frozenset(map(str, names)))
    except (KeyError, TypeError, ValueError):
        raise NoFrontProxy(
            f"ConfigMap {NAMESPACE}/{NAME} names no front proxy ({AUTHORITY}, {NAMES})",
            hint="The API server needs --requestheader-client-ca-file and --proxy-client-cert-file to aggregate APIs.",
        ) from None


def gate(front: Callable[[], FrontProxy]) -> Middleware:
    """A middleware: whoever shows no certificate of the front proxy gets nothing but webhooks and health."""

    @web.middleware
    async def proven(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path in OPEN or front().is_(_common_name(request)):
            return await handler(request)
        log.info("refused without the front proxy's certificate path=%s peer=%s", request.path, request.remote)
        raise refusals.unauthorized(
            "this API is reached through an API server, which shows its front proxy certificate"
        )

    return proven


def _common_name(request: web.Request) -> str:
    """Of the certificate that TLS has verified against the proxy's CA; empty without one."""
    peer = request.transport.get_extra_info("peercert") if request.transport else None
    for part in (peer or {}).get("subject", ()):
        for name, value in part:
            if name == "commonName":
                return str(value)
    return ""
