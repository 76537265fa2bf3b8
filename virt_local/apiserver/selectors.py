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

_TOKEN = re.compile(r"\s*(==|!=|=|!|,|\(|\)|>|<|[^\s=!,()<>]+)")
_SIGNS = frozenset(("==", "!=", "=", "!", ",", "(", ")", ">", "<"))


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
        self._text = text
        self._tokens = self._tokenise(text)
        self._at = 0

    def _tokenise(self, text: str) -> list[str]:
        tokens, position = [], 0
        while position < len(text.rstrip()):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self._bad(f"found {text[position:]!r}")
            tokens.append(match[1])
            position = match.end()
        return tokens

    def _bad(self, why: str) -> ApiError:
        return bad_request(f"unable to parse requirement: {why}")

    def _next(self) -> str:
        token = self._tokens[self._at] if self._at < len(self._tokens) else ""
        self._at += 1
        return token

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def parse(self) -> list[Requirement]:
        found = [self._requirement()]
        while self._peek():
            if self._next() != ",":
                raise bad_request(f"found '{self._tokens[self._at - 1]}', expected: ',' or 'end of string'")
            found.append(self._requirement())
        return found

    def _requirement(self) -> Requirement:
        negated = self._peek() == "!"
        if negated:
            self._next()
        key = self._next()
        self._check_key(key)
        if negated:
            return Requirement(key, "absent")
        operator = self._peek()
        if operator in ("", ","):
            return Requirement(key, "exists")
        self._next()
        match operator:
            case "=" | "==":
                return Requirement(key, "in", (self._exact(key),))
            case "!=":
                return Requirement(key, "notin", (self._exact(key),))
            case ">" | "<":
                return Requirement(key, "gt" if operator == ">" else "lt", (self._integer(),))
            case "in" | "notin":
                return Requirement(key, operator, self._set(key))
        raise self._bad(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")

    def _exact(self, key: str) -> str:
        if self._peek() in ("", ","):
            return ""
        value = self._next()
        if value in _SIGNS:
            raise self._bad(f"found '{value}', expected: identifier")
        self._check_value(key, value, 0)
        return value

    def _integer(self) -> str:
        value = self._next()
        try:
            int(value)
        except ValueError:
            raise self._bad(
                f"values[0]: Invalid value: \"{value}\": for 'Gt', 'Lt' operators, the value must be an integer"
            ) from None
        return value

    def _set(self, key: str) -> tuple[str, ...]:
        if (opening := self._next()) != "(":
            raise self._bad(f"found '{opening}' expected: '('")
        values: list[str] = []
        wanted = True
        while (word := self._next()) != ")":
            if not word:
                raise self._bad("found '', expected: ',', ')' or identifier")
            if word == ",":
                if wanted:
                    values.append("")
                wanted = True
                continue
            self._check_value(key, word, len(values))
            values.append(word)
            wanted = False
        if wanted:
            values.append("")
        return tuple(values)

    def _check_key(self, key: str) -> None:
        if not key or key in _SIGNS:
            raise bad_request(f"found '{key}', expected: !, identifier, or 'end of string'")
        if problems := qualified_name_problems(key):
            raise self._bad(f'<nil>: Invalid value: "{key}": {"; ".join(problems)}')

    def _check_value(self, key: str, value: str, index: int) -> None:
        if problems := label_value_problems(value):
            raise self._bad(f'values[{index}][{key}]: Invalid value: "{value}": {"; ".join(problems)}')


class FieldTerm(NamedTuple):
    field: str
    value: str
    equal: bool


FieldReader = Callable[[Json], str]


class FieldSelector:
    """`metadata.name=x,spec.nodeName!=y`. `readers` are the fields the resource offers; others are refused with 400."""

    def __init__(self, text: str, readers: Mapping[str, FieldReader], *, builtin: bool = False) -> None:
        self.terms = [_field_term(term) for term in _split_terms(text) if term.strip("=")]
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
    match = re.match(r"^([^=!]+)(==|!=|=)(.*)$", term, re.DOTALL)
    if match is None:
        raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
    if re.search(r"(?<!\\)=", match[3]):
        raise bad_request("invalid field selector: unescaped character in value: 61")
    value = re.sub(r"\\([\\,=])", r"\1", match[3])
    return FieldTerm(match[1].strip(), value, match[2] != "!=")


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
