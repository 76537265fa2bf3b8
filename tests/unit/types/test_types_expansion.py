"""Instancetypes and preferences in a VM: each field of both, one row; the VM wins; nothing is done twice."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from virt_types.codec import from_builtins, to_builtins
from virt_types.expansion import conflicts, expand, paths, preferences, prepare, refusals, sizes
from virt_types.expansion.topology import ACROSS, DEPRECATED, TOPOLOGIES, topology, unevenness
from virt_types.instancetype.v1beta1 import VirtualMachineInstancetypeSpec, VirtualMachinePreferenceSpec
from virt_types.settings import DEFAULT
from virt_types.v1 import FeatureHyperv, VirtualMachine, VirtualMachineInstanceSpec

Json = dict[str, Any]
SIZE = {"cpu": {"guest": 4}, "memory": {"guest": "2Gi"}}
TEMPLATE = "spec.template."


def nested(path: str, value: Any) -> Json:
    """`a.b: 1` as {"a": {"b": 1}}."""
    for name in reversed(path.split(".")):
        value = {name: value}
    found: Json = value
    return found


def merged(*objects: Json) -> Json:
    """Later ones win, maps are merged."""
    result: Json = {}
    for obj in objects:
        for key, value in obj.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else deepcopy(value)
    return result


def machine(spec: Json | None = None, annotations: Json | None = None, **rest: Any) -> VirtualMachine:
    template = {"metadata": {"annotations": annotations or {}}, "spec": merged({"domain": {"devices": {}}}, spec or {})}
    return from_builtins({"metadata": {"name": "vm1"}, "spec": {"template": template, **rest}}, VirtualMachine)


def size_of(extra: Json | None = None) -> VirtualMachineInstancetypeSpec:
    return from_builtins(merged(SIZE, extra or {}), VirtualMachineInstancetypeSpec)


def preference_of(spec: Json) -> VirtualMachinePreferenceSpec:
    return from_builtins(spec, VirtualMachinePreferenceSpec)


def at(obj: Json, path: str) -> Any:
    """`domain.devices.disks.0.io` of plain JSON; None when absent."""
    found: Any = obj
    for name in path.split("."):
        if isinstance(found, list):
            found = found[int(name)] if int(name) < len(found) else None
        else:
            found = (found or {}).get(name)
    return found


class Size(NamedTuple):
    """A field of an instancetype, and what it makes of `target` in the instance's spec."""

    field: str
    value: Any
    target: str
    expected: Any = None

    @property
    def result(self) -> Any:
        return self.value if self.expected is None else self.expected


SIZES = (
    Size("cpu.guest", 4, "domain.cpu.sockets"),
    Size("cpu.dedicatedCPUPlacement", True, "domain.cpu.dedicatedCpuPlacement"),
    Size("cpu.isolateEmulatorThread", True, "domain.cpu.isolateEmulatorThread"),
    Size("cpu.maxSockets", 8, "domain.cpu.maxSockets"),
    Size("cpu.model", "host-passthrough", "domain.cpu.model"),
    Size("cpu.numa", {"guestMappingPassthrough": {}}, "domain.cpu.numa"),
    Size("cpu.realtime", {"mask": "0-1"}, "domain.cpu.realtime"),
    Size("memory.guest", "3Gi", "domain.memory.guest"),
    Size("memory.hugepages", {"pageSize": "2Mi"}, "domain.memory.hugepages"),
    Size("memory.maxGuest", "8Gi", "domain.memory.maxGuest"),
    Size("memory.overcommitPercent", 25, "domain.resources.requests.memory", "1536Mi"),
    Size("gpus", [{"name": "g", "deviceName": "x/y"}], "domain.devices.gpus"),
    Size("hostDevices", [{"name": "h", "deviceName": "x/z"}], "domain.devices.hostDevices"),
    Size("ioThreads", {"supplementalPoolThreadCount": 3}, "domain.ioThreads"),
    Size("ioThreadsPolicy", "auto", "domain.ioThreadsPolicy"),
    Size("launchSecurity", {"sev": {}}, "domain.launchSecurity"),
    Size("nodeSelector", {"disk": "fast"}, "nodeSelector"),
    Size("schedulerName", "second", "schedulerName"),
)


