"""The table of KubeVirt's slips: each row is a slip, and our rules say what the row says instead."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from virt_types.check import judge
from virt_types.codec import from_builtins
from virt_types.v1 import VirtualMachine
from virt_types.validation import update
from virt_types.validation.corrections import CORRECTIONS, Correction, corrected

DOCS = Path(__file__).resolve().parents[3] / "docs/differences.md"
DISK = {"name": "root", "disk": {"bus": "virtio"}}
VOLUME = {"name": "root", "containerDisk": {"image": "i"}}
NETWORK = {"name": "default", "pod": {}}


def manifest(kind: str, spec: Any, api: str = "kubevirt.io/v1") -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "a"}, "spec": spec}


def guest(disk: Any = None, volume: Any = None, domain: Any = None, nics: Any = (), **spec: Any) -> dict[str, Any]:
    devices = {"disks": [DISK | (disk or {})], "interfaces": list(nics)}
    inner = {"memory": {"guest": "64Mi"}} | (domain or {})
    inner["devices"] = devices | inner.get("devices", {})
    return manifest("VirtualMachineInstance", {"domain": inner, "volumes": [VOLUME | (volume or {})]} | spec)


def machine(templates: Any, domain: Any = None) -> dict[str, Any]:
    template = {"spec": guest(domain=domain)["spec"]}
    return manifest("VirtualMachine", {"runStrategy": "Halted", "template": template, "dataVolumeTemplates": templates})


NIC = {"name": "default", "bridge": {}}
NEEDED = "requiredDuringSchedulingIgnoredDuringExecution"
SPREAD = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
DISPLAY = {"virtualGPUOptions": {"display": {}}}
CPUS = {"requests": {"cpu": "1500m"}, "limits": {"cpu": "1500m"}}
# Objects that break what the rows are about.
BROKEN = [
    guest({"disk": {"bus": "virtio", "pciAddress": "x"}}),
    guest({"blockSize": {"custom": {"logical": 1, "physical": 1}}}),
    guest({"name": "A"}),
    guest({"disk": {}, "lun": {}}),
    guest(volume={"containerDisk": {"image": "i", "path": "/"}}),
    guest(volume={"cloudInitNoCloud": {"userDataBase64": "%"}, "containerDisk": None}),
    guest(nics=[NIC, {"name": "b", "bridge": {}}], networks=[NETWORK, {"name": "b", "pod": {}}]),
    guest(domain={"devices": {"hostDevices": [{"name": "a", "deviceName": "b"}], "sound": {"name": ""}}}),
    guest(domain={"launchSecurity": {"sev": {}}}),
    guest(domain={"cpu": {"dedicatedCpuPlacement": True}, "resources": CPUS}),
    guest(affinity={"podAffinity": {NEEDED: [{"topologyKey": "a", "namespaces": ["A"]}]}}),
    guest(topologySpreadConstraints=[SPREAD | {"labelSelector": {"matchLabels": {"a b": "c"}}}]),
    guest(volume={"containerDisk": None, "containerPath": {"path": "/a"}}),
    guest(nics=[NIC | {"bootOrder": 0}], networks=[NETWORK]),
    guest(domain={"firmware": {"acpi": {"slicNameRef": "x"}}}),
    guest(domain={"devices": {"gpus": [{"name": name, "deviceName": "d"} | DISPLAY for name in "ab"]}}),
    guest(domain={"devices": {"video": {"type": "vga"}, "autoattachGraphicsDevice": False}}),
    guest(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}),
    machine([], {"cpu": {"dedicatedCpuPlacement": True}}),
    machine([{"metadata": {"name": "d"}, "spec": {"storage": {}}}]),
    machine([{"metadata": {"name": "d"}, "spec": {"source": {}, "storage": {}}}]),
    manifest(
        "VirtualMachinePool",
        {"maxUnavailable": "x%", "virtualMachineTemplate": {"spec": machine([])["spec"]}, "selector": {}},
        "pool.kubevirt.io/v1beta1",
    ),
    machine([{"metadata": {"name": "d"}, "spec": {"source": {"blank": {}}}}]),
    machine([{"metadata": {"name": "d"}, "spec": {"source": {"blank": {}}, "storage": {}}}]),
    manifest("VirtualMachineInstanceMigration", {"vmiName": "a", "priority": "system-critical"}),
    manifest(
        "VirtualMachineInstanceReplicaSet",
        {"replicas": -1, "selector": {}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": guest()["spec"]}},
    ),
]


def said_of_volume_requests() -> list[Any]:
    add = {"addVolumeOptions": {"name": "a", "disk": DISK, "volumeSource": {}}}
    old = from_builtins(machine([]), VirtualMachine)
    new = from_builtins(machine([]) | {"status": {"volumeRequests": [add, add]}}, VirtualMachine)
    return update.vm_update(old, new)


@pytest.fixture(scope="module")
def said() -> tuple[set[str], set[str]]:
    """Every field and every message of ours about those."""
    causes = [cause for obj in BROKEN for cause in judge(obj).causes] + said_of_volume_requests()
    return {cause.field for cause in causes}, {cause.message for cause in causes}


@pytest.mark.parametrize("row", CORRECTIONS, ids=lambda row: row.theirs[:40])
def test_each_row_is_a_slip_and_we_say_it_right(row: Correction, said: tuple[set[str], set[str]]) -> None:
    fields, messages = said
    assert re.search(row.theirs, row.example)
    now = corrected(row.example)
    assert now == row.now != row.example
    assert corrected(now) == now, "what is right stays"
    assert now in (messages if row.spoken else fields)


def test_what_we_say_needs_no_correction(said: tuple[set[str], set[str]]) -> None:
    for words in (*said, *(cause for row in rules() for cause in [{row["says"]}, {f"spec.{row['field']}"}])):
        assert {word for word in words if corrected(word) != word} == set()


def rules() -> list[dict[str, str]]:
    loaded: list[dict[str, str]] = yaml.safe_load(Path(__file__).with_name("rules.yaml").read_text())
    return loaded


# Beyond the recording, but said by the same webhooks.
SEEN_ELSEWHERE = [
    row
    for row in CORRECTIONS
    if row.example
    in {
        "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].namespace",
        "spec[0].bootOrder",
        "spec.dataVolumeTemplate[0].source",
        'maxUnavailable percentage value "x" is invalid: strconv.Atoi: parsing "x": invalid syntax',
        "spec.topologySpreadConstraints.labelSelector.matchLabels",
        "spec.acpi.slicNameRef",
        "spec.GPUs",
        "spec.video",
    }
]


def test_each_row_was_recorded_or_is_marked_in_the_specification(shared_data: Path) -> None:
    answers = (shared_data / "oracle/admission.jsonl").read_text()
    texts = {
        text
        for line in answers.splitlines()
        for cause in (json.loads(line)["response"]["body"].get("details") or {}).get("causes") or ()
        for text in (cause.get("field") or "", cause["message"])
    }
    specification = (shared_data / "../spec/control-plane.md").read_text()
    unseen = [
        row.theirs
        for row in CORRECTIONS
        if row not in SEEN_ELSEWHERE
        and not any(re.search(row.theirs, text) for text in texts)
        and not re.search(row.theirs.lstrip("^").replace(" $", " `"), specification)  # texts end with their quote
    ]
    assert unseen == []


def test_the_documentation_shows_the_table() -> None:
    text = DOCS.read_text()
    assert [row.example for row in CORRECTIONS if f"`{row.example}`" not in text] == []
    assert [row.now for row in CORRECTIONS if f"`{row.now}`" not in text] == []


def test_every_field_of_a_slip_is_looked_for_in_templates_too() -> None:
    for row in CORRECTIONS:
        if row.example.startswith("spec.domain"):
            inside = row.example.replace("spec.", "spec.template.spec.", 1)
            assert corrected(inside) == row.now.replace("spec.", "spec.template.spec.", 1)
