"""The table of what each built-in kind asks for beyond metadata and types; the rules are in `kinds` and `definitions`.

The writer calls `prepare` and then `causes`, both before admission.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from virt_kube.api import Json
from virt_local.apiserver import grants
from virt_local.apiserver.definitions import rules as definitions
from virt_local.apiserver.kinds import config, events, nodes, pods, services, small, storage, warned
from virt_local.apiserver.registry import ResourceType
from virt_types.errors import Cause

Prepare = Callable[[Json, Json | None], None]
Check = Callable[[Json, Json | None], list[Cause]]


def prepare(resource: ResourceType, obj: Json, old: Json | None, subresource: str = "") -> None:
    """Defaults of a built-in kind, in place. `old` is None on create."""
    table = _PREPARE_STATUS if subresource else _PREPARE
    if (found := table.get((resource.group, resource.plural))) is not None:
        found(obj, old)


def causes(resource: ResourceType, obj: Json, old: Json | None) -> list[Cause]:
    found = _CHECKS.get((resource.group, resource.plural))
    return found(obj, old) if found is not None else []


def warnings(resource: ResourceType, obj: Json) -> list[str]:
    found = _WARNINGS.get((resource.group, resource.plural))
    return found(obj) if found is not None else []


_PREPARE: Mapping[tuple[str, str], Prepare] = {
    ("", "endpoints"): small.prepare_endpoints,
    ("", "namespaces"): small.prepare_namespace,
    ("", "nodes"): nodes.prepare,
    ("", "persistentvolumeclaims"): storage.prepare_claim,
    ("", "persistentvolumes"): storage.prepare_volume,
    ("", "pods"): pods.prepare,
    ("", "secrets"): config.prepare_secret,
    ("", "serviceaccounts"): small.prepare_account,
    ("", "services"): services.prepare,
    ("apiextensions.k8s.io", "customresourcedefinitions"): definitions.prepare,
    ("coordination.k8s.io", "leases"): small.prepare_lease,
    ("discovery.k8s.io", "endpointslices"): small.prepare_slice,
    ("rbac.authorization.k8s.io", "rolebindings"): grants.prepare_binding,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): grants.prepare_binding,
    ("storage.k8s.io", "storageclasses"): storage.prepare_class,
}
_PREPARE_STATUS: Mapping[tuple[str, str], Prepare] = {
    ("", "nodes"): nodes.prepare,
    ("", "persistentvolumes"): storage.prepare_volume_status,
    ("apiextensions.k8s.io", "customresourcedefinitions"): definitions.prepare_status,
}
_CHECKS: Mapping[tuple[str, str], Check] = {
    ("", "configmaps"): config.config_map_causes,
    ("", "events"): events.core_causes,
    ("", "namespaces"): small.namespace_causes,
    ("", "nodes"): nodes.causes,
    ("", "persistentvolumeclaims"): storage.claim_causes,
    ("", "persistentvolumes"): storage.volume_causes,
    ("", "pods"): pods.causes,
    ("", "secrets"): config.secret_causes,
    ("apiextensions.k8s.io", "customresourcedefinitions"): definitions.causes,
    ("apps", "controllerrevisions"): small.revision_causes,
    ("coordination.k8s.io", "leases"): small.lease_causes,
    ("discovery.k8s.io", "endpointslices"): small.slice_causes,
    ("events.k8s.io", "events"): events.causes,
    ("rbac.authorization.k8s.io", "roles"): grants.role_causes,
    ("rbac.authorization.k8s.io", "clusterroles"): grants.cluster_role_causes,
    ("rbac.authorization.k8s.io", "rolebindings"): grants.role_binding_causes,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): grants.cluster_role_binding_causes,
    ("storage.k8s.io", "storageclasses"): storage.class_causes,
}
_WARNINGS: Mapping[tuple[str, str], Callable[[Json], list[str]]] = {
    ("", "endpoints"): warned.endpoints,
    ("", "persistentvolumeclaims"): warned.claim,
    ("", "persistentvolumes"): warned.volume,
    ("", "services"): warned.service,
    ("apiextensions.k8s.io", "customresourcedefinitions"): definitions.warnings,
}
