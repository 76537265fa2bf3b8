"""What a custom resource with a scale subresource may say of its replicas, however it is written."""

from __future__ import annotations

from typing import Any

from virt_kube.api import Json
from virt_local.apiserver.registry import Scale
from virt_local.apiserver.status import invalid_value
from virt_types.errors import Cause

_MOST = 2**31 - 1


def at(obj: Json, path: str) -> Any:
    """The value at a dotted path, None when there is none."""
    found: Any = obj
    for step in path.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found


def scaled_causes(scale: Scale, obj: Json) -> list[Cause]:
    """Wanted and observed replicas are numbers of things."""
    found = []
    for path in (scale.spec, scale.status):
        replicas = at(obj, path)
        if isinstance(replicas, int) and replicas < 0:
            found.append(invalid_value(f".{path}", replicas, "should be a non-negative integer"))
        elif isinstance(replicas, int) and replicas > _MOST:
            text = f"should be less than or equal to {_MOST}"
            found.append(invalid_value(f".{path}", replicas, text))
    return found
