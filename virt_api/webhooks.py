"""The same admission for a real API server: AdmissionReview v1 in, AdmissionReview v1 out."""

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

# What the API server puts into a service account token of a pod, for NodeRestriction.
NODE_NAME_EXTRA = "authentication.kubernetes.io/node-name"

ADMISSION: web.AppKey[KubeVirtAdmission] = web.AppKey("admission", KubeVirtAdmission)


async def mutate(request: web.Request) -> web.Response:
    review = await _review(request)
    result = await _admit(request.app[ADMISSION], review)
    if isinstance(result, ApiError):
        return _answer(review, _refused(result))
    patch = _patch(review.get("object") or {}, result.obj or {})
    answer: Json = {"allowed": True, "warnings": list(result.warnings)}
    if patch:
        answer |= {"patchType": "JSONPatch", "patch": base64.b64encode(msgspec.json.encode(patch)).decode()}
    return _answer(review, answer)


async def validate(request: web.Request) -> web.Response:
    review = await _review(request)
    result = await _admit(request.app[ADMISSION], review)
    return _answer(review, _refused(result) if isinstance(result, ApiError) else {"allowed": True})


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