@pytest.mark.parametrize("case", SIZES, ids=lambda case: case.field)
def test_an_instancetype_sets(case: Size) -> None:
    size = size_of(nested(case.field, case.value))
    assert conflicts(machine(), size, None) == []
    assert at(to_builtins(expand(machine(), size, None))["spec"]["template"]["spec"], case.target) == case.result


@pytest.mark.parametrize("case", [case for case in SIZES if case.field != "cpu.guest"], ids=lambda case: case.field)
def test_what_an_instancetype_sets_is_not_for_the_vm_to_say(case: Size) -> None:
    vm = machine(nested(case.target, case.result))
    target = case.target + (".supplementalPoolThreadCount" if case.field == "ioThreads" else "")
    field = f"{TEMPLATE}spec.{target}"
    cause = ("FieldValueInvalid", f"VM field(s) {field} conflicts with selected instance type", field)
    assert conflicts(vm, size_of(nested(case.field, case.value)), None) == [cause]


@pytest.mark.parametrize("field", sizes.SIZED_ELSEWHERE)
def test_no_other_way_to_size_the_vm(field: str) -> None:
    vm = machine(nested(field, "1" if "resources" in field else 2))
    assert [cause.field for cause in conflicts(vm, size_of(), None)] == [f"{TEMPLATE}spec.{field}"]


def test_every_conflict_is_told() -> None:
    vm = machine({"domain": {"memory": {"guest": "1Gi"}, "cpu": {"cores": 2, "threads": 2}}}, {"a": "mine"})
    found = [cause.field for cause in conflicts(vm, size_of({"annotations": {"a": "theirs", "b": "c"}}), None)]
    assert found == [
        f"{TEMPLATE}spec.domain.memory.guest",
        f"{TEMPLATE}spec.domain.cpu.cores",
        f"{TEMPLATE}spec.domain.cpu.threads",
        f"{TEMPLATE}metadata.annotations[a]",
    ]


def test_what_an_instancetype_leaves_open_is_the_vms() -> None:
    own = {"nodeSelector": {"a": "b"}, "domain": {"cpu": {"model": "Haswell"}, "ioThreadsPolicy": "shared"}}
    assert conflicts(machine(own), size_of(), None) == []
    spec = to_builtins(expand(machine(own), size_of(), None))["spec"]["template"]["spec"]
    assert (spec["nodeSelector"], spec["domain"]["cpu"]["model"]) == ({"a": "b"}, "Haswell")


def test_annotations_of_both() -> None:
    vm = machine({}, {"a": "vm", "both": "same"})
    expanded = expand(
        vm, size_of({"annotations": {"both": "same", "s": "1"}}), preference_of({"annotations": {"a": "p", "p": "1"}})
    )
    assert expanded.spec.template.metadata.annotations == {"a": "vm", "both": "same", "s": "1", "p": "1"}


# Topologies.


@pytest.mark.parametrize(
    ("preference", "cpus", "expected"),
    [
        ({}, 4, (4, 1, 1)),
        ({"preferredCPUTopology": "sockets"}, 4, (4, 1, 1)),
        ({"preferredCPUTopology": "any"}, 4, (4, 1, 1)),
        ({"preferredCPUTopology": "cores"}, 4, (1, 4, 1)),
        ({"preferredCPUTopology": "threads"}, 4, (1, 1, 4)),
        ({"preferredCPUTopology": "spread"}, 4, (2, 2, 1)),
        ({"preferredCPUTopology": "preferSpread"}, 4, (2, 2, 1)),
        ({"preferredCPUTopology": "spread", "spreadOptions": {"ratio": 4}}, 12, (3, 4, 1)),
        ({"preferredCPUTopology": "spread", "spreadOptions": {"across": "CoresThreads"}}, 8, (1, 4, 2)),
        (
            {"preferredCPUTopology": "spread", "spreadOptions": {"across": "SocketsCoresThreads", "ratio": 4}},
            16,
            (2, 4, 2),
        ),
        ({"preferredCPUTopology": "spread"}, 1, (1, 1, 1)),
    ],
)
def test_topologies(preference: Json, cpus: int, expected: tuple[int, int, int]) -> None:
    assert topology(cpus, preference_of({"cpu": preference})) == expected


