"""What the agent reads from the host and keeps on it: libvirt's words, addresses, records, processes, accelerator."""

from __future__ import annotations

import ipaddress
import os
import pwd
import subprocess
import tempfile
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import libvirt
import msgspec
import pytest
from pytest_mock import MockerFixture

from virt_handler import accelerator, addresses, domains, libvirt_errors, processes, tpm_store
from virt_handler import errors as handler_errors
from virt_handler.errors import ConsoleError, HandlerError, NetworkError, StateError
from virt_handler.host import read_cpu_modes, read_devices, read_machines
from virt_handler.layout import Layout, checked_uid
from virt_handler.libvirt_host import read_qemu_user
from virt_handler.model import Host
from virt_handler.pictures import to_png
from virt_handler.records import End, Lease, Record, Records, ShutdownClock
from virt_handler.sockets import connect
from virt_kube.durable import write_durably
from virt_types.errors import VirtError

UID = "5f5d0d4e-0000-4000-8000-000000000001"
RECORD = Record(UID, "default", "vm", "u", "b", "started", 30, {"n": Lease("m", "ip")}, ShutdownClock(1.5, 30))


def libvirt_error(code: int, domain: int = libvirt.VIR_FROM_QEMU, text: str = "it said no") -> libvirt.libvirtError:
    error = libvirt.libvirtError("outer")
    error.err = (code, domain, text, 2, "", "", "", -1, -1)
    return error


CODES = sorted(value for name, value in vars(libvirt).items() if name.startswith("VIR_ERR_") and isinstance(value, int))


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_libvirt_becomes_an_error_of_ours(code: int) -> None:
    error = libvirt_errors.mapped(libvirt_error(code), "start it")
    assert isinstance(error, HandlerError)
    assert error.message == "can't start it: it said no"


def test_what_transport_says_is_no_verdict_about_a_guest() -> None:
    for part in libvirt_errors.TRANSPORT:
        error = libvirt_errors.mapped(libvirt_error(libvirt.VIR_ERR_INTERNAL_ERROR, part), "look")
        assert isinstance(error, handler_errors.HypervisorUnreachable)
        assert not error.fatal
    taken = libvirt_error(libvirt.VIR_ERR_OPERATION_FAILED, text="domain 'x' already exists with uuid y")
    assert isinstance(libvirt_errors.mapped(taken, "define"), handler_errors.DomainConflict)


def test_the_tree_at_the_top_of_errors_is_the_tree() -> None:
    drawn = handler_errors.__doc__ or ""
    for name, item in vars(handler_errors).items():
        if isinstance(item, type) and issubclass(item, HandlerError):
            line = next(line for line in drawn.splitlines() if line.strip("│├└─ ").split(" ")[0] == name)
            assert ("fatal" in line) == item.fatal, line
            assert issubclass(item, VirtError)


DOMAIN_XML = """<domain type='qemu'><name>default_vm</name><uuid>u-1</uuid><metadata>
<kubevirt xmlns='http://kubevirt.io'><uid>{uid}</uid></kubevirt></metadata>
<os><type machine='pc-q35-7.2'>hvm</type></os>
<devices><disk><target dev='vda'/><alias name='ua-root'/></disk>
<interface type='network'><mac address='52:54:00:00:00:01'/><target dev='vnet0'/><alias name='ua-default'/></interface>
<channel><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/></channel></devices></domain>"""


def test_a_domain_is_read_from_its_xml() -> None:
    domain = domains.read_domain(
        DOMAIN_XML.format(uid=UID), libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR
    )
    assert (domain.vmi_uid, domain.state, domain.reason, domain.machine) == (UID, "paused", "ioerror", "pc-q35-7.2")
    assert (domain.disks, domain.nics) == (
        (domains.Disk("root", "vda"),),
        (domains.Nic("52:54:00:00:00:01", "default", "vnet0"),),
    )
    assert domain.agent_connected
    assert domain.alive


def test_the_words_are_libvirts_numbers() -> None:
    for prefix, words in (("VIR_DOMAIN_SHUTOFF_", "shutoff"), ("VIR_DOMAIN_PAUSED_", "paused")):
        for name, value in vars(libvirt).items():
            if name.startswith(prefix) and not name.endswith("_LAST") and value < len(domains.REASONS[words]):
                assert domains.REASONS[words][value] == name.removeprefix(prefix).lower().replace("_", "-")
    assert domains.read_state(libvirt.VIR_DOMAIN_CRASHED, libvirt.VIR_DOMAIN_CRASHED_PANICKED) == (
        "crashed",
        "panicked",
    )
    assert domains.read_state(99, 99) == ("nostate", "unknown")


