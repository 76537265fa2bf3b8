"""The subresources of a VirtualMachineInstance that its node agent answers: console, screen, pause, reset, ..."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from virt_api import guest, refusals
from virt_api.agent import NodeAgent
from virt_api.lifecycle import Options
from virt_api.objects import KUBE, Target, read_options, read_vm, read_vmi
from virt_api.relay import accept, check_upgrade, drain, relay
from virt_kube.api import ApiError, Json, KubeClient, NotFound
from virt_types.durations import seconds
from virt_types.v1 import VirtualMachineInstance

log = logging.getLogger("virt_api.proxy")

AGENT: web.AppKey[NodeAgent] = web.AppKey("agent", NodeAgent)

SNAPSHOT = "VM snapshot is in progress"

Check = Callable[[VirtualMachineInstance], ApiError | None]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FreezeOptions(Options, rename="camel", kw_only=True):
    """`unfreeze_timeout`: Go's notation; after it the guest thaws by itself. Empty or zero is never."""

    unfreeze_timeout: str = ""


class Verb(NamedTuple):
    """One subresource: `stream` is a websocket, the others are plain requests of `method`.

    `body` makes what the node agent is sent out of the options; `of_vm` raises what the VM of that name, if there is
    one, has against it.
    """

    name: str
    check: Check
    method: str = "PUT"
    stream: bool = False
    options: type[Options] = Options
    body: Callable[[Any], Json] | None = None
    of_vm: Callable[[KubeClient, Target], Awaitable[None]] | None = None


def _freeze_body(options: FreezeOptions) -> Json:
    timeout = seconds(options.unfreeze_timeout or "0")
    if timeout is None:
        raise refusals.bad_request(
            f'Can not unmarshal Request body to struct, error: unfreezeTimeout: "{options.unfreeze_timeout[:80]}" '
            "is not a duration such as 30s or 5m"
        )
    return {"unfreezeTimeoutSeconds": timeout}


async def _no_snapshot(kube: KubeClient, target: Target) -> None:
    """A guest that a snapshot has paused stays so until it is taken."""
    try:
        vm = await read_vm(kube, target)
    except NotFound:
        return
    if vm.status.snapshot_in_progress is not None:
        raise refusals.conflict(refusals.VM, target.name, SNAPSHOT)


VERBS = (
    Verb("console", guest.check_console, "GET", stream=True),
    Verb("vnc", guest.check_vnc, "GET", stream=True),
    Verb("usbredir", guest.check_usbredir, "GET", stream=True),
    Verb("vnc/screenshot", guest.check_vnc, "GET"),
    Verb("pause", guest.check_pause),
    Verb("unpause", guest.check_unpause, of_vm=_no_snapshot),
    Verb("freeze", guest.check_freeze, options=FreezeOptions, body=_freeze_body),
    Verb("unfreeze", guest.check_unfreeze),
    Verb("softreboot", guest.check_softreboot),
    Verb("reset", guest.check_reset),
    Verb("guestosinfo", guest.check_guest_agent, "GET"),
    Verb("userlist", guest.check_guest_agent, "GET"),
    Verb("filesystemlist", guest.check_guest_agent, "GET"),
)


def handler(verb: Verb) -> Handler:
    """The route handler of one subresource."""

    async def call(request: web.Request) -> web.StreamResponse:
        target = Target.of(request)
        options = await read_options(request, verb.options) if verb.method == "PUT" else Options()
        if verb.of_vm:
            await verb.of_vm(request.app[KUBE], target)
        vmi = await read_vmi(request.app[KUBE], target)
        refused = verb.check(vmi)
        if refused:
            raise refused
        if verb.stream:
            return await _stream(request, target, verb)
        return await _call(request, target, verb, options)

    return call


async def _call(request: web.Request, target: Target, verb: Verb, options: Options) -> web.Response:
    body = msgspec.json.encode(verb.body(options)) if verb.body is not None else b""
    if options.dry_run:
        return web.Response(status=200)
    reply = await request.app[AGENT].call(verb.method, target, verb.name, query=_query(request), body=body)
    log.info("guest call verb=%s namespace=%s name=%s", verb.name, target.namespace, target.name)
    # What the agent has accepted is 200 to clients, as in KubeVirt, whatever shade of success it answered.
    return web.Response(status=200) if verb.method == "PUT" else reply


async def _stream(request: web.Request, target: Target, verb: Verb) -> web.StreamResponse:
    """Reach the guest first, so that its agent's refusal is an answer and not a broken stream."""
    check_upgrade(request)
    async with request.app[AGENT].stream(target, verb.name, query=_query(request)) as agent:
        client = await accept(request)
        log.info("stream opened verb=%s namespace=%s name=%s", verb.name, target.namespace, target.name)
        await relay(client, lambda: drain(client, agent.send_bytes), lambda: drain(agent, client.send_bytes))
    log.info("stream closed verb=%s namespace=%s name=%s", verb.name, target.namespace, target.name)
    return client


def _query(request: web.Request) -> Mapping[str, str]:
    return {key: value for key, value in request.query.items() if key != "dryRun"}
