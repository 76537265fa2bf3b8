"""The CustomResourceDefinitions of our kinds, made from the Structs.

`python -m virt_types.crds` writes them to manifests/crds/; the embedded API server asks `custom_resource_definitions`.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from virt_types.kinds import DEPRECATION, VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE, Column, Kind
from virt_types.meta import Base
from virt_types.schema import object_schema
from virt_types.v1 import VirtualMachine, VirtualMachineInstance

Json = dict[str, Any]

TYPES: tuple[tuple[Kind, type[Base]], ...] = (
    (VIRTUAL_MACHINE, VirtualMachine),
    (VIRTUAL_MACHINE_INSTANCE, VirtualMachineInstance),
)
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


def custom_resource_definitions() -> list[Json]:
    """One CustomResourceDefinition per kind, as plain data that shares nothing with the next call's."""
    return [_definition(kind, type_) for kind, type_ in TYPES]


def _definition(kind: Kind, type_: type[Base]) -> Json:
    schema = object_schema(type_)
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
                "categories": list(kind.categories),
            },
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "versions": [_version(kind, version, schema) for version in kind.versions],
        },
    }


def _version(kind: Kind, version: str, schema: Json) -> Json:
    stored = version == kind.version
    made: Json = {"name": version, "served": True, "storage": stored}
    if not stored:
        made["deprecated"] = True
        made["deprecationWarning"] = DEPRECATION.format(version=f"{kind.group}/{version}")
    if kind.status:
        made["subresources"] = {"status": {}}
    made["additionalPrinterColumns"] = [_column(column) for column in kind.columns]
    made["schema"] = {"openAPIV3Schema": _old_schema(schema) if version == OLD_VERSION else copy.deepcopy(schema)}
    return made


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
    for definition in custom_resource_definitions():
        path = folder / f"{definition['metadata']['name']}.yaml"
        path.write_text(manifest(definition))
        paths.append(path)
    return paths


if __name__ == "__main__":
    for written in write(Path(__file__).resolve().parent.parent / "manifests" / "crds"):
        print(written)
