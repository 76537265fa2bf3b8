"""Our defaults and rules against 500 create requests answered by KubeVirt (../shared/data/oracle/admission.jsonl).

The tables are the whole list of differences; a difference that goes away has to leave its table.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from virt_types.codec import encode, from_builtins, to_builtins
from virt_types.crds import custom_resource_definitions
from virt_types.defaults import default_vm, default_vmi
from virt_types.errors import VirtError
from virt_types.kinds import VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE
from virt_types.structural import UNCHECKED_RULES, compile_schema
from virt_types.v1 import VirtualMachine, VirtualMachineInstance
from virt_types.validation import validate_vm, validate_vmi

UUID = "5d307ca9-b3ef-428c-8861-06e72d69f223"

# Refused here, taken by KubeVirt.
STRICTER = {
    "no-memory": "a VM without memory could never start",
    "containerdisk-no-image": "nothing to pull",
    "disk-shareable-cache": "libvirt refuses it",
    "emptydisk-zero": "a disk of no bytes",
    "emptydisk-neg": "a disk of less than no bytes",
    "pvc-no-claim": "no claim named",
    "ephemeral-no-pvc": "no claim named",
    "mem-neg": "a guest needs memory",
    "mem-zero": "a guest needs memory",
    "mem-tiny": "a guest needs memory",
    "mac-multicast": "no packet would arrive",
    "mac-broadcast": "no packet would arrive",
    "mac-zero": "libvirt refuses it",
    "mac-dup": "two interfaces would answer",
    "pod-vmnetworkcidr-bad": "no range",
    "watchdog-bad": "libvirt refuses it",
    "video-bad": "refused in an instance, so a VM should know before it starts",
    "feature-hyperv-both": "refused in an instance, so a VM should know before it starts",
    "clock-hpet-bad": "libvirt refuses it",
    "clock-pit-bad": "libvirt refuses it",
    "clock-rtc-track-bad": "libvirt refuses it",
    "probe-read-neg": "no period",
    "probe-live-neg": "no period",
    "probe-read-badport": "no port",
    "probe-live-badport": "no port",
    "cpu-feature-noname": "the schema asks for the name; KubeVirt's webhook writes an empty one first",
    "input-noname": "the schema asks for the name; KubeVirt's webhook writes an empty one first",
    "name-64": "the name becomes a label's value",
    "name-253": "the name becomes a label's value",
}
# Taken here, refused by KubeVirt.
WIDER = {
    "hostdisk": "the gate is open in this product",
    "probe-live-tcp-nonet": "the VM's template already got its default network",
    "name-empty": "the API server's rule",
    "label-long": "the API server's rule",
    "ns-mismatch": "the API server's rule",
    "create-duplicate": "the API server's rule",
    "conflict": "presets are merged by admission: test_api_presets.py",
}
# KubeVirt's text or field -> what it should have been.
CORRECTED = (
    (r"devices\.disks\.domain\.devices\.disks\.disk\[(\d+)\]\.pciAddress", r"devices.disks[\1].disk.pciAddress"),
    (r"devices\.disks\.domain\.devices\.disks\.disk\[(\d+)\]\.name", r"devices.disks[\1]"),
    (r"devices\.disks\.domain\.devices\.disks\[(\d+)\]", r"devices.disks[\1]"),
    (r"(\.(?:user|network)DataBase64)\.cloudInit\w+\.\w+ is not", r"\1 is not"),
    (r"spec\.interfaces", "spec.domain.devices.interfaces"),
    (r"dataVolumeTemplate\[(\d+)\]\.source\.sourceRef", r"dataVolumeTemplates[\1].spec.sourceRef"),
    (r"dataVolumeTemplate\[(\d+)\]\.PVC\.Storage", r"dataVolumeTemplates[\1].spec"),
    (r"dataVolumeTemplate\[", "dataVolumeTemplates["),
    (r"\.containerDisk( must (?:be an absolute path|not point)|$)", r".containerDisk.path\1"),
    (r"spec\.HostDevices", "spec.domain.devices.hostDevices"),
    (r"spec\.Sound", "spec.domain.devices.sound"),
    (r"spec\.launchSecurity", "spec.domain.launchSecurity"),
    (r"spec\.nodeAffinity", "spec.affinity.nodeAffinity"),
)
NOT_CHECKED = UNCHECKED_RULES.message  # a remark, and not always the same
SCHEMA_WORDS = (
    (r"Required value()|(\S+) in body is required", "required"),
    (r'(?:Invalid value: "\w+": )?(\S+) in body must be of type \S+: "\w+"', "of another type"),
    (r"(\S+) (?:in body )?should be one of \[.*\]", "one of"),
)
# Both refuse, for causes that differ on purpose.
OTHER_CAUSES = {
    "fw-kernelboot-noimage": "the schema asks for the field before a rule can",
    "net-multus-noname": "the schema asks for the field before a rule can",
    "disk-no-name": "the schema asks for the field before a rule can",
    "no-memory": "the cause names its field",
    "no-spec": "that null is no object is not told as well",
    "disk-io-bad": "the text names the disk",
    "volume-no-name": "the schema asks for the field before a rule can",
    "dv-no-name": "the field is the data volume's name",
    "cpu-request-neg": "rule 28, not its consequences",
    "cpu-limit-neg": "rule 28, not its consequences",
    "cpu-cores-float": "the API server's remark on the format",
    "hugepages-gt-mem": "the guest's memory counts, not a request of 0",
    "hugepages-notdiv": "the guest's memory counts, not a request of 0",
    "net-dup": "the network is a pod network, the doubled name is what is wrong",
    "nic-slirp": "the missing binding is told too, with the template's path",
    "nic-macvtap": "the missing binding is told too, with the template's path",
    "nic-dhcp-opt-range": "the field is the option list",
    "nic-dhcp-opt-dup": "the field is the option list",
    "launchsecurity-sev": "the closed gate comes first",
    "dnspolicy-bad": "rule 93",
    "dnsconfig-4ns": "the field is the whole path",
    "dnsconfig-badsearch": "the field is the whole path",
    "type-error-str": "the API server's two remarks on int-or-string",
    "many-errors": "all causes, not ten",
    "dvt-dup": "the doubled name is told",
}
WALKERS = {
    definition["spec"]["names"]["plural"]: compile_schema(
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    )
    for definition in custom_resource_definitions((VIRTUAL_MACHINE, VIRTUAL_MACHINE_INSTANCE))
}


class Case(NamedTuple):
    name: str
    plural: str
    body: dict[str, Any]
    code: int
    answer: dict[str, Any]


def cases(shared_data: Path) -> Iterator[Case]:
    """Creates of the two kinds whose body is an object; the lenient ones repeat what the strict ones say."""
    for line in (shared_data / "oracle/admission.jsonl").read_text().splitlines():
        record = json.loads(line)
        request, response = record["request"], record["response"]
        plural = request["path"].rpartition("/")[2]
        strict = request["query"].get("fieldValidation") == "Strict"
        if request["method"] == "POST" and plural in WALKERS and isinstance(request["body"], dict) and strict:
            yield Case(record["case"], plural, request["body"], response["code"], response["body"])


def judge(plural: str, body: dict[str, Any]) -> tuple[set[tuple[str, str]], dict[str, Any]]:
    """Our causes and what we would store: unknown fields, defaults, schema, rules."""
    walked = WALKERS[plural](copy.deepcopy(body))
    if walked.unknown:
        return {("unknown field", field) for field in walked.unknown}, {}
    if walked.causes:
        return {plain(cause.field, cause.message) for cause in walked.causes if cause != UNCHECKED_RULES}, {}
    try:
        if plural == "virtualmachines":
            vm = from_builtins(copy.deepcopy(body), VirtualMachine)
            default_vm(vm, new_uuid=lambda: UUID, new_mac=lambda: "")
            stored, rules = encode(vm), validate_vm(vm)
        else:
            vmi = from_builtins(copy.deepcopy(body), VirtualMachineInstance)
            default_vmi(vmi, new_uuid=lambda: UUID, now="2026-01-01T00:00:00Z")
            stored, rules = encode(vmi), validate_vmi(vmi)
    except VirtError as error:
        return {("", error.message)}, {}
    obj = json.loads(stored)
    found = [*WALKERS[plural](obj).causes, *rules]
    return {plain(cause.field, cause.message) for cause in found}, obj


def plain(field: str, message: str) -> tuple[str, str]:
    """What the schema says, whoever says it: KubeVirt's webhooks name the field in the text, without its index."""
    for pattern, word in SCHEMA_WORDS:
        said = re.fullmatch(pattern, message)
        if said is not None:
            return re.sub(r"\[\d+\]", "", next(filter(None, said.groups()), field)), word
    return field, message


