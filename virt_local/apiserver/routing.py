"""From method and path to what is asked, before anything is looked up. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

from aiohttp.web import BaseRequest

from virt_local.apiserver.call import flag
from virt_local.apiserver.rbac import Attributes
from virt_local.apiserver.status import bad_path

_COLLECTIONS = frozenset({"list", "watch", "deletecollection"})
_NAME = "metadata.name="
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}
# /namespaces/NAME/status is the namespace's own, not a resource in it.
_NAMESPACE_PARTS = frozenset({"status", "finalize"})


class Route(NamedTuple):
    """A request for a resource. `verb` is Kubernetes' word; `deeper` is what follows the subresource, if anything."""

    verb: str
    group: str
    version: str
    plural: str
    namespace: str
    name: str
    subresource: str
    deeper: tuple[str, ...] = ()
    named_watch: bool = False
    selected: str = ""  # the one name a field selector asks for

    @property
    def attributes(self) -> Attributes:
        return Attributes(
            self.verb,
            self.group,
            self.plural,
            self.subresource,
            self.namespace,
            self.name or self.selected,
            version=self.version,
        )


def raw_path_of(request: BaseRequest) -> str:
    """The path as it was sent. Raises 400 for an escape that is none."""
    path = request.raw_path.partition("?")[0]
    if not path.startswith("/"):
        path = request.rel_url.raw_path  # the absolute form of a request to a proxy
    if "%" in path and _BROKEN_ESCAPE.search(path):
        raise bad_path()
    return path


def split(raw_path: str) -> list[str]:
    """Path segments. An escaped slash separates like any other, as on a real server."""
    return unquote(raw_path).strip("/").split("/")


def resource_route(method: str, parts: list[str], query: Mapping[str, str]) -> Route | None:
    """None when the path is not below a group and version, or has an empty segment."""
    if not parts or "" in parts[1:]:
        return None
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    old_watch = rest[0] == "watch" and len(rest) > 1
    if old_watch:
        rest = rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and not (group == "" and rest[2] in _NAMESPACE_PARTS):
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource, *deeper = [*rest, "", ""][: max(len(rest), 3)]
    watching = old_watch or flag(query, "watch")
    verb = "watch" if old_watch and name else _verb(method, bool(name), watching=watching)
    if group == "" and plural == "namespaces" and name:
        namespace = name
    selected = _selected(query.get("fieldSelector", "")) if verb in _COLLECTIONS else ""
    named_watch = old_watch and bool(name)
    return Route(verb, group, version, plural, namespace, name, subresource, tuple(deeper), named_watch, selected)


def _selected(selector: str) -> str:
    """A list of one object is permitted to whoever may read that one."""
    return next((term.partition("=")[2].lstrip("=") for term in selector.split(",") if term.startswith(_NAME)), "")


def _verb(method: str, named: bool, *, watching: bool) -> str:
    match method:
        case "GET" | "HEAD":
            return "get" if named else "watch" if watching else "list"
        case "DELETE":
            return "delete" if named else "deletecollection"
    return _VERBS.get(method, "")  # custom resources name it in their refusal
