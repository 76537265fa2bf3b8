"""What users are shown is right: the manifests of examples/ and of the documents, the tables of docs/manifests.md."""

from __future__ import annotations

import ast
import copy
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast
from xml.etree import ElementTree

import pytest
from msgspec import Struct
from msgspec.structs import fields

from virt_controller.vm import status
from virt_controller.vm.volumes import printable
from virt_handler.domain import preview, render
from virt_handler.errors import UnsupportedVolume, VolumeError
from virt_handler.images.store import ImageStore
from virt_handler.instances import completed, sources_of
from virt_handler.layout import Layout
from virt_handler.volumes.objects import Objects
from virt_handler.volumes.prepare import Volumes
from virt_local.claims import CLASS, Claim
from virt_local.endpoints import Guest, Service, selected, target_port
from virt_types.check import judge, ours
from virt_types.codec import from_builtins
from virt_types.crds import custom_resource_definitions
from virt_types.defaults import default_vm, default_vmi
from virt_types.expansion.offline import Neighbours
from virt_types.legacy import convert
from virt_types.manifest import load
from virt_types.pool.v1beta1 import VirtualMachinePool
from virt_types.settings import GATES
from virt_types.structural import compile_schema
from virt_types.v1 import (
    VirtualMachine,
    VirtualMachineInstance,
    VirtualMachineInstanceReplicaSet,
    VirtualMachineInstanceSpec,
    VirtualMachineSpec,
    Volume,
)
from virt_types.validation import (
    disks,
    guest,
    machine,
    network,
    validate_pool,
    validate_replica_set,
    validate_vm,
    validate_vmi,
)

ROOT = Path(__file__).parents[3]
MANIFESTS = ROOT / "docs" / "manifests.md"
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
UUID = "5d307ca9-b3ef-428c-8861-06e72d69f223"
MAC = "52:54:00:00:00:01"
# Written in the spelling of their time on purpose; the command line brings them up to date.
OLD_SPELLING = {"testvmi-nocloud.yaml", "vm-cirros.yaml"}

Json = dict[str, Any]


class Shown(NamedTuple):
    """One manifest as a reader sees it: where, and its text."""

    where: str
    text: str


def blocks(path: Path) -> Iterator[Shown]:
    text = path.read_text()
    for match in re.finditer(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Shown(f"{path.name}:{text.count(chr(10), 0, match.start()) + 1}", match[1])


SHOWN = [Shown(path.name, path.read_text()) for path in EXAMPLES] + [
    block for path in DOCUMENTS for block in blocks(path)
]


@pytest.fixture(scope="module")
def walkers() -> dict[str, Any]:
    found = {}
    for definition in custom_resource_definitions():
        versions = {version["name"]: version["schema"]["openAPIV3Schema"] for version in definition["spec"]["versions"]}
        found[definition["spec"]["names"]["kind"]] = compile_schema(versions.get("v1") or next(iter(versions.values())))
    return found


def objects(shown: Shown) -> list[Json]:
    """Today's objects; a fragment of an instance's spec becomes an instance around it."""
    found = []
    for document in load(shown.text.encode(), shown.where):
        obj, notes = convert(document.obj)
        assert bool(notes) == (shown.where in OLD_SPELLING), notes
        found.append(obj if "apiVersion" in obj else instance_around(obj))
        found += members_of(obj)
    return found


def members_of(obj: Json) -> list[Json]:
    """One machine of those that a replica set or pool keeps."""
    match obj.get("kind"):
        case "VirtualMachineInstanceReplicaSet":
            kind, member = "VirtualMachineInstance", obj["spec"]["template"]
        case "VirtualMachinePool":
            kind, member = "VirtualMachine", obj["spec"]["virtualMachineTemplate"]
        case _:
            return []
    metadata = {**member["metadata"], "name": f"{obj['metadata']['name']}-0"}
    return [{"apiVersion": "kubevirt.io/v1", "kind": kind, "metadata": metadata, "spec": member["spec"]}]


def instance_around(fragment: Json) -> Json:
    spec = copy.deepcopy(fragment)
    domain = spec.setdefault("domain", {})
    domain.setdefault("devices", {})
    domain.setdefault("memory", {}).setdefault("guest", "64Mi")
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "fragment"},
        "spec": spec,
    }


