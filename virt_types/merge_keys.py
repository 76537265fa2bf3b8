"""Which lists of Kubernetes' own kinds merge by element, from the patchMergeKey and patchStrategy tags of k8s.io/api.

Both ends of a strategic merge patch need it: the embedded API server applies them, `virtctl apply` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping

# By dotted path below the object; `*` is a list element.
MERGE_KEYS: Mapping[str, str] = {
    "metadata.ownerReferences": "uid",
    "secrets": "name",
    "webhooks": "name",
    "spec.ports": "port",
    "spec.containers": "name",
    "spec.initContainers": "name",
    "spec.ephemeralContainers": "name",
    "spec.containers.*.env": "name",
    "spec.containers.*.ports": "containerPort",
    "spec.containers.*.volumeMounts": "mountPath",
    "spec.containers.*.volumeDevices": "devicePath",
    "spec.volumes": "name",
    "spec.imagePullSecrets": "name",
    "spec.hostAliases": "ip",
    "spec.topologySpreadConstraints": "topologyKey",
    "spec.resourceClaims": "name",
    "status.conditions": "type",
    "status.addresses": "type",
}
# Lists of scalars that merge as sets.
MERGE_SETS = frozenset({"metadata.finalizers", "spec.podCIDRs"})
# Workloads carry a pod; its lists are those of a pod.
_POD_TEMPLATES = ("spec.jobTemplate.spec.template.", "spec.template.")
_CONTAINERS = ("spec.initContainers.*.", "spec.ephemeralContainers.*.")


def merge_key(path: str) -> str:
    """The field that tells the elements of the list at `path` apart; empty when the list is replaced as a whole."""
    for prefix in _POD_TEMPLATES:
        path = path.removeprefix(prefix)
    for prefix in _CONTAINERS:
        if path.startswith(prefix):
            path = "spec.containers.*." + path.removeprefix(prefix)
    return MERGE_KEYS.get(path, "")
