"""What the templates lay out: one small tuple per section, values final, nothing left to decide.

Made by the section modules beside this one, put together by `virt_handler.domain.build`, read by templates/.
"""

from __future__ import annotations

from typing import NamedTuple


class PciAddress(NamedTuple):
    """Hexadecimal texts as libvirt writes them, e.g. slot `0x02`."""

    domain: str
    bus: str
    slot: str
    function: str


class Loader(NamedTuple):
    path: str
    type: str  # pflash or rom
    secure: bool
    nvram: str  # empty: none
    nvram_template: str


class Os(NamedTuple):
    arch: str
    machine: str
    smbios: bool
    loader: Loader | None
    bootmenu_timeout: int  # milliseconds; 0: no menu
    use_serial: bool
    kernel: str
    initrd: str
    kernel_args: str
    acpi_tables: tuple[tuple[str, str], ...]


class SysInfo(NamedTuple):
    """SMBIOS tables, and files that QEMU hands to the guest's firmware by name."""

    system: tuple[tuple[str, str], ...]
    chassis: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...]


class Vcpu(NamedTuple):
    id: int
    enabled: bool
    hotpluggable: bool


class CpuFeature(NamedTuple):
    name: str
    policy: str


class NumaDistance(NamedTuple):
    cell: int
    value: int


class GuestCell(NamedTuple):
    """One NUMA cell of the guest; memory in bytes."""

    id: int
    cpus: str
    memory: int
    distances: tuple[NumaDistance, ...]
    host_cell: int | None


class Cpu(NamedTuple):
    mode: str
    model: str
    features: tuple[CpuFeature, ...]
    sockets: int
    cores: int
    threads: int
    vcpus: int
    hotplug: tuple[Vcpu, ...]
    cells: tuple[GuestCell, ...]
    host_nodes: str  # NUMA cells of the host that hold the guest's memory; empty: any


class Pin(NamedTuple):
    id: int
    cpuset: str


class Tuning(NamedTuple):
    vcpus: tuple[Pin, ...]
    iothreads: tuple[Pin, ...]
    emulator: str  # a cpuset; empty: not pinned


class Page(NamedTuple):
    size: int
    nodeset: str


class Backing(NamedTuple):
    hugepages: bool
    pages: tuple[Page, ...]
    memfd: bool
    shared: bool
    nosharepages: bool
    immediate: bool


class Memory(NamedTuple):
    """Bytes. `maximum` is 0 for a guest that can't be given more; `slots` are those for DIMMs."""

    size: int
    maximum: int
    slots: int
    backing: Backing | None


class HypervFeature(NamedTuple):
    tag: str
    enabled: bool
    retries: int | None = None
    value: str = ""
    children: tuple[tuple[str, bool], ...] = ()


class Features(NamedTuple):
    acpi: bool
    apic: bool
    hyperv: tuple[HypervFeature, ...] | None
    hyperv_passthrough: bool
    kvm_hidden: bool | None
    kvm_dedicated: bool
    pvspinlock: bool | None
    smm: bool
    pmu_off: bool
    vmport_off: bool


class Timer(NamedTuple):
    name: str
    present: bool | None = None
    tickpolicy: str = ""
    track: str = ""
    frequency: int = 0


class Clock(NamedTuple):
    offset: str
    adjustment: str
    timezone: str
    timers: tuple[Timer, ...]


class BackingFile(NamedTuple):
    path: str
    format: str
    block: bool


class BlockIo(NamedTuple):
    logical: int
    physical: int
    discard_granularity: int | None


class Disk(NamedTuple):
    name: str
    device: str
    model: str  # of the virtio bus, else empty
    path: str  # empty: an empty drive
    block: bool
    format: str
    keep_owner: bool
    backing: BackingFile | None
    bus: str
    target: str
    tray: str
    cache: str
    io: str
    error_policy: str
    discard: bool
    queues: int
    iothread: int
    iothreads: tuple[int, ...]
    iommu: bool
    readonly: bool
    shareable: bool
    serial: str
    boot_order: int
    unit: int | None  # on SCSI controller 0
    address: PciAddress | None
    block_io: BlockIo | None
    reservations: str  # socket of the persistent reservation helper


class Interface(NamedTuple):
    name: str
    type: str
    source: str
    mac: str
    model: str
    target: str
    mtu: int
    queues: int
    vhost: bool
    iommu: bool
    boot_order: int
    rom_off: bool
    link_down: bool
    acpi_index: int
    address: PciAddress | None
    forwards: tuple[PortForward, ...] = ()


class PortForward(NamedTuple):
    protocol: str
    ports: tuple[tuple[int, int], ...]


class Controller(NamedTuple):
    type: str
    number: int
    model: str
    iommu: bool = False
    iothread: int = 0
    queues: int = 0
    address: PciAddress | None = None
    no_hole64: bool = False

    @property
    def has_details(self) -> bool:
        return bool(self.iommu or self.iothread or self.address or self.no_hole64)


class Serial(NamedTuple):
    socket: str
    log: str  # empty: not logged


class Channel(NamedTuple):
    target: str
    socket: str  # empty: libvirt chooses


class Video(NamedTuple):
    type: str
    vram: int  # KiB; 0: the device's own default


class Balloon(NamedTuple):
    model: str
    stats_period: int
    free_page_reporting: bool
    iommu: bool
    address: PciAddress | None


class Rng(NamedTuple):
    model: str
    iommu: bool
    address: PciAddress | None


class Watchdog(NamedTuple):
    name: str
    model: str
    action: str
    address: PciAddress | None


class Input(NamedTuple):
    name: str  # empty: added unasked
    type: str
    bus: str
    model: str
    address: PciAddress | None


class Tpm(NamedTuple):
    model: str
    persistent: bool


class Sound(NamedTuple):
    name: str
    model: str


class HostDevice(NamedTuple):
    alias: str
    kind: str
    source_pci: PciAddress | None = None
    source_uuid: str = ""
    source_usb: tuple[int, int] | None = None
    display: bool = False
    ramfb: bool = False
    boot_order: int = 0
    address: PciAddress | None = None


class FilesystemShare(NamedTuple):
    """`directory`: libvirt has a daemon of its own share it; empty: one that listens on `socket` does."""

    name: str
    socket: str
    directory: str = ""


class Vsock(NamedTuple):
    model: str
    cid: int  # 0: libvirt chooses


class LaunchSecurity(NamedTuple):
    type: str
    policy: str
    dh_cert: str
    session: str


class DomainContext(NamedTuple):
    """One domain, section by section. Lists keep the order of the manifest."""

    type: str
    name: str
    uuid: str
    vmi_uid: str
    vmi_name: str
    vmi_namespace: str
    memory: Memory
    os: Os
    sysinfo: SysInfo
    cpu: Cpu
    tuning: Tuning | None
    iothreads: int  # 0: none
    features: Features
    clock: Clock | None
    on_reboot: str
    emulator: str
    disks: tuple[Disk, ...]
    interfaces: tuple[Interface, ...]
    controllers: tuple[Controller, ...]
    filesystems: tuple[FilesystemShare, ...]
    channels: tuple[Channel, ...]
    serial: Serial | None
    vnc_socket: str
    video: Video | None
    inputs: tuple[Input, ...]
    balloon: Balloon
    rng: Rng | None
    watchdog: Watchdog | None
    tpm: Tpm | None
    sound: Sound | None
    panics: tuple[str, ...]
    usb_redirections: tuple[str, ...]
    host_devices: tuple[HostDevice, ...]
    vsock: Vsock | None
    launch_security: LaunchSecurity | None