def complete(obj: Json) -> VirtualMachine | VirtualMachineInstance:
    if obj["kind"] == "VirtualMachine":
        vm = from_builtins(copy.deepcopy(obj), VirtualMachine)
        default_vm(vm, new_uuid=lambda: UUID, new_mac=lambda: MAC)
        return vm
    vmi = from_builtins(copy.deepcopy(obj), VirtualMachineInstance)
    default_vmi(vmi, new_uuid=lambda: UUID, new_mac=lambda: MAC, now="2026-01-01T00:00:00Z")
    return vmi


def validate_keeper(obj: Json) -> list[Any]:
    if obj["kind"] == "VirtualMachinePool":
        return validate_pool(from_builtins(obj, VirtualMachinePool))
    return validate_replica_set(from_builtins(obj, VirtualMachineInstanceReplicaSet))


def spec_of(obj: Json) -> Json:
    return cast(Json, obj["spec"]["template"]["spec"] if obj["kind"] == "VirtualMachine" else obj["spec"])


def of_kinds(found: list[Json], *kinds: str) -> list[Json]:
    return [obj for obj in found if obj["kind"] in kinds]


def machines_of(found: list[Json]) -> list[Json]:
    """The machines and instances, those that replica sets and pools make among them."""
    return [made for obj in found for made in machine_of(obj)]


def machine_of(obj: Json) -> list[Json]:
    spec = obj.get("spec", {})
    made = {
        "VirtualMachineInstanceReplicaSet": ("VirtualMachineInstance", spec.get("template")),
        "VirtualMachinePool": ("VirtualMachine", spec.get("virtualMachineTemplate")),
    }.get(obj["kind"])
    if made is not None:
        kind, template = made
        metadata = {"name": obj["metadata"]["name"]} | template.get("metadata", {})
        return [{"apiVersion": "kubevirt.io/v1", "kind": kind, "metadata": metadata, "spec": template["spec"]}]
    return of_kinds([obj], "VirtualMachine", "VirtualMachineInstance")


def test_there_is_something_to_test() -> None:
    assert len(EXAMPLES) >= 10
    assert len([shown for shown in SHOWN if shown.where.startswith("manifests.md")]) >= 10


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: shown.where)
def test_a_shown_manifest_is_taken_and_becomes_a_domain(shown: Shown, walkers: dict[str, Any]) -> None:
    found = objects(shown)
    assert found
    assert [judge(obj, beside=Neighbours(found)).causes for obj in found if ours(obj)] == [[]] * sum(map(ours, found))
    for obj in of_kinds(found, "VirtualMachineInstanceReplicaSet", "VirtualMachinePool"):
        walked = walkers[obj["kind"]](copy.deepcopy(obj))
        assert (walked.causes, walked.unknown, validate_keeper(obj)) == ([], [], [])
    for obj in machines_of(found):
        walked = walkers[obj["kind"]](copy.deepcopy(obj))
        assert (walked.causes, walked.unknown) == ([], [])
        whole = complete(obj)
        assert (validate_vm(whole) if isinstance(whole, VirtualMachine) else validate_vmi(whole)) == []
        (source,), _ = sources_of(obj, beside=Neighbours(found))
        vmi = completed(source)
        domain = ElementTree.fromstring(render(preview(vmi)))  # noqa: S314  written by us
        assert domain.findtext("name") == f"default_{vmi.metadata.name}"
        attached = {alias.get("name") for alias in domain.iterfind("devices/disk/alias")}
        attached |= {f"ua-{target.get('dir')}" for target in domain.iterfind("devices/filesystem/target")}
        assert {f"ua-{volume.name}" for volume in vmi.spec.volumes} <= attached


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_brings_what_it_refers_to(path: Path) -> None:
    found = objects(Shown(path.name, path.read_text()))
    there = {(obj["kind"], obj["metadata"]["name"]) for obj in found}
    assert machines_of(found)
    for obj in machines_of(found):
        assert set(referred(spec_of(obj))) <= there


def test_the_documents_list_every_example() -> None:
    told = re.findall(r"\(\.\./examples/([^)]+)\)", section("Examples"))
    assert sorted(told) == [path.name for path in EXAMPLES]


