"""PersistentVolumeClaim, PersistentVolume and StorageClass."""

from __future__ import annotations

from typing import Any

from virt_kube.api import Json
from virt_local.apiserver import metadata
from virt_local.apiserver.builtin_schemas import types
from virt_local.apiserver.kinds import values
from virt_local.apiserver.patches import same_json
from virt_local.apiserver.status import DUPLICATE, forbidden_value, invalid_value, not_supported, required, shown
from virt_types.errors import Cause
from virt_types.quantity import parse

CLAIM_FINALIZER, VOLUME_FINALIZER = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"
_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_VOLUME_MODES = ("Block", "Filesystem")
_RECLAIM = ("Delete", "Recycle", "Retain")
_CLASS_RECLAIM = ("Delete", "Retain")
_BINDING = ("Immediate", "WaitForFirstConsumer")
_SPEC_FROZEN = (
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
)
# The fields of a volume's spec that name no source: the rest of its table are the sources.
_NO_SOURCE = frozenset(
    ("accessModes", "capacity", "claimRef", "mountOptions", "nodeAffinity", "persistentVolumeReclaimPolicy",
     "storageClassName", "volumeAttributesClassName", "volumeMode")
)  # fmt: skip


def prepare_claim(obj: Json, old: Json | None) -> None:
    spec = obj["spec"]
    spec.setdefault("volumeMode", "Filesystem")
    _pair_sources(spec)
    if old is None:
        obj["status"] = {"phase": "Pending"}
        _protect(obj, CLAIM_FINALIZER)


def _pair_sources(spec: Json) -> None:
    """dataSource and dataSourceRef say the same; whoever sets one gets both."""
    source, ref = spec.get("dataSource"), spec.get("dataSourceRef")
    for found in (source, ref):
        if found is not None:
            found.setdefault("apiGroup", None)
    if source and not ref:
        spec["dataSourceRef"] = dict(source)
    elif ref and not source and not ref.get("namespace"):
        spec["dataSource"] = {key: ref[key] for key in ("apiGroup", "kind", "name") if key in ref}


def _protect(obj: Json, finalizer: str) -> None:
    """What the admission plugin StorageObjectInUseProtection does."""
    finalizers = obj["metadata"].get("finalizers") or []
    if finalizer not in finalizers:
        obj["metadata"]["finalizers"] = [*finalizers, finalizer]


def claim_causes(obj: Json, old: Json | None) -> list[Cause]:
    spec = obj["spec"]
    found = _access_modes(spec)
    found += values.label_selector("spec.selector", spec.get("selector"))
    requests = (spec.get("resources") or {}).get("requests") or {}
    if "storage" not in requests:
        found.append(required("spec.resources[storage]"))
    else:
        found += values.positive("spec.resources[storage]", requests["storage"])
    if spec.get("storageClassName"):
        found += values.subdomain("spec.storageClassName", spec["storageClassName"])
    found += values.one_of("spec.volumeMode", spec.get("volumeMode"), _VOLUME_MODES)
    found += _source_causes(spec)
    return found if old is None or found else _claim_changes(obj, old)


def _access_modes(spec: Json) -> list[Cause]:
    modes = spec.get("accessModes") or []
    if not modes:
        return [required("spec.accessModes", "at least 1 access mode is required")]
    found = [not_supported("spec.accessModes", mode, _ACCESS_MODES) for mode in modes if mode not in _ACCESS_MODES]
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        found.append(forbidden_value("spec.accessModes", "may not use ReadWriteOncePod with other access modes"))
    return found


def _source_causes(spec: Json) -> list[Cause]:
    found: list[Cause] = []
    for field in ("dataSource", "dataSourceRef"):
        source = spec.get(field)
        if source is None:
            continue
        found += [required(f"spec.{field}.{key}") for key in ("name", "kind") if not source.get(key)]
        if not source.get("apiGroup") and source.get("kind") != "PersistentVolumeClaim":
            text = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
            found.append(invalid_value(f"spec.{field}", source.get("kind"), text))
    source, ref = spec.get("dataSource"), spec.get("dataSourceRef")
    if source and ref and any(source.get(key) != ref.get(key) for key in ("apiGroup", "kind", "name")):
        found.append(invalid_value("spec", {}, "must match dataSourceRef"))
    return found


def _claim_changes(obj: Json, old: Json) -> list[Cause]:
    new_spec, old_spec = dict(obj["spec"]), dict(old["spec"])
    bound = (old.get("status") or {}).get("phase") == "Bound"
    for field in ("volumeName", "storageClassName"):  # both may be filled in once
        if not old_spec.get(field) and new_spec.get(field):
            old_spec[field] = new_spec[field]
    if bound:
        for spec in (new_spec, old_spec):
            spec.pop("volumeAttributesClassName", None)
            spec["resources"] = {**spec["resources"], "requests": {}}
    if new_spec != old_spec:
        return [forbidden_value("spec", _SPEC_FROZEN)]
    return _size_change(obj, old) if bound else []


