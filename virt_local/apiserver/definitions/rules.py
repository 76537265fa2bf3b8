"""What is asked of a CustomResourceDefinition besides its schemas: names, versions, conversion, columns, subresources.

What all versions have alike is checked once and named without a version, as a real server does. From
k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from virt_kube.api import Json
from virt_local.apiserver.definitions import names as naming
from virt_local.apiserver.definitions import structural
from virt_local.apiserver.kinds import values
from virt_local.apiserver.metadata import DNS1035_TEXT, dns1035_problems
from virt_local.apiserver.status import forbidden_value, invalid_value, required
from virt_types.errors import Cause

_SCOPES = ("Cluster", "Namespaced")
_STRATEGIES = ("None", "Webhook")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
_APPROVAL = "api-approved.kubernetes.io"
_PROTECTED = ("k8s.io", "kubernetes.io")
_IMMUTABLE = "field is immutable"
_FEATURES = ("schema", "subresources", "additionalPrinterColumns", "selectableFields")
MAX_SELECTABLE = 8


def prepare(obj: Json, old: Json | None) -> None:
    """Defaults of the spec and, of a new definition, its status; in place."""
    if old is None:
        naming.begin(obj)
    else:
        naming.default(obj["spec"])
        obj["status"] = dict(old.get("status") or {})
        naming.keep_stored(obj, old)


def prepare_status(obj: Json, _old: Json | None) -> None:
    """As `prepare`, for a write to the status alone."""
    naming.keep_stored(obj, {})


def causes(obj: Json, old: Json | None) -> list[Cause]:
    spec = obj["spec"]
    found = [] if old is not None else _name(obj)
    found += _group(obj)
    if not spec.get("scope"):
        found.append(required("spec.scope"))
    else:
        found += values.one_of("spec.scope", spec["scope"], _SCOPES)
    found += _names(spec["names"])
    found += _versions(spec)
    if spec.get("preserveUnknownFields"):
        text = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        found.append(invalid_value("spec.preserveUnknownFields", value=True, detail=text))
    found += _conversion(spec)
    found += _features(spec)
    found += _stored(obj)
    return found if old is None else _changes(obj, old) or found


def warnings(obj: Json) -> list[str]:
    """What the author should know of an accepted definition."""
    found = [
        form
        for version in obj["spec"].get("versions") or []
        for form in structural.unknown_formats((version.get("schema") or {}).get("openAPIV3Schema") or {})
    ]
    return [f'unrecognized format "{form}"' for form in dict.fromkeys(found)]


def _name(obj: Json) -> list[Cause]:
    name = obj["metadata"].get("name", "")
    if name == f"{obj['spec']['names'].get('plural', '')}.{obj['spec'].get('group', '')}":
        return []
    return [invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group')]


def _group(obj: Json) -> list[Cause]:
    group = obj["spec"].get("group") or ""
    if not group:
        return [required("spec.group")]
    found = values.subdomain("spec.group", group)
    if "." not in group:
        found.append(invalid_value("spec.group", group, "should be a domain with at least one dot"))
    protected = any(group == domain or group.endswith(f".{domain}") for domain in _PROTECTED)
    if protected and not (obj["metadata"].get("annotations") or {}).get(_APPROVAL):
        text = (
            f'protected groups must have approval annotation "{_APPROVAL}", see '
            "https://github.com/kubernetes/enhancements/pull/1111"
        )
        found.append(required(f"metadata.annotations[{_APPROVAL}]", text))
    return found


def _names(names: Json) -> list[Cause]:
    found: list[Cause] = []
    for field in ("plural", "singular", "kind", "listKind"):
        value = names.get(field) or ""
        if not value:
            found.append(required(f"spec.names.{field}"))
        else:
            shown = value.lower() if field in ("kind", "listKind") else value
            found += [_label(f"spec.names.{field}", value, why) for why in dns1035_problems(shown)]
    for field in ("shortNames", "categories"):
        for index, value in enumerate(names.get(field) or []):
            found += [_label(f"spec.names.{field}[{index}]", value, why) for why in dns1035_problems(value)]
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        text = "kind and listKind may not be the same"
        found.append(invalid_value("spec.names.listKind", names["listKind"], text))
    return found


def _label(field: str, value: str, why: str) -> Cause:
    mixed = field.startswith(("spec.names.kind", "spec.names.listKind")) and why == DNS1035_TEXT
    return invalid_value(field, value, f"may have mixed case, but should otherwise match: {why}" if mixed else why)


def _versions(spec: Json) -> list[Cause]:
    versions = spec.get("versions") or []
    names = [version.get("name", "") for version in versions]
    found = [
        invalid_value(f"spec.versions[{index}].name", name, why)
        for index, name in enumerate(names)
        for why in dns1035_problems(name)
    ]
    if len(set(names)) < len(names):
        found.append(_shown_versions(versions, "must contain unique version names"))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        found.append(_shown_versions(versions, "must have exactly one version marked as storage version"))
    for index, version in enumerate(versions):
        if version.get("deprecationWarning") and not version.get("deprecated"):
            text = "can only be set for deprecated versions"
            field = f"spec.versions[{index}].deprecationWarning"
            found.append(invalid_value(field, version["deprecationWarning"], text))
    return found


def _shown_versions(versions: list[Json], why: str) -> Cause:
    shown = [
        {
            "Name": version.get("name", ""),
            "Served": bool(version.get("served")),
            "Storage": bool(version.get("storage")),
            "Deprecated": bool(version.get("deprecated")),
            "DeprecationWarning": version.get("deprecationWarning"),
            "Schema": None,
            "Subresources": None,
            "AdditionalPrinterColumns": None,
            "SelectableFields": None,
        }
        for version in versions
    ]
    return invalid_value("spec.versions", shown, why)


def _conversion(spec: Json) -> list[Cause]:
    conversion = spec["conversion"]
    strategy, webhook = conversion.get("strategy") or "", conversion.get("webhook") or {}
    if not strategy:
        return [required("spec.conversion.strategy")]
    found = values.one_of("spec.conversion.strategy", strategy, _STRATEGIES)
    if strategy == "Webhook":
        if not webhook.get("clientConfig"):
            field = "spec.conversion.webhookClientConfig"
            found.append(required(field, "required when strategy is set to Webhook"))
        if not webhook.get("conversionReviewVersions"):
            found.append(required("spec.conversion.conversionReviewVersions"))
        if not found and len(spec.get("versions") or []) > 1:
            text = "this server calls no webhooks: give it definitions whose versions need no conversion"
            found.append(forbidden_value("spec.conversion.strategy", text))
    elif webhook:
        text = "should not be set when strategy is not set to Webhook"
        found.append(forbidden_value("spec.conversion.webhookClientConfig", text))
    return found


def _features(spec: Json) -> list[Cause]:
    versions = spec.get("versions") or []
    found = [
        required(f"spec.versions[{index}].schema.openAPIV3Schema")
        for index, version in enumerate(versions)
        if not (version.get("schema") or {}).get("openAPIV3Schema")
    ]
    checks = {
        "schema": _schema,
        "subresources": _subresources,
        "additionalPrinterColumns": _columns,
        "selectableFields": _selectable,
    }
    for feature in _FEATURES:
        for path, version in _hoisted(versions, feature):
            found += checks[feature](path, version)
    return found


def _hoisted(versions: list[Json], feature: str) -> Iterator[tuple[str, Json]]:
    """Where a feature is told to be, with a version that has it: once when all versions have the same."""
    shown = {json.dumps(version.get(feature), sort_keys=True) for version in versions}
    if len(shown) == 1 and versions:
        if versions[0].get(feature):
            yield "spec", versions[0]
        return
    for index, version in enumerate(versions):
        if version.get(feature):
            yield f"spec.versions[{index}]", version


def _schema(path: str, version: Json) -> list[Cause]:
    schema = version["schema"].get("openAPIV3Schema")
    if not schema:
        return []
    where = "spec.validation" if path == "spec" else f"{path}.schema"
    return structural.causes(schema, f"{where}.openAPIV3Schema")


def _subresources(path: str, version: Json) -> list[Cause]:
    scale = version["subresources"].get("scale")
    if scale is None:
        return []
    at, found = f"{path}.subresources.scale", []
    for field, roots in (("specReplicasPath", (".spec",)), ("statusReplicasPath", (".status",))):
        value = scale.get(field) or ""
        if not value:
            found.append(required(f"{at}.{field}"))
        elif not value.startswith(tuple(f"{root}." for root in roots)):
            found.append(invalid_value(f"{at}.{field}", value, f"should be a json path under {roots[0]}"))
    label = scale.get("labelSelectorPath") or ""
    if label and not label.startswith((".spec.", ".status.")):
        text = "should be a json path under either .spec or .status"
        found.append(invalid_value(f"{at}.labelSelectorPath", label, text))
    return found


def _columns(path: str, version: Json) -> list[Cause]:
    found: list[Cause] = []
    for index, column in enumerate(version["additionalPrinterColumns"]):
        at = f"{path}.additionalPrinterColumns[{index}]"
        for field, word in (("name", "name"), ("type", "type"), ("jsonPath", "JSONPath")):
            if not column.get(field):
                found.append(required(f"{at}.{word}"))
        kind, form = column.get("type"), column.get("format")
        if kind and kind not in _COLUMN_TYPES:
            found.append(invalid_value(f"{at}.type", kind, f"must be one of {','.join(_COLUMN_TYPES)}"))
        if form and form not in _COLUMN_FORMATS:
            found.append(invalid_value(f"{at}.format", form, f"must be one of {','.join(_COLUMN_FORMATS)}"))
    return found


def _selectable(path: str, version: Json) -> list[Cause]:
    at, fields = f"{path}.selectableFields", version["selectableFields"]
    if len(fields) > MAX_SELECTABLE:
        text = f"Too many: {len(fields)}: must have at most {MAX_SELECTABLE} items"
        return [Cause("FieldValueTooMany", text, at)]
    found: list[Cause] = []
    seen: set[str] = set()
    schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    for index, field in enumerate(fields):
        here, name = f"{at}[{index}].jsonPath", field.get("jsonPath") or ""
        if not name:
            found.append(required(here))
        elif (why := _selectable_problem(name, schema)) is not None:
            found.append(invalid_value(here, name, f"is an invalid path: {why}"))
        elif name in seen:
            found.append(Cause("FieldValueDuplicate", f'Duplicate value: "{name}"', here))
        seen.add(name)
    return found


def _selectable_problem(path: str, schema: Json) -> str | None:
    if path.startswith(".metadata"):
        return "must not point to fields in metadata"
    if not re.fullmatch(r"(\.[A-Za-z_][A-Za-z0-9_]*)+", path):
        return "does not refer to a valid field"
    for step in path.split(".")[1:]:
        if step not in (schema.get("properties") or {}):
            return "does not refer to a valid field"
        schema = schema["properties"][step]
    kind: Any = schema.get("type")
    return (
        None if kind in ("string", "boolean", "integer") else "must point to a field of type string, boolean or integer"
    )


def _stored(obj: Json) -> list[Cause]:
    """storedVersions: there is one, the storage version is among them, and all are in the spec."""
    stored = obj["status"].get("storedVersions") or []
    if not stored:
        return [invalid_value("status.storedVersions", None, "must have at least one stored version")]
    versions = obj["spec"].get("versions") or []
    storage = [version["name"] for version in versions if version.get("storage")]
    found = [
        invalid_value("status.storedVersions", stored, f"must have the storage version {name}")
        for name in storage
        if name not in stored
    ]
    names = {version["name"] for version in versions}
    for index, name in enumerate(stored):
        if name not in names:
            text = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in "
                "spec.versions until a storage migration ensures no data remains persisted in "
                f"{name} and removes {name} from status.storedVersions"
            )
            found.append(invalid_value(f"status.storedVersions[{index}]", name, text))
    return found


def _changes(obj: Json, old: Json) -> list[Cause]:
    """What stays as it is: the group and plural always, scope and kind once the resource is served."""
    new_spec, old_spec = obj["spec"], old["spec"]
    fields = ["group", "names.plural", *(("scope", "names.kind") if naming.served(old) else ())]
    found = []
    for field in fields:
        new, was = _at(new_spec, field), _at(old_spec, field)
        if new != was:
            found.append(invalid_value(f"spec.{field}", new, _IMMUTABLE))
    return found


def _at(spec: Json, path: str) -> Any:
    found: Any = spec
    for step in path.split("."):
        found = found.get(step)
    return found
