"""The door: who is there, are they still welcome, and a line in the audit log. What they want, `http.py` does.

Every HTTP request comes through `Door.handle`, and everything that goes wrong ends there as a Status.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
from aiohttp import web

from virt_kube.admission import UserInfo
from virt_kube.api import ApiError, Json
from virt_local.apiserver.answers import failed
from virt_local.apiserver.audit import AuditLog, Entry
from virt_local.apiserver.authn import ANONYMOUS, Authenticator, impersonated, wants_impersonation
from virt_local.apiserver.authz import Authorizer
from virt_local.apiserver.http import HttpFace
from virt_local.apiserver.limits import Gate
from virt_local.apiserver.proxy import SubresourceBackend, subresource_attributes
from virt_local.apiserver.rbac import Attributes
from virt_local.apiserver.routing import Route, raw_path_of, resource_route, split
from virt_local.apiserver.status import bad_request, internal

log = logging.getLogger("virt_local.apiserver")


class Door:
    def __init__(
        self,
        face: HttpFace,
        authenticator: Authenticator,
        authorizer: Authorizer,
        gate: Gate,
        *,
        subresources: SubresourceBackend | None = None,
        audit: AuditLog | None = None,
    ) -> None:
        self._face = face
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._gate = gate
        self._subresources = subresources
        self._audit = audit

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._audit is None:
            return await self._answered(request, None)
        agent = request.headers.get("User-Agent", "")
        entry = Entry(request.rel_url.raw_path_qs, request.method.lower(), request.remote or "", agent)
        try:
            response = await self._answered(request, entry)
        except (ConnectionResetError, asyncio.CancelledError):
            self._audit.record(entry, 200)  # a stream whose client went away
            raise
        status = response.body if isinstance(response, web.Response) and response.status >= 400 else None
        self._audit.record(entry, response.status, _status(status))
        return response

    async def _answered(self, request: web.BaseRequest, entry: Entry | None) -> web.StreamResponse:
        try:
            return await self._dispatch(request, entry)
        except ApiError as error:
            return failed(error, request.headers.get("Accept", ""))
        except RecursionError:
            return failed(bad_request("the object is nested too deeply"))
        except ConnectionResetError:
            raise
        except Exception:
            # The one place where an unforeseen error ends: the client gets a Status, the log gets the traceback.
            log.exception("request failed method=%s path=%s", request.method, request.path)
            return failed(internal("an unexpected error; see the log of the server"))

    async def _dispatch(self, request: web.BaseRequest, entry: Entry | None) -> web.StreamResponse:
        raw_path = raw_path_of(request)
        parts = split(raw_path)
        route = resource_route(request.method, parts, request.query)
        user = self._identified(request, parts, route, entry)
        if self._subresources is not None and self._subresources.owns(parts):
            self._authorizer.require(user, subresource_attributes(request.method, parts))
            with self._gate.stream(user):
                return await self._subresources.serve(request, user)
        if route is not None and route.verb == "watch":
            with self._gate.stream(user):
                if entry is not None and self._audit is not None:
                    self._audit.record(entry, 200, stage="ResponseStarted")
                return await self._face.serve(request, user, parts, route)
        with self._gate.request():
            return await self._face.serve(request, user, parts, route)

    def _identified(
        self, request: web.BaseRequest, parts: list[str], route: Route | None, entry: Entry | None
    ) -> UserInfo:
        """Who asks. Raises 401, 403 for a disguise they may not wear, 429."""
        asked = route.attributes if route else Attributes(request.method.lower(), path="/" + "/".join(parts))
        if entry is not None:
            entry.about = asked
        ssl_object = request.transport.get_extra_info("ssl_object") if request.transport else None
        user = self._authenticator.user(request.headers.get("Authorization", ""), ssl_object)
        if entry is not None:
            entry.user = user
        if user is not ANONYMOUS:
            self._gate.known(request.protocol, user)
        if not wants_impersonation(request.headers):
            return user
        other = impersonated(self._authorizer, request.headers, user, asked)
        if entry is not None:
            entry.user, entry.real_user = other, user
        return other


def _status(body: Any) -> Json | None:
    """The Status a refusal carries, when it does."""
    try:
        found = msgspec.json.decode(body) if body else None
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, dict) else None
