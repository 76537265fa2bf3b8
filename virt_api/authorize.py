"""Who may do what, when no API server of ours stands in front: one SubjectAccessReview for each request.

An API server that aggregates us has authenticated the user and says who it is in X-Remote-*; whether that user may call
the subresource is for us to ask (spec/control-plane 1.3). The one-machine API server authorises before it forwards, so
there this middleware is not installed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import unquote

import msgspec
from aiohttp import web
from multidict import CIMultiDictProxy

from virt_api import refusals
from virt_api.objects import KUBE
from virt_api.subresources import GROUP
from virt_kube.api import Json
from virt_kube.resources import SUBJECT_ACCESS_REVIEWS
from virt_kube.subresources import right_of

log = logging.getLogger("virt_api.authorize")

USER, GROUPS, EXTRA = "X-Remote-User", "X-Remote-Group", "X-Remote-Extra-"
# What everybody may ask: what there is, and whether it is well. Webhooks are called by the API server itself.
OPEN = frozenset({"", "version", "healthz", "guestfs"})
ROOT = f"/apis/{GROUP}"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def authorize(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Ask the API server before anything is read or done."""
    asked = attributes(request.method, request.path)
    if asked is None:
        return await handler(request)
    user = request.headers.get(USER)
    if not user:
        raise refusals.unauthorized(f"no {USER}: this API is reached through an API server")
    kind = SUBJECT_ACCESS_REVIEWS
    review = {"apiVersion": kind.api_version, "kind": kind.kind, "spec": spec(request.headers, asked)}
    answer = msgspec.json.decode(await request.app[KUBE].create(kind, "", review))
    status = answer.get("status") or {}
    if status.get("allowed") is not True:
        log.info("forbidden user=%s path=%s reason=%s", user, request.path, status.get("reason") or "-")
        raise refusals.may_not(user, asked, str(status.get("reason") or ""))
    return await handler(request)


def attributes(method: str, path: str) -> Json | None:
    """The resourceAttributes of a request; None when everybody may make it."""
    parts = path.removeprefix(ROOT).strip("/").split("/") if path.startswith(ROOT) else [""]
    if len(parts) < 2 or not parts[0] or parts[1] in OPEN:
        return None
    asked = right_of(method, ["apis", GROUP, *parts])
    return {name: value for name, value in asked._asdict().items() if value}


def spec(headers: CIMultiDictProxy[str] | Mapping[str, str], asked: Json) -> Json:
    """The review's spec: who asks for what. Several headers of a name are several values."""
    every = headers.getall if isinstance(headers, CIMultiDictProxy) else lambda name: [headers[name]]
    extra = {
        unquote(name[len(EXTRA) :].lower()): every(name)
        for name in set(headers)
        if name.lower().startswith(EXTRA.lower())
    }
    groups = every(GROUPS) if GROUPS in headers else []
    found: Json = {"user": headers[USER], "groups": groups, "resourceAttributes": asked}
    return found | ({"extra": extra} if extra else {})
