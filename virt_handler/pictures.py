"""QEMU's screen dump as a PNG. Pure; called by `server` in a thread."""

from __future__ import annotations

import re
import struct
import zlib

from virt_handler.errors import ConsoleError

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
HEADER = re.compile(rb"P6\s+(?:#[^\n]*\n\s*)*(\d{1,5})\s+(\d{1,5})\s+255\s")
NO_FILTER = b"\0"
TRUE_COLOUR = 2


def to_png(picture: bytes) -> bytes:
    """PNG of a binary PPM with eight bits per colour; a PNG stays as it is. Raises ConsoleError for anything else."""
    if picture.startswith(PNG_MAGIC):
        return picture
    header = HEADER.match(picture)
    if header is None:
        raise ConsoleError("the screen's picture is in no known format")
    width, height = int(header[1]), int(header[2])
    pixels = memoryview(picture)[header.end() :]
    row = width * 3
    if len(pixels) < row * height:
        raise ConsoleError("the screen's picture is cut short")
    packer = zlib.compressobj(6)
    parts: list[bytes] = []
    for line in range(height):
        parts += (packer.compress(NO_FILTER), packer.compress(pixels[line * row : (line + 1) * row]))
    parts.append(packer.flush())
    size = struct.pack(">IIBBBBB", width, height, 8, TRUE_COLOUR, 0, 0, 0)
    return PNG_MAGIC + _chunk(b"IHDR", size) + _chunk(b"IDAT", b"".join(parts)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
