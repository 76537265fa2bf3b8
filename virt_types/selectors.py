"""Label selectors: the text form of `kubectl -l` and the LabelSelector of objects, parsed once and matched often.

Used by the API server's list and watch, the controllers, placement and the command line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from virt_types.errors import VirtError
from virt_types.meta import LabelSelector

_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_PREFIX = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*"
LABEL_KEY = re.compile(rf"(?:(?={_PREFIX}/)[-a-z0-9.]{{1,253}}/)?{_NAME}", re.ASCII)
LABEL_VALUE = re.compile(rf"(?:{_NAME})?", re.ASCII)
_WORD = re.compile(r"\s*(==|!=|[=!<>(),]|[^\s=!<>(),]+)", re.ASCII)
_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
MAX_LENGTH = 64 * 1024


class SelectorError(VirtError):
    """A text or object that is no label selector."""

    reason = "BadRequest"

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="write key=value, key!=value, key in (a,b), key notin (a,b), key or !key")


class Requirement(NamedTuple):
    """One condition; `operator` is in, notin, exists, !, gt or lt. `=` is kept as `in` with one value."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        if self.operator == "in":
            return value is not None and value in self.values
        if self.operator == "notin":
            return value is None or value not in self.values
        if self.operator in {"exists", "!"}:
            return (value is not None) == (self.operator == "exists")
        return self._compares(value)

    def _compares(self, value: str | None) -> bool:
        if value is None or re.fullmatch(r"-?\d{1,18}", value) is None:
            return False
        wanted = int(self.values[0])
        return int(value) > wanted if self.operator == "gt" else int(value) < wanted

    def __str__(self) -> str:
        if self.operator == "exists":
            return self.key
        if self.operator == "!":
            return f"!{self.key}"
        if self.operator in {"gt", "lt"}:
            return f"{self.key}{'>' if self.operator == 'gt' else '<'}{self.values[0]}"
        if self.operator == "in" and len(self.values) == 1:
            return f"{self.key}={self.values[0]}"
        return f"{self.key} {self.operator} ({','.join(self.values)})"


class Selector(NamedTuple):
    """All requirements have to hold; none at all matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        return all(requirement.matches(labels or {}) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


EVERYTHING = Selector()


def parse(text: str) -> Selector:
    """The selector of a text such as `a=b,c in (x,y),!d`; raises SelectorError."""
    if not text.strip():
        return EVERYTHING
    if len(text) > MAX_LENGTH:
        raise SelectorError(f"the label selector has {len(text)} characters, more than {MAX_LENGTH}")
    return Selector(tuple(_Parser(text).requirements()))


def from_struct(selector: LabelSelector | None) -> Selector:
    """The selector of an object's LabelSelector; raises SelectorError.

    None matches nothing in Kubernetes; callers that mean that must not ask.
    """
    if selector is None:
        return EVERYTHING
    requirements = [Requirement(_key(key), "in", (_value(value),)) for key, value in selector.match_labels.items()]
    for expression in selector.match_expressions:
        if expression.operator not in _OPERATORS:
            raise SelectorError(
                f"{expression.operator!r} is not a label selector operator: use {', '.join(_OPERATORS)}"
            )
        operator = _OPERATORS[expression.operator]
        if (operator in {"in", "notin"}) != bool(expression.values):
            number = "at least one value" if operator in {"in", "notin"} else "no values"
            raise SelectorError(f"operator {expression.operator} of label key {expression.key!r} needs {number}")
        values = tuple(sorted(map(_value, expression.values)))
        requirements.append(Requirement(_key(expression.key), operator, values))
    return Selector(tuple(requirements))


def _key(key: str) -> str:
    if len(key) > 317 or LABEL_KEY.fullmatch(key) is None:
        raise SelectorError(f"{_short(key)} is not a label key")
    return key


def _value(value: str) -> str:
    if len(value) > 63 or LABEL_VALUE.fullmatch(value) is None:
        raise SelectorError(f"{_short(value)} is not a label value")
    return value


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


class _Parser:
    """Recursive descent over the words of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words: list[str] = []
        position, end = 0, len(text.rstrip())
        while position < end:
            match = _WORD.match(text, position)
            if match is None:
                raise self.error(f"unexpected character {text[position]!r}")
            self.words.append(match[1])
            position = match.end()
        self.next = 0

    def error(self, what: str) -> SelectorError:
        return SelectorError(f"unable to parse requirement: {what}")

    def take(self) -> str:
        word = self.peek()
        self.next += 1
        return word

    def peek(self) -> str:
        return self.words[self.next] if self.next < len(self.words) else ""

    def requirements(self) -> list[Requirement]:
        found = [self.requirement()]
        while self.peek():
            separator = self.take()
            if separator != ",":
                raise SelectorError(f"found '{separator}', expected: ',' or 'end of string'")
            found.append(self.requirement())
        return found

    def requirement(self) -> Requirement:
        if self.peek() == "!":
            self.take()
            return Requirement(self.key(), "!")
        key = self.key()
        operator = self.peek()
        if operator in {"", ","}:
            return Requirement(key, "exists")
        self.take()
        if operator in {"=", "=="}:
            return Requirement(key, "in", (self.single_value(),))
        if operator == "!=":
            return Requirement(key, "notin", (self.single_value(),))
        if operator in {"<", ">"}:
            return Requirement(key, "gt" if operator == ">" else "lt", (self.number(key),))
        if operator in {"in", "notin"}:
            return Requirement(key, operator, self.values())
        raise self.error(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")

    def key(self) -> str:
        word = self.take()
        if not word or word in "=!<>(),":
            raise SelectorError(f"found '{word}', expected: !, identifier, or 'end of string'")
        return _key(word)

    def single_value(self) -> str:
        return "" if self.peek() in {"", ","} else self.word()

    def word(self) -> str:
        word = self.take()
        if word in {"=", "==", "!=", "!", "<", ">", "(", ")"}:
            raise self.error(f"found '{word}', expected: identifier")
        return _value(word)

    def number(self, key: str) -> str:
        word = self.word()
        if re.fullmatch(r"-?\d{1,18}", word) is None:
            raise self.error(f"for 'Gt', 'Lt' operators, the value of {key} must be an integer")
        return word

    def values(self) -> tuple[str, ...]:
        opening = self.take()
        if opening != "(":
            raise self.error(f"found '{opening}' expected: '('")
        found = {""} if self.peek() in {")", ","} else {self.word()}
        while (word := self.take()) == ",":
            found.add("" if self.peek() in {")", ","} else self.word())
        if word != ")":
            raise self.error(f"found '{word}', expected: ',', ')' or identifier")
        return tuple(sorted(found))
