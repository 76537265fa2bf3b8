"""Tables and metadata-only views: what `kubectl get` prints and metadata informers ask for.

Custom resources bring their columns in their definition; those of built-in kinds are in `columns.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from virt_kube.api import Json
from virt_local.apiserver import represent
from virt_local.apiserver.ages import age
from virt_local.apiserver.call import Call
from virt_local.apiserver.columns import CREATED, NAME, builtin_cells, builtin_columns
from virt_local.apiserver.jsonpath import compile_path
from virt_local.apiserver.registry import Column

INCLUDE = ("None", "Metadata", "Object")


def definitions(call: Call) -> list[Json]:
    return [_definition(column) for column in _columns(call)]


def _definition(column: Column) -> Json:
    return {
        "name": column.name,
        "type": column.type,
        "format": column.format,
        "description": column.description or f"Custom resource definition column (in JSONPath format): {column.path}",
        "priority": column.priority,
    }


def _columns(call: Call) -> tuple[Column, ...]:
    if call.resource.builtin:
        return builtin_columns(call.resource)
    return (NAME, *(call.version.columns or (CREATED,)))


def row(call: Call, value: bytes, include: str) -> Json:
    """One row of a Table: cells, and as much of the object as was asked for."""
    obj = represent.decode(value)
    cells: list[Any] = (
        builtin_cells(call.resource, obj)
        if call.resource.builtin
        else [obj["metadata"]["name"], *(_cell(column, obj) for column in call.version.columns or (CREATED,))]
    )
    found: Json = {"cells": cells, "object": None}
    if include == "Object":
        found["object"] = msgspec.Raw(represent.served(value, call.resource, call.version))
    elif include == "Metadata":
        found["object"] = partial(obj)
    return found


def _cell(column: Column, obj: Json) -> Any:
    """A cell of a printer column: the first value its path finds; what isn't there or has another type is null."""
    try:
        found = compile_path(column.path)(obj)
    except ValueError:
        return None
    value = found[0] if found else None
    if value is None:
        return None
    match column.type:
        case "date":
            return age(value) if isinstance(value, str) else None
        case "string":
            return _text(value)
        case "boolean":
            return value if isinstance(value, bool) else None
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    return int(number) if column.type == "integer" and number is not None else number


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return msgspec.json.encode(value).decode()


def table(call: Call, values: Iterable[bytes], meta: Json, include: str, version: str, *, heads: bool = True) -> bytes:
    found: Json = {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": meta,
        "columnDefinitions": definitions(call) if heads else None,
        "rows": [row(call, value, include) for value in values],
    }
    return msgspec.json.encode(found)


def scale_table(body: bytes, include: str, version: str) -> bytes:
    """A Scale as a Table of one row."""
    obj = represent.decode(body)
    meta, desired, status = obj["metadata"], obj["spec"].get("replicas", 0), obj["status"]
    columns = (
        NAME,
        Column("Desired", "integer", "", description="Number of desired replicas"),
        Column("Available", "integer", "", description="Number of actual replicas"),
        CREATED,
    )
    shown: Json = {
        "cells": [meta["name"], desired, status["replicas"], age(meta.get("creationTimestamp"))],
        "object": None,
    }
    if include != "None":
        shown["object"] = partial(obj) if include == "Metadata" else obj
    found = {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": {"resourceVersion": meta["resourceVersion"]},
        "columnDefinitions": [_definition(column) for column in columns],
        "rows": [shown],
    }
    return msgspec.json.encode(found)


def partial(obj: Json) -> Json:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def partial_bytes(value: bytes, version: str) -> bytes:
    found = partial(represent.decode(value))
    found["apiVersion"] = f"meta.k8s.io/{version}"
    return msgspec.json.encode(found)


def partial_list(values: Iterable[bytes], meta: Json, version: str) -> bytes:
    return msgspec.json.encode(
        {
            "kind": "PartialObjectMetadataList",
            "apiVersion": f"meta.k8s.io/{version}",
            "metadata": meta,
            "items": [partial(represent.decode(value)) for value in values],
        }
    )
