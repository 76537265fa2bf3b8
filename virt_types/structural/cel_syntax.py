"""The expression language of validation rules (CEL), as far as rules use it: from text to a tree.

`cel.py` turns the tree into a function. Grammar: https://github.com/google/cel-spec/blob/master/doc/langdef.md
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any, NamedTuple

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>0x[0-9a-fA-F]+u?|\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d+u?)
  | (?P<text>[rR]?(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<sign>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{}])
  )""",
    re.VERBOSE,
)
# Weakest first; all of one line bind alike, from the left.
_BINARY = (("||",), ("&&",), ("==", "!=", "<", "<=", ">", ">=", "in"), ("+", "-"), ("*", "/", "%"))
_CONSTANTS: dict[str, Any] = {"true": True, "false": False, "null": None}
MAX_LENGTH, MAX_TOKENS, MAX_DEPTH = 5_000, 500, 30  # of one rule: far above what is written, far below recursion


class CelError(Exception):
    """An expression that can't be read or evaluated. `at` is the place in its text."""

    def __init__(self, message: str, at: int = 0) -> None:
        super().__init__(message)
        self.at = at


class Node(NamedTuple):
    """`kind` is constant, name, select, index, call, list, map, or, and, if, or an operator."""

    kind: str
    at: int
    value: Any = None
    children: tuple[Node, ...] = ()


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def parse(text: str) -> Node:
    """Raises CelError."""
    if len(text) > MAX_LENGTH:
        raise CelError(f"the rule is longer than {MAX_LENGTH} characters")
    tokens = _tokens(text)
    if len(tokens) > MAX_TOKENS:
        raise CelError(f"the rule has more than {MAX_TOKENS} words", tokens[MAX_TOKENS].at)
    reader = _Reader(tokens, len(text))
    found = reader.expression()
    reader.end()
    return found


def _tokens(text: str) -> list[_Token]:
    found, place = [], 0
    end = len(text.rstrip())
    while place < end:
        match = _TOKEN.match(text, place)
        if match is None:
            start = place + len(text[place:]) - len(text[place:].lstrip())
            raise CelError(f"Syntax error: token recognition error at: '{text[start]}'", start)
        kind = str(match.lastgroup)
        found.append(_Token(kind, match[kind], match.start(kind)))
        place = match.end()
    return found


class _Reader:
    def __init__(self, tokens: list[_Token], length: int) -> None:
        self._tokens = tokens
        self._length = length
        self._next = 0
        self._depth = 0

    def end(self) -> None:
        if self._next < len(self._tokens):
            token = self._tokens[self._next]
            raise CelError(f"Syntax error: mismatched input '{token.text}' expecting <EOF>", token.at)

    def expression(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise CelError("the rule is nested too deeply", self._at())
        found = self._binary(0)
        if token := self._take("?"):
            then = self._binary(0)
            self._need(":")
            found = Node("if", token.at, None, (found, then, self.expression()))
        self._depth -= 1
        return found

    def _binary(self, level: int) -> Node:
        if level == len(_BINARY):
            return self._unary()
        found = self._binary(level + 1)
        while token := self._take(*_BINARY[level]):
            found = Node(token.text, token.at, None, (found, self._binary(level + 1)))
        return found

    def _unary(self) -> Node:
        signs = []
        while token := self._take("!", "-"):
            signs.append(token)
        found = self._member()
        for token in reversed(signs):
            found = Node("!" if token.text == "!" else "negate", token.at, None, (found,))
        return found

    def _member(self) -> Node:
        found = self._primary()
        while token := self._take(".", "["):
            if token.text == "[":
                found = Node("index", token.at, None, (found, self.expression()))
                self._need("]")
                continue
            name = self._name()
            if self._take("("):
                found = Node("call", token.at, name.text, (found, *self._list(")", self.expression)))
            else:
                found = Node("select", token.at, name.text, (found,))
        return found

    def _primary(self) -> Node:  # noqa: PLR0911  one line for each kind of token
        token = self._advance()
        if token.kind == "number":
            return Node("constant", token.at, _number(token.text))
        if token.kind == "text":
            return Node("constant", token.at, ast.literal_eval(token.text))
        if token.kind == "name":
            if token.text in _CONSTANTS:
                return Node("constant", token.at, _CONSTANTS[token.text])
            if self._take("("):
                return Node("function", token.at, token.text, tuple(self._list(")", self.expression)))
            return Node("name", token.at, token.text)
        if token.text == "(":
            found = self.expression()
            self._need(")")
            return found
        if token.text == "[":
            return Node("list", token.at, None, tuple(self._list("]", self.expression)))
        if token.text == "{":
            return Node("map", token.at, None, tuple(self._list("}", self._entry)))
        raise CelError(f"Syntax error: extraneous input '{token.text}'", token.at)

    def _entry(self) -> Node:
        key = self.expression()
        at = self._need(":").at
        return Node("entry", at, None, (key, self.expression()))

    def _list(self, closing: str, element: Callable[[], Node]) -> list[Node]:
        found: list[Node] = []
        while not self._take(closing):
            if found:
                self._need(",")
            found.append(element())
        return found

    def _at(self) -> int:
        return self._tokens[self._next].at if self._next < len(self._tokens) else self._length

    def _advance(self) -> _Token:
        if self._next >= len(self._tokens):
            raise CelError("Syntax error: mismatched input '<EOF>'", self._length)
        self._next += 1
        return self._tokens[self._next - 1]

    def _take(self, *signs: str) -> _Token | None:
        if self._next < len(self._tokens):
            token = self._tokens[self._next]
            if token.text in signs and token.kind in ("sign", "name"):
                self._next += 1
                return token
        return None

    def _need(self, sign: str) -> _Token:
        token = self._take(sign)
        if token is None:
            found = self._tokens[self._next].text if self._next < len(self._tokens) else "<EOF>"
            raise CelError(f"Syntax error: mismatched input '{found}' expecting '{sign}'", self._at())
        return token

    def _name(self) -> _Token:
        token = self._advance()
        if token.kind != "name":
            raise CelError(f"Syntax error: mismatched input '{token.text}' expecting IDENTIFIER", token.at)
        return token


def _number(text: str) -> int | float:
    plain = text.rstrip("u")
    if plain.startswith("0x"):
        return int(plain, 16)
    return int(plain) if plain.isdigit() else float(plain)