def test_the_older_ratio_counts_unless_the_newer_is_there() -> None:
    spread = {"preferredCPUTopology": "spread"}
    assert topology(12, preference_of({"cpu": spread, "preferSpreadSocketToCoreRatio": 3})) == (4, 3, 1)
    both = {"cpu": spread | {"spreadOptions": {"ratio": 6}}, "preferSpreadSocketToCoreRatio": 3}
    assert topology(12, preference_of(both)) == (2, 6, 1)


@given(
    cpus=st.integers(1, 512),
    wanted=st.sampled_from([*TOPOLOGIES, *DEPRECATED]),
    across=st.sampled_from(list(ACROSS)),
    ratio=st.integers(1, 16),
)
def test_no_cpu_is_lost_or_won(cpus: int, wanted: str, across: str, ratio: int) -> None:
    options = {"across": across, "ratio": ratio}
    preference = preference_of({"cpu": {"preferredCPUTopology": wanted, "spreadOptions": options}})
    made = topology(cpus, preference)
    assert unevenness(cpus, preference) or made.sockets * made.cores * made.threads == cpus


def test_cpus_that_do_not_divide_are_refused() -> None:
    preference = preference_of({"cpu": {"preferredCPUTopology": "spread"}})
    (cause,) = conflicts(machine(), size_of({"cpu": {"guest": 5}}), preference)
    assert cause.field == "instancetype.spec.cpu.guest"
    assert cause.message.startswith("5 vCPUs provided by the instance type are not divisible by the Spec.PreferSpread")


# Preferences.


class Preferred(NamedTuple):
    """A field of a preference, what it makes of `target` in a template with `around`, and what a VM may say itself."""

    field: str
    value: Any
    target: str
    own: Any
    around: Json = {}  # noqa: RUF012  # never changed
    expected: Any = None

    @property
    def result(self) -> Any:
        return self.value if self.expected is None else self.expected


