"""Which resources the server has: the built-in kinds and every CustomResourceDefinition in the store.

Routing and discovery ask it; the pipeline tells it when a CustomResourceDefinition changed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from virt_kube.api import Json, Resource
from virt_local.apiserver.selectors import FieldReader, path_reader
from virt_local.apiserver.status import qualified

CRUD_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Column(NamedTuple):
    """One column of a Table. `path` is a JSONPath below the object."""

    name: str
    type: str
    path: str
    priority: int = 0
    format: str = ""
    description: str = ""


class Scale(NamedTuple):
    """Dotted paths of a scale subresource, e.g. `spec.replicas`; `selector` may be empty."""

    spec: str
    status: str
    selector: str = ""


def no_schema() -> Json | None:
    return None


@dataclass(frozen=True)
class Version:
    """One served or stored version of a resource. `schema()` decodes its OpenAPI schema: call it seldom."""

    name: str
    served: bool = True
    storage: bool = True
    warning: str = ""  # said to whoever uses a deprecated version
    columns: tuple[Column, ...] = ()
    status: bool = False
    scale: Scale | None = None
    schema: Callable[[], Json | None] = field(default=no_schema, compare=False)


_METADATA_FIELDS: Mapping[str, FieldReader] = {
    name: path_reader(name) for name in ("metadata.name", "metadata.namespace")
}


@dataclass(frozen=True)
class ResourceType:
    """A resource. `stored_as` is the store's name for it, shared with the resource it is a view of."""

    group: str
    plural: str
    kind: str
    versions: tuple[Version, ...] = (Version("v1"),)
    singular: str = ""
    list_kind: str = ""
    namespaced: bool = True
    builtin: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = CRUD_VERBS
    selectable: tuple[str, ...] = ()  # field selector paths besides name and namespace; `asked=stored` when they differ
    subresources: tuple[str, ...] = ()  # besides status and scale
    creates_on_update: bool = False
    counts_generation: bool = False
    view_of: ResourceType | None = None  # the resource whose objects it shows
    crd: str = ""  # name of the CustomResourceDefinition it comes from
    digest: str = ""  # of that definition's bytes
    established: bool = True  # the definition's names were accepted: it is served
    terminating: bool = False  # the definition is being deleted
    since: int = 0  # what was stored up to this revision may not be as the schema has it now

    @property
    def stored_as(self) -> str:
        return f"{self.shown.group}/{self.shown.plural}"

    @property
    def shown(self) -> ResourceType:
        """The resource as which its objects are stored and admitted."""
        return self.view_of or self

    @property
    def qualified(self) -> str:
        return qualified(self.group, self.plural)

    @property
    def storage(self) -> Version:
        return next(version for version in self.versions if version.storage)

    @property
    def status_has_metadata(self) -> bool:
        """Whether labels and the like are written with the status too: those of most built-in kinds are."""
        return self.builtin and self.group != "apiextensions.k8s.io"

    @property
    def fields(self) -> Mapping[str, FieldReader]:
        if not self.selectable:
            return _METADATA_FIELDS
        pairs = (path.partition("=") for path in self.selectable)
        return {**_METADATA_FIELDS, **{asked: path_reader(stored or asked) for asked, _, stored in pairs}}

    def version(self, name: str) -> Version | None:
        return next((version for version in self.versions if version.name == name and version.served), None)

    def api_version(self, version: Version) -> str:
        return f"{self.group}/{version.name}" if self.group else version.name

    def as_resource(self, version: Version) -> Resource:
        return Resource(self.group, version.name, self.plural, self.kind, self.namespaced)


Views = Callable[[ResourceType], Iterable[ResourceType]]


def no_views(_resource: ResourceType) -> Iterable[ResourceType]:
    return ()


class Registry:
    """Resources by group and plural; `views` gives those that come with another one.

    `generation` rises with every change: documents built from it check it.
    """

    def __init__(self, builtins: Mapping[tuple[str, str], ResourceType], views: Views = no_views) -> None:
        self._views = views
        self._types: dict[tuple[str, str], ResourceType] = dict(builtins)
        self.generation = 0

    def find(self, group: str, version: str, plural: str) -> tuple[ResourceType, Version] | None:
        resource = self._types.get((group, plural))
        found = resource.version(version) if resource else None
        return (resource, found) if resource and found else None

    def get(self, group: str, plural: str) -> ResourceType | None:
        return self._types.get((group, plural))

    def find_kind(self, group: str, kind: str) -> ResourceType | None:
        return next((r for (g, _), r in self._types.items() if g == group and r.kind == kind), None)

    def all(self) -> Iterator[ResourceType]:
        """In group and plural order."""
        for key in sorted(self._types):
            yield self._types[key]

    def groups(self) -> dict[str, list[str]]:
        """Served versions of each group, preferred first."""
        found: dict[str, list[str]] = {}
        for resource in self.all():
            names = found.setdefault(resource.group, [])
            names.extend(v.name for v in resource.versions if v.served and v.name not in names)
        return {group: sorted(names, key=version_rank) for group, names in found.items() if names}

    def serves(self, group: str, version: str) -> bool:
        return version in self.groups().get(group, [])

    def fingerprint(self) -> str:
        """The same for the same resources, also in another process: clients keep documents by it."""
        text = ";".join(f"{r.qualified}={r.digest}" for r in self.all())
        return hashlib.sha256(text.encode()).hexdigest()

    def put(self, resource: ResourceType) -> None:
        self.drop_crd(resource.crd)
        for each in (resource, *self._views(resource)):
            self._types[each.group, each.plural] = each
        self.generation += 1

    def drop_crd(self, crd: str) -> None:
        for key in [key for key, resource in self._types.items() if resource.crd == crd and crd]:
            del self._types[key]
            self.generation += 1


def version_rank(name: str) -> tuple[int, int, int, str]:
    """Sort key of versions as Kubernetes prefers them: v2, v1, v1beta2, v1beta1, v1alpha1, then other words."""
    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", name)
    if match is None:
        return (9, 0, 0, name)
    stage = {None: 0, "beta": 1, "alpha": 2}[match[2]]
    return (stage, -int(match[1]), -int(match[3] or 0), name)
