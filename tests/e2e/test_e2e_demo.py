"""The README's first command, and the guest it boots."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pytest

from examples.demo import guest

ROOT = Path(__file__).parents[2]
OVMF_CODE, OVMF_VARS = Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
SEED_LABEL = "cidata"

pytestmark = pytest.mark.guest


def domains() -> set[str]:
    listed = subprocess.run(
        ["virsh", "-c", "qemu:///system", "list", "--all", "--name"], capture_output=True, text=True, check=False
    )
    return set(listed.stdout.split())


@pytest.mark.libvirt
@pytest.mark.slow
def test_demo_shows_the_guests_words_and_leaves_nothing_behind() -> None:
    before = domains(), set(Path("/tmp").glob("virtctl-demo-*"))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    words = (
        r"No resources found",
        r"printed from cloud-init userdata",
        r"Hello from vm-cirros",
        r"vm-cirros login:",
        r"nothing is left running",
    )
    for text in words:
        assert re.search(text, done.stdout), f"the demo did not show {text!r}:\n{done.stdout}"
    assert time.monotonic() - started < 120, "the README promises two minutes"
    assert (domains(), set(Path("/tmp").glob("virtctl-demo-*"))) == before


@pytest.fixture(scope="module")
def disk() -> Path:
    return guest.build().path


def seed(directory: Path, user_data: str) -> Path:
    """A NoCloud seed with this user data."""
    content = directory / "seed"
    content.mkdir()
    (content / "meta-data").write_text('{"instance-id": "i-1", "local-hostname": "seeded"}')
    (content / "user-data").write_text(user_data)
    iso = directory / "seed.iso"
    make = [
        "xorriso",
        "-as",
        "mkisofs",
        "-quiet",
        "-volid",
        SEED_LABEL,
        "-joliet",
        "-rock",
        "-o",
        str(iso),
        str(content),
    ]
    subprocess.run(make, check=True, capture_output=True)
    return iso


def boot(directory: Path, disk: Path, user_data: str, *more: str, memory: str = "62") -> pexpect.spawn[str]:
    """QEMU without libvirt: the guest must not depend on what the product does."""
    overlay = directory / "overlay.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", disk, "-F", "qcow2", overlay], check=True)
    iso = seed(directory, user_data)
    arguments = (
        *("-accel", "tcg", "-machine", "q35", "-m", memory, "-nodefaults", "-nographic", "-serial", "stdio"),
        *("-drive", f"file={overlay},if=virtio,format=qcow2"),
        *("-drive", f"file={iso},if=virtio,format=raw,readonly=on"),
        *("-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net"),
        *more,
    )
    return pexpect.spawn("qemu-system-x86_64", list(arguments), encoding="utf-8", codec_errors="replace", timeout=60)


def log_in(console: pexpect.spawn[str], user: str, password: str) -> None:
    console.expect("login: ")
    console.sendline(user)
    console.expect("assword: ")
    console.sendline(password)
    console.expect(r"[$#] ")


def test_demo_guest_runs_its_script_once_per_instance(tmp_path: Path, disk: Path) -> None:
    console = boot(tmp_path, disk, "#!/bin/sh\necho script says $((40 + 2))\n")
    console.expect("Host name seeded, address 10.0.2.15/24")
    console.expect("script says 42")
    log_in(console, "root", guest.DEFAULT_PASSWORD)
    console.sendline("reboot")
    console.expect("Host name seeded")
    console.expect("login: ")
    assert "script says" not in console.before
    console.close(force=True)


def test_demo_guest_honours_cloud_config_and_the_power_button(tmp_path: Path, disk: Path) -> None:
    config = "#cloud-config\npassword: fedora\nuser: ada\nchpasswd: { expire: False }\nhostname: renamed\n"
    monitor = tmp_path / "monitor"
    console = boot(tmp_path, disk, config, "-monitor", f"unix:{monitor},server,nowait")
    log_in(console, "ada", "fedora")
    console.sendline("hostname")
    console.expect("renamed")
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(monitor))
        line.sendall(b"system_powerdown\n")
        console.expect("Requesting system poweroff")
    console.expect(pexpect.EOF)


@pytest.mark.skipif(not OVMF_CODE.exists(), reason=f"no UEFI firmware at {OVMF_CODE}: apt-get install ovmf")
def test_demo_guest_boots_with_uefi(tmp_path: Path, disk: Path) -> None:
    variables = tmp_path / "vars.fd"
    shutil.copyfile(OVMF_VARS, variables)
    console = boot(
        tmp_path,
        disk,
        "#!/bin/sh\n[ -d /sys/firmware/efi ] && echo booted by UEFI\n",
        *("-drive", f"if=pflash,format=raw,readonly=on,file={OVMF_CODE}"),
        *("-drive", f"if=pflash,format=raw,file={variables}"),
        memory="256M",
    )
    console.expect("booted by UEFI")
    console.expect("login: ")
    console.close(force=True)
