"""start, stop and restart of a VirtualMachine: read, decide, write, and decide again when somebody else wrote first."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from virt_api import refusals
from virt_api.lifecycle import (
    Accept,
    Decide,
    OptionsT,
    Refusal,
    RestartOptions,
    StartOptions,
    StopOptions,
    decide_restart,
    decide_start,
    decide_stop,
    restart_grace_refusal,
)
from virt_api.objects import KUBE, Target, find_vmi, read_options, read_vm
from virt_kube.api import ApiError, Conflict, Json, JsonPatch, KubeClient, NotFound
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from virt_types import codec
from virt_types.v1 import VirtualMachine, VirtualMachineInstance

log = logging.getLogger("virt_api.verbs")

ATTEMPTS = 5


async def start(request: web.Request) -> web.Response:
    options = await read_options(request, StartOptions)
    return await _change(request, decide_start, options)


async def stop(request: web.Request) -> web.Response:
    options = await read_options(request, StopOptions)
    return await _change(request, decide_stop, options)


async def restart(request: web.Request) -> web.Response:
    options = await read_options(request, RestartOptions)
    refused = restart_grace_refusal(options)
    if refused:
        raise refusals.refused(refusals.VM, Target.of(request).name, refused)
    return await _change(request, decide_restart, options)


async def _change(request: web.Request, decide: Decide[OptionsT], options: OptionsT) -> web.Response:
    kube, target = request.app[KUBE], Target.of(request)
    await change_state(kube, target, decide, options)
    verb = request.path.rsplit("/", 1)[-1]
    log.info(
        "state change accepted verb=%s namespace=%s name=%s user=%s dry_run=%s",
        verb,
        target.namespace,
        target.name,
        request.headers.get("X-Remote-User", "-"),
        bool(options.dry_run),
    )
    return web.Response(status=202)


async def change_state(kube: KubeClient, target: Target, decide: Decide[OptionsT], options: OptionsT) -> None:
    """Decide on fresh reads until the write meets what was read; raises the refusal."""
    for _ in range(ATTEMPTS):
        vm, vmi = await asyncio.gather(read_vm(kube, target), find_vmi(kube, target))
        decision = decide(vm, vmi, options)
        if isinstance(decision, Refusal):
            raise refusals.refused(refusals.VM, target.name, decision)
        if options.dry_run:
            return
        try:
            await _carry_out(kube, vm, vmi, decision)
        except Conflict:
            continue
        return
    raise refusals.conflict(refusals.VM, target.name, refusals.CROWDED)


async def _carry_out(
    kube: KubeClient, vm: VirtualMachine, vmi: VirtualMachineInstance | None, decision: Accept
) -> None:
    """Grace period, queue, spec: each step leaves a state the controller reads rightly if the next never comes."""
    undo = await _set_grace_period(kube, vmi, decision.grace_period)
    try:
        version = vm.metadata.resource_version
        if decision.status:
            version = await _merge(kube, vm, version, {"status": decision.status}, subresource="status")
        if decision.spec:
            await _merge(kube, vm, version, {"spec": decision.spec}, annotations=decision.annotations)
    except BaseException:
        if undo:
            await undo()
        raise


async def _merge(
    kube: KubeClient,
    vm: VirtualMachine,
    resource_version: str,
    patch: Json,
    *,
    subresource: str = "",
    annotations: Json | None = None,
) -> str:
    """Merge-patch exactly the version that was read; returns the new version."""
    meta = vm.metadata
    metadata: Json = {"uid": meta.uid, "resourceVersion": resource_version}
    if annotations:
        metadata["annotations"] = annotations
    guarded = {"metadata": metadata, **patch}
    stored = await kube.patch(
        VIRTUAL_MACHINES, meta.namespace, meta.name, guarded, kind="merge", subresource=subresource
    )
    return _resource_version(stored)


async def _set_grace_period(
    kube: KubeClient, vmi: VirtualMachineInstance | None, seconds: int | None
) -> Callable[[], Awaitable[None]] | None:
    """Give the live VMI its new grace period; returns what takes it back."""
    if vmi is None or seconds is None or vmi.spec.termination_grace_period_seconds == seconds:
        return None
    before = vmi.spec.termination_grace_period_seconds
    await _patch_grace_period(kube, vmi, seconds)

    async def undo() -> None:
        try:
            await _patch_grace_period(kube, vmi, before)
        except ApiError as err:
            log.warning(
                "grace period not taken back namespace=%s name=%s error=%s",
                vmi.metadata.namespace,
                vmi.metadata.name,
                err.message,
            )

    return undo


async def _patch_grace_period(kube: KubeClient, vmi: VirtualMachineInstance, seconds: int | None) -> None:
    path = "/spec/terminationGracePeriodSeconds"
    write: Json = {"op": "remove", "path": path} if seconds is None else {"op": "add", "path": path, "value": seconds}
    patch: JsonPatch = [{"op": "test", "path": "/metadata/uid", "value": vmi.metadata.uid}, write]
    try:
        await kube.patch(VIRTUAL_MACHINE_INSTANCES, vmi.metadata.namespace, vmi.metadata.name, patch)
    except NotFound:
        # It ended meanwhile: decide again on what is there now.
        raise Conflict("the VirtualMachineInstance is gone") from None


def _resource_version(stored: bytes) -> str:
    return codec.decode(stored, VirtualMachine).metadata.resource_version
