"""YAML as the API server writes it: keys sorted, texts that could be read as something else in double quotes."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

_STR = "tag:yaml.org,2002:str"
_WIDTH = 1 << 30  # never break a line


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  the base class asks about each value
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = None
    if "\n" in value:
        style = "|"
    elif not value or _reads_as(dumper, value) != _STR:
        style = '"'
    return dumper.represent_scalar(_STR, value, style=style)


def _reads_as(dumper: _Dumper, value: str) -> str:
    """The type a reader would take the bare text for."""
    return str(dumper.resolve(yaml.ScalarNode, value, (True, False)))  # type: ignore[no-untyped-call]


_Dumper.add_representer(str, _text)


def to_yaml(body: bytes) -> bytes:
    """A JSON document as YAML."""
    found: Any = msgspec.json.decode(body)
    return yaml.dump(found, Dumper=_Dumper, allow_unicode=True, width=_WIDTH).encode()