DISK: Json = {"domain": {"devices": {"disks": [{"name": "d", "disk": {}}]}}}
VIRTIO: Json = {"domain": {"devices": {"disks": [{"name": "d", "disk": {"bus": "virtio"}}]}}}
CDROM: Json = {"domain": {"devices": {"disks": [{"name": "d", "cdrom": {}}]}}}
LUN: Json = {"domain": {"devices": {"disks": [{"name": "d", "lun": {}}]}}}
NIC: Json = {"networks": [{"name": "n", "pod": {}}], "domain": {"devices": {"interfaces": [{"name": "n"}]}}}
INPUT: Json = {"domain": {"devices": {"inputs": [{"name": "i", "type": ""}]}}}
SOUND: Json = {"domain": {"devices": {"sound": {"name": "s"}}}}
GPU: Json = {"domain": {"devices": {"gpus": [{"name": "g"}]}}}
DEVICES = "domain.devices."
FIRST_DISK = "domain.devices.disks.0."
HYPERV = {"vendorid": {"enabled": True, "vendorid": "me"}, "spinlocks": {"spinlocks": 8191}}
PREFERRED = (
    Preferred("clock.preferredClockOffset", {"utc": {}}, "domain.clock", {"timezone": "Europe/Rome"}),
    Preferred("clock.preferredTimer", {"hpet": {"present": False}}, "domain.clock.timer", {"rtc": {}}),
    Preferred(
        "cpu.preferredCPUFeatures", [{"name": "vmx"}], "domain.cpu.features", [{"name": "vmx", "policy": "disable"}]
    ),
    *(
        Preferred(f"devices.preferredAutoattach{name}", False, f"{DEVICES}autoattach{name}", True)
        for name in ("GraphicsDevice", "InputDevice", "MemBalloon", "PodInterface", "SerialConsole")
    ),
    Preferred("devices.preferredBlockMultiQueue", True, f"{DEVICES}blockMultiQueue", False),
    Preferred("devices.preferredCdromBus", "scsi", f"{FIRST_DISK}cdrom.bus", "sata", CDROM),
    Preferred("devices.preferredDisableHotplug", True, f"{DEVICES}disableHotplug", False),
    Preferred(
        "devices.preferredDiskBlockSize",
        {"matchVolume": {}},
        f"{FIRST_DISK}blockSize",
        {"custom": {"logical": 512}},
        DISK,
    ),
    Preferred("devices.preferredDiskBus", "scsi", f"{FIRST_DISK}disk.bus", "sata", DISK),
    Preferred("devices.preferredDiskCache", "none", f"{FIRST_DISK}cache", "writeback", DISK),
    Preferred("devices.preferredDiskDedicatedIoThread", True, f"{FIRST_DISK}dedicatedIOThread", False, VIRTIO),
    Preferred("devices.preferredDiskIO", "native", f"{FIRST_DISK}io", "threads", DISK),
    Preferred("devices.preferredInputBus", "virtio", f"{DEVICES}inputs.0.bus", "usb", INPUT),
    Preferred("devices.preferredInputType", "keyboard", f"{DEVICES}inputs.0.type", "tablet", INPUT),
    Preferred("devices.preferredInterfaceMasquerade", {}, f"{DEVICES}interfaces.0.masquerade", {}, NIC),
    Preferred("devices.preferredInterfaceModel", "e1000", f"{DEVICES}interfaces.0.model", "virtio", NIC),
    Preferred("devices.preferredLunBus", "scsi", f"{FIRST_DISK}lun.bus", "sata", LUN),
    Preferred("devices.preferredNetworkInterfaceMultiQueue", True, f"{DEVICES}networkInterfaceMultiqueue", False),
    Preferred(
        "devices.preferredPanicDeviceModel",
        "hyperv",
        f"{DEVICES}panicDevices",
        [{"model": "isa"}],
        {},
        [{"model": "hyperv"}],
    ),
    Preferred("devices.preferredRng", {}, f"{DEVICES}rng", {}),
    Preferred("devices.preferredSoundModel", "ich9", f"{DEVICES}sound.model", "ac97", SOUND),
    Preferred("devices.preferredTPM", {"persistent": True}, f"{DEVICES}tpm", {}),
    Preferred("devices.preferredUseVirtioTransitional", True, f"{DEVICES}useVirtioTransitional", False),
    Preferred("devices.preferredVideoType", "vga", f"{DEVICES}video", {"type": "virtio"}, {}, {"type": "vga"}),
    Preferred(
        "devices.preferredVirtualGPUOptions",
        {"display": {"enabled": True}},
        f"{DEVICES}gpus.0.virtualGPUOptions",
        {},
        GPU,
    ),
    Preferred("features.preferredAcpi", {"enabled": False}, "domain.features.acpi", {"enabled": True}),
    Preferred("features.preferredApic", {"endOfInterrupt": True}, "domain.features.apic", {"enabled": False}),
    Preferred(
        "features.preferredHyperv", HYPERV, "domain.features.hyperv", {"spinlocks": {"spinlocks": 4096}, "vendorid": {}}
    ),
    Preferred("features.preferredKvm", {"hidden": True}, "domain.features.kvm", {"hidden": False}),
    Preferred("features.preferredPvspinlock", {}, "domain.features.pvspinlock", {"enabled": False}),
    Preferred("features.preferredSmm", {}, "domain.features.smm", {"enabled": False}),
    Preferred(
        "firmware.preferredEfi",
        {"persistent": True},
        "domain.firmware.bootloader",
        {"bios": {}},
        {},
        {"efi": {"persistent": True}},
    ),
    Preferred("firmware.preferredUseBios", True, "domain.firmware.bootloader", {"efi": {}}, {}, {"bios": {}}),
    Preferred(
        "firmware.preferredUseBiosSerial",
        True,
        "domain.firmware.bootloader.bios.useSerial",
        False,
        {"domain": {"firmware": {"bootloader": {"bios": {}}}}},
    ),
    Preferred("firmware.preferredUseEfi", True, "domain.firmware.bootloader", {"bios": {}}, {}, {"efi": {}}),
    Preferred(
        "firmware.preferredUseSecureBoot",
        True,
        "domain.firmware.bootloader.efi.secureBoot",
        False,
        {"domain": {"firmware": {"bootloader": {"efi": {}}}}},
    ),
    Preferred("machine.preferredMachineType", "pc-q35-7.2", "domain.machine.type", "q35"),
    Preferred("preferredArchitecture", "arm64", "architecture", "amd64"),
    Preferred("preferredLaunchSecurity", {"sev": {}}, "domain.launchSecurity", {"tdx": {}}),
    Preferred("preferredSubdomain", "sub", "subdomain", "other"),
    Preferred("preferredTerminationGracePeriodSeconds", 90, "terminationGracePeriodSeconds", 0),
)


