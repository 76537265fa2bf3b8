"""The subresource API as one aiohttp application: routes, and every error as a Status.

`virt_local` serves it on a unix socket, `virt_api.__main__` there or, for a cluster, over TLS. The API server in front
authenticates, and passes the user on in X-Remote-User and X-Remote-Group.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Middleware

from virt_api import (
    discovery,
    expand,
    front_proxy,
    migration,
    portforward,
    proxy,
    refusals,
    subresources,
    unserved,
    verbs,
    volumes,
    webhooks,
)
from virt_api.admission import KubeVirtAdmission
from virt_api.agent import NodeAgent
from virt_api.authorize import authorize
from virt_api.negotiate import acceptable
from virt_api.objects import KUBE
from virt_api.serving import Serving
from virt_kube.api import ApiError, KubeClient
from virt_kube.unix_sockets import listen_privately
from virt_types.errors import VirtError

log = logging.getLogger("virt_api.app")

SHUTDOWN = 1.0  # seconds that open streams have to end
MAX_BODY = 3 << 20  # what a Kubernetes API server accepts
MAX_REVIEW = 7 << 20  # an AdmissionReview has the object as it is and as it was
ROOT = f"/apis/{subresources.GROUP}"
VERSIONED = ROOT + "/{version:v1|v1alpha3}"
NAMESPACE = VERSIONED + "/namespaces/{namespace}"
VM = NAMESPACE + "/virtualmachines/{name}"
VMI = NAMESPACE + "/virtualmachineinstances/{name}"

# What aiohttp refuses by itself, as a Status.
CLIENT_ERRORS = {
    404: ("NotFound", "the server could not find the requested resource"),
    405: ("MethodNotAllowed", "the server does not allow {method} on {path}"),
    413: ("RequestEntityTooLarge", "the request's body is larger than {limit} bytes"),
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build(
    client: KubeClient, *, handler_socket: str | Path, reviewing: bool = False, gate: Middleware | None = None
) -> web.Application:
    """The application; `handler_socket` is the node agent's unix socket.

    `reviewing`: who stands in front only authenticates, so each request is authorised here. `gate`: who may speak at
    all, where others than our own user can connect.
    """
    gates = [_errors_as_status, *([gate] if gate else []), *([authorize] if reviewing else []), acceptable]
    app = web.Application(middlewares=gates, client_max_size=MAX_REVIEW if gate else MAX_BODY)
    app[KUBE] = client
    app[webhooks.ADMISSION] = KubeVirtAdmission(kube=client)
    app[proxy.AGENT] = NodeAgent(str(handler_socket))
    app.cleanup_ctx.append(_agent)
    app.add_routes(_routes())
    return app


async def serve(
    client: KubeClient,
    *,
    socket: Path,
    handler_socket: Path,
    ready: Callable[[], None] = lambda: None,
    reviewing: bool = False,
) -> None:
    """Answer on a unix socket, which only our own user can reach, until cancelled."""
    app = build(client, handler_socket=handler_socket, reviewing=reviewing)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN)
    try:
        await runner.setup()
        await web.SockSite(runner, listen_privately(socket)).start()
        log.info("subresource api listens socket=%s", socket)
        ready()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def serve_cluster(
    client: KubeClient, *, address: tuple[str, int], serving: Serving, handler_socket: Path
) -> None:
    """Answer the API server of a cluster over TLS until cancelled: what it aggregates, and its webhooks."""
    app = build(client, handler_socket=handler_socket, reviewing=True, gate=front_proxy.gate(lambda: serving.front))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN)
    try:
        await runner.setup()
        await web.TCPSite(runner, *address, ssl_context=serving.context).start()
        log.info("subresource api listens address=%s port=%d", *runner.addresses[0][:2])
        await serving.keep(client)
    finally:
        await runner.cleanup()


def _routes() -> list[web.RouteDef]:
    forward = ("", "/{protocol}")
    return [
        web.get(ROOT, discovery.group),
        web.get(VERSIONED, discovery.resources),
        web.get(VERSIONED + "/version", discovery.version),
        web.get(VERSIONED + "/healthz", discovery.healthz),
        web.get("/healthz", discovery.healthz),
        web.put(VM + "/start", verbs.start),
        web.put(VM + "/stop", verbs.stop),
        web.put(VM + "/restart", verbs.restart),
        web.get(VM + "/expand-spec", expand.expand_spec),
        web.put(NAMESPACE + "/expand-vm-spec", expand.expand_vm_spec),
        web.put(VM + "/addvolume", volumes.add_to(volumes.MACHINE)),
        web.put(VM + "/removevolume", volumes.remove_from(volumes.MACHINE)),
        web.put(VMI + "/addvolume", volumes.add_to(volumes.INSTANCE)),
        web.put(VMI + "/removevolume", volumes.remove_from(volumes.INSTANCE)),
        web.put(VM + "/migrate", migration.migrate),
        web.put(VM + "/evacuate/cancel", migration.cancel_vm),
        web.put(VMI + "/evacuate/cancel", migration.cancel_vmi),
        *unserved.routes(VM, VMI, VERSIONED),
        *(web.get(VM + "/portforward/{port}" + tail, portforward.vm) for tail in forward),
        *(web.get(VMI + "/portforward/{port}" + tail, portforward.vmi) for tail in forward),
        *(web.route(verb.method, f"{VMI}/{verb.name}", proxy.handler(verb)) for verb in proxy.VERBS),
        web.post("/mutate", webhooks.mutate),
        web.post("/validate", webhooks.validate),
    ]


async def _agent(app: web.Application) -> AsyncIterator[None]:
    yield
    await app[proxy.AGENT].close()


@web.middleware
async def _errors_as_status(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as err:
        status = err.status or refusals.status(err.code, err.reason, err.message)
        return web.json_response(status, status=int(status.get("code") or err.code))
    except web.HTTPClientError as err:
        reason, message = CLIENT_ERRORS.get(err.status, ("BadRequest", err.reason))
        text = message.format(method=request.method, path=request.path, limit=request.client_max_size)
        return web.json_response(refusals.status(err.status, reason, text), status=err.status)
    except Exception as err:
        log.exception("request failed method=%s path=%s", request.method, request.path)
        text = err.message if isinstance(err, VirtError) else "see the log of virt-api"
        return web.json_response(refusals.internal(text).status, status=500)
