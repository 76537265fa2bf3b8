"""Reading VMs and VMIs, and the bodies of verbs, for the modules that serve requests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TypeVar

import msgspec
from aiohttp import web

from virt_api import refusals
from virt_api.lifecycle import Options
from virt_kube.api import KubeClient, NotFound
from virt_kube.resources import VIRTUAL_MACHINE_INSTANCES, VIRTUAL_MACHINES
from virt_types import codec
from virt_types.v1 import VirtualMachine, VirtualMachineInstance

KUBE: web.AppKey[KubeClient] = web.AppKey("kube", KubeClient)

NOT_STARTED = "VMI is not started"
NOT_ITS_OWN = "the VMI of that name does not belong to the VM"

OptionsT = TypeVar("OptionsT", bound=Options)


class Target(msgspec.Struct, frozen=True):
    """The object a request's path names."""

    namespace: str
    name: str

    @classmethod
    def of(cls, request: web.Request) -> Target:
        found = cls(request.match_info["namespace"], request.match_info["name"])
        if any(odd in part for part in (found.namespace, found.name) for odd in ("/", "%", "..")):
            raise refusals.bad_request("a namespace or name has characters that no object's name can have")
        return found


async def read_vm(kube: KubeClient, target: Target) -> VirtualMachine:
    try:
        return codec.decode(await kube.get(VIRTUAL_MACHINES, target.namespace, target.name), VirtualMachine)
    except NotFound:
        raise refusals.not_found(refusals.VM, target.name) from None


async def read_vmi(kube: KubeClient, target: Target) -> VirtualMachineInstance:
    vmi = await find_vmi(kube, target)
    if vmi is None:
        raise refusals.not_found(refusals.VMI, target.name)
    return vmi


async def read_vmi_of_vm(kube: KubeClient, target: Target) -> VirtualMachineInstance:
    """The VMI that a VM has now, and not one that only has its name."""
    vm, vmi = await asyncio.gather(read_vm(kube, target), find_vmi(kube, target))
    if vmi is None and vm.status.created:
        raise refusals.not_found(refusals.VMI, target.name)
    if vmi is None:
        raise refusals.conflict(refusals.VM, target.name, NOT_STARTED)
    if all(owner.uid != vm.metadata.uid for owner in vmi.metadata.owner_references):
        raise refusals.conflict(refusals.VM, target.name, NOT_ITS_OWN)
    return vmi


async def find_vmi(kube: KubeClient, target: Target) -> VirtualMachineInstance | None:
    try:
        return codec.decode(
            await kube.get(VIRTUAL_MACHINE_INSTANCES, target.namespace, target.name), VirtualMachineInstance
        )
    except NotFound:
        return None


async def read_options(request: web.Request, type_: type[OptionsT]) -> OptionsT:
    """The verb's body, JSON or YAML, empty meaning all defaults; `?dryRun=` counts as the body's field does."""
    raw = await request.read()
    options = parse_options(raw, request.query, type_)
    unsupported = [value for value in options.dry_run or () if value != "All"]
    if unsupported:
        raise refusals.bad_request(f'dryRun: Unsupported value: "{unsupported[0]}": supported values: "All"')
    return options


def parse_options(raw: bytes, query: Mapping[str, str], type_: type[OptionsT]) -> OptionsT:
    try:
        options = _decode(raw, type_)
    except msgspec.MsgspecError as err:
        raise refusals.bad_request(f"Can not unmarshal Request body to struct, error: {err}") from None
    if "dryRun" in query:
        options.dry_run = [*(options.dry_run or []), query["dryRun"]]
    return options


def _decode(raw: bytes, type_: type[OptionsT]) -> OptionsT:
    if not raw.strip() or raw.strip() == b"null":
        return type_()
    if raw.lstrip().startswith((b"{", b"[", b'"')):
        return msgspec.json.decode(raw, type=type_)
    return msgspec.yaml.decode(raw, type=type_)
