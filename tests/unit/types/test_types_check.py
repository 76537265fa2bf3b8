"""judge() answers as the recorded API server did; documents and examples get the right verdict."""

from __future__ import annotations

import copy
import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virt_types import crds
from virt_types.check import GROUPS, MISPLACED, RULES, judge, known_kind
from virt_types.kinds import KINDS
from virt_types.manifest import load

POOL = "VirtualMachinePool"
# Refused here, taken by KubeVirt.
STRICTER = {"create-instancetype/cpu-0": "a machine without processors"}
# Answered by what judge() has no share in.
SERVERS = {
    "create-migration/no-vmi": "needs the VMI",
    "create-migration/finished-vmi": "needs the VMI",
    "migration-real/second": "needs the other migrations",
}
# KubeVirt's field -> where the value really is.
FIELDS = {".spec.replicas": "spec.replicas", "spec.migrationPriority": "spec.priority"}
# What a VM or VMI is answered is compared in test_types_admission_recorded.py.
COMPARED_ELSEWHERE = {"VirtualMachine", "VirtualMachineInstance"}
UNCHECKED = "some validation rules were not checked"


def test_every_kind_has_its_rules() -> None:
    assert {kind.kind for kind in KINDS} == set(RULES) == {kind.kind for kind in crds.TYPES}


def test_recorded_creates(shared_data: Path) -> None:
    wrong, seen = {}, 0
    for line in (shared_data / "oracle/admission.jsonl").read_text().splitlines():
        record = json.loads(line)
        request, code, answer = record["request"], record["response"]["code"], record["response"]["body"]
        body, case = request["body"], record["case"]
        kind = known_kind(body) if isinstance(body, dict) else None
        if request["method"] != "POST" or kind is None or kind.kind in COMPARED_ELSEWHERE or case in SERVERS:
            continue
        seen += 1
        verdict = judge(body)
        if code == 400 and "unknown field" in answer["message"]:
            expected = set(re.findall(r'unknown field "([^"]+)"', answer["message"]))
            found = {cause.field for cause in verdict.causes}
        else:
            causes = answer.get("details", {}).get("causes", ()) if code != 201 else ()
            expected = {
                (FIELDS.get(c["field"], c["field"]), c["message"]) for c in causes if UNCHECKED not in c["message"]
            }
            found = {(cause.field, cause.message) for cause in verdict.causes}
        if found != expected and case not in STRICTER:
            wrong[case] = (found, expected)
    assert seen > 25
    assert wrong == {}


def test_examples_of_kubevirt(shared_data: Path) -> None:
    """Accepted as there; refused for the gates that are closed there as well."""
    refused: dict[str, list[str]] = {}
    for path in sorted((shared_data / "manifests").glob("*.yaml")):
        for document in load(path.read_bytes(), path.name):
            if str(document.obj["apiVersion"]).partition("/")[0] in GROUPS:
                verdict = judge(document.obj)
                if not verdict.accepted:
                    refused[path.name] = [cause.message.partition(" is not")[0] for cause in verdict.causes]
    assert refused == {
        "vm-cirros-with-sidecar-hook-configmap.yaml": ["sidecar feature gate"],
        "vmi-usb.yaml": ["Host Devices feature gate"],
        "vmi-with-sidecar-hook.yaml": ["sidecar feature gate"],
        "vmi-with-sidecar-hook-configmap.yaml": ["sidecar feature gate"],
    }


def documents(text: str) -> list[dict[str, Any]]:
    """The manifests of a page: fenced blocks, and blocks that are indented."""
    fenced = re.split(r"^\s*```.*\n", text, flags=re.MULTILINE)
    indented = [textwrap.dedent(block) for block in re.findall(r"(?:^(?: {4}.*|)\n)+", text, re.MULTILINE)]
    manifests = [block for block in (*fenced, *indented) if re.match(r"\s*apiVersion:", block)]
    return [document.obj for block in manifests for document in load(block.encode(), "page")]


def test_the_users_documents(shared_seeds: Path) -> None:
    """Each manifest is accepted, or told what is wrong with it and where it belongs."""
    verdicts = []
    for path in sorted(shared_seeds.glob("*.txt")):
        for obj in documents(path.read_text()):
            verdict = judge(obj)
            said = "; ".join(f"{cause.field}: {cause.message}" for cause in verdict.causes)
            verdicts.append((path.name[:3], verdict.kind, said))
    below = "spec.virtualMachineTemplate.spec"
    belongs = f"it belongs to {below}.template.spec"
    pool = [f"{below}.template: Required value"]
    fields = ("domain", "volumes", "networks")
    pool += [f'{below}.{field}: unknown field "{below}.{field}", {belongs}' for field in fields]
    bare = "spec.domain: Required value"  # the page shows the frame only: `spec: {}`
    assert verdicts == [
        ("000", "VirtualMachineInstance", ""),
        ("001", "VirtualMachine", ""),
        ("002", "VirtualMachine", ""),
        ("002", "DataSource", ""),
        ("002", POOL, "; ".join(pool)),
        ("002", "DataSource", ""),
        ("004", "VirtualMachineInstance", bare),
        ("004", "VirtualMachine", "spec: Required value"),
    ]


