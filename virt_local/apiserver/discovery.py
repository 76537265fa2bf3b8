"""Discovery: which groups, versions and resources there are, in the old form and the aggregated one.

Documents are built when first asked for, kept as bytes, and thrown away when a definition changes.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec

from virt_api import subresources
from virt_kube.api import Json
from virt_local.apiserver.registry import Registry, ResourceType, Version

REVIEWS: dict[str, tuple[tuple[str, str, bool], ...]] = {
    "authorization.k8s.io": (
        ("selfsubjectaccessreviews", "SelfSubjectAccessReview", False),
        ("selfsubjectrulesreviews", "SelfSubjectRulesReview", False),
        ("subjectaccessreviews", "SubjectAccessReview", False),
        ("localsubjectaccessreviews", "LocalSubjectAccessReview", True),
    ),
    "authentication.k8s.io": (
        ("selfsubjectreviews", "SelfSubjectReview", False),
        ("tokenreviews", "TokenReview", False),
    ),
}
# Subresources that speak of another kind, and those with verbs of their own.
_SUB_KINDS: dict[str, Json] = {
    "scale": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
    "token": {"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"},
}
_SUB_VERBS = {"finalize": ("update",), "token": ("create",)}
# What virt_api answers, for clients that ask before they call.
SUBRESOURCE_GROUP = subresources.GROUP
SUBRESOURCE_VERSIONS = subresources.VERSIONS
# What the importer answers in CDI's stead: plural, kind, namespaced, verb.
UPLOAD_GROUP, UPLOAD_VERSION = "upload.cdi.kubevirt.io", "v1beta1"
CONFIG_GROUP = "cdi.kubevirt.io"
IMPORTERS = {
    UPLOAD_GROUP: ("uploadtokenrequests", "UploadTokenRequest", True, "create"),
    CONFIG_GROUP: ("cdiconfigs", "CDIConfig", False, "get"),
}


class Document(NamedTuple):
    body: bytes
    etag: str


def _document(value: Json) -> Document:
    body = msgspec.json.encode(value)
    return Document(body, '"' + hashlib.sha256(body).hexdigest().upper() + '"')


class Discovery:
    """`subresources`, `imports`: whether virt_api and the importer are asked what is theirs."""

    def __init__(self, registry: Registry, *, subresources: bool, imports: bool = False) -> None:
        self._registry = registry
        self._subresources = subresources
        self._imports = imports
        self._documents: dict[tuple[str, ...], Document] = {}
        self._generation = -1

    def _kept(self, *key: str) -> Document:
        if self._generation != self._registry.generation:
            self._documents.clear()
            self._generation = self._registry.generation
        found = self._documents.get(key)
        if found is None:
            found = self._documents[key] = _document(self._build(*key))
        return found

    def _build(self, kind: str, *about: str) -> Json:
        match kind:
            case "groups":
                return {"kind": "APIGroupList", "apiVersion": "v1",
                        "groups": [self._group(group) for group in self._groups() if group]}  # fmt: skip
            case "group":
                return {"kind": "APIGroup", "apiVersion": "v1", **self._group(about[0])}
            case "resources":
                return self._resources(*about)
        return self._aggregated(about[0], core=about[1] == "core")

    def groups(self) -> Document:
        return self._kept("groups")

    def group(self, group: str) -> Document | None:
        return self._kept("group", group) if group and group in self._groups() else None

    def resources(self, group: str, version: str) -> Document | None:
        return self._kept("resources", group, version) if version in self._groups().get(group, ()) else None

    def aggregated(self, version: str, *, core: bool) -> Document:
        return self._kept("aggregated", version, "core" if core else "")

    def serves(self, group: str) -> bool:
        return group in self._groups()

    def builtin(self, group: str) -> bool:
        """Whether the server itself brings the group, and not a definition."""
        return group in REVIEWS or any(found.builtin and found.group == group for found in self._registry.all())

    def _groups(self) -> dict[str, list[str]]:
        found = self._registry.groups() | {group: ["v1"] for group in REVIEWS}
        if self._subresources:
            found[SUBRESOURCE_GROUP] = list(SUBRESOURCE_VERSIONS)
        if self._imports:
            found[UPLOAD_GROUP] = [UPLOAD_VERSION]
        return dict(sorted(found.items()))

    def _group(self, group: str) -> Json:
        versions = [{"groupVersion": f"{group}/{name}", "version": name} for name in self._groups()[group]]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _resources(self, group: str, version: str) -> Json:
        body: Json = {"kind": "APIResourceList"}
        if group:
            body["apiVersion"] = "v1"
        body["groupVersion"] = f"{group}/{version}" if group else version
        body["resources"] = [
            entry for resource, found in self._of(group, version) for entry in _entries(resource, found)
        ] + self._virtual(group)
        return body

    def _of(self, group: str, version: str) -> list[tuple[ResourceType, Version]]:
        return [
            (resource, found)
            for resource in self._registry.all()
            if resource.group == group and (found := resource.version(version)) is not None
        ]

    def _virtual(self, group: str) -> list[Json]:
        """Resources that are questions or calls, with nothing stored."""
        if group == SUBRESOURCE_GROUP:
            return list(subresources.resource_list(SUBRESOURCE_VERSIONS[0])["resources"])
        found = [(*review, "create") for review in REVIEWS.get(group, ())]
        if self._imports and group in IMPORTERS:
            found.append(IMPORTERS[group])
        return [
            {"name": name, "singularName": kind.lower(), "namespaced": namespaced, "kind": kind, "verbs": [verb]}
            for name, kind, namespaced, verb in found
        ]

    def _aggregated(self, version: str, *, core: bool) -> Json:
        items = [self._aggregated_group(group, names) for group, names in self._groups().items() if (not group) is core]
        return {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{version}",
            "metadata": {},
            "items": items,
        }

    def _aggregated_group(self, group: str, names: list[str]) -> Json:
        versions = []
        for name in names:
            found = [_aggregated_resource(resource, version) for resource, version in self._of(group, name)]
            found += [
                _aggregated_virtual(group, name, entry) for entry in self._virtual(group) if "/" not in entry["name"]
            ]
            versions.append({"version": name, "resources": found, "freshness": "Current"})
        return {"metadata": {"name": group} if group else {}, "versions": versions}


def _subresources(resource: ResourceType, version: Version) -> list[str]:
    found = [*resource.subresources, *(["status"] if version.status else []), *(["scale"] if version.scale else [])]
    return found if not resource.builtin else sorted(found)


def sub_verbs(name: str) -> list[str]:
    """What may be asked of a subresource."""
    return list(_SUB_VERBS.get(name, ("get", "patch", "update")))


def _entries(resource: ResourceType, version: Version) -> list[Json]:
    entry: Json = {
        "name": resource.plural,
        "singularName": resource.singular or resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    entries = [entry]
    for name in _subresources(resource, version):
        sub: Json = {
            "name": f"{resource.plural}/{name}",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": sub_verbs(name),
            **_SUB_KINDS.get(name, {}),
        }
        entries.append(sub)
    return entries


def _aggregated_resource(resource: ResourceType, version: Version) -> Json:
    group, name = (resource.group, version.name) if not resource.builtin else ("", "")
    found: Json = {
        "resource": resource.plural,
        "responseKind": {"group": group, "version": name, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular or resource.kind.lower(),
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        found["shortNames"] = list(resource.short_names)
    if resource.categories:
        found["categories"] = list(resource.categories)
    subresources = []
    for sub in _subresources(resource, version):
        kind = _SUB_KINDS.get(sub) or {"group": group, "version": name, "kind": resource.kind}
        subresources.append({"subresource": sub, "responseKind": kind, "verbs": sub_verbs(sub)})
    if subresources:
        found["subresources"] = subresources
    return found


def _aggregated_virtual(group: str, version: str, entry: Json) -> Json:
    return {
        "resource": entry["name"],
        "responseKind": {"group": group, "version": version, "kind": entry["kind"]},
        "scope": "Namespaced" if entry["namespaced"] else "Cluster",
        "singularResource": entry["singularName"],
        "verbs": entry["verbs"],
    }
