"""Reviews: "may I?", "may they?", "who am I?", "whose token is this?". Nothing is stored, the answers are true now.

The HTTP face asks; what is answered comes from the same `Authorizer` and `Authenticator` that every request meets.
"""

from __future__ import annotations

from typing import Any

import msgspec

from virt_kube.admission import UserInfo
from virt_kube.api import ApiError, Json
from virt_kube.roles import Rule, as_json
from virt_local.apiserver import metadata
from virt_local.apiserver.authn import Authenticator
from virt_local.apiserver.authz import Authorizer
from virt_local.apiserver.discovery import REVIEWS
from virt_local.apiserver.rbac import ALL, Attributes
from virt_local.apiserver.roles import MASTERS
from virt_local.apiserver.status import bad_request, invalid, invalid_value
from virt_local.apiserver.tokens import ISSUER, Tokens
from virt_types.errors import Cause

AUTHORIZATION, AUTHENTICATION = "authorization.k8s.io", "authentication.k8s.io"
_NEITHER = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
_BOTH = "cannot be specified in combination with resourceAttributes"
_NOBODY = "at least one of user or group must be specified"
_OTHER_NAMESPACE = "must match metadata.namespace"


class Reviews:
    def __init__(self, authorizer: Authorizer, authenticator: Authenticator, tokens: Tokens) -> None:
        self._authorizer = authorizer
        self._authenticator = authenticator
        self._tokens = tokens

    def find(self, group: str, version: str, plural: str) -> str | None:
        """The kind of review a resource is."""
        if version != "v1":
            return None
        return next((kind for name, kind, _ in REVIEWS.get(group, ()) if name == plural), None)

    def answer(self, kind: str, obj: Json, user: UserInfo, namespace: str) -> bytes:
        """The review with its status filled in. Raises 400 and 422 for a question that is none."""
        if obj.get("kind") not in (None, "", kind):
            raise bad_request(f'no kind "{obj.get("kind")}" is registered for {kind}')
        spec = obj.get("spec") or {}
        match kind:
            case "SelfSubjectReview":
                group, status = AUTHENTICATION, {"userInfo": _identity(user)}
            case "TokenReview":
                group, status = AUTHENTICATION, self._token(spec)
            case "SelfSubjectRulesReview":
                group, status = AUTHORIZATION, self._rules(user, spec)
            case "SelfSubjectAccessReview":
                group, status = AUTHORIZATION, self._access(user, spec)
            case _:
                group, status = AUTHORIZATION, self._access(_somebody(spec), spec, namespace)
        meta = {"namespace": namespace} if namespace else {}
        body: Json = {"kind": kind, "apiVersion": f"{group}/v1", "metadata": meta | (obj.get("metadata") or {})}
        if kind == "SelfSubjectReview":
            body["metadata"] = body["metadata"] | {"creationTimestamp": metadata.now()}
        else:
            body["spec"] = spec
        return msgspec.json.encode(body | {"status": status})

    def token(self, namespace: str, name: str, obj: Json) -> bytes:
        """The answer to a TokenRequest. Raises 404 and 422."""
        return msgspec.json.encode(self._tokens.request(namespace, name, obj))

    def _access(self, user: UserInfo, spec: Json, namespace: str = "") -> Json:
        path, about = spec.get("nonResourceAttributes"), spec.get("resourceAttributes")
        if path is None and about is None:
            raise _invalid(invalid_value("spec.resourceAttributes", None, _NEITHER))
        if path is not None and about is not None:
            shown = {"Path": path.get("path", ""), "Verb": path.get("verb", "")}
            raise _invalid(invalid_value("spec.nonResourceAttributes", shown, _BOTH))
        if path is not None:
            asked = Attributes(path.get("verb", ""), path=path.get("path", "") or "/")
        else:
            asked = _resource_attributes(about)
            if namespace and asked.namespace != namespace:
                cause = invalid_value("spec.resourceAttributes.namespace", asked.namespace, _OTHER_NAMESPACE)
                raise _invalid(cause)
        if self._authorizer.allows(user, asked):
            return {"allowed": True, "reason": _reason(user)}
        return {"allowed": False}

    def _rules(self, user: UserInfo, spec: Json) -> Json:
        namespace = spec.get("namespace", "")
        if not namespace:
            raise bad_request("no namespace on request")
        held = self._authorizer.rules(user, namespace)
        everything = (Rule((ALL,), (ALL,), (ALL,)), Rule((ALL,), urls=(ALL,)))
        if MASTERS in user.groups and everything[0] not in held:
            held = (*everything, *held)
        return {
            "resourceRules": [as_json(rule) for rule in held if not rule.urls],
            "nonResourceRules": [as_json(rule) for rule in held if rule.urls],
            "incomplete": False,
        }

    def _token(self, spec: Json) -> Json:
        token = spec.get("token", "")
        if not token:
            raise bad_request("token is required for TokenReview in authentication")
        found = self._authenticator.by_token(str(token))
        wanted = [str(audience) for audience in spec.get("audiences") or ()] or [ISSUER]
        if found is None:
            return {"user": {}, "error": "invalid bearer token"}
        audiences = [audience for audience in wanted if audience in found.audiences] if found.audiences else wanted
        if not audiences:
            return {"user": {}, "error": f"token audiences {list(found.audiences)} is invalid for the target {wanted}"}
        return {"authenticated": True, "user": _identity(found.user), "audiences": audiences}


def _reason(user: UserInfo) -> str:
    return f"{MASTERS} may do everything" if MASTERS in user.groups else "RBAC: allowed by a role"


def _somebody(spec: Json) -> UserInfo:
    groups = spec.get("groups") or spec.get("group") or ()
    if not spec.get("user") and not groups:
        raise _invalid(invalid_value("spec.user", "", _NOBODY))
    return UserInfo(str(spec.get("user", "")), tuple(map(str, groups)), str(spec.get("uid", "")))


def _resource_attributes(about: Any) -> Attributes:
    fields = ("verb", "group", "resource", "subresource", "namespace", "name")
    return Attributes(*(str(about.get(field, "")) for field in fields))


def _invalid(cause: Cause) -> ApiError:
    """Reviews have no kind in their refusals: `.authorization.k8s.io "" is invalid`."""
    return invalid(AUTHORIZATION, "", "", [cause])


def _identity(user: UserInfo) -> Json:
    info: Json = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    return info | {"groups": list(user.groups)}
