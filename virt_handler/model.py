"""What the node agent knows when it renders a domain: the host, and where each volume and network really is.

Produced by the runtime (volumes, network, host probing), consumed by `virt_handler.domain`. Pure data.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from virt_types.v1 import VirtualMachineInstance

Accelerator = Literal["kvm", "qemu"]
DiskFormat = Literal["raw", "qcow2"]


class NumaCell(NamedTuple):
    """One NUMA cell of the host: its processors grouped by core, and its distance to each cell."""

    id: int
    cores: tuple[tuple[int, ...], ...]
    distances: tuple[tuple[int, int], ...] = ()  # (cell, distance)


class Host(NamedTuple):
    """The machine a domain is rendered for. Versions are libvirt's encoding: 9.0.0 is 9000000."""

    name: str
    accelerator: Accelerator = "qemu"
    arch: str = "x86_64"
    emulator: str = ""  # empty: libvirt picks
    libvirt_version: int = 9_000_000
    qemu_version: int = 7_002_000
    machines: frozenset[str] = frozenset()  # empty: not asked
    firmware_dir: str = "/usr/share/OVMF"
    firmware_files: frozenset[str] = frozenset()  # names found there; empty: not asked
    cpu_modes: frozenset[str] = frozenset()  # libvirt's CPU modes; empty: not asked
    cells: tuple[NumaCell, ...] = ()
    shared_processors: bool = False  # whether other work may run on the processors a guest has for itself
    max_vcpus: int = 0  # 0: not asked
    video_models: frozenset[str] = frozenset()  # empty: not asked
    tpm: bool | None = None  # whether a TPM can be emulated; None: not asked
    sev: bool | None = None


class DiskSource(NamedTuple):
    """Where a volume's bytes are. The format is always explicit, a backing file's too: libvirt probes nothing."""

    path: str
    format: DiskFormat = "raw"
    block: bool = False  # a block device rather than a file
    readonly: bool = False
    backing: DiskSource | None = None
    keep_owner: bool = False  # a file of the machine: libvirt must not give it to QEMU's user
    discard: bool = True
    direct_io: bool | None = None  # whether O_DIRECT works on the source and its backing file; None: not tried
    preallocated: bool = False
    block_sizes: tuple[int, int, int] | None = None  # logical, physical, discard granularity; None: not asked


class NicSource(NamedTuple):
    """How an interface is connected. `source`: a libvirt network, a bridge, what passt copies, or empty."""

    kind: Literal["network", "bridge", "ethernet", "user", "vhostuser"]
    source: str = ""
    mac: str = ""  # empty: not stated in the XML
    target: str = ""  # tap device name, empty: libvirt names it
    mtu: int = 0  # 0: not stated


class HostDeviceSource(NamedTuple):
    """A device of the host: PCI address `0000:81:00.0`, mediated device uuid, or USB `bus:device`."""

    kind: Literal["pci", "mdev", "usb"]
    address: str


class BootFiles(NamedTuple):
    """Files that firmware or QEMU loads itself; empty: none."""

    kernel: str = ""
    initrd: str = ""
    acpi_tables: tuple[tuple[str, str], ...] = ()  # (slic or msdm, path)
    ignition: str = ""


class GuestFiles(NamedTuple):
    """Absolute paths of one guest's sockets and logs."""

    serial_socket: str
    serial_log: str
    vnc_socket: str
    nvram: str


class Guest(NamedTuple):
    """Everything a domain is rendered from. `disks` is keyed by volume name, `nics` by interface name."""

    vmi: VirtualMachineInstance
    host: Host
    files: GuestFiles
    disks: Mapping[str, DiskSource]
    nics: Mapping[str, NicSource]
    # Keyed by the name of the gpu, host device or SR-IOV interface. USB devices may be several for one name.
    host_devices: Mapping[str, tuple[HostDeviceSource, ...]] = MappingProxyType({})
    cpuset: tuple[int, ...] = ()  # host processors this guest has for itself
    boot: BootFiles = BootFiles()
    shares: frozenset[str] = frozenset()  # names of file systems that a virtiofs daemon serves
    # By name of a file system: the directory that libvirt has a daemon of its own share, instead of one on a socket.
    directories: Mapping[str, str] = MappingProxyType({})
