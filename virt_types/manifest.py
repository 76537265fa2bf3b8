"""YAML and JSON manifests, read defensively: bounded in size, depth, number of nodes; no tags, no duplicate keys.

The command line reads files with it, the API server YAML bodies. Scalars mean what they mean to kubectl (YAML 1.1
without base-60 numbers and dates, so that a MAC address stays a text).
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from virt_types.errors import VirtError

Json = dict[str, Any]

MAX_BYTES = 16 * 2**20  # of one file or stream
MAX_OBJECT_BYTES = 3 * 2**20  # what an API server takes
MAX_DEPTH = 100
MAX_NODES = 1_000_000  # of one object; aliases counted as often as they are used
MAX_DOCUMENTS = 10_000  # of one stream, empty ones too

_BOOLEANS = {
    spelling: value
    for value, words in ((True, ("true", "yes", "on")), (False, ("false", "no", "off")))
    for word in words
    for spelling in (word, word.title(), word.upper())
}
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F_]+|0[oO]?[0-7_]+|0[bB][01_]+|0|[1-9][0-9_]*)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_TAG = "tag:yaml.org,2002:"


class ManifestError(VirtError):
    """A file that is no manifest; `line` counts from 1, 0 when the whole file is meant."""

    reason = "InvalidManifest"

    def __init__(self, message: str, line: int = 0, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.line = line


class Document(NamedTuple):
    """One object of a manifest, the line it begins at, and the line of each field (`spec.disks[0].name`)."""

    obj: Json
    line: int
    lines: dict[str, int]

    def line_of(self, field: str) -> int:
        """The line of a field, of the nearest field around it that is written, or of the object."""
        while field:
            if field in self.lines:
                return self.lines[field]
            field = re.sub(r"(?:\.[^.\[\]]*|\[\d+\]|^[^.\[\]]*)$", "", field)
        return self.line


def load(text: bytes, source: str) -> list[Document]:
    """The objects of a YAML stream or JSON text; raises ManifestError.

    Empty documents are left out, a `List` is its items.
    """
    if len(text) > MAX_BYTES:
        size = f"{len(text) / 2**20:.1f} MiB"
        raise ManifestError(f"{source} has {size}, more than the {MAX_BYTES // 2**20} MiB a manifest may have")
    decoded = _decode(text, source)
    try:
        documents = _from_json(decoded) or list(_Stream(decoded, source).documents())
    except yaml.YAMLError as error:
        raise _from_yaml_error(error, source) from None
    except RecursionError:
        raise ManifestError(f"{source} is nested too deeply, more than {MAX_DEPTH} levels") from None
    return [part for document in documents for part in _parts(document)]


def _decode(text: bytes, source: str) -> str:
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{text[error.start]:02x}"
        hint = "save the file as UTF-8"
        raise ManifestError(f"{source}, line {line}: {byte} is not UTF-8 text", line, hint=hint) from None


def _from_yaml_error(error: yaml.YAMLError, source: str) -> ManifestError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error).splitlines()[0]
    line = mark.line + 1 if mark is not None else 0
    place = f"{source}, line {line}" if line else source
    return ManifestError(f"{place}: {problem}", line)


def _from_json(text: str) -> list[Document]:
    """The document of a plain JSON text, nothing when it isn't one: the YAML reader then tells what is wrong."""
    if not text.lstrip().startswith("{") or len(text) > MAX_OBJECT_BYTES:
        return []
    try:
        obj = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return []
    return [Document(obj, 1, {})] if _depth_within(obj, MAX_DEPTH) else []


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    obj = dict(pairs)
    if len(obj) != len(pairs):
        raise ValueError
    return obj


def _refuse(_constant: str) -> float:
    raise ValueError


def _depth_within(obj: Any, levels: int) -> bool:
    if isinstance(obj, dict):
        return levels > 0 and all(_depth_within(value, levels - 1) for value in obj.values())
    if isinstance(obj, list):
        return levels > 0 and all(_depth_within(value, levels - 1) for value in obj)
    return True


def _parts(document: Document) -> Iterator[Document]:
    """A `List` is its items."""
    items = document.obj.get("items")
    if document.obj.get("kind") != "List" or not isinstance(items, list):
        yield document
        return
    for index, item in enumerate(items):
        if isinstance(item, dict):
            prefix = f"items[{index}]"
            inside = {
                key.removeprefix(f"{prefix}."): line for key, line in document.lines.items() if key.startswith(prefix)
            }
            yield Document(item, document.lines.get(prefix, document.line), inside)


