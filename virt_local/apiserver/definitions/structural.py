"""Whether an `openAPIV3Schema` is structural: each field typed once, outside anyOf and the like, nothing forbidden.

`causes` is asked when a definition is written. The rules and texts are those of
k8s.io/apiextensions-apiserver/pkg/apiserver/schema and .../apis/apiextensions/validation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from virt_kube.api import Json
from virt_local.apiserver.status import forbidden_value, invalid_value, not_supported, required
from virt_types.errors import Cause
from virt_types.structural import compile_schema
from virt_types.structural.cel import CelError, compile_rule
from virt_types.structural.cel_syntax import Node, parse
from virt_types.structural.rules import RULES

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_FORMATS = frozenset(
    (
        "bsonobjectid", "uri", "email", "hostname", "ipv4", "ipv6", "cidr", "mac", "uuid", "uuid3", "uuid4", "uuid5",
        "isbn", "isbn10", "isbn13", "creditcard", "ssn", "hexcolor", "rgbcolor", "byte", "password", "date",
        "duration", "datetime", "date-time", "int32", "int64", "float", "double", "k8s-short-name", "k8s-long-name",
    )
)  # fmt: skip
_UNSUPPORTED = ("$ref", "definitions", "dependencies", "id", "$schema", "patternProperties", "additionalItems")
_JUNCTORS = ("allOf", "anyOf", "oneOf")
# What only the structural part may say, and not a branch of a junctor.
_STRUCTURAL_ONLY = (
    "type", "description", "title", "default", "nullable", "additionalProperties", "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string", "x-kubernetes-list-map-keys", "x-kubernetes-list-type", "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
)  # fmt: skip
_LIST_TYPES, _MAP_TYPES = ("atomic", "map", "set"), ("atomic", "granular")
_ROOT_METADATA = frozenset({"name", "generateName"})
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_EMBEDDED = "x-kubernetes-embedded-resource"
_OBJECT_FIELDS = ("apiVersion", "kind", "metadata")
_RULE_FIELDS = (
    ("Rule", "rule", ""), ("Message", "message", ""), ("MessageExpression", "messageExpression", ""),
    ("Reason", "reason", None), ("FieldPath", "fieldPath", ""), ("OptionalOldSelf", "optionalOldSelf", None),
)  # fmt: skip
_EMPTY_BRANCH = "must be empty to be structural"
_PERL = re.compile(r"\(\?(?:[=!]|<[=!])|\\[1-9]")  # what Go's regular expressions don't have


def causes(schema: Json, path: str) -> list[Cause]:
    """Everything wrong with the schema of one version; `path` is where it is."""
    found = list(_unsupported(schema, path))
    if found:
        return found
    return [*_root(schema, path), *_node(schema, path, root=True)]


def _unsupported(schema: Json, path: str) -> Iterator[Cause]:
    """Keywords that no definition may use; with one of them nothing else is looked at."""
    for keyword in _UNSUPPORTED:
        if keyword in schema:
            yield forbidden_value(f"{path}.{keyword}", f"{keyword} is not supported")
    if schema.get("uniqueItems"):
        text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield forbidden_value(f"{path}.uniqueItems", text)
    if schema.get("additionalProperties") is False and not path.endswith("openAPIV3Schema"):
        yield forbidden_value(f"{path}.additionalProperties", "additionalProperties cannot be set to false")
    if schema.get("properties") and schema.get("additionalProperties"):
        text = "additionalProperties and properties are mutual exclusive"
        yield forbidden_value(f"{path}.additionalProperties", text)
    for at, child in _children(schema, path):
        yield from _unsupported(child, at)


def _children(schema: Json, path: str) -> Iterator[tuple[str, Json]]:
    for name, child in (schema.get("properties") or {}).items():
        yield f"{path}.properties[{name}]", child
    for keyword in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(keyword), dict):
            yield f"{path}.{keyword}", schema[keyword]
    for keyword in _JUNCTORS:
        for index, child in enumerate(schema.get(keyword) or []):
            yield f"{path}.{keyword}[{index}]", child


def _root(schema: Json, path: str) -> Iterator[Cause]:
    kind = schema.get("type") or ""
    if not kind:
        yield required(f"{path}.type", "must not be empty at the root")
    elif kind != "object":
        yield invalid_value(f"{path}.type", kind, "must be object at the root")
    if "additionalProperties" in schema:
        yield forbidden_value(f"{path}.additionalProperties", "must not be used at the root")
    if schema.get("nullable"):
        yield forbidden_value(f"{path}.nullable", "nullable cannot be true at the root")
    metadata = (schema.get("properties") or {}).get("metadata")
    if metadata is not None:
        extra = metadata.keys() - {"type", "properties", "default"}
        if extra or (metadata.get("properties") or {}).keys() - _ROOT_METADATA:
            text = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            yield forbidden_value(f"{path}.properties[metadata]", text)


def _node(schema: Json, path: str, *, root: bool = False, element: bool = False) -> Iterator[Cause]:
    yield from _branches(schema, path)
    yield from _type(schema, path, root=root, element=element)
    yield from _values(schema, path)
    yield from _list(schema, path)
    yield from _rules(schema, path)
    if schema.get("x-kubernetes-map-type") not in (None, *_MAP_TYPES):
        yield not_supported(f"{path}.x-kubernetes-map-type", schema["x-kubernetes-map-type"], _MAP_TYPES)
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        field = f"{path}.x-kubernetes-preserve-unknown-fields"
        yield invalid_value(field, value=False, detail="must be true or undefined")
    for name, child in (schema.get("properties") or {}).items():
        yield from _node(child, f"{path}.properties[{name}]")
    if isinstance(schema.get("items"), dict):
        yield from _node(schema["items"], f"{path}.items", element=True)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _node(schema["additionalProperties"], f"{path}.additionalProperties")


def _type(schema: Json, path: str, *, root: bool, element: bool) -> Iterator[Cause]:
    kind = schema.get("type") or ""
    if schema.get("x-kubernetes-int-or-string"):
        if kind:
            text = "must be empty if x-kubernetes-int-or-string is true"
            yield invalid_value(f"{path}.type", kind, text)
    elif not kind and not root and not schema.get("x-kubernetes-preserve-unknown-fields"):
        what = "array items" if element else "object fields"
        yield required(f"{path}.type", f"must not be empty for specified {what}")
    if kind and kind not in _TYPES:
        yield not_supported(f"{path}.type", kind, _TYPES)
    if kind == "array" and schema.get("items") is None:
        yield required(f"{path}.items", "must be specified")
    if schema.get(_EMBEDDED):
        if kind != "object":
            text = f"must be object if {_EMBEDDED} is true"
            yield invalid_value(f"{path}.type", kind, text)
        if not schema.get("properties") and not schema.get("x-kubernetes-preserve-unknown-fields"):
            text = f"must not be empty if {_EMBEDDED} is true without x-kubernetes-preserve-unknown-fields"
            yield required(f"{path}.properties", text)


def _values(schema: Json, path: str) -> Iterator[Cause]:
    if schema.get("pattern"):
        why = pattern_problem(schema["pattern"])
        if why:
            text = f"must be a valid regular expression, but isn't: error parsing regexp: {why}"
            yield invalid_value(f"{path}.pattern", schema["pattern"], text)
    if schema.get("default") is not None:
        bare = {key: value for key, value in schema.items() if key != "default"}
        for cause in compile_schema(bare)(schema["default"], defaults=False).causes:
            field = f"{path}.default" + (f".{cause.field}" if cause.field not in ("", "<nil>") else "")
            yield Cause(cause.reason, cause.message, field)


def unknown_formats(schema: Json) -> Iterator[str]:
    """Formats nobody checks: a definition may use them, and its author is warned."""
    if (form := schema.get("format")) and form not in _FORMATS:
        yield form
    for _, child in _children(schema, ""):
        yield from unknown_formats(child)


def pattern_problem(pattern: str) -> str:
    """Why Go can't compile a regular expression, in its words as far as they are known; "" when it can."""
    if (perl := _PERL.search(pattern)) is not None:
        word = "invalid escape sequence" if perl[0].startswith("\\") else "invalid or unsupported Perl syntax"
        return f"{word}: `{perl[0]}`"
    try:
        re.compile(pattern)
    except re.error as error:
        for python, go in _REGEX_ERRORS.items():
            if error.msg.startswith(python):
                return f"{go}: `{pattern[error.pos or 0 :]}`" if go != _NO_PAREN else f"{go}: `{pattern}`"
        return error.msg
    return ""


