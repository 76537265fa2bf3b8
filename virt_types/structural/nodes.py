"""One node per schema object: type, nulls, unknown fields, defaults, then the keywords' checks."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from virt_types.errors import Cause
from virt_types.structural.keywords import enum_check, keyword_checks
from virt_types.structural.walk import Check, Node, Path, Schema, Walk, dotted, type_name, unfielded, wrong_type

INTEGERS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
# Known by every object; their contents are the business of the API server's own metadata rules.
OBJECT_FIELDS = ("apiVersion", "kind", "metadata")
METADATA_FIELDS = frozenset(
    (
        "annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers",
        "generateName", "generation", "labels", "managedFields", "name", "namespace", "ownerReferences",
        "resourceVersion", "selfLink", "uid",
    )
)  # fmt: skip


def compile_node(schema: Schema, *, root: bool = False) -> Node:
    if schema.get("x-kubernetes-int-or-string"):
        return _int_or_string(schema)
    kind = schema.get("type")
    if kind == "object":
        return _object(schema, root=root)
    if kind == "array":
        return _array(schema)
    if kind == "integer":
        return _integer(schema)
    if kind in {"string", "boolean", "number"}:
        return _scalar(schema, kind)
    return _any(schema)


def _any(schema: Schema) -> Node:
    if "properties" in schema or "additionalProperties" in schema:
        return _object(schema, root=False)
    checks = _checks(schema)

    def walk_any(value: Any, path: Path, walk: Walk) -> Any:
        for check in checks:
            check(value, path, walk)
        return value

    return walk_any


def _scalar(schema: Schema, kind: str) -> Node:
    accepted: tuple[type, ...] = {"string": (str,), "boolean": (bool,), "number": (int, float)}[kind]
    nullable = bool(schema.get("nullable"))
    checks = _checks(schema)
    enum = enum_check(schema)

    def walk_scalar(value: Any, path: Path, walk: Walk) -> Any:
        if type(value) in accepted:
            for check in checks:
                check(value, path, walk)
        elif not (value is None and nullable):
            _mismatch(value, path, walk, kind)
        if enum is not None:
            enum(value, path, walk)
        return value

    return walk_scalar


def _mismatch(value: Any, path: Path, walk: Walk, wanted: str) -> None:
    wrong_type(walk, path, type_name(value), wanted)
    if type(value) is dict:
        walk.unknown += [(path, key) for key in value]


def _integer(schema: Schema) -> Node:
    width = schema.get("format")
    wide = f"integer with format {width}" if width in INTEGERS else "integer (default format)"
    low, high = INTEGERS.get(width or "", INTEGERS["int64"])
    smallest, largest = INTEGERS["int64"]
    nullable = bool(schema.get("nullable"))
    checks = _checks(schema)
    enum = enum_check(schema)

    def out_of_range(value: Any, path: Path, walk: Walk) -> None:
        if type(value) is float or not smallest <= value <= largest:
            if width in INTEGERS:
                wrong_type(walk, path, "float64", str(width))
            else:
                wrong_type(walk, path, "number", "integer")
        unfielded(walk, f"Checked value must be of type {wide} in {dotted(path)}")

    def walk_integer(value: Any, path: Path, walk: Walk) -> Any:
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is int or type(value) is float:
            if type(value) is float or not low <= value <= high:
                out_of_range(value, path, walk)
            for check in checks:
                check(value, path, walk)
        elif not (value is None and nullable):
            _mismatch(value, path, walk, "integer")
        if enum is not None:
            enum(value, path, walk)
        return value

    return walk_integer


def _int_or_string(schema: Schema) -> Node:
    nullable = bool(schema.get("nullable"))
    checks = _checks({key: value for key, value in schema.items() if key not in {"anyOf", "allOf"}})
    any_of = "anyOf" in schema

    def walk_int_or_string(value: Any, path: Path, walk: Walk) -> Any:
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is str or type(value) is int:
            for check in checks:
                check(value, path, walk)
        elif not (value is None and nullable):
            _mismatch(value, path, walk, "integer,string")
            if any_of:
                unfielded(walk, f'"{dotted(path)}" must validate at least one schema (anyOf)')
                wrong_type(walk, path, type_name(value), "integer")
        return value

    return walk_int_or_string


def _array(schema: Schema) -> Node:
    item = compile_node(schema.get("items") or {})
    nullable = bool(schema.get("nullable"))
    checks = _checks(schema)

    def walk_array(value: Any, path: Path, walk: Walk) -> Any:
        if type(value) is not list:
            if not (value is None and nullable):
                _mismatch(value, path, walk, "array")
            return value
        for index, element in enumerate(value):
            new = item(element, (path, index), walk)
            if new is not element:
                value[index] = new
        for check in checks:
            check(value, path, walk)
        return value

    return walk_array


def _object(schema: Schema, *, root: bool) -> Node:
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    fields = _properties(schema, with_object_fields=root or embedded)
    required = tuple(schema.get("required", ())) + (("apiVersion", "kind") if embedded else ())
    defaults = {name: sub["default"] for name, sub in schema.get("properties", {}).items() if "default" in sub}
    keeps_unknown = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    additional = schema.get("additionalProperties")
    other = compile_node(additional) if isinstance(additional, dict) else None
    other_nullable = isinstance(additional, dict) and bool(additional.get("nullable") or not additional)
    nullable, typed = bool(schema.get("nullable")), "type" in schema
    checks = _checks(schema)

    def others(value: dict[str, Any], names: list[str], path: Path, walk: Walk) -> None:
        """Fields that are no properties: values of a map, kept unknown ones, or unknown ones."""
        if other is not None:
            for name in names:
                element = value[name]
                if element is None and not other_nullable:
                    del value[name]
                else:
                    value[name] = other(element, (path, name), walk)
        elif not keeps_unknown and additional is not True:
            walk.unknown += [(path, name) for name in names]
            if walk.prune:
                for name in names:
                    del value[name]

    def add_defaults(value: dict[str, Any]) -> None:
        for name, default in defaults.items():
            if value.get(name) is None and not (name in value and fields[name][1]):
                value[name] = copy.deepcopy(default)

    def known_fields(value: dict[str, Any], path: Path, walk: Walk) -> None:
        rest: list[str] = []
        nulls: list[str] = []
        for name, element in value.items():
            known = fields.get(name)
            if known is None:
                rest.append(name)
            elif element is None and not known[1]:
                nulls.append(name)
            else:
                new = known[0](element, (path, name), walk)
                if new is not element:
                    value[name] = new
        for name in nulls:
            del value[name]
        if rest:
            others(value, rest, path, walk)

    def walk_object(value: Any, path: Path, walk: Walk) -> Any:
        if type(value) is not dict:
            if typed and not (value is None and nullable):
                _mismatch(value, path, walk, "object")
            return value
        if walk.defaults and defaults:
            add_defaults(value)
        known_fields(value, path, walk)
        for name in required:
            if name not in value:
                walk.causes.append(Cause("FieldValueRequired", "Required value", dotted((path, name))))
        for check in checks:
            check(value, path, walk)
        return value

    return walk_object


def _properties(schema: Schema, *, with_object_fields: bool) -> dict[str, tuple[Node, bool]]:
    """Name -> (node, may be null)."""
    fields = {name: (compile_node(sub), _accepts_null(sub)) for name, sub in schema.get("properties", {}).items()}
    if with_object_fields:
        fields |= {name: (_scalar({}, "string"), True) for name in ("apiVersion", "kind")}
        fields["metadata"] = (_metadata, True)
    return fields


def _accepts_null(schema: Schema) -> bool:
    """A schema that says nothing about its value takes null too."""
    return bool(schema.get("nullable")) or not (schema.keys() - {"description", "x-kubernetes-preserve-unknown-fields"})


def _metadata(value: Any, path: Path, walk: Walk) -> Any:
    if type(value) is dict:
        unknown = [name for name in value if name not in METADATA_FIELDS]
        walk.unknown += [(path, name) for name in unknown]
        if walk.prune:
            for name in unknown:
                del value[name]
    return value


def _checks(schema: Schema) -> tuple[Check, ...]:
    return (*keyword_checks(schema), *_combination_checks(schema))


def _combination_checks(schema: Schema) -> Iterable[Check]:
    """anyOf, oneOf, allOf, not. They only check: pruning and defaulting are the structural part's."""
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            yield _combination(keyword, [_partial(sub) for sub in schema[keyword]])
    if "not" in schema:
        branch = _partial(schema["not"])

        def check_not(value: Any, path: Path, walk: Walk) -> None:
            if not _dry(branch, value, path):
                unfielded(walk, f'"{dotted(path)}" must not validate the schema (not)')

        yield check_not


