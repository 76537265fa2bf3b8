"""The admission plugins of kube-apiserver that look at other objects than the one being written.

NamespaceLifecycle, PersistentVolumeClaimResize, and the rule that nothing is made of a definition that is going. The
writer calls them. (StorageObjectInUseProtection is part of the claims' defaults, `kinds/storage.py`.)
"""

from __future__ import annotations

from virt_kube.api import Json
from virt_local.apiserver import represent
from virt_local.apiserver.builtins import CLAIM, NAMESPACE, STORAGE_CLASS
from virt_local.apiserver.call import Call
from virt_local.apiserver.kinds.storage import requested
from virt_local.apiserver.status import forbidden, not_found
from virt_local.store import Key, Store

_NO_RESIZE = (
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
)


def require_room(store: Store, call: Call, name: str) -> None:
    """404 without the namespace; 403 when it, or the definition of the kind, is on its way out."""
    resource = call.resource
    if resource.terminating:
        why = "create not allowed while custom resource definition is terminating"
        raise forbidden(resource.group, resource.plural, name, why)
    if not resource.namespaced:
        return
    record = store.get(Key(NAMESPACE.stored_as, "", call.namespace))
    if record is None:
        raise not_found("", "namespaces", call.namespace)
    if represent.meta(record.value).deletion_timestamp:
        why = f"unable to create new content in namespace {call.namespace} because it is being terminated"
        error = forbidden(resource.group, resource.plural, name, why)
        cause = {
            "reason": "NamespaceTerminating",
            "message": f"namespace {call.namespace} is being terminated",
            "field": "metadata.namespace",
        }
        error.status["details"]["causes"] = [cause]
        raise error


def require_resizable(store: Store, call: Call, obj: Json, old: Json) -> None:
    """403 for a claim that asks for more than its class can give later."""
    if call.resource is not CLAIM or call.subresource or requested(obj) <= requested(old):
        return
    name = (old["spec"].get("storageClassName") or "") if "spec" in old else ""
    record = store.get(Key(STORAGE_CLASS.stored_as, "", name)) if name else None
    if record is None or not represent.decode(record.value).get("allowVolumeExpansion"):
        raise forbidden("", CLAIM.plural, call.name, _NO_RESIZE)
