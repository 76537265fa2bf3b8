"""Validation rules (CEL) as functions of a value: what `x-kubernetes-validations` of a schema ask.

The language, its macros, and the functions rules are written with: those of strings, lists, sizes, conversions, times
and quantities. A rule that asks for another one is refused when it is compiled, never passed over.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from virt_types.quantity import QuantityError
from virt_types.quantity import parse as parse_quantity
from virt_types.structural.cel_syntax import CelError, Node, parse

Scope = Mapping[str, Any]
Evaluate = Callable[[Scope], Any]

__all__ = ["CelError", "compile_rule", "uses"]

_ESCAPED = {"__underscores__": "__", "__dot__": ".", "__dash__": "-", "__slash__": "/"}
_MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})
_DURATION = re.compile(r"(-?\d+(?:\.\d+)?)(h|ms|us|ns|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def compile_rule(text: str) -> Evaluate:
    """The function of a rule; it takes the variables (`self`, `oldSelf`) and raises CelError. So does compiling."""
    evaluate = _compile(parse(text))

    def run(scope: Scope) -> Any:
        try:
            return evaluate(scope)
        except (TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            raise CelError(f"no such overload: {error}") from None

    return run


def uses(node: Node, name: str) -> bool:
    """Whether a variable of that name is read."""
    return (node.kind == "name" and node.value == name) or any(uses(child, name) for child in node.children)


def _compile(node: Node) -> Evaluate:
    maker = _MAKERS.get(node.kind)
    if maker is not None:
        return maker(node)
    left, right = (_compile(child) for child in node.children)
    operator = _OPERATORS[node.kind]

    def binary(scope: Scope) -> Any:
        try:
            return operator(left(scope), right(scope))
        except (TypeError, ArithmeticError) as error:
            raise CelError(f"no such overload: {error}", node.at) from None

    return binary


def _constant(node: Node) -> Evaluate:
    return lambda _scope: node.value


def _name(node: Node) -> Evaluate:
    def read(scope: Scope) -> Any:
        if node.value not in scope:
            raise CelError(f"undeclared reference to '{node.value}'", node.at)
        return scope[node.value]

    return read


def _select(node: Node) -> Evaluate:
    inner, name = _compile(node.children[0]), _unescaped(node.value)

    def read(scope: Scope) -> Any:
        value = inner(scope)
        if not isinstance(value, dict) or name not in value:
            raise CelError(f"no such key: {name}", node.at)
        return value[name]

    return read


def _unescaped(name: str) -> str:
    for escaped, plain in _ESCAPED.items():
        name = name.replace(escaped, plain)
    return name[2:-2] if name.startswith("__") and name.endswith("__") and len(name) > 4 else name


def _index(node: Node) -> Evaluate:
    inner, at = (_compile(child) for child in node.children)

    def read(scope: Scope) -> Any:
        value, key = inner(scope), at(scope)
        there = key in value if isinstance(value, dict) else isinstance(key, int) and 0 <= key < len(value)
        if not there:
            raise CelError(f"no such key: {key}", node.at)
        return value[key]

    return read


def _or(node: Node) -> Evaluate:
    return _either(node, decided=True)


def _and(node: Node) -> Evaluate:
    return _either(node, decided=False)


def _either(node: Node, *, decided: bool) -> Evaluate:
    """One side that decides is enough, even when the other can't be evaluated."""
    sides = [_compile(child) for child in node.children]

    def either(scope: Scope) -> Any:
        failure = None
        for side in sides:
            try:
                value = side(scope)
            except CelError as error:
                failure = error
                continue
            if value is decided:
                return decided
            if not isinstance(value, bool):
                failure = CelError("no such overload", node.at)
        if failure is not None:
            raise failure
        return not decided

    return either


def _not(node: Node) -> Evaluate:
    inner = _compile(node.children[0])
    return lambda scope: not _bool(inner(scope), node)


def _bool(value: Any, node: Node) -> bool:
    if not isinstance(value, bool):
        raise CelError("no such overload", node.at)
    return value


def _negate(node: Node) -> Evaluate:
    inner = _compile(node.children[0])
    return lambda scope: -inner(scope)


def _if(node: Node) -> Evaluate:
    condition, then, otherwise = (_compile(child) for child in node.children)
    return lambda scope: then(scope) if _bool(condition(scope), node) else otherwise(scope)


def _list(node: Node) -> Evaluate:
    elements = [_compile(child) for child in node.children]
    return lambda scope: [element(scope) for element in elements]


def _map(node: Node) -> Evaluate:
    entries = [(_compile(entry.children[0]), _compile(entry.children[1])) for entry in node.children]
    return lambda scope: {key(scope): value(scope) for key, value in entries}


def _function(node: Node) -> Evaluate:
    if node.value == "has":
        return _has(node)
    return _applied(node, node.children)


def _has(node: Node) -> Evaluate:
    if len(node.children) != 1 or node.children[0].kind != "select":
        raise CelError("invalid argument to has() macro", node.at)
    select = node.children[0]
    inner, name = _compile(select.children[0]), _unescaped(select.value)

    def there(scope: Scope) -> bool:
        value = inner(scope)
        if not isinstance(value, dict):
            raise CelError("no such overload", node.at)
        return name in value

    return there