def test_the_grace_clock_comes_back_from_the_metadata() -> None:
    xml = domains.shutdown_metadata(UID, ShutdownClock(1234.5, 30), "2026-01-01T00:00:00Z")
    inner = xml.replace("<kubevirt>", "<kubevirt xmlns='http://kubevirt.io'>")
    whole = f"<domain><metadata>{inner}</metadata></domain>"
    domain = domains.read_domain(whole, 1, 1)
    assert (domain.vmi_uid, domain.shutdown) == (UID, ShutdownClock(1234.5, 30))


@pytest.mark.parametrize(("name", "key"), [("ns_vm", ("ns", "vm")), ("vm", None), ("_vm", None), ("ns_", None)])
def test_a_domains_name_is_a_key_or_is_not(name: str, key: tuple[str, str] | None) -> None:
    assert domains.key_of(name) == key


def test_capabilities_name_the_user_the_machines_and_the_modes() -> None:
    labels = "<baselabel type='kvm'>+1:+2</baselabel><baselabel type='qemu'>+64055:+108</baselabel>"
    dac = f"<secmodel><model>dac</model>{labels}</secmodel>"
    types = "<machine>pc-q35-7.2</machine><machine canonical='pc-q35-7.2'>q35</machine>"
    machines = f"<guest><arch name='x86_64'>{types}</arch></guest>"
    text = f"<capabilities><host>{dac}</host>{machines}</capabilities>"
    assert read_qemu_user(text) == (64055, 108)
    assert read_qemu_user("<capabilities><host/></capabilities>") is None
    assert read_machines(text, "x86_64") == {"pc-q35-7.2", "q35"}
    modes = "<d><cpu><mode name='a' supported='yes'/><mode name='b' supported='no'/></cpu></d>"
    assert read_cpu_modes(modes) == {"a"}


DEVICES = """<domainCapabilities><vcpu max='288'/><devices>
<video supported='yes'><enum name='modelType'><value>vga</value><value>bochs</value></enum></video>
<tpm supported='yes'><enum name='backendModel'><value>passthrough</value>{emulator}</enum></tpm>
</devices><features><sev supported='{sev}'/></features></domainCapabilities>"""


def test_capabilities_name_devices_and_what_an_old_libvirt_does_not_say_stays_unknown() -> None:
    found = Host("n", **read_devices(DEVICES.format(emulator="", sev="no")))
    assert (found.max_vcpus, found.video_models, found.tpm, found.sev) == (255, {"vga", "bochs"}, False, False)
    able = Host("n", **read_devices(DEVICES.format(emulator="<value>emulator</value>", sev="yes")))
    assert (able.tpm, able.sev) == (True, True)
    assert Host("n", **read_devices("<domainCapabilities/>")) == Host("n")


def test_a_subnet_collides_with_no_route() -> None:
    routes = "Iface Destination Gateway Flags RefCnt Use Metric Mask\neth0 0000A8C0 0 1 0 0 0 0000FFFF\n"
    taken = addresses.read_routes(routes)
    assert taken == [ipaddress.IPv4Network("192.168.0.0/16")]
    with pytest.raises(NetworkError):
        addresses.choose_subnet(taken)
    free = addresses.choose_subnet([ipaddress.IPv4Network("192.168.140.0/24"), ipaddress.IPv4Network("0.0.0.0/0")])
    assert str(free) == "192.168.141.0/24"


def test_a_mac_gets_its_own_address_or_the_next_that_is_free() -> None:
    subnet = ipaddress.IPv4Network("192.168.140.0/24")
    first = addresses.choose_address("52:54:00:00:00:01", subnet, [])
    assert addresses.choose_address("52:54:00:00:00:01", subnet, []) == first
    taken: list[str] = []
    for number in range(190):
        taken.append(addresses.choose_address(f"52:54:00:00:01:{number:02x}", subnet, taken))
    assert len(set(taken)) == 190
    assert {ipaddress.IPv4Address(ip) in subnet for ip in taken} == {True}
    with pytest.raises(NetworkError):
        addresses.choose_address("52:54:00:00:00:01", subnet, taken)


def test_a_mac_nobody_chose_is_always_the_same() -> None:
    assert addresses.stable_mac("u", "a") == addresses.stable_mac("u", "a") != addresses.stable_mac("u", "b")
    assert addresses.stable_mac("u", "a").startswith("52:54:00:")


