"""What a body must be before anything is done with it: of the kind, version, name and revision of its path.

The writer calls `identified` on every decoded body and on the result of every patch.
"""

from __future__ import annotations

import re

import msgspec

from virt_kube.api import ApiError, Json
from virt_local.apiserver import metadata, object_meta
from virt_local.apiserver.builtins import BUILTINS
from virt_local.apiserver.call import Call
from virt_local.apiserver.reads import parse_version
from virt_local.apiserver.registry import ResourceType
from virt_local.apiserver.scalars import Unreadable
from virt_local.apiserver.status import bad_request, internal, invalid, invalid_value, server_error

_UNCONDITIONAL_FORBIDDEN = frozenset({("coordination.k8s.io", "leases")})
# As Go's ObjectMeta has them.
_META_ORDER = (
    "name", "generateName", "namespace", "selfLink", "uid", "resourceVersion", "generation", "creationTimestamp",
    "deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
    "managedFields",
)  # fmt: skip
_LEGACY_GROUP = "kubevirt.io"
_SCHEME = "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"


def respelled(call: Call, obj: Json) -> Json:
    """An object of one of KubeVirt's old versions with today's field names; what was changed becomes warnings."""
    resource = call.resource
    old = not call.version.storage or resource.view_of is not None
    if resource.group != _LEGACY_GROUP or not old or obj.get("apiVersion") != call.api_version:
        return obj
    from virt_types.legacy import convert

    obj, notes = convert(obj)
    call.warnings += notes
    obj["apiVersion"] = call.api_version
    if obj.get("kind") == resource.shown.kind:
        obj["kind"] = resource.kind
    return obj


def identified(call: Call, obj: Json, *, patched: bool) -> Json:
    """The body with today's spellings, proved to be of the kind and version of the path."""
    resource = call.resource
    obj = respelled(call, obj)
    kind, api_version = obj.get("kind") or "", obj.get("apiVersion") or ""
    if resource.builtin:
        _require_builtin(call, obj, kind, api_version, patched=patched)
    elif patched:
        _require_patched(call, obj, kind, api_version)
    elif not kind:
        raise bad_request(
            f"the object provided is unrecognized (must be of type {resource.kind}): Object 'Kind' is missing"
        )
    elif api_version != call.api_version:
        if call.field_validation == "Warn":
            call.warnings += _unknown_fields(resource, obj, api_version)
        raise bad_request(
            f"the API version in the data ({api_version}) does not match the expected API version ({call.api_version})"
        )
    if kind and kind != resource.kind:
        name = str((obj.get("metadata") or {}).get("name", ""))
        raise invalid(resource.group, kind, name, [invalid_value("kind", kind, f"must be {resource.kind}")])
    obj["apiVersion"], obj["kind"] = call.api_version, resource.kind
    return obj


def require_shape(call: Call, obj: Json, *, patched: bool = False) -> Json:
    """The object's metadata, of the right JSON types all through. Raises 400, or 422 for what a patch made of it."""
    if obj.get("metadata") is None:
        obj["metadata"] = {}
    meta: Json = obj["metadata"]
    kind = call.resource.kind
    try:
        object_meta.read(meta, *((kind, "metadata") if call.resource.builtin else ("", "")))
    except Unreadable as error:
        if patched and isinstance(meta, dict):
            raise unreadable_patch(call, obj, error.message) from None
        raise bad_request(
            f'{kind} in version "{call.version.name}" cannot be handled as a {kind}: {error.message}'
        ) from None
    return meta


def _require_patched(call: Call, obj: Json, kind: str, api_version: str) -> None:
    """A custom resource must have kept its kind and version. Raises 422, and 500 as a real server does."""
    if not kind:
        raise unreadable_patch(
            call, obj, f"Object 'Kind' is missing in '{msgspec.json.encode(obj, order='sorted').decode()}'"
        )
    if not api_version:
        raise internal("Object 'apiVersion' is missing in 'object has no apiVersion field'")
    if api_version == call.api_version:
        return
    unknown = _unknown_fields(call.resource, obj, api_version)
    if unknown and call.field_validation == "Strict":
        raise unreadable_patch(call, obj, "strict decoding error: " + ", ".join(unknown))
    if call.field_validation == "Warn":
        call.warnings += unknown
    cause = invalid_value("apiVersion", api_version, f"must be {call.api_version}")
    raise invalid(call.resource.group, kind, call.name, [cause])


