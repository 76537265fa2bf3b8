"""What may be asked of a guest, where the recording has no case: probes, ACPI, hot-plug, durations, Accept headers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from support.fake_kube import FakeKube

from virt_api import guest, hotplug, migration, refusals, subresources
from virt_api.app import build
from virt_api.lifecycle import Refusal
from virt_api.negotiate import reads_json
from virt_api.objects import parse_options
from virt_kube.api import ApiError
from virt_types import codec
from virt_types.durations import seconds
from virt_types.v1 import VirtualMachineInstance, VirtualMachineInstanceSpec


def vmi(**fields: Any) -> VirtualMachineInstance:
    return codec.from_builtins(
        {"metadata": {"name": "x"}, "status": {"phase": "Running"}} | fields, VirtualMachineInstance
    )


@pytest.mark.parametrize(
    ("check", "spec", "code", "message"),
    [
        (guest.check_pause, {"livenessProbe": {"tcpSocket": {"port": 22}}}, 403, "non-GuestAgentPing LivenessProbe"),
        (guest.check_pause, {"livenessProbe": {"guestAgentPing": {}}}, 0, ""),
        (guest.check_softreboot, {"domain": {"features": {"acpi": {"enabled": False}}}}, 409, "nor the ACPI feature"),
        (guest.check_softreboot, {"domain": {"features": {"acpi": {}}}}, 0, ""),
        (guest.check_usbredir, {"domain": {"devices": {"clientPassthrough": {}}}}, 0, ""),
        (guest.check_vsock, {"domain": {"devices": {"autoattachVSOCK": True}}}, 0, ""),
        (guest.check_usbredir, {"architecture": "s390x"}, 409, "No USB support on s390x"),
        (guest.check_sev_certificates, {"domain": {"launchSecurity": {"sev": {"attestation": {}}}}}, 0, ""),
        (guest.check_sev_certificates, {"domain": {"launchSecurity": {"sev": {}}}}, 409, "Attestation not requested"),
        (guest.check_sev_certificates, {"domain": {"launchSecurity": {"snp": {}}}}, 409, "Attestation not requested"),
        (guest.check_sev_launch, {"domain": {"launchSecurity": {"sev": {}}}}, 409, "Attestation not requested"),
        (guest.check_sev_launch, {"domain": {"launchSecurity": {"sev": {"attestation": {}}}}}, 409, "not paused"),
        (guest.check_sev_session, {"domain": {"launchSecurity": {"sev": {"attestation": {}}}}}, 409, "not in S"),
    ],
)
def test_what_the_spec_forbids(
    check: Callable[[VirtualMachineInstance], ApiError | None], spec: dict[str, Any], code: int, message: str
) -> None:
    refusal = check(vmi(spec=spec))
    assert (refusal.code if refusal else 0) == code
    assert message in (refusal.message if refusal else "")


def test_a_missing_vm_is_named_as_clients_know_it() -> None:
    err = refusals.not_found(refusals.VM, "nosuch")
    assert (err.code, err.message) == (404, 'virtualmachine.kubevirt.io "nosuch" not found')
    assert err.status["details"] == {"name": "nosuch", "group": "kubevirt.io", "kind": "virtualmachine"}


def test_a_migration_to_somewhere_is_refused_with_the_way_out() -> None:
    err = migration.why_not(vmi(status={"phase": "Running", "nodeName": "n1"}), ["n2"])
    assert (err.status["code"], err.reason) == (501, "NotImplemented")
    assert "not implemented by the node agent of n1" in err.message
    assert "stop the VM and start it" in err.message


DRIVE = {"name": "cd", "cdrom": {"bus": "sata"}}
PLUGGED = {"name": "hp", "dataVolume": {"name": "dv", "hotpluggable": True}}


def spec(volumes: list[Any], disks: list[Any]) -> VirtualMachineInstanceSpec:
    return codec.from_builtins(
        {"volumes": volumes, "domain": {"devices": {"disks": disks}}}, VirtualMachineInstanceSpec
    )


def add(into: VirtualMachineInstanceSpec, **body: Any) -> Any:
    asked = hotplug.read_addition(codec.from_builtins(body, hotplug.AddOptions))
    return asked if isinstance(asked, Refusal) else hotplug.add(into, *asked)


CLAIM = {"persistentVolumeClaim": {"claimName": "c"}}


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"name": "v", "volumeSource": CLAIM}, (400, "AddVolumeOptions requires disk to not be nil")),
        ({"name": "v", "disk": {}}, (400, "AddVolumeOptions requires VolumeSource to not be nil")),
        ({"name": "v", "disk": {}, "volumeSource": {}}, (400, "AddVolumeOptions requires VolumeSource to not be nil")),
        (
            {"name": "v", "disk": {"disk": {"bus": "sata"}}, "volumeSource": CLAIM},
            (400, "AddVolume request for disk [v] requires bus to be 'scsi' or 'virtio'. [sata] is not permitted."),
        ),
        (
            {"name": "v", "disk": {"lun": {"bus": "virtio"}}, "volumeSource": CLAIM},
            (400, "AddVolume request for LUN [v] requires bus to be 'scsi'. [virtio] is not permitted."),
        ),
        (
            {"name": "v", "disk": {"cdrom": {"bus": "sata"}}, "volumeSource": CLAIM},
            (400, "AddVolume request for [v] requires diskDevice of type 'disk' or 'lun' to be used."),
        ),
        (
            {"name": "v", "disk": {"disk": {"bus": "scsi"}}, "volumeSource": {"dataVolume": {"name": "dv"}}},
            (409, "Unable to add volume source [dv] because it already exists"),
        ),
    ],
)
def test_a_volume_that_can_not_be_added(body: dict[str, Any], refusal: tuple[int, str]) -> None:
    found = add(spec([PLUGGED], []), **body)
    assert (found.code, found.message) == refusal


def test_a_volume_is_injected_into_the_empty_drive_of_its_name_and_leaves_it_there() -> None:
    volume = {"name": "cd", "persistentVolumeClaim": {"claimName": "c", "hotpluggable": True}}
    assert add(spec([], [DRIVE]), name="cd", disk={"cdrom": {}}, volumeSource=CLAIM) == {"volumes": [volume]}
    assert hotplug.remove(spec([volume], [DRIVE]), "cd") == {"volumes": []}


def test_a_removed_disk_goes_with_its_volume() -> None:
    root = {"name": "root", "containerDisk": {"image": "x"}}
    found = spec([root, PLUGGED], [{"name": "root", "disk": {}}, {"name": "hp", "disk": {}}])
    assert hotplug.remove(found, "hp") == {
        "volumes": [root],
        "domain": {"devices": {"disks": [{"name": "root", "disk": {}}]}},
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [("5m0s", 300.0), ("1h", 3600.0), ("500ms", 0.5), ("90", 90.0), ("", None), ("5x", None), ("-1s", None)],
)
def test_durations_are_gos(text: str, value: float | None) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize(
    ("accept", "readable"),
    [
        ([], True),
        (["application/json"], True),
        (["application/json;as=Table;v=v1,application/json"], True),
        (["application/vnd.kubernetes.protobuf, */*"], True),
        (["application/yaml"], False),
        (["text/html", "application/*;q=0.5"], True),
        (["application/json;q=0"], False),
    ],
)
def test_who_can_read_json(accept: list[str], *, readable: bool) -> None:
    assert reads_json(accept) is readable


def test_a_dry_run_may_be_asked_for_in_the_query_or_in_the_body() -> None:
    assert parse_options(b"", {"dryRun": "All"}, hotplug.RemoveOptions).dry_run == ["All"]
    assert parse_options(b'{"name":"v","dryRun":["All"]}', {}, hotplug.RemoveOptions).dry_run == ["All"]


def test_discovery_names_exactly_what_is_routed() -> None:
    app = build(FakeKube(), handler_socket="unused")
    routed = set()
    for route in app.router.routes():
        path = route.resource.canonical if route.resource is not None else ""
        found = re.fullmatch(r".*/namespaces/\{namespace\}/(virtualmachine\w+)/\{name\}/(.+)", path)
        if found is not None and route.method != "HEAD":
            routed.add((found[1], found[2].removesuffix("/{port}/{protocol}").removesuffix("/{port}"), route.method))
    named = {
        (kind, name, method)
        for table, method in ((subresources.READS, "GET"), (subresources.UPDATES, "PUT"))
        for kind, names in table.items()
        for name in names
    }
    assert routed == named
    listed = {entry["name"] for entry in subresources.resource_list("v1alpha3")["resources"]}
    assert listed == {f"{kind}/{name}" for kind, name, _ in named} | set(subresources.NAMESPACED_UPDATES)
