"""Who may do what: a table of roles by group and user. What no rule allows is forbidden.

Administrators may do everything; each component what it needs; everybody who is known may look at discovery and ask
what they may do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from virt_kube.admission import UserInfo
from virt_kube.api import ApiError
from virt_local.apiserver.authn import AUTHENTICATED
from virt_local.apiserver.status import failure, forbidden

READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
EVERY = ("*",)

OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version"})  # anybody, even without credentials


class Attributes(NamedTuple):
    """One thing somebody wants to do. Outside resources `path` is set instead."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    version: str = ""


class Rule(NamedTuple):
    """`resources` are plurals, or plural/subresource; `*` matches all of its kind."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...]
    resources: tuple[str, ...]

    def allows(self, asked: Attributes) -> bool:
        resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
        return (
            ("*" in self.verbs or asked.verb in self.verbs)
            and ("*" in self.groups or asked.group in self.groups)
            and ("*" in self.resources or resource in self.resources or f"{asked.resource}/*" in self.resources)
        )


_SELF_REVIEWS = Rule(
    ("create",),
    ("authorization.k8s.io", "authentication.k8s.io"),
    ("selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"),
)
_ALL = Rule(EVERY, EVERY, EVERY)
_READ_ALL = Rule(READ, EVERY, EVERY)
_EVENTS = Rule(("create", "patch", "update"), ("", "events.k8s.io"), ("events",))
_KUBEVIRT = Rule(EVERY, ("kubevirt.io", "pool.kubevirt.io", "cdi.kubevirt.io"), EVERY)
_LEASES = Rule(EVERY, ("coordination.k8s.io",), ("leases",))
_ACCOUNT = "system:serviceaccount:kubevirt:"

GROUP_RULES: Mapping[str, tuple[Rule, ...]] = {
    "system:masters": (_ALL,),
    AUTHENTICATED: (_SELF_REVIEWS,),
}
USER_RULES: Mapping[str, tuple[Rule, ...]] = {
    _ACCOUNT + "virt-controller": (
        _READ_ALL,
        _EVENTS,
        _KUBEVIRT,
        _LEASES,
        Rule(EVERY, ("", "apps", "discovery.k8s.io"), ("pods", "pods/*", "controllerrevisions", "endpoints",
                                                         "endpointslices", "persistentvolumeclaims")),
    ),
    _ACCOUNT + "virt-handler": (
        _READ_ALL,
        _EVENTS,
        _LEASES,
        Rule(("update", "patch"), ("kubevirt.io",), ("virtualmachineinstances", "virtualmachineinstances/*")),
        Rule(("create", "update", "patch"), ("",), ("nodes", "nodes/status")),
        Rule(("update", "patch"), ("",), ("persistentvolumeclaims", "persistentvolumeclaims/status")),
    ),
    _ACCOUNT + "virt-api": (_READ_ALL, _EVENTS, _KUBEVIRT),
}  # fmt: skip


class Authorizer:
    def allows(self, user: UserInfo, asked: Attributes) -> bool:
        if asked.path:
            return asked.path in OPEN_PATHS or AUTHENTICATED in user.groups or "system:masters" in user.groups
        rules = [
            *USER_RULES.get(user.name, ()),
            *(rule for group in user.groups for rule in GROUP_RULES.get(group, ())),
        ]
        return any(rule.allows(asked) for rule in rules)

    def require(self, user: UserInfo, asked: Attributes) -> None:
        """Raises 403, or nothing."""
        if not self.allows(user, asked):
            raise refusal(user, asked)


def refusal(user: UserInfo, asked: Attributes) -> ApiError:
    if asked.path:
        return failure(403, "Forbidden", f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"', {})
    resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    scope = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    why = f'User "{user.name}" cannot {asked.verb} resource "{resource}" in API group "{asked.group}" {scope}'
    return forbidden(asked.group, asked.resource, asked.name, why)
