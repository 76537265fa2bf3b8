"""The metadata of templates, which the schemas leave open: unknown fields, and words that only components may write.

Called with the object as it came, because a typed one forgets what it doesn't know.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from msgspec.structs import fields

from virt_types.errors import Cause
from virt_types.meta import ObjectMeta
from virt_types.validation.scope import shown, unsupported

KNOWN = tuple(field.encode_name for field in fields(ObjectMeta))
MACHINE = (("template",), ("dataVolumeTemplates", "*"))
# Kind -> where its spec has templates with metadata.
TEMPLATES = {
    "VirtualMachine": MACHINE,
    "VirtualMachineInstanceReplicaSet": (("template",),),
    "VirtualMachinePool": (
        ("virtualMachineTemplate",),
        *(("virtualMachineTemplate", "spec", *inner) for inner in MACHINE),
    ),
}


def unknown_metadata(obj: dict[str, Any]) -> Iterator[Cause]:
    """A field of a template's metadata that there isn't, such as `lables`."""
    for steps in TEMPLATES.get(str(obj.get("kind")), ()):
        for path, metadata in _found(obj.get("spec"), steps, "spec"):
            yield from (_unknown(path, key) for key in metadata if key not in KNOWN)


def _unknown(path: str, key: str) -> Cause:
    field = f"{path}.{shown(key)}"
    near = get_close_matches(key, KNOWN, n=1)
    return unsupported(field, f"{field} in body is a forbidden property" + (f", use {near[0]}" if near else ""))


def _found(value: Any, steps: tuple[str, ...], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every metadata below `steps`, with its path; `*` goes through a list."""
    if not steps:
        metadata = value.get("metadata") if isinstance(value, dict) else None
        if isinstance(metadata, dict):
            yield f"{path}.metadata", metadata
    elif steps[0] == "*":
        for index, item in enumerate(value if isinstance(value, list) else ()):
            yield from _found(item, steps[1:], f"{path}[{index}]")
    elif isinstance(value, dict) and steps[0] in value:
        yield from _found(value[steps[0]], steps[1:], f"{path}.{steps[0]}")