@pytest.mark.parametrize("case", PREFERRED, ids=lambda case: case.field)
def test_a_preference_fills(case: Preferred) -> None:
    vm = machine(case.around)
    expanded = to_builtins(expand(vm, None, preference_of(nested(case.field, case.value))))["spec"]["template"]["spec"]
    assert at(expanded, case.target) == case.result


@pytest.mark.parametrize("case", PREFERRED, ids=lambda case: case.field)
def test_the_vm_wins(case: Preferred) -> None:
    plain = merged(case.around)
    *above, last = case.target.split(".")
    inner: Any = plain
    for name in above:
        inner = inner[int(name)] if isinstance(inner, list) else inner.setdefault(name, {})
    inner[last] = case.own
    vm = machine(plain)
    said = at(to_builtins(vm)["spec"]["template"]["spec"], case.target)
    expanded = to_builtins(expand(vm, None, preference_of(nested(case.field, case.value))))["spec"]["template"]["spec"]
    assert at(expanded, case.target) == said


def typed_fields(type_: type[msgspec.Struct], path: str = "") -> Iterator[str]:
    """Fields down to the types that machines have too."""
    for field in msgspec.structs.fields(type_):
        inner = next((each for each in (field.type, *get_args(field.type)) if _is_own(each)), None)
        name = f"{path}{field.encode_name}"
        if inner is None:
            yield name
        else:
            yield from typed_fields(inner, f"{name}.")


def _is_own(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct) and "instancetype" in type_.__module__


# Fields with tests of their own.
ELSEWHERE = {"annotations"}
ELSEWHERE_PREFERENCE = ELSEWHERE | {
    "cpu.preferredCPUTopology",
    "cpu.spreadOptions.across",
    "cpu.spreadOptions.ratio",
    "preferSpreadSocketToCoreRatio",
    "requirements.architecture",
    "requirements.cpu.guest",
    "requirements.memory.guest",
    "volumes.preferredStorageClassName",
}


def test_every_field_has_a_row() -> None:
    assert {case.field for case in SIZES} == set(typed_fields(VirtualMachineInstancetypeSpec)) - ELSEWHERE
    assert {case.field for case in PREFERRED} == set(typed_fields(VirtualMachinePreferenceSpec)) - ELSEWHERE_PREFERENCE


def test_the_tables_name_fields_that_exist() -> None:
    size, preference, spec = size_of(), VirtualMachinePreferenceSpec(), VirtualMachineInstanceSpec()
    for row in sizes.SETS:
        paths.get(size, row.source)
        paths.put(deepcopy(spec), row.target, paths.get(size, row.source))
    for filled in (*preferences.EARLY, *preferences.FILLS):
        paths.get(preference, filled.source)
        paths.put(deepcopy(spec), filled.target, None)


@pytest.mark.parametrize("feature", FeatureHyperv.__struct_encode_fields__)
def test_each_hyperv_feature_by_itself(feature: str) -> None:
    preference = preference_of({"features": {"preferredHyperv": {feature: {"enabled": False}, "reset": {}}}})
    own = {"domain": {"features": {"hyperv": {feature: {"enabled": True}}}}}
    for vm, kept in ((machine(), False), (machine(own), True)):
        hyperv = to_builtins(expand(vm, None, preference))["spec"]["template"]["spec"]["domain"]["features"]["hyperv"]
        assert hyperv[feature] == ({"enabled": kept} if feature != "reset" or kept else {})


def test_passed_through_hyperv_needs_no_features() -> None:
    own = {"domain": {"features": {"hypervPassthrough": {"enabled": True}}}}
    expanded = expand(machine(own), None, preference_of({"features": {"preferredHyperv": {"reset": {}}}}))
    assert expanded.spec.template.spec.domain.features is not None
    assert expanded.spec.template.spec.domain.features.hyperv is None


@pytest.mark.parametrize(
    ("firmware", "bootloader"),
    [
        ({"preferredUseBios": True, "preferredUseBiosSerial": True, "preferredEfi": {}}, {"bios": {"useSerial": True}}),
        ({"preferredEfi": {}, "preferredUseEfi": True, "preferredUseSecureBoot": True}, {"efi": {}}),
        ({"preferredUseEfi": True, "preferredUseSecureBoot": False}, {"efi": {"secureBoot": False}}),
        ({"preferredUseEfi": False, "preferredUseBios": False, "preferredUseSecureBoot": True}, None),
    ],
)
def test_boot_loaders(firmware: Json, bootloader: Json | None) -> None:
    expanded = expand(machine(), None, preference_of({"firmware": firmware}))
    assert at(to_builtins(expanded)["spec"]["template"]["spec"], "domain.firmware.bootloader") == bootloader


