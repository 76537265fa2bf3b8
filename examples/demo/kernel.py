"""The guest's kernel: which drivers it gets, and how it is made to fit into 64 MB.

A distribution's bzImage unpacks itself at 16 MiB or above, as its configuration says (PHYSICAL_START), though being
relocatable nothing in it depends on that. Debian's takes 51 MiB to unpack, so a guest of the 64 MB that the documents'
example asks for could not boot: 16 + 51 > 61. `lowered` moves the limit to 2 MiB. The header's fields are described in
the x86 boot protocol (Documentation/arch/x86/boot.rst in the kernel's sources).
"""

from __future__ import annotations

import lzma
import re
import struct
import subprocess
from collections.abc import Iterable
from pathlib import PurePosixPath

DRIVERS = (
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_balloon",
    "isofs",
    "nls_cp437",
    "nls_iso8859-1",
    "nls_ascii",
    "vfat",
    "button",
    "evdev",
    "pvpanic_mmio",
)

_PHYSICAL_START = 0x1000000
_LOW_START = 0x200000
_PREF_ADDRESS, _INIT_SIZE, _KERNEL_ALIGNMENT = 0x258, 0x260, 0x230
# In the unpacker's entry points: compare the load address with PHYSICAL_START, and replace a lower one by it.
_LIMITS = (b"\x81\xfb", b"\xbb", b"\x48\x81\xfd", b"\x48\xc7\xc5")
_ENTRY_CODE = 0x400
_START_UP = 6 * 2**20  # what booting takes beside the unpacked image; measured with the 8 PCI bridges of a small q35


def lowered(bzimage: bytes) -> bytes:
    """The kernel with its lowest load address at 2 MiB, or unchanged when its entry code is not the known one."""
    (preferred,) = struct.unpack_from("<Q", bzimage, _PREF_ADDRESS)
    (alignment,) = struct.unpack_from("<I", bzimage, _KERNEL_ALIGNMENT)
    if preferred != _PHYSICAL_START or _LOW_START % alignment:
        return bzimage
    image = bytearray(bzimage)
    code = ((image[0x1F1] or 4) + 1) * 512
    places = [_immediate(image, opcode, code) for opcode in _LIMITS]
    if None in places:
        return bzimage
    for place in places:
        if place is not None:
            struct.pack_into("<I", image, place, _LOW_START)
    struct.pack_into("<Q", image, _PREF_ADDRESS, _LOW_START)
    return bytes(image)


def _immediate(image: bytearray, opcode: bytes, start: int) -> int | None:
    """Where `opcode` with PHYSICAL_START as operand stands in the entry code; None unless it is there once."""
    pattern = opcode + struct.pack("<I", _PHYSICAL_START)
    found = [match.end() - 4 for match in re.finditer(re.escape(pattern), image[start : start + _ENTRY_CODE])]
    # `mov $x,%ebx` (bb) is also the tail of no other pattern here, so one hit is the instruction itself.
    return start + found[0] if len(found) == 1 else None


def memory_needed(bzimage: bytes, initramfs_size: int) -> int:
    """Bytes of guest memory needed to boot: where it unpacks, what that takes, and the initramfs beside it."""
    (preferred,) = struct.unpack_from("<Q", bzimage, _PREF_ADDRESS)
    (unpacked,) = struct.unpack_from("<I", bzimage, _INIT_SIZE)
    return int(preferred + unpacked + initramfs_size + _START_UP)


def module_name(path: str) -> str:
    """`virtio_blk` for .../virtio_blk.ko, .ko.xz or .ko.zst; empty for any other file."""
    found = re.fullmatch(r"(.+)\.ko(\.xz|\.zst)?", PurePosixPath(path).name)
    return found[1].replace("-", "_") if found else ""


def load_order(modules: dict[str, bytes], wanted: Iterable[str] = DRIVERS) -> list[str]:
    """Names to load, each after what it depends on; a driver that is no module is built in, or not there at all."""
    order: list[str] = []

    def add(name: str) -> None:
        if name in modules and name not in order:
            for needed in _depends(modules[name]):
                add(needed)
            order.append(name)

    for name in wanted:
        add(name.replace("-", "_"))
    return order


def _depends(module: bytes) -> list[str]:
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    return [name.replace("-", "_") for name in found[1].decode().split(",") if name] if found else []


def unpacked(path: str, content: bytes) -> bytes:
    """A module's ELF bytes, whatever the distribution compresses modules with."""
    if path.endswith(".xz"):
        return lzma.decompress(content)
    if path.endswith(".zst"):
        return subprocess.run(["zstd", "-dc"], input=content, stdout=subprocess.PIPE, check=True).stdout
    return content
