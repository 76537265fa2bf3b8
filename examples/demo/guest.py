"""Builds the demo's guest: a disk of some 20 MB that a BIOS or UEFI boots, made of the distribution's own packages.

    python -m examples.demo.guest OUTPUT.qcow2

Used by the demo and by the tests that need a guest that really boots. Needs no root rights.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from examples.demo import disk, initramfs, kernel, packages

DEFAULT_USER = "cirros"
DEFAULT_PASSWORD = "gocubsgo"  # noqa: S105 - printed on the login screen
# What a 64 MB guest can't spare: files about trace events (8 MB) and slabs, type information for BPF (2 MB).
_LEFT_OUT = (
    *("tracer_init_tracefs", "slab_sysfs_init"),
    *("cubictcp_register", "kfunc_init", "bpf_prog_test_run_init", "bpf_tcp_ca_kfunc_init"),
    *("bpf_key_sig_kfuncs_init", "bpf_rstat_kfunc_init"),
)
COMMAND_LINE = " ".join(
    (
        "console=tty0 console=ttyS0,115200",  # the last one is where init and the user's script write
        "quiet audit=0 mitigations=off cryptomgr.notests panic=10",
        "nokaslr",  # a random place in memory would be a higher one: see kernel.lowered
        "percpu_alloc=page cgroup_disable=memory",  # else per-CPU areas come in units of 2 MiB
        f"initcall_blacklist={','.join(_LEFT_OUT)}",
    )
)

TOOLS = ("busybox-static", "syslinux", "mtools")
_UEFI = "systemd-boot-efi"
_UEFI_PROGRAM = "usr/lib/systemd/boot/efi/systemd-bootx64.efi"
_MEMORY_RECORD = ".memory"


class Guest(NamedTuple):
    """A built guest: its qcow2 file, and the bytes of memory it needs to boot (with a BIOS)."""

    path: Path
    memory: int


class _Contents(NamedTuple):
    user: str
    password: str
    drivers: tuple[str, ...]


def cache_directory() -> Path:
    """Where packages and built disks are kept: $XDG_CACHE_HOME/virtctl-demo."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "virtctl-demo"


def build(
    cache: Path | None = None,
    *,
    user: str = DEFAULT_USER,
    password: str = DEFAULT_PASSWORD,
    drivers: tuple[str, ...] = kernel.DRIVERS,
    kernels: tuple[str, ...] = packages.KERNEL_PACKAGES,
) -> Guest:
    """The guest's disk, from the cache when its packages and its recipe are unchanged; raises PackageError.

    More `drivers` need more memory, and some another kernel: the defaults are those of a 64 MB guest.
    """
    cache = cache or cache_directory()
    names = [*packages.kernel_packages(kernels), *TOOLS, *([_UEFI] if packages.has(_UEFI) else [])]
    debs = packages.fetch(names, cache / "packages")
    contents = _Contents(user, password, drivers)
    target = cache / f"guest-{_recipe(debs, contents)}.qcow2"
    record = target.with_suffix(_MEMORY_RECORD)
    if not record.exists():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            memory = _build(debs, target, contents, Path(scratch))
        record.write_text(f"{memory}\n")
    return Guest(target, int(record.read_text()))


def _recipe(debs: Sequence[Path], contents: _Contents) -> str:
    """A name for what goes in: package versions, this package's files, the account, the drivers."""
    digest = hashlib.sha256(repr(([deb.name for deb in debs], *contents)).encode())
    for source in sorted(Path(__file__).parent.rglob("*")):
        if source.is_file() and source.suffix != ".pyc":
            digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _build(debs: Sequence[Path], target: Path, contents: _Contents, work: Path) -> int:
    found = boot_files(debs)
    bzimage = kernel.lowered(_only(found, "boot/vmlinuz-"))
    modules = {
        name: kernel.unpacked(path, content) for path, content in found.items() if (name := kernel.module_name(path))
    }
    busybox = _only(found, "bin/busybox")
    hashed = _hashed(contents.password, busybox, work)
    account = initramfs.Account(contents.user, contents.password, hashed)
    ramdisk = initramfs.build(busybox, modules, kernel.load_order(modules, contents.drivers), account)
    loader = boot_loader(found, work)
    raw = work / "disk.raw"
    disk.write(raw, disk.System(bzimage, ramdisk, COMMAND_LINE), loader, work)
    built = work / "disk.qcow2"
    _run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(built))
    built.replace(target)
    return kernel.memory_needed(bzimage, len(ramdisk))


def boot_files(debs: Sequence[Path]) -> dict[str, bytes]:
    """What a bootable disk is made of, by path in the packages."""
    return {path: content for deb in debs for path, content in packages.members(deb, _wanted)}


def boot_loader(found: dict[str, bytes], work: Path) -> disk.BootLoader:
    """The boot loader's parts from the packages' files, its programs unpacked below `work`."""
    programs = work / "bin"
    programs.mkdir()
    for path, content in found.items():
        if path.startswith("usr/bin/"):
            (programs / Path(path).name).write_bytes(content)
            (programs / Path(path).name).chmod(0o755)
    # mtools are one program under many names; the package has them as links.
    for name in ("mformat", "mmd", "mcopy", "mattrib"):
        (programs / name).symlink_to("mtools")
    return disk.BootLoader(
        mbr=_only(found, "usr/lib/SYSLINUX/mbr.bin"),
        path=f"{programs}:{os.environ['PATH']}",
        efi=found.get(_UEFI_PROGRAM, b""),
    )


def _wanted(path: str) -> bool:
    exact = ("bin/busybox", "usr/bin/syslinux", "usr/bin/mtools", "usr/lib/SYSLINUX/mbr.bin")
    return (
        path in exact
        or path.startswith("boot/vmlinuz-")
        or path == _UEFI_PROGRAM
        or bool("/kernel/" in path and kernel.module_name(path))
    )


def _only(found: dict[str, bytes], path: str) -> bytes:
    for name, content in found.items():
        if name.startswith(path):
            return content
    raise packages.PackageError(f"none of the downloaded packages has {path}")


def _hashed(password: str, busybox: bytes, work: Path) -> str:
    program = work / "busybox"
    program.write_bytes(busybox)
    program.chmod(0o755)
    return _run(str(program), "mkpasswd", "-m", "sha512", "-S", "virtctldemo", "-P", "0", stdin=password).strip()


def _run(*command: str, stdin: str = "") -> str:
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Build a guest and copy it to the path given."""
    parser = argparse.ArgumentParser(description="Build the demo's guest disk (qcow2).")
    parser.add_argument("output", type=Path)
    parser.add_argument("--user", default=DEFAULT_USER)
    parser.add_argument("--password", default=DEFAULT_PASSWORD)
    parser.add_argument("--cache", type=Path, default=None)
    options = parser.parse_args()
    guest = build(options.cache, user=options.user, password=options.password)
    shutil.copyfile(guest.path, options.output)
    print(f"{options.output}: needs {guest.memory / 2**20:.0f} MiB of memory to boot")


if __name__ == "__main__":
    main()
