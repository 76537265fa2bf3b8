"""What is to be put into one claim, and how large its disk may and shall be. Pure.

`decide` makes a plan from a DataVolume or an upload's claim, `workers` carries it out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from virt_kube.informer import Key
from virt_types.cdi.objects import ImportSourceHTTP
from virt_types.cdi.v1beta1 import (
    DataVolumeBlankImage,
    DataVolumeSourcePVC,
    DataVolumeSourceRegistry,
    DataVolumeSourceUpload,
)

MEBIBYTE = 1 << 20
# What a file system in a volume takes of it, as CDI reckons unless told otherwise (spec 7.2).
OVERHEAD = 0.06
ARCHIVE = "archive"

Source = (
    ImportSourceHTTP | DataVolumeSourceRegistry | DataVolumeBlankImage | DataVolumeSourcePVC | DataVolumeSourceUpload
)


class Plan(NamedTuple):
    """`size`: bytes the disk shall have; `available`: bytes the image may have. `uid` is the claim's."""

    claim: Key
    uid: str
    source: Source
    size: int
    available: int
    archive: bool = False
    preallocate: bool = False


def inflated(size: int) -> int:
    """The claim that holds a disk of `size` bytes and a file system around it (spec 7.2)."""
    return math.ceil(_round_up(size) * (1 + OVERHEAD))


def usable(space: int) -> int:
    """The disk that fits a claim of `space` bytes with a file system in it: `inflated` undone."""
    return math.ceil(space / (1 + OVERHEAD)) // MEBIBYTE * MEBIBYTE


def _round_up(size: int) -> int:
    return -(-size // MEBIBYTE) * MEBIBYTE
