"""Fields of Structs by the path a user writes, such as `domain.cpu.model`.

The tables of this package name fields so; a test holds every path of them to the types.
"""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from typing import Any, get_args

import msgspec


def get(obj: Any, path: str) -> Any:
    """The value, None where it or anything above it is absent."""
    for name in path.split("."):
        if obj is None:
            return None
        obj = obj.get(name) if isinstance(obj, dict) else getattr(obj, _field(obj, name)[0])
    return obj


def put(obj: Any, path: str, value: Any) -> None:
    """Set a copy of the value, with the structs above it where they are absent."""
    *above, last = path.split(".")
    for name in above:
        attribute, type_ = _field(obj, name)
        inner = getattr(obj, attribute)
        if inner is None:
            inner = _struct(type_)()
            setattr(obj, attribute, inner)
        obj = inner
    if isinstance(obj, dict):
        obj[last] = deepcopy(value)
    else:
        setattr(obj, _field(obj, last)[0], deepcopy(value))


def is_given(value: Any) -> bool:
    """Whether a manifest says anything: no number, text or flag that is empty, nor an empty list or map, does."""
    return isinstance(value, msgspec.Struct) or bool(value)


def _field(obj: msgspec.Struct, name: str) -> tuple[str, Any]:
    """The attribute of a JSON name, and its type."""
    return _fields(type(obj))[name]


@cache
def _fields(type_: type[msgspec.Struct]) -> dict[str, tuple[str, Any]]:
    """JSON name -> attribute and type."""
    return {field.encode_name: (field.name, field.type) for field in msgspec.structs.fields(type_)}


def _struct(type_: Any) -> Any:
    """The Struct in `X` or `X | None`."""
    return next((each for each in get_args(type_) if isinstance(each, type) and each is not type(None)), type_)
