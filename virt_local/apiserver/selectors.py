"""Label and field selectors: parsed once per request, then asked per object.

The grammar is k8s.io/apimachinery/pkg/labels (equality, set and existence terms, plus `>` and `<`) and pkg/fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from virt_kube.api import ApiError, Json
from virt_local.apiserver.status import bad_request
from virt_types.names import label_value_problems, qualified_name_problems

Labels = Mapping[str, str]

_TOKEN = re.compile(r"\s*(==|!=|[=!,()<>]|[^\s=!,()<>]+)")
_SIGNS = frozenset(("==", "!=", "=", "!", ",", "(", ")", ">", "<"))
_OPERATORS = ("in", "notin", "=", "==", "!=", "gt", "lt")
_INT64 = range(-(1 << 63), 1 << 63)


class Requirement(NamedTuple):
    """`op` is in, notin, exists, absent, gt or lt."""

    key: str
    op: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Labels) -> bool:
        value = labels.get(self.key)
        match self.op:
            case "exists":
                return value is not None
            case "absent":
                return value is None
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case _:
                return _ordered(self.op, value, self.values[0])


def _ordered(op: str, value: str | None, bound: str) -> bool:
    try:
        number = int(value or "")
    except ValueError:
        return False
    return number > int(bound) if op == "gt" else number < int(bound)


class LabelSelector:
    """All requirements must hold. An empty selector matches everything."""

    def __init__(self, text: str) -> None:
        self.requirements = _Parser(text).parse() if text.strip() else []

    def __bool__(self) -> bool:
        return bool(self.requirements)

    def matches(self, labels: Labels) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._at = 0

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def parse(self) -> list[Requirement]:
        found: list[Requirement] = []
        while word := self._peek():
            if not _is_word(word) and word != "!":
                raise bad_request(f"found '{word}', expected: !, identifier, or 'end of string'")
            found.append(self._requirement())
            if not (sign := self._next()):
                break
            if sign != ",":
                raise bad_request(f"found '{sign}', expected: ',' or 'end of string'")
            if not _is_word(self._peek()) and self._peek() != "!":
                raise bad_request(f"found '{self._peek()}', expected: identifier after ','")
        return found

    def _requirement(self) -> Requirement:
        negated = self._peek() == "!"
        if negated:
            self._next()
        key = self._next()
        if not _is_word(key):
            raise _bad(f"found '{key}', expected: identifier")
        if problems := qualified_name_problems(key):
            raise _bad(f'<nil>: Invalid value: "{key}": {"; ".join(problems)}')
        if negated:
            return Requirement(key, "absent")
        if self._peek() in ("", ","):
            return Requirement(key, "exists")
        op: str
        match operator := self._next():
            case "in" | "notin":
                op, values = operator, self._set()
            case "=" | "==":
                op, values = "in", [self._exact()]
            case "!=":
                op, values = "notin", [self._exact()]
            case ">" | "<":
                op, values = "gt" if operator == ">" else "lt", [self._exact()]
            case _:
                raise _bad(f"found '{operator}', expected: {', '.join(_OPERATORS)}")
        _require_values(key, op, values)
        return Requirement(key, op, tuple(values))

    def _exact(self) -> str:
        if self._peek() in ("", ","):
            return ""
        value = self._next()
        if not _is_word(value):
            raise _bad(f"found '{value}', expected: identifier")
        return value

    def _set(self) -> list[str]:
        """The values between parentheses; what stands between two commas is an empty one."""
        if (opening := self._next()) != "(":
            raise _bad(f"found '{opening}' expected: '('")
        if not _is_word(self._peek()) and self._peek() not in (",", ")"):
            raise _bad(f"found '{self._peek()}', expected: ',', ')' or identifier")
        values: list[str] = []
        before = ","
        while (word := self._next()) != ")":
            if _is_word(word):
                values.append(word)
                if self._peek() not in (",", ")"):
                    raise _bad(f"found '{self._peek()}', expected: ',' or ')'")
            elif word != ",":
                raise _bad(f"found '{word}', expected: ',', or identifier")
            elif before == ",":
                values.append("")
            before = word
        if before == ",":
            values.append("")
        return sorted(set(values))


def _is_word(token: str) -> bool:
    return bool(token) and token not in _SIGNS


def _bad(why: str) -> ApiError:
    return bad_request(f"unable to parse requirement: {why}")


def _require_values(key: str, op: str, values: list[str]) -> None:
    problems: list[str] = []
    for index, value in enumerate(values):
        if op in ("gt", "lt") and not _is_integer(value):
            text = "for 'Gt', 'Lt' operators, the value must be an integer"
            problems.append(f'values[{index}]: Invalid value: "{value}": {text}')
        if faults := label_value_problems(value):
            problems.append(f'values[{index}][{key}]: Invalid value: "{value}": {"; ".join(faults)}')
    if problems:
        raise _bad(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"[-+]?[0-9]+", text, re.ASCII) is not None and int(text) in _INT64


class FieldTerm(NamedTuple):
    field: str
    value: str
    equal: bool


FieldReader = Callable[[Json], str]


class FieldSelector:
    """`metadata.name=x,spec.nodeName!=y`. `readers` are the fields the resource offers; others are refused with 400."""

    def __init__(self, text: str, readers: Mapping[str, FieldReader], *, builtin: bool = False) -> None:
        terms = (_field_term(term) for term in _split_terms(text) if term)
        self.terms = [term for term in terms if term.field or term.value]
        for term in self.terms:
            if term.field not in readers:
                raise _unknown_field(term.field, readers, builtin=builtin)
        self._readers = readers

    def __bool__(self) -> bool:
        return bool(self.terms)

    def exact(self, field: str) -> str | None:
        """The one value a field must have, if the selector says so."""
        return next((term.value for term in self.terms if term.field == field and term.equal), None)

    def matches(self, obj: Json) -> bool:
        return all((self._readers[term.field](obj) == term.value) is term.equal for term in self.terms)


def _unknown_field(field: str, readers: Mapping[str, FieldReader], *, builtin: bool) -> ApiError:
    if builtin and len(readers) == 2:
        known = ", ".join(f'"{name}"' for name in readers)
        return bad_request(f'"{field}" is not a known field selector: only {known}')
    return bad_request(f"field label not supported: {field}")


def _split_terms(text: str) -> list[str]:
    """Split at commas that no backslash protects."""
    return re.split(r"(?<!\\),", text)


def _field_term(term: str) -> FieldTerm:
    match = re.match(r"^([^=!]*)(==|!=|=)(.*)$", term, re.DOTALL)
    if match is None:
        raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
    if re.search(r"(?<!\\)=", match[3]):
        raise bad_request("invalid field selector: unescaped character in value: 61")
    if (strange := re.search(r"\\([^\\,=]|$)", match[3].replace("\\\\", ""))) is not None:
        raise bad_request(f"invalid field selector: invalid escape sequence: {strange[0]}")
    value = re.sub(r"\\([\\,=])", r"\1", match[3])
    return FieldTerm(match[1], value, match[2] != "!=")


def path_reader(path: str) -> FieldReader:
    """Reads a dotted path as a field selector sees it: absent is "", booleans are true and false."""
    steps = path.split(".")

    def read(obj: Json) -> str:
        found: object = obj
        for step in steps:
            found = found.get(step) if isinstance(found, dict) else None
        if isinstance(found, bool):
            return "true" if found else "false"
        return "" if found is None else str(found)

    return read
