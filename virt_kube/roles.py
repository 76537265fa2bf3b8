"""What our components and their users may do, as rules of roles: data.

The one-machine API server has it in its first roles (`virt_local.apiserver.roles`), a cluster in the manifests that
`virt_api.manifests` makes. A component that needs more: add the row here.
"""

from __future__ import annotations

from typing import NamedTuple

from virt_kube.api import Json
from virt_types.labels import SUBRESOURCE_GROUP


class Rule(NamedTuple):
    """`resources` are plurals, or plural/subresource; `names` empty means any; `urls` are paths outside resources."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()


def as_json(rule: Rule) -> Json:
    """A PolicyRule."""
    fields = {
        "verbs": rule.verbs,
        "apiGroups": rule.groups,
        "resources": rule.resources,
        "resourceNames": rule.names,
        "nonResourceURLs": rule.urls,
    }
    return {name: list(values) for name, values in fields.items() if values or name == "verbs"}


READ = ("get", "list", "watch")
CHANGE = ("create", "update", "patch", "delete", "deletecollection")
EVERYTHING = (*READ, *CHANGE)
ANY = ("*",)

KUBEVIRT_GROUPS = (
    "kubevirt.io",
    "pool.kubevirt.io",
    "instancetype.kubevirt.io",
    "snapshot.kubevirt.io",
    "export.kubevirt.io",
    "clone.kubevirt.io",
    "migrations.kubevirt.io",
    "backup.kubevirt.io",
)
CDI_GROUPS = ("cdi.kubevirt.io", "upload.cdi.kubevirt.io", "forklift.cdi.kubevirt.io")
# What of subresources.kubevirt.io only looks. `console` and `vnc` are GETs too, and hands on the machine.
VM_QUESTIONS = (
    "virtualmachines/expand-spec",
    "virtualmachineinstances/guestosinfo",
    "virtualmachineinstances/userlist",
    "virtualmachineinstances/filesystemlist",
)
# What KubeVirt's own objects add to the roles of that name that every cluster has.
USERS: dict[str, tuple[Rule, ...]] = {
    "view": (Rule(READ, KUBEVIRT_GROUPS, ANY), Rule(("get",), (SUBRESOURCE_GROUP,), VM_QUESTIONS)),
    "edit": (Rule(CHANGE, KUBEVIRT_GROUPS, ANY), Rule(("get", "update"), (SUBRESOURCE_GROUP,), ANY)),
}

EVENTS = Rule(("create", "patch", "update"), ("", "events.k8s.io"), ("events",))
LEASES = Rule(("get", "list", "watch", "create", "update", "patch", "delete"), ("coordination.k8s.io",), ("leases",))

COMPONENTS: dict[str, tuple[Rule, ...]] = {
    "virt-controller": (
        Rule(EVERYTHING, KUBEVIRT_GROUPS, ANY),
        Rule(EVERYTHING, ("cdi.kubevirt.io",), ("datavolumes",)),
        Rule(READ, ("cdi.kubevirt.io",), ("datasources", "storageprofiles", "cdiconfigs")),
        Rule((*READ, "patch", "update"), ("",), ("nodes", "persistentvolumeclaims")),
        Rule(EVERYTHING, ("",), ("pods", "pods/status", "pods/eviction")),
        Rule(READ, ("",), ("namespaces", "persistentvolumes", "resourcequotas", "limitranges")),
        Rule(EVERYTHING, ("apps",), ("controllerrevisions",)),
        Rule(("create",), ("authorization.k8s.io",), ("subjectaccessreviews",)),
        Rule(READ, ("storage.k8s.io",), ("storageclasses",)),
        Rule(READ, ("apiextensions.k8s.io",), ("customresourcedefinitions",)),
        EVENTS,
        LEASES,
    ),
    # What a node's agent may do with these is narrowed to its own node, by virt_local's node_scope.py or by admission.
    "virt-handler": (
        Rule((*READ, "update", "patch"), ("kubevirt.io",), ("virtualmachineinstances",)),
        Rule(READ, ("kubevirt.io",), ("virtualmachineinstancemigrations", "kubevirts")),
        Rule(("get",), ("kubevirt.io",), ("virtualmachines",)),  # is one gone whose state is kept?
        Rule((*READ, "create", "update", "patch"), ("",), ("nodes", "nodes/status")),
        Rule(READ, ("",), ("persistentvolumeclaims", "persistentvolumes")),
        Rule(READ, ("cdi.kubevirt.io",), ("datavolumes",)),
        Rule(("get",), ("",), ("secrets", "configmaps", "serviceaccounts")),
        Rule(READ, ("apiextensions.k8s.io",), ("customresourcedefinitions",)),
        EVENTS,
        LEASES,
    ),
    "virt-api": (
        Rule((*READ, "create", "update", "patch", "delete"), KUBEVIRT_GROUPS, ANY),
        Rule(READ, ("",), ("nodes", "namespaces", "persistentvolumeclaims", "pods")),
        Rule(READ, CDI_GROUPS, ANY),
        Rule(READ, ("apps",), ("controllerrevisions",)),
        Rule(READ, ("apiextensions.k8s.io",), ("customresourcedefinitions",)),
        Rule(("create",), ("authorization.k8s.io",), ("subjectaccessreviews",)),
        EVENTS,
    ),
}
