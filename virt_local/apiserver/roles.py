"""The roles every cluster begins with, and who has them: data. `grants.py` stores them, `authz.py` reads them there.

They are ordinary ClusterRoles and ClusterRoleBindings, so that `kubectl get clusterroles` shows them, users can bind
`view` or `edit` to an account of theirs, and a start of the server brings them back to what this version says.
A component that needs more: add the row here.
"""

from __future__ import annotations

from typing import NamedTuple

from virt_kube.admission import UserInfo
from virt_kube.roles import (
    ANY,
    CDI_GROUPS,
    CHANGE,
    COMPONENTS,
    EVENTS,
    EVERYTHING,
    LEASES,
    READ,
    USERS,
    Rule,
)
from virt_types import labels

AUTHENTICATED, UNAUTHENTICATED, MASTERS = "system:authenticated", "system:unauthenticated", "system:masters"
VIEWERS = "virtctl:viewers"  # the group of `virtctl local kubeconfig --user viewer`
VIEWER = "viewer"

LOCAL_USER = "system:serviceaccount:kubevirt:virt-local"  # services and volumes of one machine
CDI_USER = "system:serviceaccount:cdi:cdi-controller"
COLLECTOR = UserInfo("system:serviceaccount:kube-system:generic-garbage-collector", (AUTHENTICATED,))


# Of the core group, everything a viewer may see: all but Secrets.
CORE_SEEN = (
    "configmaps",
    "endpoints",
    "events",
    "namespaces",
    "nodes",
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "pods/log",
    "pods/status",
    "serviceaccounts",
    "services",
)
CORE_USED = (
    "configmaps",
    "endpoints",
    "events",
    "persistentvolumeclaims",
    "pods",
    "secrets",
    "serviceaccounts",
    "services",
)
OTHERS = (
    "apps",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "storage.k8s.io",
    "apiextensions.k8s.io",
    *CDI_GROUPS,
)
DISCOVERY_PATHS = ("/.well-known", "/.well-known/*", "/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*")
PUBLIC_PATHS = ("/healthz", "/livez", "/readyz", "/version", "/version/")


class Role(NamedTuple):
    """`gathers` X: ClusterRoles labelled rbac.authorization.k8s.io/aggregate-to-X=true add their rules to it."""

    rules: tuple[Rule, ...]
    gathers: str = ""


_VIEW = (
    Rule(READ, ("",), CORE_SEEN),
    Rule(READ, OTHERS, ANY),
    *USERS["view"],
)
_EDIT = (
    Rule(CHANGE, ("",), CORE_USED),
    Rule(READ, ("",), ("secrets",)),
    Rule(CHANGE, CDI_GROUPS, ANY),
    Rule(CHANGE, ("apps", "coordination.k8s.io", "discovery.k8s.io", "events.k8s.io"), ANY),
    *USERS["edit"],
    Rule(("create",), ("",), ("serviceaccounts/token",)),
)
_ADMIN = (
    Rule(EVERYTHING, ("rbac.authorization.k8s.io",), ("roles", "rolebindings")),
    Rule(("create",), ("authorization.k8s.io",), ("localsubjectaccessreviews",)),
)

CLUSTER_ROLES: dict[str, Role] = {
    "cluster-admin": Role((Rule(ANY, ANY, ANY), Rule(ANY, urls=ANY))),
    "view": Role(_VIEW, gathers="view"),
    "edit": Role((*_VIEW, *_EDIT), gathers="edit"),
    "admin": Role((*_VIEW, *_EDIT, *_ADMIN), gathers="admin"),
    "system:basic-user": Role(
        (
            Rule(("create",), ("authorization.k8s.io",), ("selfsubjectaccessreviews", "selfsubjectrulesreviews")),
            Rule(("create",), ("authentication.k8s.io",), ("selfsubjectreviews",)),
        )
    ),
    "system:discovery": Role((Rule(("get",), urls=(*DISCOVERY_PATHS, *PUBLIC_PATHS)),)),
    "system:public-info-viewer": Role((Rule(("get",), urls=PUBLIC_PATHS),)),
    "system:controller:generic-garbage-collector": Role(
        (
            Rule(("delete", "get", "list", "patch", "update", "watch"), ANY, ANY),
            Rule(("update",), ("",), ("namespaces/finalize",)),
            Rule(("create",), ("",), ("serviceaccounts",)),
        )
    ),
    **{name: Role(rules) for name, rules in COMPONENTS.items()},
    # Services and volumes of the one-machine cluster: what kube-proxy and a provisioner do elsewhere.
    "virt-local": Role(
        (
            Rule((*READ, "update", "patch"), ("",), ("services", "services/status")),
            Rule(EVERYTHING, ("",), ("endpoints", "persistentvolumes", "persistentvolumes/status")),
            Rule((*READ, "update", "patch"), ("",), ("persistentvolumeclaims", "persistentvolumeclaims/status")),
            Rule(EVERYTHING, ("discovery.k8s.io",), ("endpointslices",)),
            Rule(EVERYTHING, ("storage.k8s.io",), ("storageclasses",)),
            Rule(READ, ("",), ("nodes", "namespaces", "pods")),
            Rule(READ, ("kubevirt.io",), ("virtualmachineinstances", "virtualmachines")),
            Rule(READ, ("apiextensions.k8s.io",), ("customresourcedefinitions",)),
            EVENTS,
            LEASES,
        )
    ),
    "cdi-controller": Role(
        (
            Rule(EVERYTHING, CDI_GROUPS, ANY),
            Rule(EVERYTHING, ("",), ("persistentvolumeclaims", "persistentvolumeclaims/status")),
            Rule(EVERYTHING, ("",), ("persistentvolumes", "persistentvolumes/status")),
            Rule(READ, ("",), ("configmaps", "namespaces", "nodes", "pods")),
            Rule(("get",), ("",), ("secrets",)),  # the credentials a source names; never a list of them
            Rule(("create",), ("authorization.k8s.io",), ("subjectaccessreviews",)),  # of who copies a claim
            Rule(READ, ("storage.k8s.io",), ("storageclasses",)),
            Rule(READ, ("kubevirt.io",), ("virtualmachineinstances", "virtualmachines")),
            Rule(READ, ("apiextensions.k8s.io",), ("customresourcedefinitions",)),
            EVENTS,
            LEASES,
        )
    ),
}  # fmt: skip


class Binding(NamedTuple):
    """Users and groups that have a ClusterRole everywhere."""

    role: str
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


CLUSTER_ROLE_BINDINGS: dict[str, Binding] = {
    "cluster-admin": Binding("cluster-admin", groups=(MASTERS,)),
    "system:basic-user": Binding("system:basic-user", groups=(AUTHENTICATED,)),
    "system:discovery": Binding("system:discovery", groups=(AUTHENTICATED,)),
    "system:public-info-viewer": Binding("system:public-info-viewer", groups=(AUTHENTICATED, UNAUTHENTICATED)),
    "virtctl:viewers": Binding("view", users=(VIEWER,), groups=(VIEWERS,)),
    "system:controller:generic-garbage-collector": Binding(
        "system:controller:generic-garbage-collector", users=(COLLECTOR.name,)
    ),
    "virt-controller": Binding("virt-controller", users=(labels.CONTROLLER_USER,)),
    "virt-handler": Binding("virt-handler", users=(labels.HANDLER_USER,)),
    "virt-api": Binding("virt-api", users=(labels.API_USER,)),
    "virt-local": Binding("virt-local", users=(LOCAL_USER,)),
    "cdi-controller": Binding("cdi-controller", users=(CDI_USER,)),
}