def referred(spec: Json) -> Iterator[tuple[str, str]]:
    for volume in spec.get("volumes", ()):
        for source in volume.values():
            if not isinstance(source, dict):
                continue
            if "claimName" in source:
                yield "PersistentVolumeClaim", source["claimName"]
            if "secretName" in source:
                yield "Secret", source["secretName"]
            if "secretRef" in source:
                yield "Secret", source["secretRef"]["name"]
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
    for credential in spec.get("accessCredentials", ()):
        yield "Secret", credential["sshPublicKey"]["source"]["secret"]["secretName"]


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: shown.where)
def test_a_shown_claim_is_one_the_built_in_class_provides(shown: Shown) -> None:
    for obj in of_kinds(objects(shown), "PersistentVolumeClaim"):
        claim = from_builtins(obj, Claim)
        assert claim.spec.storage_class_name in (None, CLASS)
        assert (claim.spec.volume_mode, claim.spec.access_modes) == ("Filesystem", ["ReadWriteOnce"])
        assert "storage" in claim.spec.resources.requests


def test_the_example_of_a_service_leads_to_its_machine() -> None:
    found = objects(Shown("service.yaml", (ROOT / "examples" / "service.yaml").read_text()))
    (vm,) = of_kinds(found, "VirtualMachine")
    (service,) = (from_builtins(obj, Service) for obj in of_kinds(found, "Service"))
    instance = {
        "metadata": vm["spec"]["template"]["metadata"],
        "spec": spec_of(vm),
        "status": {"phase": "Running", "interfaces": [{"ipAddress": "192.0.2.1"}]},
    }
    behind = from_builtins(instance, Guest)
    assert selected(service, [behind]) == [behind]
    assert [target_port(port, behind) for port in service.spec.ports] == [80]


# The tables of docs/manifests.md.


def section(title: str) -> str:
    text = MANIFESTS.read_text()
    begin = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert begin, f"no section {title!r}"
    end = re.search(rf"^#{{1,{len(begin[1])}}} ", text[begin.end() :], re.MULTILINE)
    return text[begin.end() : begin.end() + end.start()] if end else text[begin.end() :]


def rows(title: str, head: str) -> list[tuple[str, ...]]:
    """The rows of the section's table whose first line begins with `head`."""
    lines = section(title).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"| {head}"))
    found = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        found.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
    return found


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_run_strategies() -> None:
    told = [words(row[0])[0] for row in rows("When it runs", "`spec.runStrategy`")]
    assert len(told) == len(set(told))
    assert set(told) == machine.RUN_STRATEGIES


TIMERS = "Clock and features"
DEVICES = "Small devices"
VALUES = {
    ("Disks", "disk.bus"): disks.BUSES,
    ("Disks", "cache"): disks.CACHES,
    ("Disks", "io"): disks.IO_MODES,
    ("Disks", "errorPolicy"): disks.ERROR_POLICIES,
    ("Disks", "ioThreadsPolicy"): disks.IO_THREAD_POLICIES,
    (TIMERS, "hpet.tickPolicy"): guest.TICK_POLICIES["hpet"],
    (TIMERS, "pit.tickPolicy"): guest.TICK_POLICIES["pit"],
    (TIMERS, "rtc.tickPolicy"): guest.TICK_POLICIES["rtc"],
    (TIMERS, "rtc.track"): guest.RTC_TRACKS,
    (DEVICES, "watchdog.i6300esb.action"): guest.WATCHDOG_ACTIONS,
    (DEVICES, "inputs.bus"): {"usb", "virtio"},
    (DEVICES, "video.type"): guest.VIDEO_MODELS["amd64"],
    (DEVICES, "sound.model"): {"ich9", "ac97"},
    (DEVICES, "panicDevices.model"): guest.PANIC_MODELS,
}


def test_allowed_values() -> None:
    titles = dict.fromkeys(title for title, _ in VALUES)
    told = {(title, words(row[0])[0]): set(words(row[1])) for title in titles for row in rows(title, "field")}
    assert told == {place: set(values) for place, values in VALUES.items()}


def test_models_of_network_cards() -> None:
    (line,) = re.findall(r"- `model` is one of ([^;]*);", section("Networks"))
    assert set(words(line)) == network.MODELS


def test_gates() -> None:
    told = {gate: row[1] == "yes" for row in rows("Refused on the node", "gate") for gate in words(row[0])}
    assert told == dict(GATES)


