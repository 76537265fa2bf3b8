"""From the bytes of a request body to JSON objects: formats, limits, duplicate keys.

The HTTP face reads bodies with it. Everything it refuses is a 400, 413 or 415.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec

from virt_kube.api import Json
from virt_local.apiserver import protobuf
from virt_local.apiserver.status import bad_request, unsupported_media_type

MAX_BODY = 3 * 1024 * 1024
MAX_DEPTH = 500  # below Python's recursion limit with every walker on top of it
JSON, YAML, PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
OBJECT_TYPES = (JSON, YAML, PROTOBUF)


def media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def decode_object(body: bytes, content_type: str, kind: str, *, named: bool = False) -> tuple[Json, list[str]]:
    """The object and its duplicate fields (dotted paths). `kind` is what the path wants, for messages.

    With `named`, it has to say its kind.
    """
    media = media_type(content_type) if content_type else JSON
    if media == PROTOBUF:
        return protobuf.decode(body, kind), []
    if media not in OBJECT_TYPES:
        raise unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: "
            + ", ".join(OBJECT_TYPES)
        )
    found, duplicates = (_yaml if media == YAML else _json)(body, kind)
    if found is None:
        found = {}
    if not isinstance(found, dict):
        raise _unrecognised(kind, "cannot unmarshal a list or scalar into an object", body)
    _require_unicode(body, found)
    if named and not found.get("kind"):
        raise _unrecognised(kind, f"Object 'Kind' is missing in '{body.decode(errors='replace')}'", body)
    return found, duplicates


def decode_operations(body: bytes) -> Any:
    """A JSON patch: a list of operations, in which a key that comes twice is nobody's business."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        found, _ = decode_patch(body)  # to say what is wrong as always
    require_depth(found)
    _require_unicode(body, found)
    return found


def decode_patch(body: bytes) -> tuple[Any, list[str]]:
    """A patch document of any JSON shape, and its duplicate fields."""
    duplicates = _Duplicates()
    try:
        found = json.loads(body, object_pairs_hook=duplicates.pairs, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"error decoding patch: {_go_syntax_error(error, body)}") from None
    require_depth(found)
    _require_unicode(body, found)
    return found, duplicates.paths(found)


def repeated_keys(body: bytes) -> list[str]:
    """What a reader of YAML says about keys that come twice in an object: where, and which."""
    if not body.lstrip().startswith(b"{"):
        return []
    _, duplicates = decode_patch(body)
    found = []
    for path in duplicates:
        key = path.rpartition(".")[2]
        line = body.count(b"\n", 0, max(body.rfind(f'"{key}"'.encode()), 0)) + 1
        found.append(f'line {line}: key "{key}" already set in map')
    return found


_SYNTAX = {
    "Expecting value": "looking for beginning of value",
    "Expecting property name enclosed in double quotes": "looking for beginning of object key string",
    "Expecting ':' delimiter": "after object key",
    "Expecting ',' delimiter": "after object key:value pair",
    "Extra data": "after top-level value",
}


def _go_syntax_error(error: Exception, body: bytes) -> str:
    """A fault of JSON as Go's decoder words it."""
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    text = error.doc if isinstance(error.doc, str) else body.decode(errors="replace")
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
        return "unexpected end of JSON input"
    return f"invalid character '{text[error.pos]}' {_SYNTAX.get(error.msg, error.msg)}"


def decode_apply(body: bytes) -> Any:
    """The document of a server-side apply: YAML, which JSON is too. Repeated keys: the last one holds."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        from virt_types.errors import VirtError
        from virt_types.manifest import load

        try:
            documents = list(load(body, "request body"))
        except VirtError as error:
            raise bad_request(f"error decoding YAML: {error.message}") from None
        found = documents[0].obj if documents else None
    require_depth(found)
    _require_unicode(body, found)
    return found


def _require_unicode(body: bytes, found: Any) -> None:
    """400 for half a surrogate pair (`\\ud800`): only an escape can bring one in, and nothing could be stored."""
    if b"\\u" in body or b"\\U" in body:
        try:
            msgspec.json.encode(found)
        except UnicodeEncodeError as error:
            raise bad_request(f"the body holds text that is no Unicode: {error.reason}") from None


def require_depth(value: Any) -> None:
    """400 when nested deeper than MAX_DEPTH; no recursion, so any depth is safe to ask about."""
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(child for child in item.values() if isinstance(child, (dict, list)))
            elif isinstance(item, list):
                below.extend(child for child in item if isinstance(child, (dict, list)))
        if not below:
            return
        level = below
    raise bad_request(f"the object is nested more than {MAX_DEPTH} levels deep")


class _Duplicates:
    """Collects, while JSON is decoded, the objects in which a key came twice."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[dict[str, Any], tuple[str, ...]]] = {}  # by id; held, so that ids stay unique

    def pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            self._found[id(found)] = (found, tuple(key for key, count in counts.items() if count > 1))
        return found

    def paths(self, value: Any, path: str = "") -> list[str]:
        """Dotted paths of the repeated keys in the decoded document."""
        if not self._found:
            return []
        paths: list[str] = []
        if isinstance(value, dict):
            _, keys = self._found.get(id(value), (None, ()))
            paths += [f"{path}.{key}" if path else key for key in keys]
            for key, child in value.items():
                paths += self.paths(child, f"{path}.{key}" if path else key)
        elif isinstance(value, list):
            for index, child in enumerate(value):
                paths += self.paths(child, f"{path}[{index}]")
        return paths


def _json(body: bytes, kind: str) -> tuple[Any, list[str]]:
    duplicates = _Duplicates()
    try:
        # The standard library's decoder, because it alone shows duplicate keys.
        found = json.loads(body, object_pairs_hook=duplicates.pairs, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        why = _go_syntax_error(error, body)
        raise _unrecognised(kind, f"couldn't get version/kind; json parse error: {why}", body) from None
    require_depth(found)
    return found, duplicates.paths(found)


def _no_constant(name: str) -> Any:
    raise ValueError(f"invalid character in value {name}")


def _yaml(body: bytes, kind: str) -> tuple[Any, list[str]]:
    from virt_types.errors import VirtError
    from virt_types.manifest import load

    try:
        documents = list(load(body, "request body"))
    except VirtError as error:
        raise _unrecognised(kind, f"error parsing YAML: {error.message}", body) from None
    if not documents:
        return None, []
    require_depth(documents[0].obj)
    return documents[0].obj, []


def _unrecognised(kind: str, why: str, body: bytes) -> Exception:
    if kind == "DeleteOptions":
        return bad_request(why)
    text = body[:30].decode(errors="replace")
    begin = (text if text.isprintable() else body[:30].hex()) + (" ..." if len(body) > 30 else "")
    begin = begin if body else "<empty>"
    return bad_request(f"the object provided is unrecognized (must be of type {kind}): {why} ({begin})")