def _size_change(obj: Json, old: Json) -> list[Cause]:
    new_size, old_size = requested(obj), requested(old)
    has = ((old.get("status") or {}).get("capacity") or {}).get("storage", "0")
    if new_size < old_size and new_size <= parse(has):
        return [forbidden_value("spec.resources.requests.storage", "field can not be less than status.capacity")]
    return []


def requested(claim: Json) -> Any:
    """Bytes a claim asks for, as an exact number."""
    return parse(claim["spec"]["resources"]["requests"]["storage"])


def prepare_volume(obj: Json, old: Json | None) -> None:
    spec = obj["spec"]
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    spec.setdefault("volumeMode", "Filesystem")
    if (host := spec.get("hostPath")) is not None:
        host.setdefault("type", "")
    if old is None:
        obj["status"] = {"phase": "Pending", "lastPhaseTransitionTime": metadata.now()}
        _protect(obj, VOLUME_FINALIZER)


def prepare_volume_status(obj: Json, old: Json | None) -> None:
    new, before = obj.get("status") or {}, (old or {}).get("status") or {}
    moved = new.get("phase") != before.get("phase")
    if moved and new.get("lastPhaseTransitionTime") in (None, before.get("lastPhaseTransitionTime")):
        obj["status"] = {**new, "lastPhaseTransitionTime": metadata.now()}


def volume_causes(obj: Json, old: Json | None) -> list[Cause]:
    spec = obj["spec"]
    found = _access_modes(spec)
    capacity = spec.get("capacity") or {}
    if not capacity:
        found.append(required("spec.capacity"))
    elif "storage" not in capacity or len(capacity) > 1:
        found.append(not_supported("spec.capacity", _shown_keys(capacity), ["storage"]))
    else:
        found += values.positive("spec.capacity[storage]", capacity["storage"])
    found += values.one_of("spec.persistentVolumeReclaimPolicy", spec["persistentVolumeReclaimPolicy"], _RECLAIM)
    found += values.one_of("spec.volumeMode", spec.get("volumeMode"), _VOLUME_MODES)
    sources = [field for field in types()["PersistentVolumeSpec"].fields if field not in _NO_SOURCE and spec.get(field)]
    if not sources:
        found.append(required("spec", "must specify a volume type"))
    found += [forbidden_value(f"spec.{field}", "may not specify more than 1 volume type") for field in sources[1:]]
    if spec.get("storageClassName"):
        found += values.subdomain("spec.storageClassName", spec["storageClassName"])
    if old is not None:
        before = old["spec"]
        if any(
            spec.get(field) != before.get(field) for field in spec.keys() | before.keys() if field not in _NO_SOURCE
        ):
            found.append(
                forbidden_value(
                    "spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation"
                )
            )
        found += values.unchanged(("volumeMode",), spec, before, "spec.")
    return found


def _shown_keys(capacity: Json) -> str:
    return ", ".join(capacity)


def prepare_class(obj: Json, _old: Json | None) -> None:
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def class_causes(obj: Json, old: Json | None) -> list[Cause]:
    found: list[Cause] = []
    provisioner = obj.get("provisioner") or ""
    if not provisioner:
        found.append(required("provisioner"))
    else:
        found += values.qualified_name("provisioner", provisioner.lower())
    if obj["reclaimPolicy"]:
        found += values.one_of("reclaimPolicy", obj["reclaimPolicy"], _CLASS_RECLAIM)
    found += values.one_of("volumeBindingMode", obj["volumeBindingMode"], _BINDING)
    found += _topologies(obj.get("allowedTopologies") or [])
    if old is not None:
        for field in ("parameters", "provisioner", "reclaimPolicy"):
            if obj.get(field) != old.get(field):
                found.append(forbidden_value(field, f"updates to {field} are forbidden."))
        found += values.unchanged(("volumeBindingMode",), obj, old)
    return found


def _topologies(terms: list[Json]) -> list[Cause]:
    found: list[Cause] = []
    for index, term in enumerate(terms):
        at = f"allowedTopologies[{index}].matchLabelExpressions"
        expressions = term.get("matchLabelExpressions") or []
        keys = [expression.get("key") or "" for expression in expressions]
        for place, expression in enumerate(expressions):
            given = expression.get("values") or []
            if not given:
                found.append(required(f"{at}[{place}].values"))
            for number, value in enumerate(given):
                if value in given[:number]:
                    text = f"Duplicate value: {shown(value)}"
                    found.append(Cause(DUPLICATE, text, f"{at}[{place}].values[{number}]"))
            found += values.qualified_name(f"{at}[{place}].key", keys[place])
            if keys[place] in keys[:place]:
                found.append(Cause(DUPLICATE, f"Duplicate value: {shown(keys[place])}", f"{at}[{place}].key"))
        before = [other.get("matchLabelExpressions") or [] for other in terms[:index]]
        if not expressions or any(same_json(expressions, other) for other in before):
            found.append(Cause(DUPLICATE, 'Duplicate value: ""', at))
    return found