def _unknown_fields(resource: ResourceType, obj: Json, api_version: str) -> list[str]:
    """All fields of an object in a version that is not in the definition of its kind."""
    group, _, name = api_version.rpartition("/")
    if group != resource.group or any(version.name == name for version in resource.versions):
        return []
    return [f'unknown field "{key}"' for key in obj if key not in ("apiVersion", "kind", "metadata")]


def _require_version(call: Call, obj: Json) -> None:
    """A patch that takes the version away leaves nothing that could be read, not even a name."""
    unknown = [f'unknown field "{key}"' for key in obj if key not in ("apiVersion", "kind")]
    if call.field_validation == "Strict":
        raise unreadable_patch(call, obj, "strict decoding error: " + ", ".join(unknown))
    if call.field_validation == "Warn":
        call.warnings += unknown
    raise nameless(call)


def nameless(call: Call) -> ApiError:
    return bad_request(f"the name of the object ({call.name} based on URL) was undeterminable: name must be provided")


def _require_builtin(call: Call, obj: Json, kind: str, api_version: str, *, patched: bool) -> None:
    """Typed kinds may leave both out; what they state must be right."""
    wanted = call.resource.kind
    if kind in ("", wanted) and api_version in ("", call.api_version):
        if patched and not api_version:
            _require_version(call, obj)
        return
    group, _, version = (api_version or call.api_version).rpartition("/")
    kinds = [(known, one.kind) for (known, _), one in BUILTINS.items()]
    early = group == call.resource.group and re.fullmatch(r"v\d+(alpha|beta)\d+", version)  # was served once
    if (group, kind) not in kinds or not (version == "v1" or (group and early)):
        why = f'no kind "{kind}" is registered for version "{api_version}" in scheme "{_SCHEME}"'
    elif api_version not in ("", call.api_version):
        why = (
            f"the API version in the data ({api_version}) does not match the expected API version ({call.api_version})"
        )
    else:
        why = f"converting ({call.api_version}.{kind}) to (core.{wanted}): unknown conversion"
    if patched:
        raise unreadable_patch(call, obj, why)
    if "API version" not in why:
        why = f'{kind} in version "{version}" cannot be handled as a {wanted}: {why}'
    raise bad_request(why)


def unreadable_patch(call: Call, obj: Json, why: str) -> ApiError:
    """422 for an object that a patch made unreadable: it is quoted whole, custom resources in order of their keys."""
    if call.resource.builtin:
        shown = {key: obj[key] for key in sorted(obj)}
        if isinstance(meta := obj.get("metadata"), dict):
            shown["metadata"] = {key: meta[key] for key in _META_ORDER if key in meta}
        text = msgspec.json.encode(shown)
    else:
        text = msgspec.json.encode(obj, order="sorted")
    return invalid("", "", "", [invalid_value("patch", text.decode(), why)])


def require_url(call: Call, meta: Json) -> None:
    """The body is the object of the path; what it omits is taken from there."""
    name = meta.setdefault("name", "")
    if not name and call.resource.kind != "Scale":
        raise nameless(call)
    if name != call.name:
        raise metadata.wrong_name(name, call.name)
    if meta.get("namespace") not in (None, "", call.namespace):
        raise metadata.wrong_namespace()


def require_revision(call: Call, meta: Json) -> None:
    version = meta.get("resourceVersion") or ""
    if version and parse_version(version) is None:
        raise server_error(f'strconv.ParseUint: parsing "{version}": invalid syntax')
    strict = not call.resource.builtin or (call.resource.group, call.resource.plural) in _UNCONDITIONAL_FORBIDDEN
    if strict and version in ("", "0"):
        cause = invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
        raise invalid(call.resource.group, call.resource.plural, call.name, [cause])
