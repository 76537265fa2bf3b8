"""The JSONPath of printer columns: `.spec.x`, `['a.b']`, `[0]`, `[*]`, `[?(@.type=="Ready")].status`.

Compiled once per column. What isn't there yields nothing; a broken path is a ValueError when compiled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

Step = Callable[[Iterable[Any]], Iterable[Any]]

_STEP = re.compile(
    r"""
    \.(?P<field>[\w\-/]+(?:\\\.[\w\-/]+)*)            # .name, with \. for a dot inside
  | \.?\[(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\]   # ['name']
  | \[(?P<index>-?\d+)\]
  | (?P<all>\[\*\]|\.\*)
  | \[\?\(\s*@(?P<path>[^=!<>]+?)\s*(?P<op>==|!=)\s*(?P<value>'[^']*'|"[^"]*"|[^)\s]+)\s*\)\]
    """,
    re.VERBOSE,
)


@lru_cache(maxsize=512)
def compile_path(path: str) -> Callable[[Any], list[Any]]:
    """A function from an object to all values the path finds in it."""
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    if text and text[0] not in ".[":
        text = "." + text
    steps: list[Step] = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            raise ValueError(f"can't read the JSONPath {path!r} at {text[position:]!r}")
        steps.append(_step(match))
        position = match.end()

    def find(obj: Any) -> list[Any]:
        found: Iterable[Any] = [obj]
        for step in steps:
            found = step(found)
        return list(found)

    return find


def _step(match: re.Match[str]) -> Step:
    if match["index"] is not None:
        return _index(int(match["index"]))
    if match["all"]:
        return _every
    if match["path"]:
        return _filter(compile_path(match["path"]), match["op"] == "==", _literal(match["value"]))
    name = match["quoted"] if match["field"] is None else match["field"].replace("\\.", ".")
    return lambda items: [item[name] for item in items if isinstance(item, dict) and name in item]


def _index(index: int) -> Step:
    return lambda items: [item[index] for item in items if isinstance(item, list) and -len(item) <= index < len(item)]


def _every(items: Iterable[Any]) -> Iterable[Any]:
    for item in items:
        if isinstance(item, dict):
            yield from item.values()
        elif isinstance(item, list):
            yield from item


def _filter(find: Callable[[Any], list[Any]], equal: bool, wanted: Any) -> Step:
    def keep(items: Iterable[Any]) -> Iterable[Any]:
        for item in _every(items):
            if find(item) and (wanted in find(item)) is equal:
                yield item

    return keep


def _literal(text: str) -> Any:
    if text[0] in "'\"":
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        return text
