"""What each built-in kind asks for beyond metadata: defaults, immutable fields, what a new one looks like.

One function per kind, found by (group, plural); the writer calls `prepare` before admission and `causes` after it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from virt_kube.api import Json
from virt_local.apiserver import crds, grants
from virt_local.apiserver.metadata import now
from virt_local.apiserver.patches import same_json
from virt_local.apiserver.registry import ResourceType
from virt_local.apiserver.status import forbidden_value, invalid_value, not_supported, required
from virt_types.errors import Cause

Prepare = Callable[[Json, Json | None], None]
Check = Callable[[Json, Json | None], list[Cause]]

_KEY = re.compile(r"[-._a-zA-Z0-9]+")
MAX_DATA = 1024 * 1024


def prepare(resource: ResourceType, obj: Json, old: Json | None) -> None:
    """Defaults of a built-in kind, in place. `old` is None on create."""
    if (found := _PREPARE.get((resource.group, resource.plural))) is not None:
        found(obj, old)


def causes(resource: ResourceType, obj: Json, old: Json | None) -> list[Cause]:
    found = _CHECKS.get((resource.group, resource.plural))
    return found(obj, old) if found is not None else []


def _namespace(obj: Json, old: Json | None) -> None:
    meta = obj["metadata"]
    meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = meta.get("name", "")
    if old is None:
        own = (obj.get("spec") or {}).get("finalizers") or []
        obj["spec"] = {"finalizers": [*own, *([] if "kubernetes" in own else ["kubernetes"])]}
        obj["status"] = {"phase": "Active"}
    else:
        obj["spec"] = old.get("spec", {})  # only the finalize subresource changes it


def _config_map(obj: Json, _old: Json | None) -> None:
    for field in ("data", "binaryData"):
        if field in obj and not obj[field]:
            del obj[field]


def _secret(obj: Json, old: Json | None) -> None:
    for key, value in (obj.pop("stringData", None) or {}).items():
        obj.setdefault("data", {})[key] = base64.b64encode(str(value).encode()).decode()
    obj.setdefault("type", (old or {}).get("type", "Opaque"))


def _claim(obj: Json, old: Json | None) -> None:
    obj.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
    if old is None:
        obj["status"] = {"phase": "Pending"}


def _volume(obj: Json, old: Json | None) -> None:
    spec = obj.setdefault("spec", {})
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    if old is None:
        obj["status"] = {"phase": "Pending"}


def _storage_class(obj: Json, _old: Json | None) -> None:
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def _pod(obj: Json, old: Json | None) -> None:
    spec = obj.setdefault("spec", {})
    for key, value in (
        ("restartPolicy", "Always"),
        ("terminationGracePeriodSeconds", 30),
        ("dnsPolicy", "ClusterFirst"),
    ):
        spec.setdefault(key, value)
    if old is None:
        obj["status"] = {"phase": "Pending"}


def _event(obj: Json, _old: Json | None) -> None:
    meta = obj["metadata"]
    involved = obj.setdefault("involvedObject", {})
    if not involved.get("namespace") and meta.get("namespace") != "default":
        involved.setdefault("namespace", meta.get("namespace", ""))


def _definition(obj: Json, old: Json | None) -> None:
    if isinstance(obj.get("spec"), dict) and not _definition_causes(obj, old):
        obj["status"] = (old or {}).get("status", {})
        crds.establish(obj, now())


def _data_causes(obj: Json, old: Json | None) -> list[Cause]:
    found: list[Cause] = []
    size = 0
    for field in ("data", "binaryData"):
        for key, value in (obj.get(field) or {}).items():
            if not _KEY.fullmatch(key) or key in (".", ".."):
                text = (
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
                    "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                )
                found.append(invalid_value(f"{field}[{key}]", key, text))
            size += len(str(value))
    if size > MAX_DATA:
        found.append(Cause("FieldValueTooLong", f"Too long: may not be more than {MAX_DATA} bytes", ""))
    if old is not None and old.get("immutable"):
        found += _frozen(obj, old)
    return found


def _frozen(obj: Json, old: Json) -> list[Cause]:
    text = "field is immutable when `immutable` is set"
    found = [] if obj.get("immutable") else [forbidden_value("immutable", text)]
    changed = (field for field in ("data", "binaryData") if not same_json(obj.get(field) or {}, old.get(field) or {}))
    found += [forbidden_value(field, text) for field in changed]
    return found


def _secret_causes(obj: Json, old: Json | None) -> list[Cause]:
    found = _data_causes(obj, old)
    for key, value in (obj.get("data") or {}).items():
        if not _is_base64(value):
            found.append(invalid_value(f"data[{key}]", "", "illegal base64 data"))
    if old is not None and obj.get("type") != old.get("type"):
        found.append(invalid_value("type", obj.get("type"), "field is immutable"))
    return found


def _is_base64(value: Any) -> bool:
    try:
        base64.b64decode(value or "", validate=True)
    except (binascii.Error, ValueError, TypeError):
        return False
    return True


def _claim_causes(obj: Json, _old: Json | None) -> list[Cause]:
    spec = obj.get("spec") or {}
    found = []
    if not spec.get("accessModes"):
        found.append(required("spec.accessModes", "at least 1 access mode is required"))
    if "storage" not in ((spec.get("resources") or {}).get("requests") or {}):
        found.append(required("spec.resources[storage]"))
    return found


def _revision_causes(obj: Json, old: Json | None) -> list[Cause]:
    if old is not None and not same_json(obj.get("data"), old.get("data")):
        return [invalid_value("data", obj.get("data"), "field is immutable")]
    return []


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
    ("", "namespaces"): _namespace,
    ("", "configmaps"): _config_map,
    ("", "secrets"): _secret,
    ("", "persistentvolumeclaims"): _claim,
    ("", "persistentvolumes"): _volume,
    ("", "pods"): _pod,
    ("", "events"): _event,
    ("storage.k8s.io", "storageclasses"): _storage_class,
    ("rbac.authorization.k8s.io", "rolebindings"): grants.prepare_binding,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): grants.prepare_binding,
    ("apiextensions.k8s.io", "customresourcedefinitions"): _definition,
}
_CHECKS: Mapping[tuple[str, str], Check] = {
    ("", "configmaps"): _data_causes,
    ("", "secrets"): _secret_causes,
    ("", "persistentvolumeclaims"): _claim_causes,
    ("apps", "controllerrevisions"): _revision_causes,
    ("rbac.authorization.k8s.io", "roles"): grants.role_causes,
    ("rbac.authorization.k8s.io", "clusterroles"): grants.cluster_role_causes,
    ("rbac.authorization.k8s.io", "rolebindings"): grants.role_binding_causes,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): grants.cluster_role_binding_causes,
    ("apiextensions.k8s.io", "customresourcedefinitions"): _definition_causes,
}