_NO_PAREN = "missing closing )"
_REGEX_ERRORS = {
    "missing ), unterminated subpattern": _NO_PAREN,
    "unbalanced parenthesis": "unexpected )",
    "unterminated character set": "missing closing ]",
    "nothing to repeat": "missing argument to repetition operator",
    "multiple repeat": "invalid nested repetition operator",
    "bad character range": "invalid character class range",
    "bad escape (end of pattern)": "trailing backslash at end of expression",
    "bad escape": "invalid escape sequence",
}


def _rules(schema: Json, path: str) -> Iterator[Cause]:
    """Each rule is compiled, and reads no field that is not there."""
    for index, rule in enumerate(schema.get(RULES) or []):
        text = str(rule.get("rule") or "")
        at = f"{path}.{RULES}[{index}].rule"
        if not text.strip():
            yield required(at, "must be non-empty")
            continue
        try:
            compile_rule(text)
            _require_fields(parse(text), {"self": schema, "oldSelf": schema}, text)
        except CelError as error:
            shown = {name: rule.get(key, empty) for name, key, empty in _RULE_FIELDS}
            line = f" | {text}\n | {'.' * error.at}^"
            yield invalid_value(at, shown, f"compilation failed: ERROR: <input>:1:{error.at + 1}: {error}\n{line}")


