"""What each built-in kind asks for beyond metadata: defaults, immutable fields, what a new one looks like.

One function per kind, found by (group, plural); the writer calls `prepare` before admission and `causes` after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from virt_kube.api import Json
from virt_local.apiserver import crds, grants
from virt_local.apiserver.kinds import config, events, nodes, pods, services, small, storage
from virt_local.apiserver.metadata import now
from virt_local.apiserver.registry import ResourceType
from virt_local.apiserver.status import invalid_value, not_supported
from virt_types.errors import Cause

Prepare = Callable[[Json, Json | None], None]
Check = Callable[[Json, Json | None], list[Cause]]


def prepare(resource: ResourceType, obj: Json, old: Json | None) -> None:
    """Defaults of a built-in kind, in place. `old` is None on create."""
    if (found := _PREPARE.get((resource.group, resource.plural))) is not None:
        found(obj, old)


def causes(resource: ResourceType, obj: Json, old: Json | None) -> list[Cause]:
    found = _CHECKS.get((resource.group, resource.plural))
    return found(obj, old) if found is not None else []


def _definition(obj: Json, old: Json | None) -> None:
    if isinstance(obj.get("spec"), dict) and not _definition_causes(obj, old):
        obj["status"] = (old or {}).get("status", {})
        crds.establish(obj, now())


def _definition_causes(obj: Json, _old: Json | None) -> list[Cause]:
    try:
        found = crds.resource_type(msgspec.json.encode(obj), lambda: None)
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        return [invalid_value("spec", "", str(error))]
    name = obj["metadata"].get("name", "")
    problems = []
    if name != f"{found.plural}.{found.group}":
        problems.append(invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    if sum(version.storage for version in found.versions) != 1:
        text = "must have exactly one version marked as storage version"
        problems.append(invalid_value("spec.versions", [version.name for version in found.versions], text))
    scope = obj["spec"].get("scope")
    if scope not in ("Cluster", "Namespaced"):
        problems.append(not_supported("spec.scope", str(scope or ""), ["Cluster", "Namespaced"]))
    return problems


_PREPARE: Mapping[tuple[str, str], Prepare] = {
    ("", "namespaces"): small.prepare_namespace,
    ("", "nodes"): nodes.prepare,
    ("", "persistentvolumeclaims"): storage.prepare_claim,
    ("", "persistentvolumes"): storage.prepare_volume,
    ("", "pods"): pods.prepare,
    ("", "secrets"): config.prepare_secret,
    ("", "services"): services.prepare,
    ("apiextensions.k8s.io", "customresourcedefinitions"): _definition,
    ("discovery.k8s.io", "endpointslices"): small.prepare_slice,
    ("rbac.authorization.k8s.io", "rolebindings"): grants.prepare_binding,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): grants.prepare_binding,
    ("storage.k8s.io", "storageclasses"): storage.prepare_class,
}
_CHECKS: Mapping[tuple[str, str], Check] = {
    ("", "configmaps"): config.config_map_causes,
    ("", "events"): events.core_causes,
    ("", "nodes"): nodes.causes,
    ("", "persistentvolumeclaims"): storage.claim_causes,
    ("", "persistentvolumes"): storage.volume_causes,
    ("", "pods"): pods.causes,
    ("", "secrets"): config.secret_causes,
    ("apiextensions.k8s.io", "customresourcedefinitions"): _definition_causes,
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
