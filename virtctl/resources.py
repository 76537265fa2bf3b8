"""Which URL a kind or a word like `svc` belongs to: our own kinds at once, all others by asking the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from virt_types import kinds
from virtctl.errors import ApiRefusal, InputError, UsageError
from virtctl.http import path

if TYPE_CHECKING:
    from virtctl.http import Client, Json


class Resource(NamedTuple):
    """One resource of the API; `group` is empty for the core."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool = True

    @property
    def api(self) -> str:
        return f"apis/{self.group}/{self.version}" if self.group else f"api/{self.version}"

    def path(self, namespace: str, *name: str, query: dict[str, str] | None = None) -> str:
        return path(self.api, namespace if self.namespaced else "", self.plural, *name, query=query)

    def title(self, name: str) -> str:
        """`virtualmachine.kubevirt.io/vm1`, as kubectl says it."""
        return f"{self.type_name}/{name}"

    @property
    def type_name(self) -> str:
        return f"{self.singular}.{self.group}" if self.group else self.singular


def of_kind(kind: kinds.Kind) -> Resource:
    """The resource of one of our own kinds, in the version it is stored in."""
    return Resource(kind.group, kind.version, kind.kind, kind.plural, kind.singular, kind.namespaced)


VIRTUAL_MACHINE = of_kind(kinds.VIRTUAL_MACHINE)
INSTANCE = of_kind(kinds.VIRTUAL_MACHINE_INSTANCE)


class Resources:
    """The resources one server serves, asked for once per group and version."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lists: dict[str, list[Json]] = {}

    def of_object(self, api_version: str, kind: str) -> Resource:
        """Raises InputError when the server has no such kind."""
        for ours in (VIRTUAL_MACHINE, INSTANCE):
            if (api_version, kind) == (f"{ours.group}/{ours.version}", ours.kind):
                return ours
        group, _, version = api_version.rpartition("/")
        for entry in self._served(f"apis/{api_version}" if group else f"api/{version}"):
            if entry.get("kind") == kind and "/" not in str(entry.get("name")):
                return _resource(group, version, entry)
        raise InputError(
            f'no matches for kind "{kind}" in version "{api_version}"',
            hint="The server does not serve this kind; check apiVersion and kind.",
        )

    def of_word(self, word: str) -> Resource:
        """The resource a word on the command line means. Raises UsageError."""
        known = kinds.find_kind(word)
        if known:
            return of_kind(known)
        lowered = word.lower()
        for entry in self._served("api/v1"):
            names = {entry.get("name"), entry.get("singularName"), str(entry.get("kind")).lower()}
            if lowered in names | set(entry.get("shortNames") or []) and "/" not in str(entry.get("name")):
                return _resource("", "v1", entry)
        raise UsageError(
            f'the server doesn\'t have a resource type "{word}"', hint="Such as vm, vmi, svc, pvc, secret."
        )

    def _served(self, api: str) -> list[Json]:
        if api not in self._lists:
            try:
                self._lists[api] = self._client.json("GET", path(api, "")).get("resources") or []
            except ApiRefusal as error:
                if error.code != 404:
                    raise
                self._lists[api] = []
        return self._lists[api]


def _resource(group: str, version: str, entry: Json) -> Resource:
    kind, plural = str(entry["kind"]), str(entry["name"])
    singular = str(entry.get("singularName") or kind.lower())
    return Resource(group, version, kind, plural, singular, bool(entry.get("namespaced")))