def corrected(text: str) -> str:
    for pattern, replacement in CORRECTED:
        text = re.sub(pattern, replacement, text)
    return text


def recorded_causes(answer: dict[str, Any]) -> set[tuple[str, str]]:
    causes = [cause for cause in answer.get("details", {}).get("causes", ()) if cause["message"] != NOT_CHECKED]
    return {plain(corrected(cause.get("field") or ""), corrected(cause["message"])) for cause in causes}


def short(name: str) -> str:
    return name.rpartition("/")[2]


@pytest.fixture(scope="module")
def judged(shared_data: Path) -> list[tuple[Case, set[tuple[str, str]], dict[str, Any]]]:
    return [(case, *judge(case.plural, case.body)) for case in cases(shared_data)]


def test_enough_was_recorded(judged: list[Any]) -> None:
    assert len(judged) > 450


def test_verdicts(judged: list[Any]) -> None:
    stricter, wider = {}, {}
    for case, causes, _ in judged:
        if case.code == 201 and causes:
            stricter[short(case.name)] = sorted(causes)
        if case.code != 201 and not causes:
            wider[short(case.name)] = case.answer.get("message")
    assert {name: why for name, why in stricter.items() if name not in STRICTER} == {}
    assert {name: why for name, why in wider.items() if name not in WIDER} == {}
    assert (STRICTER.keys() - stricter.keys(), WIDER.keys() - wider.keys()) == (set(), set())