def test_what_the_users_pool_becomes_when_it_follows_the_advice(shared_seeds: Path) -> None:
    page = next(shared_seeds.glob("002_*.txt")).read_text()
    pool = next(obj for obj in documents(page) if obj["kind"] == POOL)
    machine = pool["spec"]["virtualMachineTemplate"]["spec"]
    moved = {name: machine.pop(name) for name in ("domain", "volumes", "networks")}
    machine["template"] = {"spec": moved}
    assert judge(pool).causes == []


def test_every_hint_is_for_a_field_that_is_unknown() -> None:
    for kind, pattern, _ in MISPLACED:
        field = pattern.replace("\\.", ".").replace("(?:", "").partition("|")[0].replace(".*", "spec")
        name = kind or "DataVolume"
        obj: dict[str, Any] = {"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": name, "metadata": {"name": "a"}}
        inner = obj
        *parents, last = field.split(".")
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = "x"
        assert any("unknown field" in cause.message and ", " in cause.message for cause in judge(obj).causes), field


PREFERENCES = {
    "apiVersion": "instancetype.kubevirt.io/v1beta1",
    "kind": "VirtualMachinePreference",
    "metadata": {"name": "x"},
}
SIZES = {
    "apiVersion": "instancetype.kubevirt.io/v1beta1",
    "kind": "VirtualMachineInstancetype",
    "metadata": {"name": "s"},
}
VOLUME = {"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": "DataVolume", "metadata": {"name": "d"}}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
BLANK = {"source": {"blank": {}}, "pvc": CLAIM}
MIGRATION = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstanceMigration", "metadata": {"name": "m"}}


def claim(**changes: Any) -> dict[str, Any]:
    return BLANK | {"pvc": CLAIM | changes}


def storage(size: Any) -> dict[str, Any]:
    return claim(resources={"requests": {"storage": size}})


