"""What a server does to `metadata`: sets it on create, guards it on update, checks it always.

Follows k8s.io/apiserver/pkg/registry/rest (BeforeCreate, BeforeUpdate) and apimachinery/pkg/api/validation.
"""

from __future__ import annotations

import random
import re
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from virt_kube.api import ApiError, Json
from virt_local.apiserver.registry import ResourceType
from virt_local.apiserver.status import (
    FORBIDDEN,
    TOO_LONG,
    bad_request,
    invalid_value,
    required,
    server_error,
)
from virt_types.errors import Cause
from virt_types.names import LABEL, LABEL_TEXT, label_value_problems, qualified_name_problems, subdomain_problems

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, nothing that looks like another: as generateName always had
MAX_GENERATED_BASE = 58
MAX_ANNOTATIONS = 256 * 1024

_DNS1035 = r"[a-z]([-a-z0-9]*[a-z0-9])?"
DNS1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    f"and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '{_DNS1035}')"
)
STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
RBAC_GROUP = "rbac.authorization.k8s.io"
RBAC_PLURALS = ("clusterrolebindings", "clusterroles", "rolebindings", "roles")
UPDATE_LAYERS = 2  # checks of what an update may change
_MAP_LAYERS = {True: 4, False: 3}  # checks of labels, annotations and owners in an update; by whether it is built in