class _Stream:
    """Builds plain objects from the parser's events, every limit checked before anything is built."""

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        self.loader = yaml.CSafeLoader(text)
        # Anchor -> value, number of nodes, characters, levels below it.
        self.anchors: dict[str, tuple[Any, int, int, int]] = {}
        self.nodes = 0
        self.characters = 0
        self.deepest = 0
        self.lines: dict[str, int] = {}

    def error(self, message: str, event: Any, *, hint: str = "") -> ManifestError:
        line = event.start_mark.line + 1
        return ManifestError(f"{self.source}, line {line}: {message}", line, hint=hint)

    def event(self) -> Any:
        return self.loader.get_event()

    def documents(self) -> Iterator[Document]:
        begun = 0
        while True:
            event = self.event()
            if isinstance(event, yaml.StreamEndEvent):
                return
            if isinstance(event, yaml.DocumentStartEvent):
                begun += 1
                if begun > MAX_DOCUMENTS:
                    raise self.error(f"the file has more than {MAX_DOCUMENTS} documents", event, hint="split it")
                yield from self.document()

    def document(self) -> Iterator[Document]:
        self.anchors.clear()
        self.lines = {}
        self.nodes = self.characters = 0
        event = self.event()
        value = self.value(event, "", 0)
        end = self.event()
        size = end.end_mark.index - event.start_mark.index
        if size > MAX_OBJECT_BYTES:
            limit = f"more than the {MAX_OBJECT_BYTES // 2**20} MiB an API server takes"
            raise self.error(f"this object has {size / 2**20:.1f} MiB, {limit}", event)
        if value is None:
            return
        if not isinstance(value, dict):
            hint = "a manifest begins with apiVersion, kind and metadata"
            raise self.error(f"an object is expected here, not {_kind_of(value)}", event, hint=hint)
        yield Document(value, event.start_mark.line + 1, self.lines)

    def count(self, event: Any, number: int = 1, characters: int = 0) -> None:
        self.nodes += number
        self.characters += characters
        if self.characters > MAX_BYTES:
            limit = f"more than {MAX_BYTES // 2**20} MiB of text"
            raise self.error(f"the document has {limit} (aliases counted where they are used)", event)
        if self.nodes > MAX_NODES:
            raise self.error(
                f"the document has more than {MAX_NODES} values (aliases counted where they are used)", event
            )

    def value(self, event: Any, path: str, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self.error(f"nested too deeply, more than {MAX_DEPTH} levels", event)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, depth)
        self.count(event, characters=len(getattr(event, "value", "")))
        before, before_characters, deepest_before = self.nodes, self.characters, self.deepest
        self.deepest = depth
        if path:
            self.lines[path] = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            made: Any = self.scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            made = self.sequence(event, path, depth)
        else:
            made = self.mapping(event, path, depth)
        if event.anchor:
            characters = self.characters - before_characters + len(getattr(event, "value", ""))
            self.anchors[event.anchor] = (made, self.nodes - before + 1, characters, self.deepest - depth)
        self.deepest = max(self.deepest, deepest_before)
        return made

    def alias(self, event: Any, depth: int) -> Any:
        if event.anchor not in self.anchors:
            raise self.error(f"alias *{event.anchor} has no anchor before it", event)
        made, size, characters, levels = self.anchors[event.anchor]
        self.count(event, size, characters)
        if depth + levels > MAX_DEPTH:
            raise self.error(f"nested too deeply, more than {MAX_DEPTH} levels", event)
        self.deepest = max(self.deepest, depth + levels)
        return copy.deepcopy(made)

    def sequence(self, start: Any, path: str, depth: int) -> list[Any]:
        self.plain_tag(start, "seq")
        made: list[Any] = []
        while not isinstance(event := self.event(), yaml.SequenceEndEvent):
            made.append(self.value(event, f"{path}[{len(made)}]", depth + 1))
        return made

    def mapping(self, start: Any, path: str, depth: int) -> Json:
        self.plain_tag(start, "map")
        made: Json = {}
        merged: Json = {}
        while not isinstance(event := self.event(), yaml.MappingEndEvent):
            key = self.key(event)
            inner = f"{path}.{key}" if path else key
            value = self.value(self.event(), inner, depth + 1)
            if key == "<<" and not event.style:
                self.merge(merged, value, event)
            elif key in made:
                where = f"field {inner!r} is written twice"
                raise self.error(where, event, hint="only one of them could count: keep the one you mean")
            else:
                made[key] = value
        return {**merged, **made}

    def key(self, event: Any) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise self.error("a field's name must be a text", event)
        self.count(event, characters=len(event.value))
        return str(event.value)

    def merge(self, merged: Json, value: Any, event: Any) -> None:
        for source in value if isinstance(value, list) else [value]:
            if not isinstance(source, dict):
                raise self.error("<< takes an object or a list of objects", event)
            self.count(event, len(source))
            for key, inner in source.items():
                merged.setdefault(key, inner)

    def plain_tag(self, event: Any, name: str) -> None:
        if event.tag not in (None, "!", _TAG + name):
            raise self.error(f"the tag {event.tag} is not allowed", event)

    def scalar(self, event: Any) -> Any:
        text, tag = event.value, event.tag
        if tag in ("!", f"{_TAG}str") or (tag is None and event.style):
            return text
        if tag not in (None, *(f"{_TAG}{name}" for name in ("int", "float", "bool", "null"))):
            raise self.error(f"the tag {tag} is not allowed", event)
        value = _plain(text)
        if isinstance(value, float) and not math.isfinite(value):
            raise self.error(f"{text[:40]} is not a number an API knows", event)
        return value


def _plain(text: str) -> Any:
    """What an unquoted scalar means."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if len(text) <= 400 and _INTEGER.fullmatch(text):
        return _integer(text)
    return float(text) if len(text) <= 400 and _FLOAT.fullmatch(text) else text


def _integer(text: str) -> Any:
    digits = text.replace("_", "").lower()
    sign, body = (digits[0], digits[1:]) if digits[0] in "+-" else ("", digits)
    if len(body) > 1 and body[0] == "0" and body[1].isdigit():
        body = f"0o{body[1:]}"
    try:
        number = int(sign + body, 0)
    except ValueError:
        return text
    return number if -(2**63) <= number < 2**64 else float(number)


def _kind_of(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "something else")