def test_volumes_without_a_disk_get_the_preferred_one() -> None:
    vm = machine({"volumes": [{"name": "root", "containerDisk": {"image": "x"}}]})
    expanded = expand(vm, None, preference_of({"devices": {"preferredDiskBus": "scsi"}}))
    disks = to_builtins(expanded)["spec"]["template"]["spec"]["domain"]["devices"]["disks"]
    assert disks == [{"name": "root", "disk": {"bus": "scsi"}}]


def test_an_automatic_input_is_as_preferred() -> None:
    wanted = {"preferredAutoattachInputDevice": True, "preferredInputBus": "virtio", "preferredInputType": "tablet"}
    devices = expand(machine(), None, preference_of({"devices": wanted})).spec.template.spec.domain.devices
    assert to_builtins(devices)["inputs"] == [{"name": "default-0", "bus": "virtio", "type": "tablet"}]


def test_only_disks_on_virtio_have_an_io_thread() -> None:
    wanted = preference_of({"devices": {"preferredDiskDedicatedIoThread": True}})
    sata: Json = {"domain": {"devices": {"disks": [{"name": "d", "disk": {"bus": "sata"}}]}}}
    assert expand(machine(sata), None, wanted).spec.template.spec.domain.devices.disks[0].dedicated_io_thread is None


def test_no_graphics_no_video() -> None:
    own = {"domain": {"devices": {"autoattachGraphicsDevice": False}}}
    wanted = preference_of({"devices": {"preferredVideoType": "vga"}})
    assert expand(machine(own), None, wanted).spec.template.spec.domain.devices.video is None


def test_what_a_new_vm_keeps_of_its_preference() -> None:
    claim = {"metadata": {"name": "d"}, "spec": {"storage": {}}}
    chosen = {"metadata": {"name": "e"}, "spec": {"pvc": {"storageClassName": "slow"}}}
    vm = machine({}, dataVolumeTemplates=[claim, chosen])
    preference = preference_of(
        {
            "preferredArchitecture": "arm64",
            "machine": {"preferredMachineType": "virt"},
            "devices": {
                "preferredAutoattachPodInterface": False,
                "preferredInterfaceMasquerade": {},
                "preferredRng": {},
            },
            "volumes": {"preferredStorageClassName": "fast"},
        }
    )
    settings = prepare(vm, preference)
    spec = to_builtins(vm)["spec"]
    assert spec["template"]["spec"] == {
        "architecture": "arm64",
        "domain": {"machine": {"type": "virt"}, "devices": {"autoattachPodInterface": False}, "resources": {}},
    }
    classes = [
        (template["spec"].get("storage") or template["spec"]["pvc"])["storageClassName"]
        for template in spec["dataVolumeTemplates"]
    ]
    assert classes == ["fast", "slow"]
    assert (settings.interface_binding, prepare(vm, None)) == ("masquerade", DEFAULT)


# Requirements.

FOUR = {"requirements": {"cpu": {"guest": 4}}}


