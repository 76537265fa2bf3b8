"""OpenAPI: what kubectl validates against and explains from.

v3 has one document for each group and version, v2 a single one. Schemas of custom resources are those of their
definitions; documents are built when first asked for and kept as bytes until a definition changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from virt_kube.api import Json
from virt_local.apiserver.builtin_schemas import TABLE, definitions
from virt_local.apiserver.builtins import CRD, type_name
from virt_local.apiserver.registry import Registry, ResourceType, Version

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_PATCH_TYPES = ("application/json-patch+json", "application/merge-patch+json")
_WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")
_LIST_PARAMETERS = (
    "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
    "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch",
)  # fmt: skip
_STRING_MAP = {"type": "object", "additionalProperties": {"type": "string"}}
_TIME = {"type": "string", "format": "date-time"}
_OBJECT_META: Json = {
    "description": "ObjectMeta is metadata that all persisted resources must have.",
    "type": "object",
    "properties": {
        "annotations": {
            "description": "Annotations is an unstructured key value map that may be set by external tools.",
            **_STRING_MAP,
        },
        "creationTimestamp": {"description": "When this object was created. Set by the server.", **_TIME},
        "deletionGracePeriodSeconds": {"type": "integer", "format": "int64"},
        "deletionTimestamp": {"description": "When deletion was asked for. Set by the server.", **_TIME},
        "finalizers": {
            "description": "Must be empty before the object is deleted from the registry.",
            "type": "array",
            "items": {"type": "string"},
        },
        "generateName": {
            "description": "A prefix, used by the server to make a unique name when none is given.",
            "type": "string",
        },
        "generation": {"type": "integer", "format": "int64"},
        "labels": {
            "description": "Map of string keys and values that can be used to organize and select objects.",
            **_STRING_MAP,
        },
        "managedFields": {"type": "array", "items": {"$ref": "ManagedFieldsEntry"}},
        "name": {"description": "Name must be unique within a namespace.", "type": "string"},
        "namespace": {"description": "The space within which each name must be unique.", "type": "string"},
        "ownerReferences": {
            "description": "Objects depended on by this one; when all are gone this one is garbage collected.",
            "type": "array",
            "items": {"$ref": "OwnerReference"},
        },
        "resourceVersion": {"description": "The version of this object as the server knows it.", "type": "string"},
        "selfLink": {"type": "string"},
        "uid": {"description": "Unique in time and space. Set by the server.", "type": "string"},
    },
}
_LIST_META: Json = {
    "type": "object",
    "properties": {
        "continue": {"type": "string"},
        "remainingItemCount": {"type": "integer", "format": "int64"},
        "resourceVersion": {"type": "string"},
    },
}
_OWNER_REFERENCE: Json = {
    "description": "An object that this one depends on, in the same namespace or without one.",
    "type": "object",
    "required": ["apiVersion", "kind", "name", "uid"],
    "properties": {
        "apiVersion": {"type": "string"},
        "blockOwnerDeletion": {
            "description": "When true, and the owner waits for what depends on it, it stays until this object is gone.",
            "type": "boolean",
        },
        "controller": {"description": "When true this is the owner that manages the object.", "type": "boolean"},
        "kind": {"type": "string"},
        "name": {"type": "string"},
        "uid": {"type": "string"},
    },
    "x-kubernetes-map-type": "atomic",
}
_MANAGED_FIELDS: Json = {
    "description": "Which fields somebody set.",
    "type": "object",
    "properties": {
        "apiVersion": {"description": "The version in which the fields are named.", "type": "string"},
        "fieldsType": {"description": "Always FieldsV1.", "type": "string"},
        "fieldsV1": {"$ref": "FieldsV1"},
        "manager": {"description": "Who set them.", "type": "string"},
        "operation": {"description": "Apply, or Update for any other write.", "type": "string"},
        "subresource": {"description": "Through which subresource, if through one.", "type": "string"},
        "time": {"description": "When the set of fields last changed.", **_TIME},
    },
}
# Everything an object has in `metadata`, by type; references are to each other.
_META_TYPES: dict[str, Json] = {
    "FieldsV1": {"description": "A set of fields, as nested maps.", "type": "object"},
    "ListMeta": _LIST_META,
    "ManagedFieldsEntry": _MANAGED_FIELDS,
    "ObjectMeta": _OBJECT_META,
    "OwnerReference": _OWNER_REFERENCE,
}
# What a real server says of these fields, of every kind, whatever a definition says.
_CONVENTIONS = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
_API_VERSION = (
    "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized "
    "schemas to the latest internal value, and may reject unrecognized values. More info: "
    + _CONVENTIONS
    + "#resources"
)
_KIND = (
    "Kind is a string value representing the REST resource this object represents. Servers may infer this from the "
    "endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: "
    + _CONVENTIONS
    + "#types-kinds"
)
_METADATA = f"Standard object's metadata. More info: {_CONVENTIONS}#metadata"


class Document(NamedTuple):
    body: bytes
    hash: str


class OpenApi:
    """`version` is the server's, shown in the documents."""

    def __init__(self, registry: Registry, version: str) -> None:
        self._registry = registry
        self._version = version
        self._kept: dict[str, Document] = {}
        self._generation = -1
        self._state = ""

    @property
    def state(self) -> str:
        """A hash of all that is served: the same as long as no document changes.

        Building every document to hash it would cost what laziness saves.
        """
        self._refresh()
        return self._state

    def _refresh(self) -> None:
        if self._generation == self._registry.generation:
            return
        self._kept.clear()
        self._generation = self._registry.generation
        own = hashlib.sha256(TABLE.read_bytes()).hexdigest()
        text = f"{self._version}/{own}/{self._registry.fingerprint()}"
        self._state = hashlib.sha256(text.encode()).hexdigest().upper()

    def index(self) -> Document:
        return self._document("", self._index)

    def group_version(self, path: str) -> Document | None:
        """`path` is `api/v1` or `apis/GROUP/VERSION`."""
        found = self._group_versions().get(path)
        return self._document(path, lambda: self._v3(*found)) if found else None

    def v2(self) -> Document:
        return self._document("v2", self._v2)

    def _document(self, key: str, build: Callable[[], Json]) -> Document:
        self._refresh()
        found = self._kept.get(key)
        if found is None:
            body = msgspec.json.encode(build())
            found = self._kept[key] = Document(body, hashlib.sha256(body).hexdigest().upper())
        return found

    def _group_versions(self) -> dict[str, tuple[str, str]]:
        return {
            f"apis/{group}/{version}" if group else f"api/{version}": (group, version)
            for group, versions in self._registry.groups().items()
            for version in versions
        }

    def _index(self) -> Json:
        return {
            "paths": {
                path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={self.state}"} for path in self._group_versions()
            }
        }

    def _served(self, group: str, version: str) -> list[tuple[ResourceType, Version]]:
        return [
            (resource, found)
            for resource in self._registry.all()
            if resource.group == group and (found := resource.version(version)) is not None
        ]

    def _v3(self, group: str, version: str) -> Json:
        schemas = _meta_schemas("#/components/schemas/")
        paths: Json = {}
        for resource, found in self._served(group, version):
            schemas.update(_schemas(resource, found, "#/components/schemas/"))
            paths.update(_paths(resource, found, v3=True))
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": self._version},
            "paths": paths,
            "components": {"schemas": schemas},
        }

    def _v2(self) -> Json:
        definitions = _meta_schemas("#/definitions/")
        paths: Json = {}
        for group, version in self._group_versions().values():
            for resource, found in self._served(group, version):
                definitions.update(_schemas(resource, found, "#/definitions/"))
                paths.update(_paths(resource, found, v3=False))
        return {
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": self._version},
            "paths": paths,
            "definitions": definitions,
            "parameters": {},
            "securityDefinitions": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}},
            "security": [{"BearerToken": []}],
        }


