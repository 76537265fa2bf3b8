"""`virtctl local doctor`: is everything there that guests need, and which command installs what is not?"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from virt_handler import tpm_store
from virt_local.host import find_program, kvm_trap, libvirt_answers
from virt_local.settings import Settings

Verdict = Literal["ok", "note", "missing"]
LOW_SPACE = 4 << 30
KVM = Path("/dev/kvm")
OS_RELEASE = Path("/etc/os-release")
FIRMWARE = ("/usr/share/OVMF", "/usr/share/edk2/ovmf", "/usr/share/edk2/x64", "/usr/share/qemu")
FIRMWARE_FILES = ("OVMF_CODE*.fd", "ovmf-x86_64*code*.bin")

INSTALLERS = {
    "debian": "apt-get install -y",
    "fedora": "dnf install -y",
    "suse": "zypper install -y",
    "arch": "pacman -S --needed --noconfirm",
}


class Program(NamedTuple):
    """Any one of `names` will do; `packages` is by distribution family."""

    names: tuple[str, ...]
    why: str
    packages: dict[str, str]


PROGRAMS = (
    Program(
        ("qemu-system-x86_64", "qemu-kvm"),
        "runs the guests",
        {"debian": "qemu-system-x86", "fedora": "qemu-kvm", "suse": "qemu-x86", "arch": "qemu-system-x86"},
    ),
    Program(
        ("qemu-img",),
        "makes their disks",
        {"debian": "qemu-utils", "fedora": "qemu-img", "suse": "qemu-tools", "arch": "qemu-img"},
    ),
    Program(
        ("libvirtd", "virtqemud"),
        "starts and watches QEMU",
        {
            "debian": "libvirt-daemon-system",
            "fedora": "libvirt-daemon-kvm",
            "suse": "libvirt-daemon",
            "arch": "libvirt",
        },
    ),
    Program(
        ("virsh",),
        "helps when something is wrong",
        {"debian": "libvirt-clients", "fedora": "libvirt-client", "suse": "libvirt-client", "arch": "libvirt"},
    ),
    Program(
        ("xorriso", "genisoimage", "mkisofs"),
        "makes cloud-init disks",
        {"debian": "xorriso", "fedora": "xorriso", "suse": "xorriso", "arch": "libisoburn"},
    ),
    Program(
        ("dnsmasq",),
        "gives guests their addresses",
        {"debian": "dnsmasq-base", "fedora": "dnsmasq", "suse": "dnsmasq", "arch": "dnsmasq"},
    ),
)
FIRMWARE_PACKAGES = {"debian": "ovmf", "fedora": "edk2-ovmf", "suse": "qemu-ovmf-x86_64", "arch": "edk2-ovmf"}


class Finding(NamedTuple):
    """One line of the report. `package` is what installs it, `fix` another way out."""

    name: str
    verdict: Verdict
    text: str
    package: str = ""
    fix: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; nothing is changed."""
    family = distribution()
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _programs(family),
        lambda: _firmware(family),
        _libvirt,
        _tpm,
        lambda: _accelerator(settings),
        lambda: _directories(settings),
    )
    return [finding for check in checks for finding in check()]


def install_command(findings: Sequence[Finding]) -> str:
    """The one command that installs all that is missing; empty when nothing is."""
    packages = sorted({finding.package for finding in findings if finding.package})
    if not packages:
        return ""
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"{sudo}{INSTALLERS[distribution()]} {' '.join(packages)}"


def distribution() -> str:
    """The family of this Linux, `debian` when it says nothing we know."""
    try:
        lines = OS_RELEASE.read_text().splitlines()
    except OSError:
        lines = []
    words = {
        word
        for line in lines
        if line.startswith(("ID=", "ID_LIKE="))
        for word in line.partition("=")[2].strip('"').split()
    }
    aliases = {"ubuntu": "debian", "rhel": "fedora", "centos": "fedora", "opensuse": "suse"}
    families = {aliases.get(word, word) for word in words}
    return next((family for family in INSTALLERS if family in families), "debian")


def _programs(family: str) -> Iterator[Finding]:
    for program in PROGRAMS:
        path = next((found for name in program.names if (found := find_program(name))), None)
        if path:
            yield Finding(program.names[0], "ok", path)
        else:
            text = f"not found; it {program.why}"
            yield Finding(program.names[0], "missing", text, program.packages[family])


def _firmware(family: str) -> Iterator[Finding]:
    folders = (Path(folder) for folder in FIRMWARE)
    found = next((file for folder in folders for pattern in FIRMWARE_FILES for file in folder.glob(pattern)), None)
    if found:
        yield Finding("UEFI firmware", "ok", str(found))
    else:
        yield Finding("UEFI firmware", "missing", "OVMF not found; guests with EFI need it", FIRMWARE_PACKAGES[family])


def _libvirt() -> Iterator[Finding]:
    if os.geteuid() != 0:
        yield Finding("libvirt daemon", "note", "qemu:///session, started by libvirt when it is first used")
    elif libvirt_answers():
        yield Finding("libvirt daemon", "ok", "answers on /run/libvirt")
    else:
        yield Finding("libvirt daemon", "note", "none answers; `virtctl local up` starts one")


def _tpm() -> Iterator[Finding]:
    if os.geteuid() == 0 and (trap := tpm_store.trap()):
        yield Finding("TPM keys", "note", f"{trap}: guests with a TPM won't start", fix=tpm_store.way_out())


def _accelerator(settings: Settings) -> Iterator[Finding]:
    if trap := kvm_trap():
        yield Finding("/dev/kvm", "note", f"{trap.problem}: every start of a guest takes a minute", fix=trap.fix)
    measured = settings.places.state / "node" / "accelerator.json"
    try:
        verdict = json.loads(measured.read_text())["verdict"]
        text = f"{verdict['accelerator']}: {verdict['why']}"
    except (OSError, ValueError, LookupError, TypeError):
        text = ""
    if text:
        yield Finding("accelerator", "ok", text)
    elif not KVM.exists():
        yield Finding("accelerator", "note", "no /dev/kvm: guests are emulated (TCG), correct but slow")
    elif not os.access(KVM, os.R_OK | os.W_OK):
        fix = "sudo usermod -aG kvm $USER, then log in again"
        yield Finding("accelerator", "note", "/dev/kvm exists, but you may not use it: guests are emulated", fix=fix)
    else:
        yield Finding("accelerator", "ok", "/dev/kvm can be opened; the node times a boot before it trusts it")


def _directories(settings: Settings) -> Iterator[Finding]:
    for name, path in (("state directory", settings.places.state), ("run directory", settings.places.run)):
        parent = next(folder for folder in (path, *path.parents) if folder.exists())
        if not os.access(parent, os.W_OK | os.X_OK):
            yield Finding(name, "missing", f"{path} can't be written", fix="run as root, or choose another directory")
            continue
        free = shutil.disk_usage(parent).free
        text = f"{path}, {free / 2**30:.1f} GiB free"
        if name == "state directory" and free < LOW_SPACE:
            yield Finding(name, "note", f"{text}: little for disks of guests", fix="choose another with --state-dir")
        else:
            yield Finding(name, "ok", text)
