"""A disk that firmware boots: a FAT partition with SYSLINUX for BIOS and, where there is one, a UEFI boot loader.

Everything is written with mtools into a file, so no loop device, no mount and no root rights are needed. The guests of
the tests are written with it too; they bring a root file system as second partition.
"""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

LABEL = "DEMOBOOT"
_SECTOR = 512
_FIRST_PARTITION = 2048  # sectors; the usual 1 MiB
_MIB = 2**20
_ROOT_ARGUMENTS = "root=/dev/vda2 rw"


class BootLoader(NamedTuple):
    """`mbr` is what stands before the partition table; `path` a PATH with mtools and syslinux; `efi` a UEFI program."""

    mbr: bytes
    path: str
    efi: bytes = b""


class System(NamedTuple):
    """What boots. `root`, an ext4 image, becomes the second partition and the kernel's root."""

    kernel: bytes
    initramfs: bytes
    command_line: str
    root: Path | None = None


def write(target: Path, system: System, loader: BootLoader, work: Path) -> None:
    """Write a raw disk to `target`; `work` is a scratch directory."""
    files = _boot_files(system, loader)
    boot_sectors = (4 + sum(map(len, files.values())) // _MIB) * _MIB // _SECTOR
    root_start = _FIRST_PARTITION + boot_sectors
    root_sectors = system.root.stat().st_size // _SECTOR if system.root else 0
    with target.open("wb") as disk:
        disk.truncate((root_start + root_sectors) * _SECTOR)
        disk.write(loader.mbr[:440].ljust(440, b"\0"))
        # A BIOS boots the active partition whatever its type; EF is what UEFI looks for.
        disk.write(
            struct.pack("<IH", 0x76697274, 0)
            + _partition(0x80, 0xEF, _FIRST_PARTITION, boot_sectors)
            + (_partition(0, 0x83, root_start, root_sectors) if root_sectors else bytes(16))
            + bytes(32)
            + b"\x55\xaa"
        )
    _fill_boot_partition(target, boot_sectors, files, loader.path, work)
    if system.root:
        _copy_sparse(system.root, target, root_start)


def _partition(active: int, kind: int, start: int, sectors: int) -> bytes:
    beyond_chs = b"\xfe\xff\xff"
    return struct.pack("<B3sB3sII", active, beyond_chs, kind, beyond_chs, start, sectors)


def _boot_files(system: System, loader: BootLoader) -> dict[str, bytes]:
    arguments = f"{system.command_line} {_ROOT_ARGUMENTS}" if system.root else system.command_line
    syslinux = (
        "SERIAL 0 115200\nDEFAULT guest\nPROMPT 0\n"
        f"LABEL guest\n  LINUX /vmlinuz\n  INITRD /initrd\n  APPEND {arguments}\n"
    )
    files = {"vmlinuz": system.kernel, "initrd": system.initramfs, "syslinux.cfg": syslinux.encode()}
    if loader.efi:
        entry = f"title guest\nlinux /vmlinuz\ninitrd /initrd\noptions {arguments}\n"
        files |= {"EFI/BOOT/BOOTX64.EFI": loader.efi, "loader/entries/guest.conf": entry.encode()}
    return files


def _fill_boot_partition(target: Path, sectors: int, files: dict[str, bytes], path: str, work: Path) -> None:
    environment = {**os.environ, "PATH": path, "MTOOLS_SKIP_CHECK": "1", "TMPDIR": str(work)}

    def run(*command: str) -> None:
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True)

    offset = _FIRST_PARTITION * _SECTOR
    drive = f"{target}@@{offset}"
    # 16 heads and 63 sectors are made up; firmware and kernels count in blocks.
    geometry = ("-T", str(sectors), "-h", "16", "-s", "63", "-H", str(_FIRST_PARTITION))
    run("mformat", "-i", drive, *geometry, "-v", LABEL, "::")
    run("syslinux", "--offset", str(offset), "--install", str(target))
    for folder in sorted({str(parent) for path in files for parent in Path(path).parents} - {"."}):
        run("mmd", "-i", drive, f"::/{folder}")
    for name, content in files.items():
        source = work / "file"
        source.write_bytes(content)
        run("mcopy", "-i", drive, str(source), f"::/{name}")


def _copy_sparse(source: Path, target: Path, sector: int) -> None:
    where = (f"seek={sector * _SECTOR}", "oflag=seek_bytes", "conv=sparse,notrunc", "bs=1M")
    subprocess.run(["dd", f"if={source}", f"of={target}", *where], check=True, capture_output=True)
