"""What machines of other architectures are like."""

from __future__ import annotations

from typing import Any

import pytest
from domain_guests import guest_of, minimal, parsed, with_disks

from virt_handler.domain import build, obstacles, render
from virt_handler.errors import RenderError
from virt_handler.model import Guest, NicSource


def on(architecture: str, devices: dict[str, Any] | None = None, **domain: Any) -> Guest:
    manifest = minimal(devices, **domain)
    manifest["spec"]["architecture"] = architecture
    return guest_of(manifest)


def with_nic(architecture: str, **domain: Any) -> Guest:
    manifest = minimal({"interfaces": [{"name": "n", "masquerade": {}}]}, **domain)
    manifest["spec"] |= {"architecture": architecture, "networks": [{"name": "n", "pod": {}}]}
    return guest_of(manifest, nics={"n": NicSource("ethernet")})


BASICS = [
    # architecture, libvirt's name, machine, watchdog, video, SMBIOS tables, ROM of a network card
    ("amd64", "x86_64", "q35", "i6300esb", "vga", True, True),
    ("s390x", "s390x", "s390-ccw-virtio", "diag288", "virtio", False, False),
]


@pytest.mark.parametrize(("name", "emulated", "machine", "watchdog", "video", "smbios", "rom"), BASICS)
def test_the_machine(  # noqa: PLR0917  the columns of the table
    name: str, emulated: str, machine: str, watchdog: str, video: str, smbios: bool, rom: bool
) -> None:
    domain = build(with_nic(name))
    assert (domain.os.arch, domain.os.machine, domain.os.smbios) == (emulated, machine, smbios)
    assert domain.video is not None
    assert domain.video.type == video
    assert domain.interfaces[0].rom_off is rom
    guarded = build(on(name, {"watchdog": {"name": "w"}})).watchdog
    assert guarded is not None
    assert (guarded.model, guarded.action) == (watchdog, "reset")


def test_virtio_of_s390x_has_no_flavours() -> None:
    guest = on("s390x", {"rng": {}, "useVirtioTransitional": True})
    text = render(guest)
    assert "transitional" not in text
    models = {it.type: it.model for it in build(guest).controllers}
    assert models == {"usb": "none", "scsi": "virtio-scsi", "virtio-serial": "virtio"}


@pytest.mark.parametrize(
    ("name", "inputs", "found"),
    [
        ("amd64", [], []),
        ("arm64", [], [("tablet", "usb"), ("keyboard", "usb")]),
        ("arm64", [{"name": "t", "type": "tablet", "bus": "virtio"}], [("tablet", "virtio"), ("keyboard", "usb")]),
        ("s390x", [], [("keyboard", "virtio")]),
    ],
)
def test_keyboard_and_tablet_where_the_machine_has_none(
    name: str, inputs: list[dict[str, Any]], found: list[tuple[str, str]]
) -> None:
    assert [(it.type, it.bus) for it in build(on(name, {"inputs": inputs})).inputs] == found
    headless = build(on(name, {"inputs": inputs, "autoattachGraphicsDevice": False}))
    assert len(headless.inputs) == len(inputs)


def test_arm64_takes_no_processors_while_it_runs() -> None:
    cpu = build(on("arm64", cpu={"sockets": 2, "maxSockets": 4})).cpu
    assert (cpu.sockets, cpu.vcpus, cpu.hotplug) == (2, 2, ())


def test_arm64_always_has_a_usb_controller_and_no_hole() -> None:
    guest = on("arm64", {"autoattachGraphicsDevice": False})
    guest.vmi.metadata.annotations["kubevirt.io/disablePCIHole64"] = "true"
    assert [(it.type, it.model) for it in build(guest).controllers if it.type in ("usb", "pci")] == [
        ("usb", "qemu-xhci")
    ]


def test_memory_of_s390x_is_in_no_cell() -> None:
    domain = build(on("s390x", memory={"guest": "64Mi", "hugepages": {"pageSize": "1Mi"}}))
    assert domain.memory.backing is not None
    assert (domain.memory.backing.hugepages, domain.memory.backing.memfd, domain.cpu.cells) == (True, False, ())


def test_secure_execution_of_s390x_is_virtio_behind_the_iommu() -> None:
    guest = with_nic("s390x", launchSecurity={})
    root = parsed(render(guest))
    assert root.find("launchSecurity") is None
    assert [it.get("iommu") for it in root.iterfind("devices/*/driver")] == ["on"] * 4  # net, scsi, serial, balloon


def test_nothing_of_s390x_is_placed_on_a_pci_root() -> None:
    guest = on("s390x")
    guest.vmi.metadata.annotations["kubevirt.io/placePCIDevicesOnRootComplex"] = "true"
    assert parsed(render(guest)).findall("devices/*/address") == []


REFUSED = [
    ("arm64", {"devices": {"watchdog": {"name": "w"}}}, "watchdog: machines of arm64 have none"),
    ("arm64", {"firmware": {"bootloader": {"efi": {"secureBoot": True}}}}, "secureBoot has no firmware on arm64"),
    ("arm64", {"launchSecurity": {"tdx": {}}}, "launchSecurity: arm64 has neither SEV nor TDX"),
]


@pytest.mark.parametrize(("name", "domain", "message"), REFUSED)
def test_what_an_architecture_has_not(name: str, domain: dict[str, Any], message: str) -> None:
    with pytest.raises(RenderError, match=message):
        render(on(name, **domain))


def test_blocks_of_s390x_are_small() -> None:
    sizes = {"custom": {"logical": 8192, "physical": 8192}}
    manifest = with_disks({"name": "a", "disk": {"bus": "virtio"}, "blockSize": sizes})
    assert 'logical_block_size="8192"' in render(guest_of(manifest))
    manifest["spec"]["architecture"] = "s390x"
    with pytest.raises(RenderError, match=r"disks\[0\]\.blockSize\.custom: s390x has blocks of 4096 bytes"):
        render(guest_of(manifest))


def test_a_node_of_another_architecture_is_told() -> None:
    assert "spec.architecture 's390x': node node1 is x86_64" in [it.message for it in obstacles(on("s390x"))]