def now() -> str:
    """RFC 3339, whole seconds."""
    return datetime.fromtimestamp(int(time.time()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def generated_name(prefix: str) -> str:
    return prefix[:MAX_GENERATED_BASE] + "".join(random.choices(ALPHABET, k=5))  # noqa: S311  a name, not a secret


def begin(meta: Json, namespace: str, *, generation: bool, dry_run: bool = False) -> None:
    """Metadata of a new object, in place."""
    if meta.get("resourceVersion") and not dry_run:
        raise server_error("resourceVersion should not be set on objects to be created")
    for key in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "resourceVersion"):
        meta.pop(key, None)
    if namespace:
        meta["namespace"] = namespace
    else:
        meta.pop("namespace", None)
    if not meta.get("name") and meta.get("generateName"):
        meta["name"] = generated_name(meta["generateName"])
    meta["uid"] = str(uuid.uuid4())
    meta["creationTimestamp"] = now()
    if generation:
        meta["generation"] = 1
    drop_empty(meta)


def drop_empty(meta: Json) -> None:
    """What is empty is left out, in place."""
    for key in ("labels", "annotations", "finalizers", "ownerReferences", "generateName", "selfLink"):
        if key in meta and not meta[key]:
            del meta[key]


def carry_over(meta: Json, old: Json) -> None:
    """What an update can't change but may omit or misstate without harm, in place."""
    for key in (
        "uid",
        "creationTimestamp",
        "generation",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ):
        if key in ("uid", "deletionGracePeriodSeconds") and meta.get(key) not in (None, ""):
            continue  # misstating these two is an error, found by `update_causes`
        if key == "deletionTimestamp" and key not in old and meta.get(key):
            continue
        if key in old:
            meta[key] = old[key]
        else:
            meta.pop(key, None)
    if meta.get("managedFields") is None:
        meta.pop("managedFields", None)
        if "managedFields" in old:
            meta["managedFields"] = old["managedFields"]
    meta["name"] = old["name"]
    if "namespace" in old:
        meta["namespace"] = old["namespace"]


def update_causes(meta: Json, old: Json) -> list[Cause]:
    """What an update may not change; named as often as a real server does, whose layers each look."""
    causes = [
        invalid_value(f"metadata.{key}", meta.get(key), "field is immutable")
        for key in ("uid", "deletionTimestamp", "deletionGracePeriodSeconds")
        if meta.get(key) != old.get(key)
    ]
    if old.get("deletionTimestamp"):
        new = [name for name in meta.get("finalizers") or [] if name not in (old.get("finalizers") or [])]
        if new:
            listed = ", ".join(f'"{name}"' for name in new)
            text = "no new finalizers can be added if the object is being deleted, found new finalizers "
            text += f"[]string{{{listed}}}"
            causes.append(Cause(FORBIDDEN, f"Forbidden: {text}", "metadata.finalizers"))
    return causes * UPDATE_LAYERS


def causes(meta: Json, resource: ResourceType, *, updating: bool = False) -> list[Cause]:
    """Everything wrong with names, labels, annotations, finalizers and owners.

    A real server's layers each look at them on an update, and each says so: the causes come as often.
    """
    wide, narrow = (_MAP_LAYERS[resource.builtin], UPDATE_LAYERS if resource.builtin else 1) if updating else (1, 1)
    finalizers = _finalizer_causes(meta.get("finalizers") or [], strict=resource.builtin)
    generation = meta.get("generation", 0)
    negative = [invalid_value("metadata.generation", generation, "must be greater than or equal to 0")]
    return [
        *_name_causes(meta, resource, updating=updating),
        *(negative if generation < 0 else ()),
        *_map_causes(meta) * wide,
        *finalizers * narrow,
    ]


def _map_causes(meta: Json) -> list[Cause]:
    found = _label_causes(meta.get("labels") or {})
    annotations = meta.get("annotations") or {}
    for key in annotations:
        found += [invalid_value("metadata.annotations", key, why) for why in qualified_name_problems(key.lower())]
    if sum(len(key) + len(value) for key, value in annotations.items()) > MAX_ANNOTATIONS:
        text = f"Too long: may not be more than {MAX_ANNOTATIONS} bytes"
        found.append(Cause(TOO_LONG, text, "metadata.annotations"))
    return found + _owner_causes(meta.get("ownerReferences") or [])


def unqualified_finalizers(meta: Json) -> list[str]:
    """Finalizers a custom resource may have but should not: the caller warns."""
    return [name for name in meta.get("finalizers") or [] if "/" not in name and name not in STANDARD_FINALIZERS]


def _name_causes(meta: Json, resource: ResourceType, *, updating: bool) -> list[Cause]:
    name, base = meta.get("name", ""), meta.get("generateName", "")
    if updating and not resource.builtin:
        base = ""  # names of custom resources are looked at when they are made
    found = [invalid_value("metadata.generateName", base, why) for why in base_problems(base, resource)] if base else []
    if not name:
        return [*found, required("metadata.name", "name or generateName is required")]
    return found + [invalid_value("metadata.name", name, why) for why in name_problems(name, resource)]


def base_problems(base: str, resource: ResourceType) -> list[str]:
    """What is wrong with the beginning of a name; it may end with a dash, as whole names may not."""
    return name_problems(base[:-2] + "a" if len(base) > 1 and base.endswith("-") else base, resource)


def name_problems(name: str, resource: ResourceType) -> list[str]:
    rule = _NAME_RULES.get((resource.group, resource.plural)) if resource.builtin else None
    return (rule or subdomain_problems)(name)


def label_problems(name: str) -> list[str]:
    problems = [] if len(name) <= 63 else ["must be no more than 63 characters"]
    if re.fullmatch(LABEL, name):
        return problems
    return [*problems, LABEL_TEXT if subdomain_problems(name) else "must not contain dots"]


def dns1035_problems(name: str) -> list[str]:
    problems = [] if len(name) <= 63 else ["must be no more than 63 characters"]
    return problems if re.fullmatch(_DNS1035, name) else [*problems, DNS1035_TEXT]


def segment_problems(name: str) -> list[str]:
    """Names of roles, bindings and events may be anything that can stand in a path."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{char}'" for char in "/%" if char in name]


_NAME_RULES: Mapping[tuple[str, str], Callable[[str], list[str]]] = {
    ("", "events"): segment_problems,
    ("", "namespaces"): label_problems,
    ("", "services"): label_problems,
    **{(RBAC_GROUP, plural): segment_problems for plural in RBAC_PLURALS},
}


def _label_causes(labels: Mapping[str, str]) -> list[Cause]:
    found: list[Cause] = []
    for key, value in labels.items():
        found += [invalid_value("metadata.labels", key, why) for why in qualified_name_problems(key)]
        found += [invalid_value("metadata.labels", value, why) for why in label_value_problems(value)]
    return found


def _owner_causes(owners: list[Json]) -> list[Cause]:
    found: list[Cause] = []
    for owner in owners:
        version = owner.get("apiVersion") or ""
        if not version or version.count("/") > 1:
            found.append(invalid_value("metadata.ownerReferences.apiVersion", version, "version must not be empty"))
        found += [
            invalid_value(f"metadata.ownerReferences.{key}", owner.get(key) or "", "must not be empty")
            for key in ("kind", "name", "uid")
            if not owner.get(key)
        ]
        if owner.get("kind") == "Event" and version == "v1":
            text = "/v1, Kind=Event is disallowed from being an owner"
            found.append(invalid_value("metadata.ownerReferences", owner, text))
    controllers = [owner for owner in owners if owner.get("controller")]
    if len(controllers) > 1:
        names = " and ".join(f"{owner.get('kind')}/{owner.get('name')}" for owner in controllers[:2])
        text = f'Only one reference can have Controller set to true. Found "true" in references for {names}'
        found.append(invalid_value("metadata.ownerReferences", owners, text))
    return found


def _finalizer_causes(finalizers: list[str], *, strict: bool) -> list[Cause]:
    found: list[Cause] = []
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        text = "finalizer orphan and foregroundDeletion cannot be both set"
        found.append(invalid_value("metadata.finalizers", finalizers, text))
    for index, name in enumerate(finalizers):
        found += [invalid_value("metadata.finalizers", name, why) for why in qualified_name_problems(name)]
        if strict and "/" not in name and name not in STANDARD_FINALIZERS:
            text = "name is neither a standard finalizer name nor is it fully qualified"
            found.append(invalid_value(f"metadata.finalizers[{index}]", name, text))
    return found


def wrong_name(named: str, url: str) -> ApiError:
    return bad_request(f"the name of the object ({named}) does not match the name on the URL ({url})")


def wrong_namespace() -> ApiError:
    return bad_request("the namespace of the provided object does not match the namespace sent on the request")
