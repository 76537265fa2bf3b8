"""The rules of single sections, as tables: targets, threads, processors, memory, firmware, devices."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from domain_guests import NODE, guest_of, minimal, with_disks

from virt_handler.domain import build, obstacles, omissions, refuse, render
from virt_handler.domain.disks import letter_number, letters
from virt_handler.domain.layout import lay_out
from virt_handler.domain.proof import prove
from virt_handler.errors import RenderError
from virt_handler.model import DiskSource, NicSource
from virt_types import quantity
from virt_types.v1 import VolumeStatus


def disk(name: str, bus: str = "virtio", device: str = "disk", **more: Any) -> dict[str, Any]:
    return {"name": name, device: {"bus": bus}, **more}


@pytest.mark.parametrize(("number", "name"), [(0, "a"), (25, "z"), (26, "aa"), (51, "az"), (52, "ba"), (702, "aaa")])
def test_target_letters(number: int, name: str) -> None:
    assert letters(number) == name
    assert letter_number(f"sd{name}") == number


def test_targets_are_counted_per_prefix() -> None:
    disks = [disk("a"), disk("b", "sata"), disk("c", "scsi"), disk("d"), disk("e", "usb"), disk("f", "sata", "cdrom")]
    assert [it.target for it in build(guest_of(with_disks(*disks))).disks] == ["vda", "sda", "sdb", "vdb", "sdc", "sdd"]


def test_a_target_in_the_status_stays_with_its_volume() -> None:
    guest = guest_of(with_disks(disk("a"), disk("b"), disk("c")))
    guest.vmi.status.volume_status = [VolumeStatus(name="b", target="vda"), VolumeStatus(name="gone", target="vdb")]
    assert [it.target for it in build(guest).disks] == ["vdc", "vda", "vdd"]


def test_only_scsi_disks_have_a_drive_address() -> None:
    disks = [disk("a", "sata"), disk("b", "scsi"), disk("c", "scsi", "cdrom"), disk("d", "scsi", "lun")]
    assert [it.unit for it in build(guest_of(with_disks(*disks))).disks] == [None, 1, None, 3]


CACHES = [
    # asked, O_DIRECT works, cache, io
    (None, True, "none", ""),
    (None, None, "", ""),
    ("none", None, "none", ""),
    (None, False, "writethrough", ""),
    ("writeback", True, "writeback", ""),
    ("none", True, "none", ""),
]


@pytest.mark.parametrize(("asked", "direct", "cache", "io"), CACHES)
def test_cache(asked: str | None, direct: bool | None, cache: str, io: str) -> None:
    more = {"cache": asked} if asked else {}
    guest = guest_of(with_disks(disk("a", **more)), disks={"a": DiskSource("/a", direct_io=direct)})
    found = build(guest).disks[0]
    assert (found.cache, found.io) == (cache, io)


@pytest.mark.parametrize(
    ("source", "io"),
    [
        (DiskSource("/dev/a", block=True, direct_io=True), "native"),
        (DiskSource("/a", preallocated=True, direct_io=True), "native"),
        (DiskSource("/a", preallocated=True), ""),
        (DiskSource("/a", direct_io=True), ""),
    ],
)
def test_native_io_only_where_it_never_blocks(source: DiskSource, io: str) -> None:
    assert build(guest_of(with_disks(disk("a")), disks={"a": source})).disks[0].io == io


def test_a_preallocated_image_is_not_discarded() -> None:
    guest = guest_of(
        with_disks(disk("a"), disk("b")), disks={"a": DiskSource("/a", preallocated=True), "b": DiskSource("/b")}
    )
    assert [it.discard for it in build(guest).disks] == [False, True]


def test_serial_and_sharing_belong_to_disks_only() -> None:
    disks = [disk(name, "scsi", device, serial="S", shareable=True) for name, device in (("a", "disk"), ("b", "cdrom"))]
    guest = guest_of(with_disks(*disks), disks={name: DiskSource(f"/{name}", direct_io=True) for name in "ab"})
    assert [(it.serial, it.shareable) for it in build(guest).disks] == [("S", True), ("", False)]


THREADS = [
    # policy, disks as (bus, dedicated), CPU request, total, thread of each disk
    (None, [("virtio", False)], None, 0, [0]),
    (None, [("virtio", True)], None, 1, [1]),
    (None, [("virtio", True)] * 3, None, 4, [2, 3, 4]),
    ("shared", [("virtio", False)] * 3, None, 1, [1, 1, 1]),
    ("shared", [], None, 0, []),
    ("auto", [("virtio", False)] * 3, None, 2, [1, 2, 1]),
    ("auto", [("virtio", False)] * 3, 2, 3, [1, 2, 3]),
    ("auto", [("virtio", True), ("sata", False), ("virtio", False)], None, 2, [2, 0, 1]),
    ("auto", [("sata", True), ("virtio", False)], 2, 2, [0, 1]),
]


@pytest.mark.parametrize(("policy", "disks", "cpus", "total", "threads"), THREADS)
def test_iothreads(
    policy: str | None, disks: list[tuple[str, bool]], cpus: int | None, total: int, threads: list[int]
) -> None:
    domain: dict[str, Any] = {"ioThreadsPolicy": policy} if policy else {}
    domain |= {"resources": {"requests": {"cpu": cpus}}} if cpus else {}
    specs = [disk(f"d{n}", bus, dedicatedIOThread=own) for n, (bus, own) in enumerate(disks)]
    context = build(guest_of(with_disks(*specs, **domain)))
    assert context.iothreads == total
    assert [it.iothread for it in context.disks] == threads


def test_a_dedicated_scsi_disk_gives_its_controller_a_thread() -> None:
    manifest = with_disks(disk("a"), disk("b", "scsi", dedicatedIOThread=True), cpu={"cores": 3})
    scsi = next(it for it in build(guest_of(manifest)).controllers if it.type == "scsi")
    assert (scsi.iothread, scsi.queues) == (1, 3)


MODELS = [
    # asked, accelerator, modes libvirt named, mode, model
    ("host-model", "qemu", (), "host-model", ""),
    ("host-passthrough", "kvm", (), "host-passthrough", ""),
    ("host-passthrough", "qemu", (), "maximum", ""),
    ("host-passthrough", "qemu", ("host-passthrough",), "host-passthrough", ""),
    ("Haswell", "qemu", (), "custom", "Haswell"),
]


@pytest.mark.parametrize(("asked", "accelerator", "modes", "mode", "model"), MODELS)
def test_cpu_model(asked: str, accelerator: str, modes: tuple[str, ...], mode: str, model: str) -> None:
    host = NODE._replace(accelerator=accelerator, cpu_modes=frozenset(modes))
    cpu = build(guest_of(minimal(cpu={"model": asked}), host=host)).cpu
    assert (cpu.mode, cpu.model) == (mode, model)


def test_a_named_model_goes_without_mpx_unless_asked() -> None:
    plain = build(guest_of(minimal(cpu={"model": "Haswell"}))).cpu
    asked = build(guest_of(minimal(cpu={"model": "Haswell", "features": [{"name": "mpx"}]}))).cpu
    assert [(it.name, it.policy) for it in plain.features] == [("mpx", "disable")]
    assert [(it.name, it.policy) for it in asked.features] == [("mpx", "require")]


def test_the_first_socket_is_never_unplugged() -> None:
    cpu = build(guest_of(minimal(cpu={"sockets": 2, "cores": 2, "threads": 1, "maxSockets": 3}))).cpu
    assert cpu.vcpus == 6
    assert [it.enabled for it in cpu.hotplug] == [True] * 4 + [False] * 2
    assert [it.hotpluggable for it in cpu.hotplug] == [False] * 2 + [True] * 4


SOCKETS = [
    # sockets, maxSockets, cores, limit of QEMU, sockets in the domain, is it told
    (1, 4, 100, 288, 2, False),  # 4 is what the default asks for
    (1, 3, 100, 288, 2, True),
    (1, 4, 2, 288, 4, False),
    (1, 4, 100, 0, 4, False),
    (3, 3, 100, 288, 3, False),
]


@pytest.mark.parametrize(("sockets", "most", "cores", "limit", "found", "told"), SOCKETS)
def test_room_for_processors_ends_where_qemu_does(  # noqa: PLR0917  the columns of the table
    sockets: int, most: int, cores: int, limit: int, found: int, told: bool
) -> None:
    manifest = minimal(cpu={"sockets": sockets, "maxSockets": most, "cores": cores, "threads": 1})
    guest = guest_of(manifest, host=NODE._replace(max_vcpus=limit))
    assert build(guest).cpu.sockets == found
    assert any(text.startswith("spec.domain.cpu.maxSockets: ") for text in omissions(guest)) is told


def pinned(policy: str | None = None, disks: int = 0, **cpu: Any) -> dict[str, Any]:
    domain = {"ioThreadsPolicy": policy} if policy else {}
    return with_disks(*(disk(f"d{n}") for n in range(disks)), cpu={"dedicatedCpuPlacement": True, **cpu}, **domain)


# NODE's cores are (0, 4) (1, 5) (2, 6) (3, 7); the guest has 0 4 2 6 1 5 3 for itself.
PINS = [
    # manifest, vCPUs, IO threads, emulator
    (pinned(), ["0"], [], ""),
    (pinned(cores=2, threads=2), ["0", "4", "1", "5"], [], ""),
    (pinned(cores=1, threads=2, sockets=3), ["0", "4", "1", "5", "2", "6"], [], ""),
    (pinned(cores=2, threads=3), ["0", "4", "1", "2", "6", "3"], [], ""),  # no core has three: of one cell each
    (pinned(cores=1, threads=5), ["0", "4", "1", "5", "2"], [], ""),  # no cell has five
    (pinned(cores=2, isolateEmulatorThread=True), ["0", "4"], [], "1"),
    (pinned(cores=2, threads=2, isolateEmulatorThread=True), ["0", "4", "1", "5"], [], "3"),  # the loose one first
    (pinned("shared", 1, cores=1), ["0"], ["0"], ""),
    (pinned("shared", 1, cores=4), ["0", "4", "1", "5"], ["0,4,2,6"], ""),
    (pinned("auto", 2, cores=4), ["0", "4", "1", "5"], ["0,4", "2,6"], ""),
    (pinned("auto", 2, cores=4, isolateEmulatorThread=True), ["0", "4", "1", "5"], ["2"], "2"),
    (pinned("auto", 2, cores=5, threads=1), ["0", "4", "1", "5", "2"], ["0,4,2", "6,1"], ""),
]


@pytest.mark.parametrize(("manifest", "vcpus", "iothreads", "emulator"), PINS)
def test_pins(manifest: dict[str, Any], vcpus: list[str], iothreads: list[str], emulator: str) -> None:
    tuning = build(guest_of(manifest)).tuning
    assert tuning is not None
    assert [pin.cpuset for pin in tuning.vcpus] == vcpus
    assert [pin.cpuset for pin in tuning.iothreads] == iothreads
    assert tuning.emulator == emulator


def test_numa_cells_of_the_host_are_mirrored() -> None:
    manifest = pinned(cores=3, threads=2, numa={"guestMappingPassthrough": {}})
    manifest["spec"]["domain"]["memory"] = {"guest": "10Mi", "hugepages": {"pageSize": "2Mi"}}
    cells = build(guest_of(manifest)).cpu.cells
    assert [(cell.id, cell.host_cell, cell.cpus, cell.memory) for cell in cells] == [
        (0, 0, "0,1,2,3", 3 * 2**21),
        (1, 1, "4,5", 2 * 2**21),
    ]
    assert cells[1].distances == ((0, 20), (1, 10))


SPINLOCKS = [
    ({}, 4096),
    ({"spinlocks": 8191}, 8191),
    ({"enabled": False}, None),
    ({"enabled": False, "spinlocks": 9}, 9),
]


@pytest.mark.parametrize(("asked", "retries"), SPINLOCKS)
def test_spinlock_retries(asked: dict[str, Any], retries: int | None) -> None:
    (feature,) = build(guest_of(minimal(features={"hyperv": {"spinlocks": asked}}))).features.hyperv or ()
    assert (feature.tag, feature.retries) == ("spinlocks", retries)


def test_the_root_complex_has_room_for_so_many() -> None:
    manifest = with_disks(*(disk(f"d{n}") for n in range(24)))
    manifest["metadata"]["annotations"] = {"kubevirt.io/placePCIDevicesOnRootComplex": "true"}
    placed = build(guest_of(manifest))
    slots = [int(it.address.slot, 16) for it in (*placed.controllers, *placed.disks, placed.balloon) if it.address]
    assert len(slots) == 28
    assert slots == [slot for slot in range(2, 0x20) if slot not in {0x1B, 0x1F}]
    manifest["spec"]["domain"]["devices"]["rng"] = {}
    with pytest.raises(RenderError, match="no slot is left"):
        render(guest_of(manifest))


@pytest.mark.parametrize(
    ("version", "guest", "most", "slots", "cells"),
    [
        (11_000_000, "1Gi", "4Gi", 0, 0),
        (9_000_000, "1Gi", "4Gi", 1, 1),  # an older one wants a slot, though none is used, and a NUMA cell
        (11_000_000, "1Gi", "1Gi", None, 0),
        (9_000_000, "1Gi", "1Gi", None, 0),
        (9_000_000, "300Gi", "1200Gi", None, 0),  # QEMU does not start with room beyond its 40 bits
        (11_000_000, "300Gi", "1200Gi", 0, 0),
    ],
)
def test_room_for_memory_that_is_plugged_in(version: int, guest: str, most: str, slots: int | None, cells: int) -> None:
    manifest = minimal(memory={"guest": guest, "maxGuest": most})
    found = build(guest_of(manifest, host=NODE._replace(libvirt_version=version)))
    assert found.memory.maximum == (quantity.to_bytes(most) if slots is not None else 0)
    assert found.memory.slots == slots or not found.memory.maximum
    assert len(found.cpu.cells) == cells


def test_room_that_was_asked_for_and_is_not_there_is_told() -> None:
    (sentence,) = omissions(guest_of(minimal(memory={"guest": "300Gi", "maxGuest": "1Ti"})))
    assert sentence.startswith("spec.domain.memory.maxGuest: memory can't be added while the guest runs (with libvirt")
    assert omissions(guest_of(minimal(memory={"guest": "300Gi", "maxGuest": "1200Gi"}))) == ()
    assert omissions(guest_of(minimal(memory={"guest": "1Gi", "maxGuest": "8Gi"}))) == ()


OMITTED = [
    (minimal(features={"hyperv": {"tlbflush": {"direct": {}}}}), "spec.domain.features.hyperv.tlbflush: "),
    (
        minimal(ioThreadsPolicy="supplementalPool", ioThreads={"supplementalPoolThreadCount": 2}),
        "spec.domain.ioThreads: ",
    ),
    (
        with_disks({"name": "a", "disk": {}, "blockSize": {"custom": {"logical": 512, "discardGranularity": 0}}}),
        "spec.domain.devices.disks[0].blockSize.custom.discardGranularity: ",
    ),
]


@pytest.mark.parametrize(("manifest", "start"), OMITTED)
def test_what_an_old_libvirt_does_not_know_is_told(manifest: dict[str, Any], start: str) -> None:
    (sentence,) = omissions(guest_of(manifest))
    assert sentence.startswith(start)
    assert sentence.endswith("(libvirt 9.0 on node1 is too old)")
    assert omissions(guest_of(manifest, host=NODE._replace(libvirt_version=11_000_000))) == ()


def test_what_emulation_and_user_mode_lack_is_told() -> None:
    manifest = nic()
    manifest["spec"]["domain"]["cpu"] = {"model": "host-passthrough", "cores": 2}
    guest = guest_of(manifest, nics={"n": NicSource("user")})
    assert [it.partition(": ")[0] for it in omissions(guest)] == [
        "spec.domain.cpu.model",
        "spec.domain.devices.networkInterfaceMultiqueue",
    ]
    assert build(guest).interfaces[0].queues == 0
    better = guest_of(manifest, host=NODE._replace(accelerator="kvm"))
    assert omissions(better) == ()
    assert build(better).interfaces[0].queues == 2


ELSEWHERE = {
    "domain": {
        "memory": {"guest": "64Mi"},
        "devices": {
            "interfaces": [
                {"name": "lan", "bridge": {}, "dhcpOptions": {"bootFileName": "x"}},
                {"name": "mine", "binding": {"name": "mine"}},
            ]
        },
    },
    "networks": [
        {"name": "lan", "multus": {"networkName": "lan"}},
        {"name": "mine", "pod": {"vmNetworkCIDR": "10.1.0.0/24"}},
    ],
}


@pytest.mark.parametrize("kind", ["network", "user"])
def test_a_network_that_is_not_there_is_told(kind: Literal["network", "user"]) -> None:
    manifest = minimal() | {"spec": ELSEWHERE}
    guest = guest_of(manifest, nics={"lan": NicSource(kind), "mine": NicSource(kind)})
    assert [it.partition(": ")[0] for it in omissions(guest)] == [
        "spec.networks[0]",
        "spec.networks[1].pod.vmNetworkCIDR",
        "spec.domain.devices.interfaces[0].dhcpOptions",
        "spec.domain.devices.interfaces[1].binding",
    ]
    # A cluster's node, where pods and plug-ins are.
    assert omissions(guest._replace(nics={"lan": NicSource("ethernet"), "mine": NicSource("ethernet")})) == ()


@pytest.mark.parametrize(("guest", "size"), [("64M", 64_000_000), ("1Ki", 1024), ("1500m", 1), ("1Gi", 2**30)])
def test_memory_is_whole_bytes(guest: str, size: int) -> None:
    assert build(guest_of(minimal(memory={"guest": guest}))).memory.size == size


def efi(*, secure: bool | None) -> dict[str, Any]:
    return minimal(firmware={"bootloader": {"efi": {} if secure is None else {"secureBoot": secure}}})


DEBIAN = frozenset({"OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd", "OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"})
OLD = frozenset({"OVMF_CODE.fd", "OVMF_VARS.fd", "OVMF_CODE.secboot.fd", "OVMF_VARS.secboot.fd"})
ROMS = [
    # files there, secureBoot, code, variables
    (frozenset(), None, "OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"),
    (DEBIAN, True, "OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"),
    (DEBIAN, False, "OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
    (OLD, True, "OVMF_CODE.secboot.fd", "OVMF_VARS.secboot.fd"),
    (OLD, False, "OVMF_CODE.fd", "OVMF_VARS.fd"),
]


@pytest.mark.parametrize(("files", "secure", "code", "variables"), ROMS)
def test_efi_firmware(files: frozenset[str], secure: bool | None, code: str, variables: str) -> None:
    loader = build(guest_of(efi(secure=secure), host=NODE._replace(firmware_files=files))).os.loader
    assert loader is not None
    assert (loader.path, loader.nvram_template) == (f"/usr/share/OVMF/{code}", f"/usr/share/OVMF/{variables}")
    assert loader.secure is (secure is not False)


def test_both_acpi_tables() -> None:
    manifest = minimal(firmware={"acpi": {"slicNameRef": "s", "msdmNameRef": "m"}})
    manifest["spec"]["volumes"] = [{"name": name, "secret": {"secretName": name}} for name in "sm"]
    text = render(guest_of(manifest))
    assert '<table type="slic">' in text
    assert '<table type="msdm">' in text


def test_bios_guests_have_vga_and_efi_guests_bochs() -> None:
    bios, secure = build(guest_of(minimal())).video, build(guest_of(efi(secure=False))).video
    assert bios is not None
    assert secure is not None
    assert (bios.type, secure.type) == ("vga", "bochs")


@pytest.mark.parametrize(
    ("devices", "model"),
    [
        ({}, "none"),
        ({"inputs": [{"name": "t", "type": "tablet"}]}, "qemu-xhci"),
        ({"inputs": [{"name": "t", "type": "tablet", "bus": "virtio"}]}, "none"),
        ({"clientPassthrough": {}}, "qemu-xhci"),
        ({"disks": [{"name": "empty", "cdrom": {"bus": "usb"}}]}, "qemu-xhci"),
    ],
)
def test_usb_controller_only_where_something_uses_it(devices: dict[str, Any], model: str) -> None:
    usb = next(it for it in build(guest_of(minimal(devices))).controllers if it.type == "usb")
    assert usb.model == model


def nic(**more: Any) -> dict[str, Any]:
    manifest = minimal({"interfaces": [{"name": "n", "masquerade": {}, **more}], "networkInterfaceMultiqueue": True})
    manifest["spec"]["networks"] = [{"name": "n", "pod": {}}]
    return manifest


@pytest.mark.parametrize(
    ("model", "accelerator", "found"),
    [
        (None, "kvm", ("virtio-non-transitional", 1, True)),
        (None, "qemu", ("virtio-non-transitional", 1, False)),  # vhost needs KVM
        ("e1000e", "kvm", ("e1000e", 0, False)),
    ],
)
def test_queues_are_for_virtio_only(model: str | None, accelerator: str, found: tuple[str, int, bool]) -> None:
    manifest = nic(**({"model": model} if model else {}))
    it = build(guest_of(manifest, host=NODE._replace(accelerator=accelerator))).interfaces[0]
    assert (it.model, it.queues, it.vhost) == found


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (NicSource("network", "virtctl"), '<source network="virtctl"/>'),
        (NicSource("bridge", "br0"), '<source bridge="br0"/>'),
        (NicSource("ethernet", target="tap0"), '<target dev="tap0" managed="no"/>'),
        (NicSource("network", "virtctl", mac="52:54:00:00:00:01"), '<mac address="52:54:00:00:00:01"/>'),
        (NicSource("network", "virtctl", mtu=1400), '<mtu size="1400"/>'),
    ],
)
def test_how_an_interface_is_connected(source: NicSource, line: str) -> None:
    text = render(guest_of(nic(), nics={"n": source}))
    assert f'<interface type="{source.kind}">' in text
    assert line in text


def test_an_absent_interface_is_not_in_the_domain() -> None:
    assert build(guest_of(nic(state="absent"))).interfaces == ()


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (with_disks(disk("a", "ide")), {}, r"disks\[0\]\.disk\.bus 'ide' is unknown"),
    (minimal({"disks": [disk("ghost")]}), {}, r"disks\[0\]: no volume named 'ghost'"),
    (with_disks(disk("a")), {"disks": {}}, r"disks\[0\]: volume 'a' was not prepared"),
    (
        with_disks(disk("a", cache="none")),
        {"disks": {"a": DiskSource("/a", direct_io=False)}},
        r"disks\[0\]\.cache none: .* does not support O_DIRECT",
    ),
    (with_disks({"name": "a", "disk": {"bus": "virtio", "pciAddress": "0:1"}}), {}, r"pciAddress: '0:1' is no PCI"),
    (nic(), {"nics": {}}, r"interfaces\[0\]: network 'n' was not connected"),
    (minimal({"interfaces": [{"name": "n", "bridge": {}}]}), {}, r"interfaces\[0\]: no network named 'n'"),
    (minimal({"hostDevices": [{"name": "h", "deviceName": "a/b"}]}), {}, r"hostDevices\[0\]: no device of this node"),
    (minimal(cpu={"dedicatedCpuPlacement": True}), {"cpuset": ()}, "dedicatedCpuPlacement: 1 processors wanted"),
    (
        minimal(
            cpu={"cores": 1, "threads": 5, "dedicatedCpuPlacement": True, "numa": {"guestMappingPassthrough": {}}},
            memory={"guest": "64Mi", "hugepages": {"pageSize": "2Mi"}},
        ),
        {},
        "guestMappingPassthrough: the threads of one core would be in two NUMA cells",
    ),
    (minimal(machine={"type": "vax"}), {"host": NODE._replace(machines=frozenset({"q35"}))}, "machine.type 'vax'"),
    (efi(secure=True), {"host": NODE._replace(firmware_files=frozenset({"OVMF_CODE_4M.fd"}))}, "no EFI firmware with"),
    (with_disks(disk("a", errorPolicy="panic")), {}, r"disks\[0\]\.errorPolicy 'panic' is unknown"),
    (minimal(firmware={"acpi": {"slicNameRef": "v"}}), {}, "slicNameRef: no volume 'v'"),
]


@pytest.mark.parametrize(("manifest", "changes", "message"), REFUSED)
def test_what_cannot_be_a_domain_is_refused_by_field(
    manifest: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RenderError, match=message) as caught:
        render(guest_of(manifest, **changes))
    assert caught.value.fatal


ABLE = NODE._replace(video_models=frozenset({"vga", "virtio"}), tpm=True, sev=True, max_vcpus=255)


def at(*addresses: str) -> list[dict[str, Any]]:
    """Virtio disks at these PCI addresses."""
    return [
        {"name": f"d{number}", "disk": {"bus": "virtio", "pciAddress": address}}
        for number, address in enumerate(addresses)
    ]


OBSTACLES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (with_disks(disk("a", "sata", "lun")), {}, "spec.domain.devices.disks[0].lun.bus 'sata'"),
    (with_disks(disk("a", "scsi", "lun")), {}, "spec.domain.devices.disks[0].lun: volume 'a' is a file"),
    (minimal(memory={"guest": "0"}), {}, "spec.domain.memory.guest: a guest needs memory"),
    (minimal(cpu={"sockets": 1, "cores": 289, "maxSockets": 1}), {}, "spec.domain.cpu: 289 vCPUs"),
    (efi(secure=None), {}, "spec.domain.firmware.bootloader.efi.secureBoot needs"),
    (minimal({"tpm": {}}), {"host": ABLE._replace(tpm=False)}, "spec.domain.devices.tpm: node node1 can't"),
    (minimal({"filesystems": [{"name": "f", "virtiofs": {}}]}), {}, "spec.domain.devices.filesystems[0]: nothing on"),
    (minimal({"video": {"type": "cirrus"}}), {}, "spec.domain.devices.video.type 'cirrus'"),
    (minimal({"panicDevices": [{"model": "pvpanic"}]}), {}, "spec.domain.devices.panicDevices[0].model 'pvpanic'"),
    (minimal(launchSecurity={"sev": {}}), {"host": ABLE._replace(sev=False)}, "spec.domain.launchSecurity.sev"),
    (minimal(launchSecurity={"snp": {}}), {}, "spec.domain.launchSecurity.snp"),
    (minimal(launchSecurity={"tdx": {}}), {}, "spec.domain.launchSecurity.tdx"),
    (minimal(features={"hyperv": {"vendorid": {}}}), {}, "spec.domain.features.hyperv.vendorid is without"),
    (
        with_disks(*at("0000:00:05.0", "0000:00:05.0")),
        {},
        "spec.domain.devices.disks[1].disk.pciAddress '0000:00:05.0' is taken by spec.domain.devices.disks[0]",
    ),
    (with_disks(*at("0000:00:1f.0")), {}, "spec.domain.devices.disks[0].disk.pciAddress '0000:00:1f.0': the mach"),
    (with_disks(*at("0000:81:01.0")), {}, "spec.domain.devices.disks[0].disk.pciAddress '0000:81:01.0': a PCI Ex"),
    (minimal(firmware={"acpi": {"slicNameRef": "s", "msdmNameRef": "m"}}), {}, "spec.domain.firmware.acpi"),
]


def test_ignition_data_is_handed_over_where_there_is_some() -> None:
    manifest = minimal()
    assert '<sysinfo type="fwcfg">' not in render(guest_of(manifest))
    manifest["metadata"]["annotations"] = {"kubevirt.io/ignitiondata": '{"ignition": {"version": "3.4.0"}}'}
    assert '<sysinfo type="fwcfg">' in render(guest_of(manifest))


@pytest.mark.parametrize(("manifest", "changes", "message"), OBSTACLES)
def test_what_libvirt_would_refuse_is_said_in_the_manifests_words(
    manifest: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    guest = guest_of(manifest, **{"host": ABLE, **changes})
    (found,) = obstacles(guest)
    assert found.message.startswith(message)
    assert found.hint
    with pytest.raises(RenderError) as caught:
        refuse(guest)
    assert caught.value.message == found.message


def test_a_foreign_architecture_is_refused() -> None:
    guest = guest_of(minimal(), host=ABLE._replace(arch="aarch64"))
    assert [it.message for it in obstacles(guest)] == ["spec.architecture 'amd64': node node1 is aarch64"]


def test_a_lun_on_a_block_device_goes() -> None:
    manifest = with_disks(disk("a", "scsi", "lun"))
    assert obstacles(guest_of(manifest, disks={"a": DiskSource("/dev/a", block=True)})) == ()


def test_a_hotplugged_volume_that_is_not_there_yet_is_left_out() -> None:
    manifest = minimal({"disks": [disk("a")]})
    manifest["spec"]["volumes"] = [{"name": "a", "persistentVolumeClaim": {"claimName": "a", "hotpluggable": True}}]
    assert build(guest_of(manifest, disks={})).disks == ()


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("<name>default_guest<", "<name>default_other<", "name"),
        ('<rng model="virtio-non-transitional">', '<rng/><rng model="virtio-non-transitional">', "devices"),
        ('dev="vda"', 'dev="vdb"', "disks"),
        ("</domain>", "", "not well-formed"),
    ],
)
def test_a_text_that_does_not_say_what_it_should_is_not_let_out(old: str, new: str, what: str) -> None:
    manifest = with_disks(disk("a"))
    manifest["spec"]["domain"]["devices"]["rng"] = {}
    context = build(guest_of(manifest))
    text = lay_out(context)
    prove(text, context)
    assert old in text
    with pytest.raises(RenderError, match=what):
        prove(text.replace(old, new), context)