class NothingThere(Objects):
    """No secret, config map or claim exists: a kind of volume that asks for one is supported."""

    def __init__(self) -> None:
        pass

    async def secret(self, *_: Any, **__: Any) -> dict[str, bytes]:
        raise VolumeError("asked for a secret")

    async def config_map(self, *_: Any, **__: Any) -> dict[str, bytes]:
        raise VolumeError("asked for a config map")

    async def claim_capacity(self, *_: Any) -> int:
        raise VolumeError("asked for a claim")


class NoImages(ImageStore):
    def __init__(self) -> None:
        pass

    async def get(self, *_: Any, **__: Any) -> Any:
        raise VolumeError("asked for an image")


# The least that makes each kind of volume ask for something.
SOURCES: dict[str, Json] = {
    "cloudInitNoCloud": {"secretRef": {"name": "a"}},
    "cloudInitConfigDrive": {"secretRef": {"name": "a"}},
    "ephemeral": {"persistentVolumeClaim": {"claimName": "a"}},
    "persistentVolumeClaim": {"claimName": "a"},
    "memoryDump": {"claimName": "a"},
    "emptyDisk": {"capacity": "0"},
    "hostDisk": {"path": "/does/not/exist", "type": "Disk"},
    "sysprep": {"secret": {"name": "a"}},
}


async def supported(kind: str, tmp_path: Path) -> bool:
    volume = {"name": "a", kind: SOURCES.get(kind, {})}
    vmi = from_builtins({"metadata": {"name": "a", "uid": "u"}, "spec": {"volumes": [volume]}}, VirtualMachineInstance)
    layout = Layout(tmp_path, tmp_path)
    (layout.guests / "u").mkdir(parents=True, exist_ok=True)
    volumes = Volumes(layout, NoImages(), NothingThere(), lambda *_: None)
    try:
        await volumes.prepare(vmi, None)
    except VolumeError as error:
        return not isinstance(error, UnsupportedVolume)
    return True


async def test_volumes(tmp_path: Path) -> None:
    kinds = [field.encode_name for field in fields(Volume) if field.name != "name"]
    told = {words(row[0])[0] for row in rows("Volumes", "volume")}
    (refused,) = re.findall(r"`Failed` and says so:([^.]*)\.", section("Volumes"))
    assert told == {kind for kind in kinds if await supported(kind, tmp_path)}
    assert set(words(refused)) == set(kinds) - told


def test_printable_statuses() -> None:
    """The table has every word the code can return, and no other."""
    functions = (status.printable_status, status._resting, status._live_status, printable)
    returned = {
        node.value
        for function in functions
        for statement in ast.walk(ast.parse(inspect.getsource(function)))
        if isinstance(statement, ast.Return | ast.Assign | ast.IfExp)
        for node in ast.walk(statement)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isalpha()
    }
    looked_at = {"Synchronized", "PodScheduled", "Unschedulable", "True", "FailedPvcNotFound"}
    told = {words(row[0])[0] for row in rows("Status", "status")}
    assert told == (returned - looked_at) | set(status.SYNC_STATUS.values())


def names_of(struct: type[Struct]) -> dict[str, Any]:
    return {field.encode_name: field.type for field in fields(struct)}


def structs_in(annotation: Any) -> list[type[Struct]]:
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return [annotation]
    return [found for argument in getattr(annotation, "__args__", ()) for found in structs_in(argument)]


def exists(path: str) -> bool:
    struct: type[Struct] = VirtualMachineInstanceSpec
    if path.startswith("spec."):
        struct, path = VirtualMachineSpec, path.removeprefix("spec.")
    for name in path.split("."):
        if name not in names_of(struct):
            return False
        struct = next(iter(structs_in(names_of(struct)[name])), Struct)
    return True


@pytest.mark.parametrize("title", ["Accepted, but not acted on", "Refused on the node"])
def test_fields_that_do_nothing_are_fields(title: str) -> None:
    told = [path for row in rows(title, "field") for path in words(re.sub(r"\(.*\)", "", row[0]))]
    assert len(told) > 5
    assert [path for path in told if not exists(path)] == []


def test_links_lead_somewhere() -> None:
    text = MANIFESTS.read_text()
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = target.partition("#")
        assert (MANIFESTS.parent / path).exists() if path else anchor in anchors, target