@pytest.mark.parametrize(
    ("obj", "spec", "field", "message"),
    [
        (VOLUME, {"pvc": CLAIM}, "spec.sourceRef", "Data volume should have either Source, SourceRef, or be"),
        (VOLUME, {"source": {"blank": {}}}, "spec", "Missing Data volume PVC or Storage"),
        (VOLUME, BLANK | {"storage": CLAIM}, "spec", "Duplicate storage definition"),
        (VOLUME, {"source": {}, "pvc": CLAIM}, "spec.source", "Missing dataVolume valid source"),
        (VOLUME, {"source": {"blank": {}, "upload": {}}, "pvc": CLAIM}, "spec.source", "Multiple dataVolume sources"),
        (
            VOLUME,
            claim(dataSource={"kind": "A", "name": "a"}),
            "spec.source",
            "External population is incompatible with Source and SourceRef",
        ),
        (
            VOLUME,
            {
                "pvc": CLAIM
                | {"dataSource": {"kind": "A", "name": "a"}, "dataSourceRef": {"kind": "A", "name": "b"}}
            },
            "spec.pvc.dataSourceRef",
            "DataSourceRef and DataSource must match",
        ),
        (VOLUME, claim(accessModes=[]), "spec.pvc.accessModes", "Required value: at least 1 access mode is required"),
        (VOLUME, claim(accessModes=["ReadWriteOnce", "ReadOnlyMany"]), "spec.pvc.accessModes", "PVC multiple"),
        (VOLUME, claim(accessModes=["X"]), "spec.pvc.accessModes", 'Unsupported value: "X": supported values: "Read'),
        (VOLUME, claim(resources={}), "spec.pvc.resources.requests.storage", "PVC size is missing"),
        (VOLUME, storage(0), "spec.pvc.resources.requests.storage", "PVC size can't be equal or less than zero"),
        (VOLUME, storage("1k"), "spec.pvc.resources.requests.storage", "PVC size should be at least 1MiB"),
        (
            VOLUME,
            {"source": {"blank": {}}, "storage": {}},
            "spec.storage.resources.requests.storage",
            "Storage size is missing",
        ),
        (VOLUME, {"sourceRef": {"kind": "X", "name": "a"}, "pvc": CLAIM}, "spec.sourceRef.kind", "Unsupported"),
        (VOLUME, {"sourceRef": {"kind": "", "name": "a"}, "pvc": CLAIM}, "spec.sourceRef.kind", "Missing"),
        (
            VOLUME,
            {"sourceRef": {"kind": "DataSource", "name": ""}, "pvc": CLAIM},
            "spec.sourceRef.name",
            "Missing sourceRef name",
        ),
        (
            VOLUME | {"kind": "DataSource"},
            {"source": {"pvc": {"name": "a", "namespace": "b"}, "snapshot": {"name": "a", "namespace": "b"}}},
            "spec.source",
            "Multiple dataSource sources",
        ),
        (SIZES, {"cpu": {"guest": 0}, "memory": {"guest": "1Gi"}}, "spec.cpu.guest", "spec.cpu.guest '0': must be"),
        (SIZES, {"cpu": {"guest": 1, "maxSockets": -1}, "memory": {"guest": "1Gi"}}, "spec.cpu.maxSockets", "spec.cpu"),
        (
            PREFERENCES,
            {"requirements": {"cpu": {"guest": -1}}},
            "spec.requirements.cpu.guest",
            "spec.requirements.cpu.guest '-1': must not be negative.",
        ),
        (PREFERENCES, {"cpu": {"preferredCPUTopology": ""}}, "spec.cpu.preferredCPUTopology", "unknown preferred"),
        (SIZES, {"cpu": {"guest": 1}, "memory": {"guest": "1k"}}, "spec.memory.guest", "spec.memory.guest '1k': must"),
        (
            SIZES,
            {"cpu": {"guest": 1}, "memory": {"guest": "1Gi", "overcommitPercent": 5, "hugepages": {"pageSize": "2Mi"}}},
            "spec.memory.overcommitPercent",
            "spec.memory.overcommitPercent and spec.memory.hugepages should not be requested together.",
        ),
        (
            PREFERENCES,
            {"cpu": {"preferredCPUTopology": "boxes"}},
            "spec.cpu.preferredCPUTopology",
            "unknown preferredCPUTopology boxes",
        ),
        (
            PREFERENCES,
            {"cpu": {"preferredCPUTopology": "spread", "spreadOptions": {"across": "Boxes"}}},
            "spec.cpu.spreadOptions.across",
            "across Boxes is not supported",
        ),
        (
            PREFERENCES,
            {"cpu": {"preferredCPUTopology": "spread", "spreadOptions": {"across": "CoresThreads", "ratio": 4}}},
            "spec.cpu.spreadOptions.ratio",
            "only a ratio of 2",
        ),
        (
            PREFERENCES,
            {"preferSpreadSocketToCoreRatio": -1},
            "spec.preferSpreadSocketToCoreRatio",
            "spec.preferSpreadSocketToCoreRatio '-1': must not be negative.",
        ),
        (MIGRATION, {}, "spec.vmiName", "vmiName is missing"),
    ],
)  # fmt: skip
def test_rules_of_the_small_kinds(obj: dict[str, Any], spec: dict[str, Any], field: str, message: str) -> None:
    causes = judge(obj | {"spec": copy.deepcopy(spec)}).causes
    assert [cause for cause in causes if cause.field == field and cause.message.startswith(message)], causes


@pytest.mark.parametrize(
    "spec",
    [
        BLANK,
        {"source": {"pvc": {"name": "a", "namespace": "b"}}, "storage": {}},
        {"sourceRef": {"kind": "DataSource", "name": "a"}, "storage": {}},
        {
            "source": {"http": {"url": "http://a/b", "checksum": "sha256:00"}},
            "storage": {"resources": CLAIM["resources"]},
        },
    ],
)
def test_good_data_volumes(spec: dict[str, Any]) -> None:
    assert judge(VOLUME | {"spec": spec}).causes == []


def test_a_kind_in_the_wrong_version_is_told_the_right_one() -> None:
    (cause,) = judge({"apiVersion": "cdi.kubevirt.io/v1", "kind": "DataVolume"}).causes
    assert cause.message.endswith('use apiVersion "cdi.kubevirt.io/v1beta1"')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)


@given(st.sampled_from(KINDS), JSON)
def test_no_object_is_too_strange(kind: Any, spec: Any) -> None:
    obj = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "a"}, "spec": spec}
    before = copy.deepcopy(obj)
    verdict = judge(obj)
    assert verdict.accepted != bool(verdict.causes)
    assert obj == before
