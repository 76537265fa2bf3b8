"""What a disk image is, by its first bytes, and whether QEMU may open it at all. Pure.

The format is decided here, once, and stated to qemu-img ever after. An image that leads to another file (a backing
file, an external data file, a list of extents) is refused: on a host it would read the host's files.
"""

from __future__ import annotations

import re
import struct
from typing import Any

import msgspec

from virt_handler.errors import ImageRefused
from virt_handler.volumes.disk_images import FOREIGN_MAGIC, QCOW2_MAGIC, SECTOR, check_qcow2
from virt_local.datavolumes.errors import ContentRefused, TooLarge

HEAD = 1 << 16  # bytes of an image this module wants to see
RAW = "raw"
VDI_MAGIC = struct.pack("<I", 0xBEDA107F)
VDI_MAGIC_AT = 0x40
VMDK = struct.Struct("<4sIIQQQQ")  # magic, version, flags, capacity, grain, descriptor's sector, its sectors
VHD_TYPE = struct.Struct(">I")
VHD_TYPE_AT = 60
VHD_DIFFERENCING = 4
PARENT = re.compile(rb"parentFileNameHint|parentCID\s*=\s*(?!ffffffff)", re.IGNORECASE)
COMPRESSIONS = {b"\x1f\x8b": "gz", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zst"}
# What is none of ours, in words: the node's table without those that are taken here.
TAKEN = frozenset({b"KDMV", b"vhdxfile", b"conectix", b"<<< "})
TOO_LARGE = (
    "virtual image size {size} is larger than the reported available storage {available}. A larger PVC is required"
)


def compression_of(head: bytes) -> str:
    """gz, xz, zst or ""."""
    return next((name for magic, name in COMPRESSIONS.items() if head.startswith(magic)), "")


def format_of(head: bytes, what: str) -> str:
    """QEMU's name of the format; raises ContentRefused for what is no image or may not be opened."""
    if head.startswith(QCOW2_MAGIC):
        return "qcow2"
    if head.startswith(b"KDMV"):
        _check_vmdk(head, what)
        return "vmdk"
    if head.startswith(b"vhdxfile"):
        return "vhdx"
    if head.startswith(b"conectix"):
        _check_vhd(head, what)
        return "vpc"
    if head[VDI_MAGIC_AT : VDI_MAGIC_AT + 4] == VDI_MAGIC:
        return "vdi"
    for magic, name in FOREIGN_MAGIC.items():
        if magic not in TAKEN and head.startswith(magic):
            raise ContentRefused(f"{what} is {name}; take raw, qcow2, vmdk, vdi, vhd or vhdx")
    return RAW


def check_head(head: bytes, available: int, what: str) -> str:
    """The format, with all that the first bytes tell checked; raises ContentRefused, TooLarge."""
    found = format_of(head, what)
    if found == "qcow2":
        try:
            check_size(check_qcow2(head[:4096], what), available)
        except ImageRefused as error:
            raise ContentRefused(error.message, hint=error.hint) from None
    return found


def check_size(size: int, available: int) -> None:
    """Raises TooLarge when a disk of `size` bytes does not fit."""
    if size > available:
        raise TooLarge(TOO_LARGE.format(size=size, available=available))


def check_raw(size: int, what: str) -> None:
    """A raw image is whole sectors; raises ContentRefused for what is more likely an error page."""
    if size == 0 or size % SECTOR:
        raise ContentRefused(f"{what} is no disk image: no known format, and its {size} bytes are not whole sectors")


def check_info(output: bytes, expected: str, name: str, what: str) -> int:
    """The virtual size that `qemu-img info` told, whose view must be ours; raises ContentRefused."""
    try:
        info: dict[str, Any] = msgspec.json.decode(output)
        extra = info.get("format-specific", {}).get("data", {})
        extents = [extent["filename"] for extent in extra.get("extents", [])]
        odd = info["format"] != expected or "backing-filename" in info or "data-file" in extra
        odd = odd or bool(info.get("encrypted")) or any(extent != name for extent in extents)
        size = int(info["virtual-size"])
    except (msgspec.DecodeError, AttributeError, KeyError, TypeError, ValueError):
        raise ContentRefused(f"{what}: qemu-img's description can't be read") from None
    if odd:
        raise ContentRefused(f"{what} is not a plain {expected} image: it leads to another file, or is encrypted")
    return size


def _check_vmdk(head: bytes, what: str) -> None:
    """Only one file, without parent: QEMU follows the embedded list of extents when the header has no capacity."""
    if len(head) < VMDK.size:
        raise ContentRefused(f"{what} is a truncated vmdk image")
    _, _, _, capacity, _, sector, sectors = VMDK.unpack_from(head)
    descriptor = head[sector * SECTOR : (sector + sectors) * SECTOR]
    if capacity == 0:
        raise ContentRefused(f"{what} is a vmdk image that lists other files")
    if PARENT.search(descriptor):
        raise ContentRefused(f"{what} is a vmdk image with a parent", hint="export it as one file")


def _check_vhd(head: bytes, what: str) -> None:
    if len(head) < VHD_TYPE_AT + VHD_TYPE.size or VHD_TYPE.unpack_from(head, VHD_TYPE_AT)[0] == VHD_DIFFERENCING:
        raise ContentRefused(f"{what} is a truncated or differencing vhd image", hint="merge it with its parent first")
