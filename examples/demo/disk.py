"""A disk that firmware boots: one FAT partition with SYSLINUX for BIOS and, where there is one, a UEFI boot loader.

Everything is written with mtools into a file, so no loop device, no mount and no root rights are needed.
"""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

LABEL = "DEMOBOOT"
_SECTOR = 512
_PARTITION_START = 2048  # sectors; the usual 1 MiB
_MIB = 2**20


class BootLoader(NamedTuple):
    """`mbr` is the 440 bytes before the partition table; `syslinux` the installer; `efi` a UEFI program or nothing."""

    mbr: bytes
    syslinux: Path
    efi: bytes = b""


def write(target: Path, files: dict[str, bytes], loader: BootLoader, *, tools: str, work: Path) -> None:
    """Write a raw disk to `target` with `files` on its only partition. `tools` is a PATH that has mtools."""
    size = _MIB * (4 + sum(map(len, files.values())) // _MIB + len(loader.efi) // _MIB)
    sectors = size // _SECTOR
    with target.open("wb") as disk:
        disk.truncate(_PARTITION_START * _SECTOR + size)
        disk.write(loader.mbr[:440].ljust(440, b"\0") + _partition_table(sectors))
    offset = _PARTITION_START * _SECTOR
    environment = {**os.environ, "PATH": tools, "MTOOLS_SKIP_CHECK": "1", "TMPDIR": str(work)}

    def run(*command: str) -> None:
        subprocess.run(command, env=environment, check=True, capture_output=True, text=True)

    drive = f"{target}@@{offset}"
    label = ("-v", LABEL)
    # 16 heads and 63 sectors are made up; firmware and kernels count in blocks.
    run("mformat", "-i", drive, "-T", str(sectors), "-h", "16", "-s", "63", "-H", str(_PARTITION_START), *label, "::")
    run(str(loader.syslinux), "--offset", str(offset), "--install", str(target))
    contents = {**files, **({"EFI/BOOT/BOOTX64.EFI": loader.efi} if loader.efi else {})}
    for folder in _folders(contents):
        run("mmd", "-i", drive, f"::/{folder}")
    for path, content in contents.items():
        source = work / "file"
        source.write_bytes(content)
        run("mcopy", "-i", drive, str(source), f"::/{path}")


def _folders(files: dict[str, bytes]) -> list[str]:
    parents = {str(parent) for path in files for parent in Path(path).parents} - {"."}
    return sorted(parents)


def _partition_table(sectors: int) -> bytes:
    """One active partition of type EF (EFI system), which a BIOS boots as gladly as any other FAT."""
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0xEF, b"\xfe\xff\xff", _PARTITION_START, sectors)
    identity = struct.pack("<IH", 0x76697274, 0)
    return identity + entry + bytes(48) + b"\x55\xaa"