def _partial(schema: Schema) -> Node:
    """A schema inside a combination: it says nothing about fields it doesn't name."""
    loose = {**schema, "x-kubernetes-preserve-unknown-fields": True}
    if "required" in schema and "type" not in schema:
        loose.setdefault("properties", {})
    enum = enum_check(schema) if "type" not in schema else None
    node = compile_node(loose)

    def check(value: Any, path: Path, walk: Walk) -> Any:
        if enum is not None:
            enum(value, path, walk)
        return node(value, path, walk)

    return check


def _dry(node: Node, value: Any, path: Path) -> list[Cause]:
    walk = Walk(defaults=False, prune=False)
    node(copy.deepcopy(value), path, walk)
    return walk.causes


def _combination(keyword: str, branches: list[Node]) -> Check:
    def check(value: Any, path: Path, walk: Walk) -> None:
        failures = [causes for node in branches if (causes := _dry(node, value, path))]
        valid = len(branches) - len(failures)
        field = dotted(path)
        if keyword == "allOf" and failures:
            unfielded(walk, f'"{field}" must validate all the schemas (allOf)')
        elif keyword == "anyOf" and not valid:
            unfielded(walk, f'"{field}" must validate at least one schema (anyOf)')
        elif keyword == "oneOf" and valid != 1:
            found = f"Found {valid} valid alternatives" if valid else "Found none valid"
            unfielded(walk, f'"{field}" must validate one and only one schema (oneOf). {found}')
        else:
            return
        walk.causes += failures[0] if failures else []

    return check