def test_causes(judged: list[Any]) -> None:
    different = {}
    for case, causes, _ in judged:
        if case.code == 422 and causes and causes != recorded_causes(case.answer):
            theirs = recorded_causes(case.answer)
            different[short(case.name)] = (sorted(causes - theirs), sorted(theirs - causes))
    assert {name: why for name, why in different.items() if name not in OTHER_CAUSES} == {}
    assert OTHER_CAUSES.keys() - different.keys() == set()


def comparable(obj: Any) -> Any:
    """Without what is empty, random, or ours on purpose (a VM's default network with its MAC)."""
    if isinstance(obj, dict):
        kept = {key: comparable(value) for key, value in obj.items()}
        return {key: value for key, value in kept.items() if value not in (None, {}, [], "") and key not in IGNORED}
    return [comparable(value) for value in obj] if isinstance(obj, list) else obj


def difference(ours: Any, theirs: Any, path: str = "") -> list[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        keys = sorted(ours.keys() | theirs.keys())
        return [line for key in keys for line in difference(ours.get(key), theirs.get(key), f"{path}.{key}")]
    return [] if ours == theirs else [f"{path}: {ours!r} instead of {theirs!r}"]


IGNORED = {
    "uid", "uuid", "serial", "creationTimestamp", "generation", "managedFields", "phaseTransitionTimestamp",
    "apiVersion", "kind", "namespace",
}  # fmt: skip
# Stored differently on purpose.
STORED_DIFFERENTLY = {
    "cpu-cores-0": "a written 0 is kept",
    "cpu-sockets-gt-max": "600 sockets leave nothing to plug in below 512 vCPUs",
    "generatename": "the API server makes the name",
    "create-vm-running": "the API server sets resourceVersion",
    "vmi-wins": "presets are merged by admission: test_api_presets.py",
    "clock": "presets are merged by admission: test_api_presets.py",
    "three": "presets are merged by admission: test_api_presets.py",
}


def test_what_is_stored(judged: list[Any]) -> None:
    different = {}
    for case, causes, ours in judged:
        if case.code != 201 or causes:
            continue
        mine, theirs = comparable(ours), comparable(case.answer)
        if case.plural == "virtualmachines":
            theirs.pop("status", None)
            mine.pop("status", None)
            spec = mine["spec"]["template"]["spec"]
            if "networks" not in theirs["spec"]["template"]["spec"]:
                spec.pop("networks", None)
                spec["domain"].get("devices", {}).pop("interfaces", None)
        if comparable(mine) != comparable(theirs):
            different[case.name] = difference(mine, theirs)
    assert {n: w for n, w in different.items() if short(n) not in STORED_DIFFERENTLY} == {}
    assert STORED_DIFFERENTLY.keys() - {short(name) for name in different} == set()


def test_decoding_keeps_every_known_field(shared_data: Path) -> None:
    for case in cases(shared_data):
        if case.code == 201:
            type_ = VirtualMachine if case.plural == "virtualmachines" else VirtualMachineInstance
            assert comparable(to_builtins(from_builtins(case.answer, type_))) == comparable(case.answer), case.name
