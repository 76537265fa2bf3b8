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
    """The least the guest may give back, in bytes; a multiple of logical."""
    logical: Int32 | None = None
    """The unit the guest addresses by, in bytes: 512 to 2 MiB."""
    physical: Int32 | None = None
    """The unit that is written at once, in bytes; at least logical."""


class BlockSize(Base, kw_only=True):
    """The block size the guest sees."""

    custom: CustomBlockSize | None = None
    match_volume: FeatureState | None = None
    """Takes the sizes of the device below."""


class DiskTarget(Base, kw_only=True):
    """A plain disk."""

    bus: str | None = None
    """virtio, sata (default), scsi or usb."""
    pci_address: str | None = None
    """Where the guest finds it, such as 0000:81:01.0; with bus virtio only."""
    readonly: bool | None = None
    """Default false."""


class LunTarget(Base, kw_only=True):
    """A block device with SCSI commands passed through."""

    bus: str | None = None
    """scsi, virtio or sata (default)."""
    readonly: bool | None = None
    """Default false."""
    reservation: bool | None = None
    """Lets the guest make persistent SCSI reservations; default false."""


class CDRomTarget(Base, kw_only=True):
    """A CD-ROM drive."""

    bus: str | None = None
    """sata (default), scsi or usb."""
    readonly: bool | None = None
    """Default true."""
    tray: str | None = None
    """open or closed (default)."""


class DiskIOThreads(Base, kw_only=True):
    """The pool of I/O threads."""

    supplemental_pool_thread_count: Int64 | None = None
    """How many threads the pool has; for ioThreadsPolicy supplementalPool."""


class Disk(Base, kw_only=True):
    """How a volume appears in the guest: as disk, cdrom or lun."""

    name: str = field(default_factory=str)
    """The volume it shows, by its name."""
    block_size: BlockSize | None = None
    boot_order: Int32 | None = None
    """1 is tried first; counted together with the interfaces."""
    cache: str | None = None
    """none, writethrough or writeback."""
    cdrom: CDRomTarget | None = None
    changed_block_tracking: bool | None = None
    """Whether changed blocks are tracked for backups; default false."""
    dedicated_io_thread: bool | None = field(default=None, name="dedicatedIOThread")
    """Gives the disk an I/O thread of its own."""
    disk: DiskTarget | None = None
    error_policy: str | None = None
    """What an I/O error does: stop (default: pauses the guest), ignore, report or enospace."""
    io: str | None = None
    """native, threads or default: how QEMU reads and writes."""
    lun: LunTarget | None = None
    serial: str | None = None
    """Shown to the guest."""
    shareable: bool | None = None
    """Lets several guests write to it at once; default false."""
    tag: str | None = None
    """Told to the guest with the disk's address, by cloud-init's config drive."""


class FilesystemVirtiofs(Base, kw_only=True):
    """Shares by virtiofs."""


class Filesystem(Base, kw_only=True):
    """A directory shared with the guest."""

    name: str = field(default_factory=str)
    """The volume it shows, by its name."""
    virtiofs: FilesystemVirtiofs = field(default_factory=FilesystemVirtiofs)