@pytest.mark.parametrize(
    ("preference", "size", "spec", "expected"),
    [
        (FOUR, {}, {}, []),
        (
            FOUR,
            {"cpu": {"guest": 2}},
            {},
            [
                (
                    "spec.instancetype",
                    "insufficient CPU resources of 2 vCPU provided by instance type, preference requires 4 vCPU",
                )
            ],
        ),
        (
            {"requirements": {"memory": {"guest": "4Gi"}}},
            {},
            {},
            [
                (
                    "spec.instancetype",
                    "insufficient Memory resources of 2Gi provided by instance type, preference requires 4Gi",
                )
            ],
        ),
        (
            FOUR,
            None,
            {},
            [
                (
                    "spec.template.spec.domain.cpu",
                    "no CPU resources provided by VirtualMachine, preference requires 4 vCPU",
                )
            ],
        ),
        (FOUR, None, {"domain": {"cpu": {"sockets": 4}}}, []),
        (FOUR, None, {"domain": {"resources": {"requests": {"cpu": "3500m"}}}}, []),
        (
            FOUR,
            None,
            {"domain": {"cpu": {"cores": 4}}},
            [
                (
                    "spec.template.spec.domain.cpu.sockets",
                    "insufficient CPU resources of 1 vCPU provided by VirtualMachine, "
                    "preference requires 4 vCPU provided as sockets",
                )
            ],
        ),
        (FOUR | {"cpu": {"preferredCPUTopology": "any"}}, None, {"domain": {"cpu": {"cores": 4}}}, []),
        (
            FOUR | {"cpu": {"preferredCPUTopology": "spread"}},
            None,
            {"domain": {"cpu": {"cores": 2, "threads": 2}}},
            [
                (
                    f"spec.template.spec.domain.cpu.{part}",
                    "insufficient CPU resources of 2 vCPU provided by VirtualMachine, "
                    "preference requires 4 vCPU provided as sockets and cores",
                )
                for part in ("sockets", "cores")
            ],
        ),
        (
            {"requirements": {"memory": {"guest": "4Gi"}}},
            None,
            {"domain": {"memory": {"guest": "1Gi"}}},
            [
                (
                    "spec.template.spec.domain.memory",
                    "insufficient Memory resources of 1Gi provided by VirtualMachine, preference requires 4Gi",
                )
            ],
        ),
        (
            {"requirements": {"memory": {"guest": "1Gi"}}},
            None,
            {"domain": {"resources": {"limits": {"memory": "1Gi"}}}},
            [],
        ),
        (
            {"requirements": {"architecture": "arm64"}},
            {},
            {"architecture": "amd64"},
            [
                (
                    "spec.template.spec.architecture",
                    "preference requires architecture arm64 but amd64 is being requested",
                )
            ],
        ),
    ],
)
def test_requirements(preference: Json, size: Json | None, spec: Json, expected: list[tuple[str, str]]) -> None:
    found = refusals(machine(spec), None if size is None else size_of(size), preference_of(preference))
    said = [(field, f"failure checking preference requirements: {reason}") for field, reason in expected]
    assert [(cause.field, cause.message) for cause in found] == said


# Properties.

templates = st.lists(st.sampled_from(PREFERRED), max_size=6).map(
    lambda cases: merged(*(merged(case.around, {} if case.around else nested(case.target, case.own)) for case in cases))
)
preferred_specs = st.lists(st.sampled_from(PREFERRED), max_size=12).map(
    lambda cases: merged(*(nested(case.field, case.value) for case in cases))
)
size_specs = st.lists(st.sampled_from(SIZES), max_size=8).map(
    lambda cases: merged(*(nested(case.field, case.value) for case in cases))
)


def holds(whole: Any, part: Any) -> bool:
    """Whether everything `part` says is in `whole`."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and holds(whole[key], part[key]) for key in part)
    if isinstance(part, list):
        return isinstance(whole, list) and all(map(holds, whole, part)) and len(whole) >= len(part)
    return part == "" or bool(whole == part)


@given(template=templates, preference=preferred_specs)
def test_nothing_a_vm_says_is_lost(template: Json, preference: Json) -> None:
    vm = machine(template)
    said = to_builtins(vm)["spec"]["template"]["spec"]
    expanded = expand(vm, None, preference_of(preference))
    assert holds(to_builtins(expanded)["spec"]["template"]["spec"], said)
    assert to_builtins(vm)["spec"]["template"]["spec"] == said


@given(template=templates, size=size_specs, preference=preferred_specs)
def test_what_is_expanded_needs_no_expansion(template: Json, size: Json, preference: Json) -> None:
    typed = preference_of(preference)
    once = expand(machine(template), size_of(size), typed)
    assert once.spec.instancetype is None
    assert once.spec.preference is None
    assert expand(once, None, typed) == once


@given(template=templates, size=size_specs)
def test_without_conflicts_nothing_is_overwritten(template: Json, size: Json) -> None:
    vm, typed = machine(template), size_of(size)
    said = to_builtins(vm)["spec"]["template"]["spec"]
    if not conflicts(vm, typed, None):
        assert holds(to_builtins(expand(vm, typed, None))["spec"]["template"]["spec"], said)
