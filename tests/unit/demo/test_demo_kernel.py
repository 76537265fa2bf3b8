"""The demo guest's kernel: driver order, and moving the place where a bzImage unpacks itself."""

from __future__ import annotations

import lzma
import struct

import pytest

from examples.demo import kernel

HIGH, LOW = 0x1000000, 0x200000
# The instructions of a real bzImage's entry code: cmp and mov with %ebx, then cmp and mov with %rbp.
ENTRY_CODE = b"".join(
    opcode + struct.pack("<I", HIGH) for opcode in (b"\x81\xfb", b"\xbb", b"\x48\x81\xfd", b"\x48\xc7\xc5")
)


def bzimage(code: bytes = ENTRY_CODE, preferred: int = HIGH, unpacked: int = 51 << 20) -> bytes:
    setup_sectors = 4
    image = bytearray((setup_sectors + 1) * 512)
    image[0x1F1] = setup_sectors
    struct.pack_into("<I", image, 0x230, LOW)
    struct.pack_into("<Q", image, 0x258, preferred)
    struct.pack_into("<I", image, 0x260, unpacked)
    return bytes(image) + b"\x90" * 16 + code + b"\x90" * 2048


def module(*depends: str) -> bytes:
    return b"\x7fELF\0license=GPL\0depends=" + ",".join(depends).encode() + b"\0name=x\0"


def test_lowered_changes_the_limit_and_nothing_else() -> None:
    image, lowered = bzimage(), kernel.lowered(bzimage())
    assert len(lowered) == len(image)
    assert struct.unpack_from("<Q", lowered, 0x258) == (LOW,)
    assert lowered.count(struct.pack("<I", HIGH)) == 0
    # Four instructions and the header field, two differing bytes each.
    assert sum(a != b for a, b in zip(image, lowered, strict=True)) == 5 * 2


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(bzimage(code=b""), id="other entry code"),
        pytest.param(bzimage(code=ENTRY_CODE[:-7]), id="one instruction missing"),
        pytest.param(bzimage(code=ENTRY_CODE * 2), id="instructions twice"),
        pytest.param(bzimage(preferred=0x400000), id="other address"),
    ],
)
def test_lowered_leaves_an_unknown_kernel_alone(image: bytes) -> None:
    assert kernel.lowered(image) == image


def test_the_lowered_kernel_fits_into_the_manifests_64_million_bytes() -> None:
    initramfs = 3 << 19
    assert kernel.memory_needed(bzimage(), initramfs) > 64_000_000
    assert kernel.memory_needed(kernel.lowered(bzimage()), initramfs) < 64_000_000


def test_load_order_puts_dependencies_first_and_leaves_out_what_is_built_in() -> None:
    modules = {"virtio_pci": module("virtio", "virtio-ring"), "virtio": module("virtio_ring"), "virtio_ring": module()}
    assert kernel.load_order(modules, ["virtio-pci", "ext4"]) == ["virtio_ring", "virtio", "virtio_pci"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("lib/modules/6.1/kernel/drivers/block/virtio_blk.ko", "virtio_blk"),
        ("usr/lib/modules/6.12/kernel/fs/nls/nls_iso8859-1.ko.xz", "nls_iso8859_1"),
        ("lib/modules/6.8/kernel/fs/isofs/isofs.ko.zst", "isofs"),
        ("boot/vmlinuz-6.1", ""),
        ("lib/modules/6.1/modules.builtin", ""),
    ],
)
def test_module_name(path: str, name: str) -> None:
    assert kernel.module_name(path) == name


def test_compressed_modules_are_unpacked() -> None:
    assert kernel.unpacked("x.ko.xz", lzma.compress(module())) == module()
    assert kernel.unpacked("x.ko", module()) == module()