def _require_fields(node: Node, known: dict[str, Json], text: str) -> Json | None:
    """The schema of an expression as far as it is plain field access. Raises CelError for a field it has not."""
    if node.kind == "name":
        return known.get(node.value)
    inner = [_require_fields(child, known, text) for child in node.children]
    if node.kind != "select" or inner[0] is None:
        return None
    properties = inner[0].get("properties")
    open_ended = inner[0].get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in inner[0]
    if properties is None or open_ended or node.value in _OBJECT_FIELDS:
        return None
    if node.value not in properties and not node.value.startswith("__") and "__" not in node.value:
        raise CelError(f"undefined field '{node.value}'", node.at)
    found: Json | None = properties.get(node.value)
    return found


def _list(schema: Json, path: str) -> Iterator[Cause]:
    kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys")
    if kind is not None and kind not in _LIST_TYPES:
        yield not_supported(f"{path}.x-kubernetes-list-type", kind, _LIST_TYPES)
    if kind is not None and schema.get("type") != "array":
        text = "must be array if x-kubernetes-list-type is specified"
        yield invalid_value(f"{path}.type", schema.get("type") or "", text)
    at = f"{path}.x-kubernetes-list-map-keys"
    if kind != "map":
        if keys:
            yield forbidden_value(
                f"{path}.x-kubernetes-list-type", "must be map if x-kubernetes-list-map-keys is non-empty"
            )
        return
    if not keys:
        yield required(at, "must not be empty if x-kubernetes-list-type is map")
        return
    items: Any = schema.get("items") or {}
    if items.get("type") != "object":
        text = "must be object if parent array's x-kubernetes-list-type is map"
        yield invalid_value(f"{path}.items.type", items.get("type") or "", text)
        return
    for index, key in enumerate(keys):
        child = (items.get("properties") or {}).get(key)
        if child is None:
            yield invalid_value(f"{at}[{index}]", key, "entries must all be names of item properties")
        elif child.get("type") in ("array", "object"):
            yield invalid_value(
                f"{path}.items.properties[{key}].type",
                child["type"],
                "must be a scalar type if parent array's x-kubernetes-list-type is map",
            )
        elif key not in (items.get("required") or []) and "default" not in child:
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield required(f"{path}.items.properties[{key}].default", text)


def _branches(schema: Json, path: str) -> Iterator[Cause]:
    """anyOf and the like may check values, but say nothing of the structure."""
    if schema.get("x-kubernetes-int-or-string") and _is_int_or_string(schema):
        return
    for keyword in _JUNCTORS:
        for index, branch in enumerate(schema.get(keyword) or []):
            yield from _branch(branch, schema, f"{path}.{keyword}[{index}]", path)
    if isinstance(schema.get("not"), dict):
        yield from _branch(schema["not"], schema, f"{path}.not", path)


def _is_int_or_string(schema: Json) -> bool:
    """The two ways an int-or-string may be written out."""
    return schema.get("anyOf") == _INT_OR_STRING or any(
        branch.get("anyOf") == _INT_OR_STRING for branch in schema.get("allOf") or []
    )


def _branch(branch: Json, schema: Json, at: str, home: str) -> Iterator[Cause]:
    for keyword in _STRUCTURAL_ONLY:
        if branch.get(keyword):
            yield forbidden_value(f"{at}.{keyword}", _EMPTY_BRANCH)
    for name, child in (branch.get("properties") or {}).items():
        known = (schema.get("properties") or {}).get(name)
        if known is None:
            text = f"because it is defined in {at}.properties[{name}]"
            yield required(f"{home}.properties[{name}]", text)
        else:
            yield from _branch(child, known, f"{at}.properties[{name}]", f"{home}.properties[{name}]")
    if isinstance(branch.get("items"), dict):
        yield from _branch(branch["items"], schema.get("items") or {}, f"{at}.items", f"{home}.items")
    for keyword in _JUNCTORS:
        for index, inner in enumerate(branch.get(keyword) or []):
            yield from _branch(inner, schema, f"{at}.{keyword}[{index}]", home)