def test_a_network_reads_back_as_written() -> None:
    subnet = ipaddress.IPv4Network("192.168.150.0/24")
    xml = addresses.network_xml("n", "b0", subnet).replace(
        "</dhcp>", f"{addresses.reservation_xml('AA:BB', '1.2.3.4')}</dhcp>"
    )
    assert addresses.read_network(xml) == (subnet, {"aa:bb": "1.2.3.4"}, "192.168.150.1")
    assert addresses.read_network("<network><ip address='1.2.3.4' netmask='255.0.0.0'/></network>").subnet is None


def test_a_record_comes_back_whole_and_goes(tmp_path: Path) -> None:
    Records(tmp_path).put(RECORD)
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]
    again = Records(tmp_path)
    assert again.load() == [RECORD]
    assert again.of("default", "vm") == [RECORD]
    again.remove(UID)
    again.remove(UID)
    assert list(tmp_path.iterdir()) == []


def test_a_torn_or_foreign_record_is_left_and_does_not_hide_the_others(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.put(RECORD)
    (tmp_path / "torn.json").write_bytes(b'{"uid":')
    (tmp_path / "other.json").write_bytes((tmp_path / f"{UID}.json").read_bytes())
    (tmp_path / f".{UID}.json.123.unfinished").write_bytes(b"half")
    assert Records(tmp_path).load() == [RECORD]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{UID}.json", "other.json", "torn.json"])


def test_a_change_on_its_way_does_not_bring_a_removed_record_back(tmp_path: Path, mocker: MockerFixture) -> None:
    records = Records(tmp_path)
    records.put(RECORD)
    writing, go = threading.Event(), threading.Event()

    def slow(path: Path, data: bytes) -> None:
        writing.set()
        go.wait(5)
        write_durably(path, data)

    mocker.patch("virt_handler.records.write_durably", slow)
    change = threading.Thread(target=lambda: records.change(UID, grace_seconds=5))
    remove = threading.Thread(target=records.remove, args=(UID,))
    change.start()
    assert writing.wait(5)
    remove.start()
    remove.join(0.1)
    go.set()
    change.join()
    remove.join()
    assert (records.get(UID), list(tmp_path.iterdir())) == (None, [])


def test_records_may_be_asked_for_while_they_are_written(tmp_path: Path, mocker: MockerFixture) -> None:
    """What is asked is a snapshot: each question is put to a directory that changes under it."""
    mocker.patch("virt_handler.records.write_durably")
    records = Records(tmp_path)
    records.put(RECORD)

    class Growing(str):
        """A name that makes another record whenever it is compared."""

        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            records.put(msgspec.structs.replace(RECORD, uid=f"u{len(records.all())}"))
            return str(other) == str(self)

        def __ne__(self, other: object) -> bool:
            return not self == other

    assert records.of("default", Growing("vm")) == [RECORD]
    assert records.processors(without=Growing(UID)) == set()
    for _ in records.all():
        records.put(msgspec.structs.replace(RECORD, uid=f"u{len(records.all())}"))


def test_an_end_is_remembered(tmp_path: Path) -> None:
    ended = msgspec.structs.replace(RECORD, end=End("Failed", "R", "m", 3.0))
    Records(tmp_path).put(ended)
    assert Records(tmp_path).load() == [ended]


@pytest.mark.parametrize("uid", ["", "../x", "a/b", "a\0", "x" * 65, "ä"])
def test_a_uid_that_is_no_file_name_is_refused(uid: str) -> None:
    with pytest.raises(StateError):
        checked_uid(uid)


def test_a_guests_directories_come_and_go(short: Path) -> None:
    layout = Layout(short / "s", short / "r")
    layout.prepare()
    for _ in range(2):
        layout.make_guest(UID, None)
    assert layout.guest_state(UID).stat().st_mode & 0o777 == 0o711
    for _ in range(2):
        layout.remove_guest(UID)
    assert not layout.guest_run(UID).exists()
    with pytest.raises(StateError, match="too long"):
        Layout(short, short / ("x" * 100)).prepare()


@pytest.fixture
def short() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vh", dir="/tmp") as path:
        yield Path(path)


def test_a_process_is_itself_and_no_successor_of_its_number() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        started = processes.start_time(child.pid)
        assert started is not None
        processes.kill(processes.Process(child.pid, started + 1))
        assert child.poll() is None
        processes.kill(processes.Process(child.pid, started))
        assert child.wait(5) == -9
        processes.kill(processes.Process(child.pid, started))
    finally:
        child.kill()
        child.wait()


def test_qemu_is_found_by_its_uuid(tmp_path: Path) -> None:
    for pid, words in (("10", ["/usr/bin/qemu-system-x86_64", "-uuid", "u-1"]), ("11", ["vi", "-uuid", "u-2"])):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_bytes(b"\0".join(word.encode() for word in words))
        fields = " ".join(["S", *(str(number) for number in range(4, 23))])
        (tmp_path / pid / "stat").write_text(f"{pid} (a (odd) name) {fields}")
    (tmp_path / "self").mkdir()
    assert processes.find_qemu("u-1", tmp_path) == processes.Process(10, 22)
    assert processes.find_qemu("u-2", tmp_path) is None


async def test_the_accelerator_is_what_boots(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times: dict[str, float | None] = {"kvm": 3.9, "qemu": 0.08}

    async def boot(name: str) -> accelerator.Trial:
        return accelerator.Trial(times[name], "hung" if times[name] is None else "")

    monkeypatch.setattr(accelerator, "try_boot", boot)
    monkeypatch.setattr(accelerator, "kvm_absence", lambda: "")
    cache = short / "a.json"
    slow = await accelerator.choose("auto", cache, "boot-1")
    assert (slow.accelerator, "slower than emulation" in slow.why) == ("qemu", True)
    times["kvm"] = 0.01
    assert await accelerator.choose("auto", cache, "boot-1") == slow
    assert (await accelerator.choose("auto", cache, "boot-2")).accelerator == "kvm"
    assert (await accelerator.choose("qemu", cache, "boot-2")).accelerator == "qemu"
    times["kvm"] = None
    hung = await accelerator.choose("auto", cache, "boot-3")
    assert (hung.accelerator, "hung" in hung.why) == ("qemu", True)


def test_a_kvm_that_libvirt_trips_over_is_named(short: Path) -> None:
    device = short / "kvm"
    nobody = (65534, 65534)
    assert accelerator.kvm_trap(nobody, device) == ""
    device.touch()
    device.chmod(0o600)
    assert accelerator.kvm_trap(nobody, device) == f"{device} is closed to QEMU's user 65534"
    assert accelerator.kvm_trap(None, device) == ""
    device.chmod(0o666)
    assert accelerator.kvm_trap(nobody, device) == ""


def test_a_store_of_tpm_keys_that_root_left_closed_is_named(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    assert tpm_store.trap(short, ("no-such-account", me)) == ""
    (short / "certserial").touch()
    assert tpm_store.trap(short, (me,)) == ""
    assert tpm_store.trap(short, ("no-such-account",)) == "", "swtpm isn't installed"
    assert tpm_store.trap(short / "nowhere", ("nobody",)) == ""
    trap = f"{short} holds files that its owner nobody may not use: certserial"
    assert tpm_store.trap(short, ("nobody",)) == trap
    assert tpm_store.way_out(short, ("nobody",)) == f"chown -R nobody {short}"
    monkeypatch.setattr(tpm_store, "trap", lambda: trap)
    failure = libvirt.libvirtError("")
    failure.err = (
        libvirt.VIR_ERR_INTERNAL_ERROR,
        0,
        "Could not run '/usr/bin/swtpm_setup'. exitstatus: 1;",
        0,
        "",
        "",
        "",
        0,
        0,
    )
    assert "This mends it: chown -R" in libvirt_errors.mapped(failure, "start the guest").hint


async def test_a_boot_that_hangs_is_ended_at_the_deadline() -> None:
    trial = await accelerator._run("sleep", "60", deadline=0.1)
    assert (trial.seconds, trial.problem) == (None, "no sign of life within 0 s")


def pixels(width: int, height: int) -> bytes:
    return bytes(number % 251 for number in range(width * height * 3))


def test_a_picture_becomes_a_png_of_the_same_pixels() -> None:
    png = to_png(b"P6\n# made by QEMU\n3 2\n255\n" + pixels(3, 2))
    start = png.index(b"IDAT")
    size = int.from_bytes(png[start - 4 : start], "big")
    raw = zlib.decompress(png[start + 4 : start + 4 + size])
    assert raw == b"\0" + pixels(3, 2)[:9] + b"\0" + pixels(3, 2)[9:]
    assert to_png(png) == png


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"P6\n3 2\n255\nxx", b"P6\n999999 1\n255\n"])
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ConsoleError):
        to_png(data)


async def test_a_guests_socket_must_be_a_socket_in_its_place(short: Path) -> None:
    import socket

    host = socket.socket(socket.AF_UNIX)
    host.bind(str(short / "host.sock"))
    host.listen()
    (short / "link").symlink_to(short / "host.sock")
    (short / "file").write_text("x")
    os.mkfifo(short / "fifo")
    try:
        for name in ("link", "file", "fifo", "missing"):
            with pytest.raises(ConsoleError):
                await connect(str(short / name), "console")
        _, writer = await connect(str(short / "host.sock"), "console")
        writer.close()
        await writer.wait_closed()
    finally:
        host.close()
