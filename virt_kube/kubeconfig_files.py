"""Kubeconfig files: read, merged by kubectl's rules, and their fields with errors that name file, field and value.

The part of `virt_kube.kubeconfig` that knows what such a file looks like. YAML is imported only for what is not JSON.
"""

from __future__ import annotations

import binascii
import json
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from virt_kube.client_config import KubeconfigError, of_file, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Json = dict[str, Any]


class Entry(NamedTuple):
    """One named cluster, user or context, and the file that says so (relative paths start there)."""

    fields: Json
    source: str


class Merged:
    """The named entries of all files: the first file to name one wins, as does the first current-context."""

    def __init__(self) -> None:
        self.current = ""
        self.clusters: dict[str, Entry] = {}
        self.users: dict[str, Entry] = {}
        self.contexts: dict[str, Entry] = {}

    def add(self, document: Json, source: str) -> None:
        self.current = self.current or string(document, "current-context", source)
        for plural, singular, into in (
            ("clusters", "cluster", self.clusters),
            ("users", "user", self.users),
            ("contexts", "context", self.contexts),
        ):
            for position, item in enumerate(typed(document, plural, list, source)):
                where = f"{plural}[{position}]"
                if not isinstance(item, dict) or not isinstance(item.get("name"), str):
                    raise _bad(source, where, "must be a map with a name", item)
                fields = item.get(singular) or {}
                if not isinstance(fields, dict):
                    raise _bad(source, f"{where}.{singular}", "must be a map", fields)
                into.setdefault(item["name"], Entry(fields, source))

    @property
    def sources(self) -> list[str]:
        return list(dict.fromkeys(e.source for table in (self.contexts, self.clusters) for e in table.values()))

    @property
    def empty(self) -> bool:
        return not (self.clusters or self.users or self.contexts or self.current)


def read_merged(paths: Iterable[str]) -> Merged | None:
    """The files there are of `paths`; None when there is none."""
    merged = None
    for path in dict.fromkeys(paths):
        if os.path.lexists(path):
            merged = merged or Merged()
            merged.add(_parse(read(path), path), path)
    return merged


def _parse(data: bytes, path: str) -> Json:
    """One file's map. Raises KubeconfigError."""
    text = data.lstrip()
    try:
        document = json.loads(text) if text.startswith(b"{") else _yaml(text, path)
    except (ValueError, RecursionError) as error:
        raise KubeconfigError(f'error loading config file "{path}": {error}') from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise KubeconfigError(f'error loading config file "{path}": it must be a map, not {_shown(document)}')
    return document


def _yaml(text: bytes, path: str) -> object:
    import yaml

    try:
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  both are the safe loaders
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise KubeconfigError(
            f'error loading config file "{path}": yaml: {line}{problem}',
            hint="The file must be YAML or JSON as `kubectl config view --raw` prints it.",
        ) from error


def blob(entry: Entry, field: str) -> bytes:
    """`FIELD-data` (base64) if there, else the file `FIELD` names."""
    data = string(entry.fields, f"{field}-data", entry.source)
    if data:
        try:
            return binascii.a2b_base64(data.strip(), strict_mode=True)
        except (binascii.Error, ValueError) as error:
            raise KubeconfigError(f"{field}-data is not base64{of_file(entry.source)}: {error}") from error
    path = path_of(entry, field)
    return read(path, field) if path else b""


def path_of(entry: Entry, field: str) -> str:
    """A path in a kubeconfig is relative to that file."""
    path = string(entry.fields, field, entry.source)
    return os.path.join(os.path.dirname(entry.source), path) if path else ""  # noqa: PTH118, PTH120


def string(fields: Mapping[str, Any], field: str, source: str) -> str:
    """A field that is text; empty when it is not there."""
    value: str = typed(fields, field, str, source)
    return value


def typed(fields: Mapping[str, Any], field: str, kind: type, source: str) -> Any:
    """A field of this type; the type's empty value when it is not there. Raises KubeconfigError."""
    value = fields.get(field)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise _bad(source, field, f"must be a {_KIND_NAMES[kind]}", value)
    return value


_KIND_NAMES: dict[type, str] = {str: "string", bool: "boolean", list: "list", dict: "map"}
_SECRET_FIELDS = frozenset({"token", "password", "client-key-data"})


def _bad(source: str, field: str, rule: str, value: object) -> KubeconfigError:
    shown = "" if field in _SECRET_FIELDS else f", not {_shown(value)}"
    return KubeconfigError(f'error loading config file "{source}": {field} {rule}{shown}')


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
