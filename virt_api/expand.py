"""expand-spec and expand-vm-spec: a VM with its instancetype and preference filled in, which needs neither any more.

Whoever asks must be allowed to read the two: the answer contains them.
"""

from __future__ import annotations

import msgspec
from aiohttp import web

from virt_api import authorize, refusals
from virt_api.objects import KUBE, Target
from virt_kube.api import ApiError, Json, KubeClient, NotFound, Resource, error_from_status
from virt_kube.instancetypes import REFERENCES, NotFindable, sizing_of
from virt_kube.resources import SUBJECT_ACCESS_REVIEWS, VIRTUAL_MACHINES
from virt_types import check, codec
from virt_types.errors import Cause, InvalidObject
from virt_types.expansion import Sizing, conflicts, expand
from virt_types.kinds import VIRTUAL_MACHINE
from virt_types.v1 import VirtualMachine

NOT_ALLOWED = "Subject not allowed to access resource"
EMPTY = "empty request body"
INVALID = "Object is not a valid VirtualMachine"
UNREADABLE = "Can not unmarshal Request body to struct, error: {error}"
OTHER_NAMESPACE = "VM namespace must be empty or {ours}"


async def expand_spec(request: web.Request) -> web.Response:
    """Of a stored VM, which keeps to the revisions it began with; 409 says why it can't be expanded."""
    kube, target = request.app[KUBE], Target.of(request)
    try:
        stored: Json = msgspec.json.decode(await kube.get(VIRTUAL_MACHINES, target.namespace, target.name))
    except NotFound:
        raise refusals.not_found(refusals.VM, target.name) from None
    vm = codec.from_builtins(stored, VirtualMachine)
    await _require_reader(kube, request, vm)
    try:
        return web.json_response(_expanded(stored, vm, await sizing_of(kube, vm)))
    except (NotFindable, InvalidObject) as error:
        raise refusals.conflict(refusals.VM, target.name, error.message) from None


async def expand_vm_spec(request: web.Request) -> web.Response:
    """Of the VM in the body, which is not stored."""
    kube, namespace = request.app[KUBE], request.match_info["namespace"]
    given = await _given(request)
    vm = codec.from_builtins(given, VirtualMachine)
    theirs = vm.metadata.namespace or namespace
    if theirs != namespace:
        raise refusals.bad_request(OTHER_NAMESPACE.format(ours=namespace))
    vm.metadata.namespace = namespace
    vm.status = VirtualMachine().status  # which revisions it is held to is not for the asker to say
    await _require_reader(kube, request, vm)
    try:
        return web.json_response(_expanded(given, vm, await sizing_of(kube, vm)))
    except (NotFindable, InvalidObject) as error:
        raise refusals.bad_request(error.message) from None


async def _given(request: web.Request) -> Json:
    raw = await request.read()
    if not raw.strip():
        raise refusals.bad_request(EMPTY)
    try:
        given = msgspec.json.decode(raw) if raw.lstrip().startswith(b"{") else msgspec.yaml.decode(raw)
    except msgspec.MsgspecError as error:
        raise refusals.bad_request(UNREADABLE.format(error=error)) from None
    if not isinstance(given, dict):
        raise refusals.bad_request(UNREADABLE.format(error=f"a VirtualMachine is an object, not {given!r:.40}"))
    causes = check.schema_causes(given, VIRTUAL_MACHINE)
    if causes:
        raise _invalid(causes)
    return given


def _expanded(plain: Json, vm: VirtualMachine, sizing: Sizing) -> Json:
    """The VM's JSON with the expanded spec; raises InvalidObject for what the instancetype forbids."""
    if sizing == Sizing():
        return plain
    found = conflicts(vm, *sizing)
    if found:
        raise InvalidObject(", ".join(cause.message for cause in found), tuple(found))
    return plain | {"spec": codec.to_builtins(expand(vm, *sizing).spec, keeping=plain["spec"])}


async def _require_reader(kube: KubeClient, request: web.Request, vm: VirtualMachine) -> None:
    """403 unless the asker may get what the VM refers to."""
    for reference in REFERENCES:
        matcher = reference.matcher_of(vm)
        if matcher is None or not matcher.name:
            continue
        try:
            resource = reference.resource_of(matcher.kind)
        except NotFindable as error:
            raise refusals.bad_request(error.message) from None
        if authorize.USER not in request.headers:
            raise refusals.forbidden(resource.plural, matcher.name, NOT_ALLOWED)
        review = _review(request, resource, vm.metadata.namespace, matcher.name)
        answer = msgspec.json.decode(await kube.create(SUBJECT_ACCESS_REVIEWS, "", review))
        if not answer["status"].get("allowed"):
            raise refusals.forbidden(resource.plural, matcher.name, NOT_ALLOWED)


def _review(request: web.Request, resource: Resource, namespace: str, name: str) -> Json:
    """May the asker, whom the API server in front names, get this object?"""
    asked = {
        "verb": "get",
        "group": resource.group,
        "version": resource.version,
        "resource": resource.plural,
        "namespace": namespace if resource.namespaced else "",
        "name": name,
    }
    kind = SUBJECT_ACCESS_REVIEWS
    return {"apiVersion": kind.api_version, "kind": kind.kind, "spec": authorize.spec(request.headers, asked)}


def _invalid(causes: list[Cause]) -> ApiError:
    details = {"causes": [{"message": cause.message, "field": cause.field} for cause in causes]}
    return error_from_status(refusals.status(400, "BadRequest", INVALID, details if causes else None))