def _call(node: Node) -> Evaluate:
    if node.value in _MACROS and len(node.children) > 1 and node.children[1].kind == "name":
        return _macro(node)
    return _applied(node, node.children)


def _applied(node: Node, arguments: tuple[Node, ...]) -> Evaluate:
    function = _FUNCTIONS.get(node.value)
    if function is None:
        raise CelError(f"undeclared reference to '{node.value}' (in container '')", node.at)
    values = [_compile(argument) for argument in arguments]

    def call(scope: Scope) -> Any:
        given = [value(scope) for value in values]
        try:
            return function(*given)
        except (TypeError, ValueError, AttributeError, IndexError, QuantityError, re.error) as error:
            raise CelError(f"{node.value}: {error}", node.at) from None

    return call


def _macro(node: Node) -> Evaluate:
    source, variable, *steps = node.children
    name, values = str(variable.value), _compile(source)
    parts = [_compile(step) for step in steps]

    def run(scope: Scope) -> Any:
        found = [{**scope, name: element} for element in values(scope)]
        match node.value:
            case "all":
                return _every(parts[0], found, wanted=True)
            case "exists":
                return not _every(parts[0], found, wanted=False)
            case "exists_one":
                return sum(_bool(parts[0](inner), node) for inner in found) == 1
            case "filter":
                return [inner[name] for inner in found if _bool(parts[0](inner), node)]
        kept = found if len(parts) == 1 else [inner for inner in found if _bool(parts[0](inner), node)]
        return [parts[-1](inner) for inner in kept]

    return run


def _every(part: Evaluate, scopes: list[dict[str, Any]], *, wanted: bool) -> bool:
    """Whether all are as wanted; one that is not decides, even when others can't be evaluated."""
    failure = None
    for scope in scopes:
        try:
            if part(scope) is not wanted:
                return False
        except CelError as error:
            failure = error
    if failure is not None:
        raise failure
    return True


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return bool(left == right)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def checked(left: Any, right: Any) -> bool:
        if isinstance(left, bool) != isinstance(right, bool):
            raise TypeError("values of two types have no order")
        return compare(left, right)

    return checked


def _divide(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        return int(abs(left) // abs(right)) * (1 if (left < 0) == (right < 0) else -1)
    return left / right


def _contains(container: Any, value: Any) -> bool:
    return any(_equal(value, element) for element in container)


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": _equal,
    "!=": lambda left, right: not _equal(left, right),
    "<": _ordered(lambda left, right: left < right),
    "<=": _ordered(lambda left, right: left <= right),
    ">": _ordered(lambda left, right: left > right),
    ">=": _ordered(lambda left, right: left >= right),
    "in": lambda value, container: _contains(container, value),
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": _divide,
    "%": lambda left, right: left - right * _divide(left, right),
}
_MAKERS: dict[str, Callable[[Node], Evaluate]] = {
    "constant": _constant,
    "name": _name,
    "select": _select,
    "index": _index,
    "||": _or,
    "&&": _and,
    "!": _not,
    "negate": _negate,
    "if": _if,
    "list": _list,
    "map": _map,
    "function": _function,
    "call": _call,
}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _duration(text: str) -> timedelta:
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text or not parts:
        raise ValueError(f"{text} is no duration")
    return timedelta(seconds=sum(float(number) * _SECONDS[unit] for number, unit in parts))


def _is_sorted(values: list[Any]) -> bool:
    return all(left <= right for left, right in itertools.pairwise(values))


def _is_quantity(text: str) -> bool:
    try:
        parse_quantity(text)
    except QuantityError:
        return False
    return True


def _split(text: str, by: str, limit: int = -1) -> list[str]:
    return text.split(by, limit - 1) if limit > 0 else [] if limit == 0 else text.split(by)


def _substring(text: str, start: int, end: int | None = None) -> str:
    if start < 0 or start > len(text) or (end is not None and not start <= end <= len(text)):
        raise IndexError("index out of range")
    return text[start:end]


def _place(values: Any, value: Any) -> int:
    if isinstance(values, str):
        return values.find(value)
    return next((index for index, element in enumerate(values) if _equal(element, value)), -1)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "size": len,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": lambda text, part: part in text,
    "matches": lambda text, pattern: re.search(pattern, text) is not None,
    "string": _text,
    "int": int,
    "uint": int,
    "double": float,
    "bool": lambda value: value if isinstance(value, bool) else {"true": True, "false": False}[value],
    "dyn": lambda value: value,
    "duration": _duration,
    "timestamp": datetime.fromisoformat,
    "lowerAscii": str.lower,
    "upperAscii": str.upper,
    "trim": str.strip,
    "replace": str.replace,
    "split": _split,
    "join": lambda values, by="": by.join(values),
    "charAt": lambda text, index: _substring(text, index, min(index + 1, len(text))),
    "substring": _substring,
    "indexOf": _place,
    "find": lambda text, pattern: found[0] if (found := re.search(pattern, text)) else "",
    "isSorted": _is_sorted,
    "sum": sum,
    "min": min,
    "max": max,
    "isQuantity": _is_quantity,
    "quantity": parse_quantity,
    "isGreaterThan": lambda left, right: left > right,
    "isLessThan": lambda left, right: left < right,
    "compareTo": lambda left, right: (left > right) - (left < right),
}
