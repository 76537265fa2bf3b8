"""The CustomResourceDefinitions of our kinds, made from the Structs.

`python -m virt_types.crds` writes all of them to manifests/crds/; the embedded API server asks
`custom_resource_definitions` for those of the kinds this product acts on.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from virt_types import kinds, v1
from virt_types.cdi import objects as cdi
from virt_types.instancetype import v1beta1 as instancetype
from virt_types.kinds import KINDS, SERVED, Column, Kind
from virt_types.meta import Base
from virt_types.pool import v1beta1 as pool
from virt_types.schema import object_schema

Json = dict[str, Any]

TYPES: dict[Kind, type[Base]] = {
    kinds.VIRTUAL_MACHINE: v1.VirtualMachine,
    kinds.VIRTUAL_MACHINE_INSTANCE: v1.VirtualMachineInstance,
    kinds.REPLICA_SET: v1.VirtualMachineInstanceReplicaSet,
    kinds.PRESET: v1.VirtualMachineInstancePreset,
    kinds.MIGRATION: v1.VirtualMachineInstanceMigration,
    kinds.POOL: pool.VirtualMachinePool,
    kinds.INSTANCETYPE: instancetype.VirtualMachineInstancetype,
    kinds.CLUSTER_INSTANCETYPE: instancetype.VirtualMachineClusterInstancetype,
    kinds.PREFERENCE: instancetype.VirtualMachinePreference,
    kinds.CLUSTER_PREFERENCE: instancetype.VirtualMachineClusterPreference,
    kinds.DATA_VOLUME: cdi.DataVolume,
    kinds.DATA_SOURCE: cdi.DataSource,
}
SCALE = {
    "labelSelectorPath": ".status.labelSelector",
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
}
# What a VirtualMachineInstanceSpec could hold in 2018; virt_types.legacy turns it into today's fields.
OLD_DISK_FIELDS: Json = {
    "volumeName": {"type": "string", "description": "Deprecated: the name of the volume is the name of the disk."},
}
OLD_VOLUME_FIELDS: Json = {
    "registryDisk": {
        "type": "object",
        "description": "Deprecated: the former name of containerDisk.",
        "required": ["image"],
        "properties": {
            "image": {"type": "string"},
            "imagePullPolicy": {"type": "string"},
            "imagePullSecret": {"type": "string"},
            "path": {"type": "string"},
        },
    },
}
OLD_VERSION = "v1alpha2"
# Not in KubeVirt's schema, and in published manifests: the group that every sourceRef has.
SOURCE_REF_GROUP: Json = {
    "type": "string",
    "enum": ["cdi.kubevirt.io"],
    "description": "Always cdi.kubevirt.io, and best left out: KubeVirt does not know it.",
}


def custom_resource_definitions(wanted: Iterable[Kind] = SERVED) -> list[Json]:
    """One CustomResourceDefinition per kind, as plain data that shares nothing with the next call's."""
    return [msgspec.json.decode(_packed(kind)) for kind in wanted]


def stored_schema(kind: Kind) -> Json:
    """The schema of the version that is stored."""
    schema: Json = msgspec.json.decode(_packed(kind))["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


@cache
def _packed(kind: Kind) -> bytes:
    """Made once: walking the types takes some 20 ms, reading the result one."""
    return msgspec.json.encode(_definition(kind, TYPES[kind]))


def _definition(kind: Kind, type_: type[Base]) -> Json:
    schema = object_schema(type_)
    _take_source_ref_group(schema)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.resource, "labels": {"kubevirt.io": ""}},
        "spec": {
            "group": kind.group,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": list(kind.short_names),
            }
            | ({"categories": list(kind.categories)} if kind.categories else {}),
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [_version(kind, version, schema) for version in kind.versions],
        },
    }


def _take_source_ref_group(schema: Json) -> None:
    """Let every sourceRef below `schema` have its group."""
    properties = schema.get("properties") or {}
    for name, sub in properties.items():
        if name == "sourceRef":
            sub["properties"]["apiGroup"] = dict(SOURCE_REF_GROUP)
        _take_source_ref_group(sub)
    if isinstance(schema.get("items"), dict):
        _take_source_ref_group(schema["items"])


def _version(kind: Kind, version: str, schema: Json) -> Json:
    stored = version == kind.version
    made: Json = {"name": version, "served": True, "storage": stored}
    if version in kind.deprecated:
        made["deprecated"] = True
        made["deprecationWarning"] = kind.deprecation.format(version=f"{kind.group}/{version}")
    if kind.status:
        made["subresources"] = {"status": {}} | ({"scale": SCALE} if kind.scale else {})
    if kind.columns:
        made["additionalPrinterColumns"] = [_column(column) for column in kind.columns]
    shown = schema if stored or version not in kind.deprecated else _silent(schema)
    made["schema"] = {"openAPIV3Schema": _old_schema(shown) if version == OLD_VERSION else shown}
    return made


def _silent(schema: Json) -> Json:
    """The schema without words: with them in each version, a CRD is larger than `kubectl apply` can annotate."""
    bare = {key: value for key, value in schema.items() if key != "description"}
    if "properties" in bare:
        bare["properties"] = {name: _silent(inner) for name, inner in bare["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(bare.get(key), dict):
            bare[key] = _silent(bare[key])
    return bare


def _column(column: Column) -> Json:
    made: Json = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    if column.priority:
        made["priority"] = column.priority
    if column.description:
        made["description"] = column.description
    return made


def _old_schema(schema: Json) -> Json:
    """Today's schema, which also knows the fields of 2018."""
    old = copy.deepcopy(schema)
    spec = old["properties"]["spec"]["properties"]
    if "template" in spec:
        spec = spec["template"]["properties"]["spec"]["properties"]
    spec["domain"]["properties"]["devices"]["properties"]["disks"]["items"]["properties"] |= copy.deepcopy(
        OLD_DISK_FIELDS
    )
    spec["volumes"]["items"]["properties"] |= copy.deepcopy(OLD_VOLUME_FIELDS)
    return old


def manifest(definition: Json) -> str:
    """YAML of one definition, without anchors."""
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, _data: Any) -> bool:
            return True

    head = "# Written by `python -m virt_types.crds` from the types in virt_types; do not edit.\n"
    return head + yaml.dump(definition, Dumper=Plain, sort_keys=False, width=120)


def write(folder: Path) -> list[Path]:
    """Writes one file per kind; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for definition in custom_resource_definitions(KINDS):
        path = folder / f"{definition['metadata']['name']}.yaml"
        path.write_text(manifest(definition))
        paths.append(path)
    return paths


if __name__ == "__main__":
    for written in write(Path(__file__).resolve().parent.parent / "manifests" / "crds"):
        print(written)
