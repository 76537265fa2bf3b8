"""The CRDs: what is committed is what the types say, and they say what KubeVirt's CRDs say."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from virt_types import crds
from virt_types.kinds import CLUSTER_INSTANCETYPE, KINDS, MIGRATION, OLD, SERVED
from virt_types.structural import compile_schema

FOLDER = Path(__file__).resolve().parents[3] / "manifests" / "crds"
DEFINITIONS = {definition["metadata"]["name"]: definition for definition in crds.custom_resource_definitions(KINDS)}
# Said by us and by nobody upstream, or the other way round, and harmless: what a missing keyword means anyway.
SAME_AS_ABSENT = {"description", "x-kubernetes-list-type: atomic"}
# Unsigned in KubeVirt, where the schema lets through what its decoder then refuses; we bound them in the schema.
BOUNDED_HERE = {
    "acpiIndex", "bootOrder", "consecutiveFailCount", "cpuSet", "directMigrationNodePorts", "discardGranularity",
    "logical", "offsetSeconds", "option", "overcommitPercent", "physical", "targetCPUSet",
    "targetDirectMigrationNodePorts",
}  # fmt: skip


# Fields beyond KubeVirt's and CDI's, by kind: one machine reads what published examples write.
OURS_ALONE = {"DataSource": ("http", "registry")}
BEYOND = {("sourceRef", "apiGroup")}


def comparable(schema: Any, name: str = "") -> Any:
    if isinstance(schema, list):
        return sorted(json.dumps(element, sort_keys=True) for element in schema)
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if key in SAME_AS_ABSENT or f"{key}: {value}" in SAME_AS_ABSENT:
            continue
        if key == "format" and name in BOUNDED_HERE:
            continue
        if key == "properties":
            fields = {field: sub for field, sub in value.items() if (name, field) not in BEYOND}
            kept[key] = {field: comparable(sub, field) for field, sub in fields.items()}
        else:
            kept[key] = comparable(value, name)
    return kept


@pytest.mark.parametrize("name", DEFINITIONS)
def test_committed_files_are_fresh(name: str) -> None:
    assert (FOLDER / f"{name}.yaml").read_text() == crds.manifest(DEFINITIONS[name]), "run python -m virt_types.crds"


@pytest.mark.parametrize("name", DEFINITIONS)
def test_kubectl_apply_can_annotate_it(name: str) -> None:
    """`kubectl apply` keeps the manifest as JSON in an annotation, and all annotations have 256 KiB."""
    assert len(json.dumps(DEFINITIONS[name])) < 256 * 1024 - 4096


def test_no_file_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(DEFINITIONS)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_agrees_with_kubevirts(shared_data: Path, name: str) -> None:
    ours = copy.deepcopy(DEFINITIONS[name]["spec"])
    names = (f"{name}.yaml", f"cdi-{ours['names']['singular']}.yaml")
    path = next(path for path in map((shared_data / "crds").joinpath, names) if path.exists())
    theirs = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]
    for field in OURS_ALONE.get(ours["names"]["kind"], ()):
        for part in ("spec", "status"):
            schema = ours["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part]
            del schema["properties"]["source"]["properties"][field]
    mine = {version["name"]: comparable(version) for version in ours["versions"] if version["name"] != "v1alpha2"}
    their = {version["name"]: comparable(version) for version in theirs["versions"]}
    if ours["names"]["kind"] == "VirtualMachineInstancePreset":  # stored as v1 here, as v1alpha3 there
        for version in (*mine.values(), *their.values()):
            del version["storage"]
    assert mine == their
    assert {**theirs["names"], "listKind": f"{theirs['names']['kind']}List"} == ours["names"]
    assert (ours["group"], ours["scope"]) == (theirs["group"], theirs["scope"])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "v1alpha2" in kind.versions], ids=lambda kind: kind.kind)
def test_old_fields_are_known_to_the_old_version_only(kind: Any) -> None:
    spec = {
        "domain": {"devices": {"disks": [{"name": "d", "volumeName": "v"}]}},
        "volumes": [{"name": "v", "registryDisk": {"image": "i"}}],
    }
    obj = {
        "metadata": {"name": "x"},
        "spec": spec if kind.kind == "VirtualMachineInstance" else {"template": {"spec": spec}},
    }
    if kind.scale:
        obj["spec"]["selector"] = {}
    versions = {version["name"]: version for version in DEFINITIONS[kind.resource]["spec"]["versions"]}
    for version, unknown in (("v1alpha2", 0), ("v1alpha3", 2), ("v1", 2)):
        walker = compile_schema(versions[version]["schema"]["openAPIV3Schema"])
        result = walker(obj, prune=False)
        assert (len(result.unknown), result.causes) == (unknown, []), version


def test_printable_status_defaults_to_stopped() -> None:
    schema = DEFINITIONS["virtualmachines.kubevirt.io"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    obj = {"spec": {"template": {"spec": {"domain": {"devices": {}}}}}, "status": {}}
    assert compile_schema(schema)(obj) == ([], [])
    assert obj["status"] == {"printableStatus": "Stopped"}


def test_definitions_share_nothing() -> None:
    first, second = crds.custom_resource_definitions(), crds.custom_resource_definitions()
    first[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"].clear()
    assert second[0]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    assert second[0]["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["properties"]


def test_only_what_is_acted_on_is_served() -> None:
    """Nobody may create an object that nothing reconciles."""
    served = [definition["metadata"]["name"] for definition in crds.custom_resource_definitions()]
    assert served == [kind.resource for kind in SERVED]
    assert MIGRATION not in SERVED  # there is one node


def test_deprecated_versions_warn() -> None:
    for name, definition in DEFINITIONS.items():
        for version in definition["spec"]["versions"]:
            assert bool(version.get("deprecated")) == ("deprecationWarning" in version), name
            if version["name"] in OLD:
                assert f"{definition['spec']['group']}/{version['name']} " in version["deprecationWarning"]


def test_cluster_kinds_are_in_no_category() -> None:
    names = DEFINITIONS[CLUSTER_INSTANCETYPE.resource]["spec"]["names"]
    assert "categories" not in names
