"""How volumes appear in the guest: disks, CD-ROMs, LUNs and shared file systems.

Written by tools/generate_types.py from the API's OpenAPI document; edit the tables there, not this file.
"""

from __future__ import annotations

from msgspec import field

from virt_types.meta import Base, Int32, Int64
from virt_types.v1.features import FeatureState


class CustomBlockSize(Base, kw_only=True):
    """Block sizes in bytes, powers of two from 512 on."""

    discard_granularity: Int32 | None = None
    logical: Int32 | None = None
    physical: Int32 | None = None


class BlockSize(Base, kw_only=True):
    """The block size the guest sees."""

    custom: CustomBlockSize | None = None
    match_volume: FeatureState | None = None


class DiskTarget(Base, kw_only=True):
    """A plain disk."""

    bus: str | None = None
    pci_address: str | None = None
    readonly: bool | None = None


class LunTarget(Base, kw_only=True):
    """A block device with SCSI commands passed through."""

    bus: str | None = None
    readonly: bool | None = None
    reservation: bool | None = None


class CDRomTarget(Base, kw_only=True):
    """A CD-ROM drive."""

    bus: str | None = None
    readonly: bool | None = None
    tray: str | None = None


class DiskIOThreads(Base, kw_only=True):
    """The pool of I/O threads."""

    supplemental_pool_thread_count: Int64 | None = None


class Disk(Base, kw_only=True):
    """How a volume appears in the guest: as disk, cdrom or lun."""

    name: str = field(default_factory=str)
    block_size: BlockSize | None = None
    boot_order: Int32 | None = None
    cache: str | None = None
    cdrom: CDRomTarget | None = None
    changed_block_tracking: bool | None = None
    dedicated_io_thread: bool | None = field(default=None, name="dedicatedIOThread")
    disk: DiskTarget | None = None
    error_policy: str | None = None
    io: str | None = None
    lun: LunTarget | None = None
    serial: str | None = None
    shareable: bool | None = None
    tag: str | None = None


class FilesystemVirtiofs(Base, kw_only=True):
    """Shares by virtiofs."""


class Filesystem(Base, kw_only=True):
    """A directory shared with the guest."""

    name: str = field(default_factory=str)
    virtiofs: FilesystemVirtiofs = field(default_factory=FilesystemVirtiofs)
