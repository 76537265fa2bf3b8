"""Access reviews: "may I?", "who am I?". Nothing is stored; the answers come from the role table."""

from __future__ import annotations

import msgspec

from virt_kube.admission import UserInfo
from virt_kube.api import Json
from virt_local.apiserver.authz import GROUP_RULES, USER_RULES, Attributes, Authorizer
from virt_local.apiserver.discovery import REVIEWS
from virt_local.apiserver.status import bad_request


class Reviews:
    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def find(self, group: str, version: str, plural: str) -> str | None:
        """The kind of review a resource is."""
        if version != "v1":
            return None
        return next((kind for name, kind, _ in REVIEWS.get(group, ()) if name == plural), None)

    def answer(self, kind: str, obj: Json, user: UserInfo) -> bytes:
        """The review with its status filled in."""
        if obj.get("kind") not in (None, "", kind):
            raise bad_request(f'no kind "{obj.get("kind")}" is registered for {kind}')
        spec = obj.get("spec") or {}
        match kind:
            case "SelfSubjectReview":
                group, status = "authentication.k8s.io", _identity(user)
            case "SelfSubjectRulesReview":
                group, status = "authorization.k8s.io", _rules(user)
            case "SubjectAccessReview":
                asked = UserInfo(spec.get("user", ""), tuple(spec.get("groups") or ()))
                group, status = "authorization.k8s.io", self._access(asked, spec)
            case _:
                group, status = "authorization.k8s.io", self._access(user, spec)
        meta = {"creationTimestamp": None} | (obj.get("metadata") or {})
        body: Json = {"kind": kind, "apiVersion": f"{group}/v1", "metadata": meta}
        if kind != "SelfSubjectReview":
            body["spec"] = spec
        return msgspec.json.encode(body | {"status": status})

    def _access(self, user: UserInfo, spec: Json) -> Json:
        if (path := spec.get("nonResourceAttributes")) is not None:
            asked = Attributes(path.get("verb", ""), path=path.get("path", ""))
        else:
            about = spec.get("resourceAttributes")
            if about is None:
                raise bad_request("exactly one of nonResourceAttributes or resourceAttributes must be specified")
            asked = Attributes(
                about.get("verb", ""),
                about.get("group", ""),
                about.get("resource", ""),
                about.get("subresource", ""),
                about.get("namespace", ""),
                about.get("name", ""),
            )
        return {"allowed": self._authorizer.allows(user, asked)}


def _identity(user: UserInfo) -> Json:
    info: Json = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    return {"userInfo": info | {"groups": list(user.groups)}}


def _rules(user: UserInfo) -> Json:
    rules = [*USER_RULES.get(user.name, ()), *(rule for group in user.groups for rule in GROUP_RULES.get(group, ()))]
    return {
        "resourceRules": [
            {"verbs": list(rule.verbs), "apiGroups": list(rule.groups), "resources": list(rule.resources)}
            for rule in rules
        ],
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["*"]}],
        "incomplete": False,
    }
