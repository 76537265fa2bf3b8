"""The same admission for a real API server: AdmissionReview v1 in, AdmissionReview v1 out.

`virt_api.manifests` tells the API server which objects to send, from the tables that admission itself goes by.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from virt_api import refusals
from virt_api.admission import NODE_GROUP_PREFIX, KubeVirtAdmission
from virt_kube.admission import AdmissionRequest, AdmissionResult, UserInfo
from virt_kube.api import ApiError, Json, JsonPatch
from virt_types import labels
from virt_types.legacy import OLD_VERSIONS, convert

# What the API server puts into a service account token of a pod, for NodeRestriction.
NODE_NAME_EXTRA = "authentication.kubernetes.io/node-name"

ADMISSION: web.AppKey[KubeVirtAdmission] = web.AppKey("admission", KubeVirtAdmission)


async def mutate(request: web.Request) -> web.Response:
    review = await _review(request)
    sent = review.get("object") or {}
    review["object"], notes = _respelled(review.get("object"))
    result = await _admit(request.app[ADMISSION], review)
    if isinstance(result, ApiError):
        return _answer(review, _refused(result))
    patch = _patch(sent, result.obj or {})
    answer: Json = {"allowed": True, "warnings": [*notes, *result.warnings]}
    if patch:
        answer |= {"patchType": "JSONPatch", "patch": base64.b64encode(msgspec.json.encode(patch)).decode()}
    return _answer(review, answer)


async def validate(request: web.Request) -> web.Response:
    review = await _review(request)
    result = await _admit(request.app[ADMISSION], review)
    return _answer(review, _refused(result) if isinstance(result, ApiError) else {"allowed": True})


def _respelled(obj: Json | None) -> tuple[Json | None, list[str]]:
    """An object of one of KubeVirt's old versions with today's field names; and what was changed, in words."""
    group, _, version = str((obj or {}).get("apiVersion", "")).partition("/")
    if obj is None or group != labels.GROUP or version not in OLD_VERSIONS:
        return obj, []
    converted, notes = convert(obj)
    return converted | {"apiVersion": obj["apiVersion"]}, notes


async def _review(request: web.Request) -> Json:
    try:
        body = msgspec.json.decode(await request.read())
        review: Json = body["request"]
        review["uid"], review["operation"], review["resource"]["resource"]
    except (msgspec.DecodeError, KeyError, TypeError):
        raise refusals.bad_request("the body is not an AdmissionReview of admission.k8s.io/v1") from None
    return review


async def _admit(admission: KubeVirtAdmission, review: Json) -> AdmissionResult | ApiError:
    try:
        return await admission.admit(admission_request(review))
    except ApiError as err:
        return err


def admission_request(review: Mapping[str, Any]) -> AdmissionRequest:
    """What admission needs of a review's `request`."""
    resource, user = review["resource"], review.get("userInfo") or {}
    obj = review.get("object")
    nodes = (user.get("extra") or {}).get(NODE_NAME_EXTRA) or ()
    return AdmissionRequest(
        operation=review["operation"],
        group=resource.get("group", ""),
        version=resource.get("version", ""),
        plural=resource["resource"],
        kind=(review.get("kind") or {}).get("kind", ""),
        namespace=review.get("namespace", ""),
        name=review.get("name") or ((obj or {}).get("metadata") or {}).get("name", ""),
        subresource=review.get("subResource", ""),
        obj=obj,
        old=review.get("oldObject"),
        user=UserInfo(
            user.get("username", ""),
            (*user.get("groups", ()), *(NODE_GROUP_PREFIX + node for node in nodes)),
            user.get("uid", ""),
        ),
        dry_run=bool(review.get("dryRun")),
    )


def _patch(before: Json, after: Json) -> JsonPatch:
    """Whole top-level fields: nobody reads this patch, and it is right by construction."""
    return [{"op": "add", "path": f"/{key}", "value": after[key]} for key in after if before.get(key) != after[key]] + [
        {"op": "remove", "path": f"/{key}"} for key in before if key not in after
    ]


def _refused(err: ApiError) -> Json:
    return {"allowed": False, "status": err.status}


def _answer(review: Json, response: Json) -> web.Response:
    return web.json_response(
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": review["uid"], **response}}
    )
