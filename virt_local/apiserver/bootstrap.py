"""What every cluster has before anybody asks: namespaces, roles, KubeVirt's definitions. `server.py` runs it.

A definition is large and goes through many checks. One that is stored as this version ships it is recognised by the
digest in an annotation, and by its content, so that a start costs little and mends what somebody broke.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from virt_kube.admission import UserInfo
from virt_kube.api import Json
from virt_local.apiserver import grants
from virt_local.apiserver.builtins import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, CRD, FIRST_NAMESPACES, NAMESPACE
from virt_local.apiserver.call import Call
from virt_local.apiserver.pipeline import Pipeline
from virt_local.apiserver.registry import ResourceType

SHIPPED = "virtctl.kubevirt.io/shipped"  # annotation: digest of the definition as it came with the program


async def bootstrap(pipeline: Pipeline, user: UserInfo, definitions: list[Json]) -> None:
    for resource, obj in _wanted(definitions):
        call = Call(user, resource, resource.storage, "", obj["metadata"]["name"])
        record = pipeline.store.get(call.key)
        if record is None:
            await pipeline.create(call, obj, [])
        elif resource is not NAMESPACE and not (resource is CRD and as_shipped(record.value, obj)):
            await pipeline.update(call, obj, [])


def _wanted(definitions: list[Json]) -> Iterator[tuple[ResourceType, Json]]:
    yield from ((NAMESPACE, {"metadata": {"name": name}}) for name in FIRST_NAMESPACES)
    yield from ((CRD, _marked(definition)) for definition in definitions)
    yield from ((CLUSTER_ROLE, role) for role in grants.first_roles())
    yield from ((CLUSTER_ROLE_BINDING, binding) for binding in grants.first_bindings())


def _marked(definition: Json) -> Json:
    digest = hashlib.sha256(msgspec.json.encode(definition)).hexdigest()[:32]
    meta = definition["metadata"]
    return definition | {"metadata": meta | {"annotations": (meta.get("annotations") or {}) | {SHIPPED: digest}}}


def as_shipped(stored: bytes, obj: Json) -> bool:
    """Whether a stored definition came from this very one, and still says all of it."""
    found = msgspec.json.decode(stored)
    mark = (found["metadata"].get("annotations") or {}).get(SHIPPED)
    return mark == obj["metadata"]["annotations"][SHIPPED] and _holds(found.get("spec"), obj["spec"])


def _holds(whole: Any, part: Any) -> bool:
    """Everything in `part` is in `whole`; defaults may have come."""
    if whole == part:
        return True
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and _holds(whole[key], part[key]) for key in part)
    if isinstance(part, list):
        return isinstance(whole, list) and len(whole) == len(part) and all(map(_holds, whole, part))
    return False