def _meta_schemas(refs: str) -> Json:
    def referring(schema: Any) -> Any:
        if isinstance(schema, dict):
            if "$ref" in schema:
                return {"allOf": [{"$ref": f"{refs}{_META}{schema['$ref']}"}]}
            return {key: referring(value) for key, value in schema.items()}
        return schema

    return {_META + name: referring(schema) for name, schema in _META_TYPES.items()}


def schema_name(resource: ResourceType, version: Version) -> str:
    """`io.kubevirt.v1.VirtualMachine`; built-in kinds have the name they have in Kubernetes."""
    if not resource.builtin:
        return ".".join([*reversed(resource.group.split(".")), version.name, resource.kind])
    if resource.group == "apiextensions.k8s.io":
        return f"io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.{version.name}.{resource.kind}"
    group = (resource.group or "core").removesuffix(".k8s.io")
    return f"io.k8s.api.{group}.{version.name}.{resource.kind}"


def _kind(resource: ResourceType, version: Version, suffix: str = "") -> Json:
    return {"group": resource.group, "kind": resource.kind + suffix, "version": version.name}


def _schemas(resource: ResourceType, version: Version, refs: str) -> Json:
    name = schema_name(resource, version)
    found: dict[str, Json] = {}
    if resource.builtin and resource is not CRD:
        found = definitions(type_name(resource), name.rpartition(".")[0] + ".", refs)
        schema = found[name]
    else:
        schema = dict(version.schema() or {"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    properties = dict(schema.get("properties") or {})
    properties["apiVersion"] = {"description": _API_VERSION, "type": "string"}
    properties["kind"] = {"description": _KIND, "type": "string"}
    properties["metadata"] = {
        "description": _METADATA,
        "allOf": [{"$ref": f"{refs}{_META}ObjectMeta"}],
    }
    schema["properties"] = properties
    schema["x-kubernetes-group-version-kind"] = [_kind(resource, version)]
    listed = {
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "items": {"type": "array", "items": {"$ref": refs + name}},
            "kind": {"type": "string"},
            "metadata": {"$ref": f"{refs}{_META}ListMeta"},
        },
        "x-kubernetes-group-version-kind": [_kind(resource, version, "List")],
    }
    return {**found, name: schema, name + "List": listed}


def _paths(resource: ResourceType, version: Version, *, v3: bool) -> Json:
    base = f"/apis/{resource.group}/{version.name}" if resource.group else f"/api/{version.name}"
    within = f"{base}/namespaces/{{namespace}}" if resource.namespaced else base
    collection, one = f"{within}/{resource.plural}", f"{within}/{resource.plural}/{{name}}"
    operations = _Operations(resource, version, v3=v3)
    found: Json = {
        collection: operations.item(
            {"get": ("list", _LIST_PARAMETERS), "post": ("post", _WRITE_PARAMETERS), "delete": ("deletecollection", ())}
        ),
        one: operations.item(
            {
                "get": ("get", ()),
                "put": ("put", _WRITE_PARAMETERS),
                "patch": ("patch", (*_WRITE_PARAMETERS, "force")),
                "delete": ("delete", ("dryRun", "gracePeriodSeconds", "propagationPolicy")),
            }
        ),
    }
    if resource.namespaced:
        found[f"{base}/{resource.plural}"] = operations.item({"get": ("list", _LIST_PARAMETERS)})
    if version.status:
        found[one + "/status"] = operations.item(
            {"get": ("get", ()), "put": ("put", _WRITE_PARAMETERS), "patch": ("patch", (*_WRITE_PARAMETERS, "force"))}
        )
    return found


class _Operations(NamedTuple):
    resource: ResourceType
    version: Version
    v3: bool

    def item(self, methods: dict[str, tuple[str, tuple[str, ...]]]) -> Json:
        return {method: self._operation(action, parameters) for method, (action, parameters) in methods.items()}

    def _operation(self, action: str, parameters: tuple[str, ...]) -> Json:
        name = schema_name(self.resource, self.version) + ("List" if action == "list" else "")
        found: Json = {
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _kind(self.resource, self.version),
            "parameters": [self._parameter(parameter) for parameter in parameters],
            "responses": {"200": self._response(name)},
        }
        if action == "patch":
            self._body(found, _PATCH_TYPES, None)
        elif action in ("post", "put"):
            self._body(found, ("application/json", "application/yaml"), name)
        return found

    def _parameter(self, name: str) -> Json:
        kind = {"type": "string"}
        if name in ("force", "watch", "allowWatchBookmarks", "sendInitialEvents"):
            kind = {"type": "boolean"}
        elif name in ("limit", "timeoutSeconds", "gracePeriodSeconds"):
            kind = {"type": "integer"}
        found: Json = {"name": name, "in": "query"}
        return found | ({"schema": kind} if self.v3 else kind)

    def _response(self, name: str) -> Json:
        if self.v3:
            schema = {"$ref": f"#/components/schemas/{name}"}
            return {"description": "OK", "content": {"application/json": {"schema": schema}}}
        return {"description": "OK", "schema": {"$ref": f"#/definitions/{name}"}}

    def _body(self, operation: Json, types: tuple[str, ...], name: str | None) -> None:
        if not self.v3:
            operation["consumes"] = list(types)
            return
        schema = {"$ref": f"#/components/schemas/{name}"} if name else {"type": "object"}
        operation["requestBody"] = {"content": {media: {"schema": schema} for media in types}}
