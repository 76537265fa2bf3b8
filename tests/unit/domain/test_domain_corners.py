"""Corners of the rules that KubeVirt's converter settles: combinations nobody would guess right."""

from __future__ import annotations

from typing import Any

import pytest
from domain_guests import minimal, parsed, vmi_of, with_disks

from virt_handler.domain import dedicated_processors, preview, render
from virt_handler.errors import RenderError


def on_volume(volume: dict[str, Any], disk: dict[str, Any], **domain: Any) -> dict[str, Any]:
    manifest = minimal({"disks": [{"name": "v", **disk}], **domain.pop("devices", {})}, **domain)
    manifest["spec"]["volumes"] = [{"name": "v", **volume}]
    return manifest


def with_nic(**interface: Any) -> dict[str, Any]:
    manifest = minimal({"interfaces": [{"name": "n", **interface}]})
    manifest["spec"]["networks"] = [{"name": "n", "pod": {}}]
    return manifest


def annotated(manifest: dict[str, Any], **annotations: str) -> dict[str, Any]:
    manifest["metadata"]["annotations"] = {f"kubevirt.io/{name}": value for name, value in annotations.items()}
    return manifest


CLAIM = {"persistentVolumeClaim": {"claimName": "c"}}
METRICS = {"downwardMetrics": {}}
VIRTIO = {"disk": {"bus": "virtio"}}
CORNERS: list[tuple[dict[str, Any], str, str | None]] = [
    # manifest, path to an attribute, its value (None: there is none)
    (on_volume(CLAIM, VIRTIO), "devices/disk@model", "virtio-non-transitional"),
    (on_volume(CLAIM, {"lun": {"bus": "virtio"}}), "devices/disk@model", None),
    (on_volume(CLAIM, {"cdrom": {"bus": "virtio"}}), "devices/disk@model", None),
    (on_volume(METRICS, {"disk": {"bus": "sata"}}), "devices/disk@model", "virtio-non-transitional"),
    (on_volume(CLAIM, VIRTIO), "devices/disk/driver@discard", "unmap"),
    (on_volume(METRICS, VIRTIO), "devices/disk/driver@discard", None),
    (on_volume(CLAIM, VIRTIO, devices={"blockMultiQueue": True}), "devices/disk/driver@queues", "1"),
    (on_volume(METRICS, VIRTIO, devices={"blockMultiQueue": True}), "devices/disk/driver@queues", None),
    (on_volume(CLAIM, {"lun": {"reservation": True}}), "devices/disk/source/reservations@managed", "no"),
    (on_volume(METRICS, {"lun": {"reservation": True}}), "devices/disk/source/reservations@managed", None),
    (with_nic(masquerade={}), "devices/interface/rom@enabled", "no"),
    (with_nic(passtBinding={}), "devices/interface/rom@enabled", None),
    (with_nic(passtBinding={}), "devices/interface@type", "vhostuser"),
    (with_nic(passtBinding={}), "devices/interface/portForward@proto", "tcp"),
    (with_nic(slirp={}, bootOrder=1), "devices/interface/boot@order", None),  # attached by nothing
    (with_nic(bridge={}, acpiIndex=7), "devices/interface/acpi@index", "7"),
    (with_nic(bridge={}, acpiIndex=-1), "devices/interface/acpi@index", None),
    (minimal(clock={"utc": {}, "timezone": "Europe/Berlin"}), "clock@offset", "utc"),
    (minimal(clock={"timezone": "Europe/Berlin"}), "clock@offset", "timezone"),
    (minimal(cpu={"realtime": {}}), "features/pmu@state", None),  # without processors of its own
    (minimal(cpu={"realtime": {}, "dedicatedCpuPlacement": True}), "features/pmu@state", "off"),
    (minimal(cpu={"numa": {"guestMappingPassthrough": {}}}), "numatune/memory@mode", None),
    (annotated(minimal(), disablePCIHole64="True"), "devices/controller[@type='pci']@model", "pcie-root"),
    (annotated(minimal(), disablePCIHole64="yes"), "devices/controller[@type='pci']@model", None),
    (minimal({"watchdog": {"name": "w", "diag288": {"action": "shutdown"}}}), "devices/watchdog@action", "reset"),
    (minimal(launchSecurity={"sev": {}, "snp": {}}), "launchSecurity@type", "sev"),
    (minimal(launchSecurity={"snp": {}, "tdx": {}}), "launchSecurity@type", "sev-snp"),
]


@pytest.mark.parametrize(("manifest", "path", "value"), CORNERS)
def test_corner(manifest: dict[str, Any], path: str, value: str | None) -> None:
    element, _, attribute = path.rpartition("@")
    found = parsed(render(preview(vmi_of(manifest)))).find(element)
    assert (found.get(attribute) if found is not None else None) == value


def test_threads_are_dedicated_to_virtio_disks_only_and_numbered_without_gaps() -> None:
    disks = [{"name": bus, "dedicatedIOThread": True, "disk": {"bus": bus}} for bus in ("scsi", "sata", "virtio")]
    root = parsed(render(preview(vmi_of(with_disks(*disks)))))
    assert root.findtext("iothreads") == "4"  # each of the three has one, and there is one for all
    assert [it.get("iothread") for it in root.iterfind("devices/disk/driver")] == [None, None, "2"]


@pytest.mark.parametrize(("policy", "count"), [("supplementalPool", 4), ("auto", 1), (None, 1)])
def test_a_pool_takes_processors_only_where_it_is_the_policy(policy: str | None, count: int) -> None:
    domain = {"ioThreadsPolicy": policy} if policy else {}
    pool = {"ioThreads": {"supplementalPoolThreadCount": 3}}
    vmi = vmi_of(minimal(cpu={"cores": 1, "dedicatedCpuPlacement": True}, **domain, **pool))
    assert dedicated_processors(vmi) == count


@pytest.mark.parametrize("kind", ["sev", "snp"])
def test_secure_boot_does_not_go_with_confidential_memory_of_amd(kind: str) -> None:
    manifest = minimal(launchSecurity={kind: {}}, firmware={"bootloader": {"efi": {}}})
    with pytest.raises(RenderError, match=rf"secureBoot does not go with launchSecurity\.{kind}"):
        render(preview(vmi_of(manifest)))


def test_passt_is_beside_the_interface_the_status_names() -> None:
    vmi = vmi_of(with_nic(passtBinding={}) | {"status": {"interfaces": [{"name": "n", "podInterfaceName": "pod7"}]}})
    assert '<source dev="pod7"/>' in render(preview(vmi))
